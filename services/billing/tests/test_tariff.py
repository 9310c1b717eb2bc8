"""List, contract, campaign, hours of the week. One law tested: a part of time has one price, and the line says why."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from gpuaas.billing.domain.agreement import AGREEMENT, Agreement, EndAgreement, MakeAgreement, Rule
from gpuaas.billing.domain.bands import Band, check_bands, edges, minute_of
from gpuaas.billing.domain.metering import Interval, instant_ms
from gpuaas.billing.domain.price_book import PRICE_BOOK, PriceBook, PriceVersion, PublishPrices
from gpuaas.billing.domain.rating import Booked, Line, LineKey, Usage, rate
from gpuaas.billing.domain.tariff import Tariff, lowered
from gpuaas.billing.time_zones import offsets_of
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.contracts.billing import AgreementKind, PriceAgreementMade, PriceBookPublished
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_tariff import Hours, Job, Offer, lines_by_walking, utc

BERLIN = "Europe/Berlin"
START, END = utc("2026-03-28T00:00"), utc("2026-03-30T00:00")
EVERY_DAY = frozenset(range(1, 8))


def book(amount: str = "2", bands: tuple[Band, ...] = (), zone: str = BERLIN) -> PriceBook:
    offsets = offsets_of(zone, utc("2026-01-01"), None)
    version = PriceVersion(1, utc("2026-01-01"), None, {"h100": Decimal(amount)}, {"h100": bands}, zone, offsets)
    return PriceBook("list-eur", "EUR", (version,))


def band(name: str, begins: str, ends: str, amount: str, weekdays: frozenset[int] = EVERY_DAY) -> Band:
    return Band(name, weekdays, minute_of(begins), minute_of(ends), Decimal(amount))


def agreement(agreement_id: str, rule: Rule, kind: AgreementKind = "contract", **more: object) -> Agreement:
    own = {"effective_from": START, "effective_until": None, "precedence": 0, "reason": "agreed"} | more
    return Agreement(
        agreement_id=agreement_id,
        tenant_id="acme",
        kind=kind,
        currency="EUR",
        rules=(rule,),
        **own,  # type: ignore[arg-type]
    )


def usage(start: datetime, end: datetime, usage_id: str = "a-1", **labels: str) -> Usage:
    return Usage(usage_id, "vision", "h100", 1, Interval.between(start, end), labels=tuple(sorted(labels.items())))


def keys(lines: tuple[Line, ...]) -> dict[str, str]:
    return {line.price_key: str(line.amount) for line in lines}


def test_a_contract_takes_the_place_of_the_list_and_a_campaign_comes_on_top_of_it() -> None:
    contract = agreement("acme-2026", Rule(percent_off=Decimal("12.5")), reason="Contract 4711")
    campaign = agreement("spring", Rule(percent_off=Decimal(10)), "campaign")
    (line,) = rate([usage(START, START + timedelta(hours=2))], Tariff(book(), (contract, campaign)), whole())
    assert (line.list_price, line.unit_price, line.amount) == (Decimal(2), Decimal("1.575"), Decimal("3.15"))
    assert line.price_key == "contract:acme-2026/1 campaign:spring/1"
    assert [(step.step, step.price, step.reason) for step in line.steps] == [
        ("contract", Decimal("1.75"), "Contract 4711"),
        ("campaign", Decimal("1.575"), "agreed"),
    ]


def whole() -> Interval:
    return Interval.between(START, END)


def test_a_campaign_on_the_list_price_holds_only_where_it_is_lower_than_the_contract() -> None:
    contract = agreement("cheap", Rule(amount=Decimal("1.5")))
    weak = agreement("weak", Rule(percent_off=Decimal(20)), "campaign", calculated_on="list")
    strong = replace(weak, agreement_id="strong", rules=(Rule(percent_off=Decimal(30)),))
    used = [usage(START, START + timedelta(hours=1))]
    assert keys(rate(used, Tariff(book(), (contract, weak)), whole())) == {"contract:cheap/1": "1.50"}
    assert keys(rate(used, Tariff(book(), (contract, strong)), whole())) == {
        "contract:cheap/1 campaign:strong/1": "1.40"
    }


def test_time_is_cut_where_an_agreement_begins_and_ends() -> None:
    hour = timedelta(hours=1)
    contract = agreement("c", Rule(amount=Decimal(1)), effective_from=START + hour, effective_until=START + 3 * hour)
    assert keys(rate([usage(START, START + 6 * hour)], Tariff(book(), (contract,)), whole())) == {
        "": "8.00",
        "contract:c/1": "2.00",
    }


def test_precedence_is_data_and_the_first_rule_that_fits_holds() -> None:
    low = agreement("low", Rule(amount=Decimal("0.1")), precedence=1)
    high = agreement("high", Rule(gpu_models=frozenset({"l4"}), amount=Decimal(9)), precedence=2)
    high = replace(high, rules=(*high.rules, Rule(label_name="team", label_value="x", amount=Decimal("0.5"))))
    one = START + timedelta(hours=1)
    tariff = Tariff(book(), (low, high))
    assert keys(rate([usage(START, one, team="x")], tariff, whole())) == {"contract:high/2": "0.50"}
    assert keys(rate([usage(START, one, team="y")], tariff, whole())) == {"contract:low/1": "0.10"}


def test_a_percentage_is_exact_for_the_longest_price_there_is() -> None:
    price = Decimal("999999999.999999999999")
    assert lowered(lowered(price, Decimal("12.3")), Decimal("0.1")) * 1_000_000 == price * 877 * 999


def test_the_night_of_a_change_to_summer_time_is_an_hour_shorter() -> None:
    night = band("night", "22:00", "06:00", "1")
    lines = rate([usage(utc("2026-03-28T12:00"), utc("2026-03-29T12:00"))], Tariff(book("2", (night,))), whole())
    assert keys(lines) == {"band:night": "7.00", "": "34.00"}


def test_an_hour_that_the_clock_repeats_is_in_its_band_twice_and_one_it_leaves_out_is_in_none() -> None:
    early = band("early", "02:00", "03:00", "1")
    tariff = Tariff(book("2", (early,)))
    october = Interval.between(utc("2026-10-24T12:00"), utc("2026-10-25T12:00"))
    assert keys(rate([usage(utc("2026-10-24T12:00"), utc("2026-10-25T12:00"))], tariff, october)) == {
        "": "44.00",
        "band:early": "2.00",
    }
    assert keys(rate([usage(utc("2026-03-29T00:00"), utc("2026-03-29T12:00"))], tariff, whole())) == {"": "24.00"}


def test_a_month_that_ends_on_a_change_of_the_clock_is_cut_at_its_end_and_loses_nothing() -> None:
    night = band("night", "20:00", "08:00", "1", frozenset({6, 7}))
    tariff, used = Tariff(book("2", (night,))), [usage(utc("2026-03-27T00:00"), utc("2026-03-31T00:00"))]
    cut = utc("2026-03-29T01:00")
    parts = [Interval.between(utc("2026-03-27"), cut), Interval.between(cut, utc("2026-03-31"))]
    both = [line for part in parts for line in rate(used, tariff, part)]
    together = rate(used, tariff, Interval(parts[0].start_ms, parts[1].end_ms))
    assert sum(line.gpu_us for line in both) == sum(line.gpu_us for line in together) == 96 * 3_600_000_000


def test_bands_that_meet_are_refused_and_the_refusal_says_when() -> None:
    with pytest.raises(Invalid, match="night and late of h100 meet on day 1 at 01:00"):
        check_bands("h100", [band("night", "22:00", "06:00", "1"), band("late", "01:00", "02:00", "1", frozenset({1}))])
    check_bands("h100", [band("night", "22:00", "06:00", "1"), band("day", "06:00", "22:00", "3")])


def test_edges_of_a_band_are_told_in_the_time_of_the_place() -> None:
    found = edges([band("night", "22:00", "06:00", "1")], offsets_of(BERLIN, START, END), whole())
    assert utc("2026-03-28T21:00") in [START + timedelta(milliseconds=at - instant_ms(START)) for at in found]
    assert instant_ms(utc("2026-03-29T04:00")) in found
    assert instant_ms(utc("2026-03-29T01:00")) in found


@pytest.mark.parametrize("zone", ["Nowhere/Land", "../etc/passwd", "Europe/../Europe/Berlin"])
def test_a_place_that_no_one_knows_is_refused(zone: str) -> None:
    with pytest.raises(Invalid, match="no time zone"):
        offsets_of(zone, START, END)


def test_prices_with_hours_are_published_with_the_offsets_that_they_mean() -> None:
    order = PublishPrices(
        "list-eur", "EUR", START, END, (("h100", Decimal(2)),), None, {"h100": (band("n", "22:00", "06:00", "1"),)}
    )
    with pytest.raises(Invalid, match="say which with time_zone"):
        PRICE_BOOK.decide(order, PriceBook())
    told = replace(order, time_zone=BERLIN, offsets=offsets_of(BERLIN, START, END))
    (event,) = PRICE_BOOK.decide(told, PriceBook())
    assert isinstance(event, PriceBookPublished)
    assert event.utc_offsets is not None
    assert [(each.since, each.offset_s) for each in event.utc_offsets] == [
        (START, 3_600),
        (utc("2026-03-29T01:00"), 7_200),
    ]
    assert PRICE_BOOK.evolve(PriceBook(), event).versions[0].bands == told.bands


def test_an_agreement_neither_begins_nor_ends_in_time_that_is_billed() -> None:
    made = MakeAgreement(agreement("c", Rule(amount=Decimal(1))), billed_until=END)
    with pytest.raises(Rejected, match="already billed"):
        AGREEMENT.decide(made, None)
    stands = made.agreement
    with pytest.raises(Rejected, match="already billed"):
        AGREEMENT.decide(EndAgreement(START + timedelta(hours=1), "why", billed_until=END), stands)
    (ended,) = AGREEMENT.decide(EndAgreement(END, "why", billed_until=END), stands)
    after = AGREEMENT.evolve(stands, ended)
    assert after is not None
    assert after.effective_until == END
    with pytest.raises(Rejected, match="not made longer"):
        AGREEMENT.decide(EndAgreement(END + timedelta(hours=1), "why"), after)
    with pytest.raises(Rejected, match="made already"):
        AGREEMENT.decide(MakeAgreement(stands), after)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(), "either an amount or a percentage"),
        (Rule(amount=Decimal(1), percent_off=Decimal(1)), "either an amount or a percentage"),
        (Rule(percent_off=Decimal("12.55")), "no percentage off"),
        (Rule(percent_off=Decimal(101)), "no percentage off"),
        (Rule(amount=Decimal(10**9)), "a price is zero or more"),
        (Rule(amount=Decimal(1), label_value="x"), "value of a label and not its name"),
    ],
)
def test_a_rule_that_says_nothing_clear_is_refused(rule: Rule, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        AGREEMENT.decide(MakeAgreement(agreement("c", rule)), None)


def test_a_contract_is_with_one_tenant() -> None:
    with pytest.raises(Invalid, match="a contract is with one tenant"):
        AGREEMENT.decide(MakeAgreement(replace(agreement("c", Rule(amount=Decimal(1))), tenant_id="platform")), None)


def test_an_agreement_read_back_from_the_log_is_the_same() -> None:
    wanted = agreement("c", Rule(frozenset({"h100"}), frozenset({"vision"}), "team", "x", Decimal("1.20")), "campaign")
    (made,) = AGREEMENT.decide(MakeAgreement(wanted), None)
    assert isinstance(made, PriceAgreementMade)
    assert AGREEMENT.evolve(None, made) == wanted


MINUTES = 48 * 60
Case = tuple[list[Job], list[Hours], list[Offer], str]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    seed: Random = draw(st.randoms(use_true_random=False))
    zone, begins = seed.choice(
        [
            (BERLIN, utc("2026-03-28T00:00")),
            (BERLIN, utc("2026-10-24T00:00")),
            ("America/St_Johns", utc("2026-03-07T12:00")),
            ("Australia/Lord_Howe", utc("2026-04-04T00:00")),
            ("Asia/Kathmandu", utc("2026-05-01T00:00")),
        ]
    )

    def moment() -> datetime:
        return begins + timedelta(minutes=seed.randint(0, MINUTES))

    cuts = sorted(seed.sample(range(0, 24 * 60, 10), 4))
    clock = [f"{cut // 60:02d}:{cut % 60:02d}" for cut in cuts]
    hours = [
        Hours("one", tuple(seed.sample(range(7), seed.randint(1, 7))), clock[0], clock[1], _price(seed)),
        Hours("two", tuple(seed.sample(range(7), seed.randint(1, 7))), clock[2], clock[3], _price(seed)),
        Hours("late", tuple(range(7)), clock[3], clock[0], _price(seed)),
    ][: seed.randint(0, 3)]
    offers = []
    for number in range(seed.randint(0, 5)):
        first, last = sorted([moment(), moment()])
        share = seed.random() < 0.5
        offers.append(
            Offer(
                name=f"o-{number}",
                kind=seed.choice(["contract", "campaign"]),
                begins=first,
                ends=last + timedelta(minutes=1),
                precedence=seed.randint(0, 2),
                price=None if share else _price(seed),
                percent_off=Decimal(seed.randint(0, 1_000)) / 10 if share else None,
                label=seed.choice([None, ("team", "x")]),
                on_list=seed.random() < 0.5,
            )
        )
    offers = [replace(offer, on_list=offer.on_list and offer.kind == "campaign") for offer in offers]
    jobs = []
    for number in range(seed.randint(0, 3)):
        first, last = sorted([moment(), moment()])
        jobs.append(Job(f"a-{number}", first, last, seed.randint(1, 8), seed.choice([{}, {"team": "x"}])))
    return jobs, hours, offers, zone


def _price(seed: Random) -> Decimal:
    return Decimal(seed.randint(0, 10**6)) / 1_000


def rated(case: Case, booked: dict[LineKey, Booked] | None = None, jobs: list[Job] | None = None) -> tuple[Line, ...]:
    own, hours, offers, zone = case
    bands = tuple(
        Band(
            each.name, frozenset(day + 1 for day in each.days), minute_of(each.begins), minute_of(each.ends), each.price
        )
        for each in hours
    )
    agreements = tuple(
        Agreement(
            agreement_id=offer.name,
            tenant_id="acme",
            kind=offer.kind,  # type: ignore[arg-type]
            currency="EUR",
            effective_from=offer.begins,
            effective_until=offer.ends,
            precedence=offer.precedence,
            rules=(
                Rule(
                    label_name=offer.label[0] if offer.label else None,
                    label_value=offer.label[1] if offer.label else None,
                    amount=offer.price,
                    percent_off=offer.percent_off,
                ),
            ),
            reason="agreed",
            calculated_on="list" if offer.on_list else "contract",
        )
        for offer in offers
    )
    usages = [
        Usage(job.name, "p", "h100", job.gpus, Interval.between(job.begins, job.ends), labels=tuple(job.labels.items()))
        for job in (own if jobs is None else jobs)
    ]
    period = Interval.between(utc("2026-01-01"), utc("2027-01-01"))
    return rate(usages, Tariff(book("2.5", bands, zone), agreements), period, booked)


@settings(max_examples=20, deadline=None)
@given(cases())
def test_the_lines_agree_with_a_rater_that_looks_at_the_clock_every_minute(case: Case) -> None:
    jobs, hours, offers, zone = case
    walked = lines_by_walking(jobs, Decimal("2.5"), hours, zone, offers)
    lines = rated(case)
    assert {line.price_key: (line.gpu_us, line.amount) for line in lines} == {
        key: (minutes * 60_000_000, amount) for key, (minutes, amount, _) in walked.items()
    }
    for line in lines:
        ids = sorted(walked[line.price_key][2])
        assert line.usage_sha256 == hashlib.sha256("\n".join(ids).encode()).hexdigest()


@settings(max_examples=20, deadline=None)
@given(cases(), st.integers(0, 3))
def test_billed_in_two_runs_it_costs_what_one_run_asks(case: Case, known: int) -> None:
    jobs, _, _, _ = case
    first = rated(case, jobs=jobs[:known])
    booked = {
        (line.project_id, line.gpu_model, line.price_book_version, line.price_key): Booked(line.gpu_us, line.amount)
        for line in first
    }
    second = rated(case, booked, jobs[known:])
    assert sum(line.amount for line in [*first, *second]) == sum(line.amount for line in rated(case))
