"""Billing's entities. One law tested: given what happened, an order leads to facts or to a refusal that says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from billing_world import AUGUST, HOUR, MODEL, SEPTEMBER, released, started
from gpuaas.billing.domain.billing_run import BILLING_RUN, CompleteRun, StartRun
from gpuaas.billing.domain.invoice import INVOICE, LINES_MAX, FinalizeInvoice, content_sha256, invoice_id_of
from gpuaas.billing.domain.invoice_series import INVOICE_SERIES, AssignNumbers, printed, series_of
from gpuaas.billing.domain.ledger import LEDGER, Entry, Ledger, PostTransfer
from gpuaas.billing.domain.metering import Interval, Span
from gpuaas.billing.domain.price_book import PRICE_BOOK, PRICES_MAX, PublishPrices, digest_of
from gpuaas.billing.domain.rating import Line
from gpuaas.billing.domain.usage import USAGE, MeterUsage
from gpuaas.common.decider import Decider
from gpuaas.common.errors import GpuaasError, Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.billing import InvoiceFinalized, LedgerTransferPosted
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

Any_ = Decider[Any, Any]


def after(decider: Any_, *commands: object) -> list[Event]:
    """All events of these commands, one after the other."""
    events: list[Event] = []
    for command in commands:
        events += decider.decide(command, decider.fold(events))
    return events


def refused(decider: Any_, *commands: object, how: type[GpuaasError] = Rejected) -> str:
    """What the last of these commands is refused with."""
    state = decider.fold(after(decider, *commands[:-1]))
    with pytest.raises(how) as said:
        decider.decide(commands[-1], state)
    return said.value.detail


# -- prices ------------------------------------------------------------------------------------------------------

PUBLISH = PublishPrices("list-eur", "EUR", AUGUST, None, ((MODEL, Decimal("2.49")),))


def test_versions_are_counted_and_an_open_one_ends_where_the_next_begins() -> None:
    book = PRICE_BOOK.fold(after(PRICE_BOOK, PUBLISH, replace(PUBLISH, effective_from=SEPTEMBER)))
    assert [version.version for version in book.versions] == [1, 2]
    period = Interval.between(AUGUST + HOUR, SEPTEMBER + HOUR)
    windows = [(part, version.version) for part, version in book.windows(period)]
    assert windows == [
        (Interval.between(AUGUST + HOUR, SEPTEMBER), 1),
        (Interval.between(SEPTEMBER, SEPTEMBER + HOUR), 2),
    ]


def test_versions_that_would_overlap_are_refused() -> None:
    assert "overlap" in refused(PRICE_BOOK, PUBLISH, PUBLISH)
    assert "overlap" in refused(PRICE_BOOK, PUBLISH, replace(PUBLISH, effective_from=AUGUST - HOUR))
    ending = replace(PUBLISH, effective_until=SEPTEMBER)
    assert "overlap" in refused(PRICE_BOOK, ending, replace(PUBLISH, effective_from=SEPTEMBER - HOUR))
    assert len(after(PRICE_BOOK, ending, replace(PUBLISH, effective_from=SEPTEMBER))) == 2


def test_billed_time_keeps_its_prices() -> None:
    late = replace(PUBLISH, effective_from=SEPTEMBER - HOUR, billed_until=SEPTEMBER)
    assert "already billed" in refused(PRICE_BOOK, PUBLISH, late)
    assert len(after(PRICE_BOOK, replace(PUBLISH, billed_until=SEPTEMBER))) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"price_book_id": "mine"}, "list prices in EUR are the book list-eur"),
        ({"currency": "XXX"}, "not a known currency"),
        ({"prices": ()}, "has 1 to 1000 prices"),
        ({"prices": tuple((f"m-{n}", Decimal(1)) for n in range(PRICES_MAX + 1))}, "has 1 to 1000 prices"),
        ({"prices": ((MODEL, Decimal(1)), (MODEL, Decimal(2)))}, "priced twice"),
        ({"prices": (("H100 (big)", Decimal(1)),)}, "not the name of a GPU model"),
        ({"prices": ((MODEL, Decimal("-0.01")),)}, "zero or more"),
        ({"prices": ((MODEL, Decimal("NaN")),)}, "zero or more"),
        ({"prices": ((MODEL, Decimal("0.0000000000001")),)}, "12 digits"),
        ({"prices": ((MODEL, Decimal(10**9)),)}, "less than"),
        ({"effective_until": AUGUST}, "must end after they begin"),
    ],
)
def test_prices_that_cannot_be_are_refused(change: dict[str, Any], complaint: str) -> None:
    assert complaint in refused(PRICE_BOOK, replace(PUBLISH, **change), how=Invalid)


def test_the_digest_of_the_books_changes_with_any_price() -> None:
    books = [PRICE_BOOK.fold(after(PRICE_BOOK, replace(PUBLISH, prices=((MODEL, Decimal(text)),)))) for text in "12"]
    assert digest_of(books[:1]) == digest_of(books[:1]) != digest_of(books[1:])


# -- usage -------------------------------------------------------------------------------------------------------

BEGUN = started("acme", "a-1", AUGUST)
ENDED = released(BEGUN, AUGUST + HOUR)
METER = MeterUsage(BEGUN, ENDED, Span(Interval.between(AUGUST, AUGUST + HOUR), 8, "e-1", "e-2"))


def test_the_same_facts_metered_again_say_nothing_new() -> None:
    (usage,) = after(USAGE, METER)
    assert after(USAGE, METER, METER) == [usage]


def test_other_facts_about_metered_usage_are_refused() -> None:
    longer = MeterUsage(
        BEGUN,
        released(BEGUN, AUGUST + 2 * HOUR),
        replace(METER.span, interval=Interval.between(AUGUST, AUGUST + 2 * HOUR)),
    )
    assert "a record never changes" in refused(USAGE, METER, longer)


def test_a_release_of_other_gpus_than_were_started_is_refused() -> None:
    other = MeterUsage(BEGUN, ENDED.model_copy(update={"gpu_count": 4}), METER.span)
    assert "one of the two events is wrong" in refused(USAGE, other, how=Invalid)


# -- ledger ------------------------------------------------------------------------------------------------------

POST = PostTransfer(
    "t-1",
    "acme",
    "EUR",
    (Entry("receivable:acme", Decimal("7.47")), Entry("revenue:gpu", Decimal("-7.47"))),
    "i",
    "inv",
)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"entries": POST.entries[:1]}, "2 to 100 entries"),
        ({"entries": (*POST.entries, Entry("x", Decimal("0.01")))}, "must sum to zero"),
        ({"entries": (Entry("x", Decimal(0)), Entry("y", Decimal(0)))}, "moves nothing"),
        ({"entries": (Entry("x", Decimal("0.001")), Entry("y", Decimal("-0.001")))}, "finer than EUR"),
        ({"entries": (Entry("x y", Decimal(1)), Entry("z", Decimal(-1)))}, "not the name of an account"),
        ({"currency": "DOGE"}, "not a known currency"),
    ],
)
def test_a_transfer_that_cannot_be_is_refused(change: dict[str, Any], complaint: str) -> None:
    assert complaint in refused(LEDGER, replace(POST, **change), how=Invalid)


def test_a_transfer_is_posted_once_and_in_its_own_ledger() -> None:
    assert "posted once" in refused(LEDGER, POST, POST)
    assert "has its own" in refused(LEDGER, POST, replace(POST, transfer_id="t-2", tenant_id="rival"))


AMOUNTS = st.integers(-(10**9), 10**9).filter(bool).map(lambda cents: Decimal(cents).scaleb(-2))


@st.composite
def postings(draw: st.DrawFn) -> PostTransfer:
    gains = draw(st.lists(AMOUNTS, min_size=1, max_size=5).filter(sum))
    accounts = [f"a-{draw(st.integers(0, 9))}" for _ in gains]
    entries = [*map(Entry, accounts, gains), Entry("rest", -sum(gains, Decimal(0)))]
    name = f"t-{draw(st.uuids())}"
    return PostTransfer(name, "acme", draw(st.sampled_from(["EUR", "USD"])), tuple(entries), "any", name)


@given(st.lists(postings(), max_size=12))
def test_every_prefix_of_a_ledger_sums_to_zero_and_its_state_is_as_large_as_its_accounts(
    posts: list[PostTransfer],
) -> None:
    ledger = Ledger()
    for post in posts:
        for event in LEDGER.decide(post, ledger):
            ledger = LEDGER.evolve(ledger, event)
        for currency in ("EUR", "USD"):
            assert sum(balance for (of, _), balance in ledger.balances.items() if of == currency) == 0
    assert len(ledger.balances) <= 2 * 11
    assert ledger.transfers == len(posts)


# -- invoices ----------------------------------------------------------------------------------------------------

LINE = Line("vision", MODEL, "list-eur", 1, Decimal("2.49"), 10_800_000, Decimal("7.47"), 1, "0" * 64)
FINALIZE = FinalizeInvoice("inv-1", "run-1", "INV-2026-000001", "acme", "EUR", AUGUST, SEPTEMBER, (LINE,))


def test_a_final_invoice_is_frozen() -> None:
    assert "is final as INV-2026-000001" in refused(INVOICE, FINALIZE, FINALIZE)


def test_the_digest_changes_with_every_field_of_the_invoice() -> None:
    (final,) = after(INVOICE, FINALIZE)
    assert isinstance(final, InvoiceFinalized)
    data = final.model_dump(mode="json", exclude_none=True)
    assert content_sha256(data) == final.content_sha256
    for name in data.keys() - {"content_sha256"}:
        assert content_sha256({**data, name: "other"}) != final.content_sha256, name
    line = data["lines"][0]
    for name in line:
        assert content_sha256({**data, "lines": [{**line, name: "other"}]}) != final.content_sha256, name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"lines": ()}, "1 to 800 lines"),
        ({"lines": (LINE,) * (LINES_MAX + 1)}, "1 to 800 lines"),
        ({"lines": (replace(LINE, amount=Decimal("7.471")),)}, "finer than EUR"),
        ({"period_end": AUGUST}, "ends after it starts"),
        ({"currency": "DOGE"}, "not a known currency"),
    ],
)
def test_an_invoice_that_cannot_be_is_refused(change: dict[str, Any], complaint: str) -> None:
    assert complaint in refused(INVOICE, replace(FINALIZE, **change), how=Invalid)


def test_the_largest_invoice_fits_into_one_event() -> None:
    longest = replace(LINE, project_id="p" * 63, gpu_model="m" * 63, price_book_id="b" * 63, gpu_us=2**62)
    (final,) = after(INVOICE, replace(FINALIZE, lines=(longest,) * LINES_MAX))
    assert len(final.model_dump_json()) < 512 * 1024 - 4_096


def test_one_run_has_one_invoice_for_a_tenant_whoever_asks() -> None:
    assert invoice_id_of("run-1", "acme") == invoice_id_of("run-1", "acme")
    assert len({invoice_id_of(run, tenant) for run in ("r-1", "r-2") for tenant in ("a", "b")}) == 4


def test_numbers_are_given_one_after_the_other() -> None:
    first, then = AssignNumbers("inv-2026", 1, ("i-1", "i-2")), AssignNumbers("inv-2026", 3, ("i-3",))
    numbers = [event.number for event in after(INVOICE_SERIES, first, then)]  # type: ignore[attr-defined]
    assert numbers == [1, 2, 3]
    assert "the next number of inv-2026 is 3, not 4" in refused(INVOICE_SERIES, first, replace(then, first=4))
    assert "the next number of inv-2026 is 3, not 2" in refused(INVOICE_SERIES, first, replace(then, first=2))
    assert "name each once" in refused(INVOICE_SERIES, replace(first, invoice_ids=("i", "i")), how=Invalid)
    assert "1 to 300" in refused(INVOICE_SERIES, replace(first, invoice_ids=()), how=Invalid)


def test_a_series_is_of_the_year_in_which_the_period_ends() -> None:
    new_year = datetime(2027, 1, 1, tzinfo=UTC)
    assert series_of(new_year) == "inv-2026"
    assert series_of(new_year + timedelta(microseconds=1)) == "inv-2027"
    assert printed("inv-2026", 17) == "INV-2026-000017"


# -- runs --------------------------------------------------------------------------------------------------------

START = StartRun("run-1", AUGUST, SEPTEMBER, 42, "0" * 64, "rating-1")
COMPLETE = CompleteRun("run-1", 1, {"EUR": Decimal("7.47")})


def test_a_run_starts_once_and_completes_once() -> None:
    assert "started already" in refused(BILLING_RUN, START, START)
    assert "started already" in refused(BILLING_RUN, START, COMPLETE, START)
    assert len(after(BILLING_RUN, START, COMPLETE, COMPLETE)) == 2
    assert "has not been started" in refused(BILLING_RUN, COMPLETE)


def test_a_run_over_no_time_is_refused() -> None:
    assert "has a length" in refused(BILLING_RUN, replace(START, period_end=AUGUST), how=Invalid)
    assert "before it starts" in refused(BILLING_RUN, replace(START, period_end=AUGUST - HOUR), how=Invalid)


def test_the_contract_refuses_what_a_decider_would_let_through() -> None:
    with pytest.raises(ValidationError):
        LedgerTransferPosted(transfer_id="T 1", tenant_id="a", currency="EUR", entries=(), description="", cause="")
