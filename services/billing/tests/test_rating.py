"""Usage to lines. One law tested: cut at the millisecond, rounded once, and the same as a rater that only walks."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from gpuaas.billing.domain.metering import Interval
from gpuaas.billing.domain.price_book import PriceBook, PriceVersion
from gpuaas.billing.domain.rating import Booked, Line, LineKey, Usage, amount_of_sums, rate
from gpuaas.common.errors import Rejected
from gpuaas.common.money import rounded
from hypothesis import given
from hypothesis import strategies as st
from naive_rater import Held, Tariff, invoice_by_walking

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000


def at(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def book(*versions: tuple[int, str], until: int | None = None, model: str = "h100") -> PriceBook:
    """Versions as (from in ms, price of `model`); `until` ends the last one."""
    made = [
        PriceVersion(number, at(start), None, {model: Decimal(price)})
        for number, (start, price) in enumerate(versions, start=1)
    ]
    if until is not None:
        last = made.pop()
        made.append(PriceVersion(last.version, last.effective_from, at(until), last.prices))
    return PriceBook("list-eur", "EUR", tuple(made))


def usage(start: int, end: int, gpus: int = 1, usage_id: str = "a-1", model: str = "h100", project: str = "p") -> Usage:
    return Usage(usage_id, project, model, gpus, Interval(start, end))


def test_an_hour_of_eight_gpus_costs_eight_hours() -> None:
    (line,) = rate([usage(0, HOUR, gpus=8)], book((0, "2.49")), Interval(0, 10 * HOUR))
    assert (line.gpu_ms, line.amount, line.usage_count) == (8 * HOUR, Decimal("19.92"), 1)
    assert line.usage_sha256 == hashlib.sha256(b"a-1").hexdigest()


def test_usage_that_crosses_the_period_is_cut_at_its_bounds() -> None:
    (line,) = rate([usage(0, 4 * HOUR)], book((0, "1")), Interval(HOUR, 3 * HOUR))
    assert line.gpu_ms == 2 * HOUR


def test_usage_that_crosses_a_price_change_is_cut_there_and_stands_on_two_lines() -> None:
    first, second = rate([usage(0, 3 * HOUR)], book((0, "1"), (HOUR + 1, "2")), Interval(0, 9 * HOUR))
    assert [(line.price_book_version, line.gpu_ms) for line in (first, second)] == [(1, HOUR + 1), (2, 2 * HOUR - 1)]
    assert first.usage_sha256 == second.usage_sha256


def test_usage_outside_the_period_makes_no_line() -> None:
    assert rate([usage(0, HOUR), usage(2 * HOUR, 3 * HOUR)], book((0, "1")), Interval(HOUR, 2 * HOUR)) == ()


@pytest.mark.parametrize(
    "prices",
    [book(), book((HOUR, "1")), book((0, "1"), until=HOUR), book((0, "1"), model="a100")],
    ids=["no version", "begins later", "ends earlier", "another model"],
)
def test_usage_without_a_price_is_refused_and_not_given_away(prices: PriceBook) -> None:
    with pytest.raises(Rejected, match="has no price"):
        rate([usage(0, 2 * HOUR)], prices, Interval(0, 9 * HOUR))


def test_the_line_is_the_only_place_that_rounds() -> None:
    many = [usage(0, 1, usage_id=f"a-{number}") for number in range(HOUR // 1000)]
    (line,) = rate(many, book((0, "10")), Interval(0, HOUR))
    assert line.amount == Decimal("0.01")
    assert all(rate([each], book((0, "10")), Interval(0, HOUR))[0].amount == 0 for each in many[:3])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Held], list[Tariff], tuple[int, int]]:
    seed = draw(st.randoms(use_true_random=False))
    models = ["a100", "h100"]
    starts = [0, *sorted(seed.sample(range(1, 400), seed.randint(0, 3)))]
    # Prices this high make a millisecond worth cents, so that the walker reaches the rounding edges.
    tariffs = [
        Tariff(number, start, {model: Decimal(seed.randint(0, 10**9)) / 1000 for model in models})
        for number, start in enumerate(starts, start=1)
    ]
    held = []
    for number in range(seed.randint(0, 8)):
        start = seed.randint(0, 400)
        held.append(
            Held(
                f"a-{number}",
                f"p-{seed.randint(1, 2)}",
                seed.choice(models),
                seed.randint(1, 8),
                start,
                start + seed.randint(0, 90),
                seed.choice([1_000, 1_000, 500, 333, 1]),
            )
        )
    begin = seed.randint(0, 300)
    return held, tariffs, (begin, begin + seed.randint(1, 200))


def rated(
    held: list[Held], tariffs: list[Tariff], period: tuple[int, int], booked: dict[LineKey, Booked] | None = None
) -> tuple[Line, ...]:
    versions = tuple(PriceVersion(tariff.version, at(tariff.start), None, tariff.prices) for tariff in tariffs)
    usages = [
        Usage(each.usage_id, each.project, each.model, each.gpus, Interval(each.start, each.end), each.share_milli)
        for each in held
    ]
    return rate(usages, PriceBook("list-eur", "EUR", versions), Interval(*period), booked)


@given(histories())
def test_the_lines_agree_with_a_rater_that_walks_millisecond_by_millisecond(
    history: tuple[list[Held], list[Tariff], tuple[int, int]],
) -> None:
    walked = invoice_by_walking(*history)
    lines = rated(*history)
    assert {
        (line.project_id, line.gpu_model, line.price_book_version): (line.gpu_us, line.amount) for line in lines
    } == {key: (quantity, amount) for key, (quantity, amount, _) in walked.items()}
    for line in lines:
        ids = walked[(line.project_id, line.gpu_model, line.price_book_version)][2]
        assert line.usage_sha256 == hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_usage_changes_nothing(
    history: tuple[list[Held], list[Tariff], tuple[int, int]], seed: random.Random
) -> None:
    held, tariffs, period = history
    assert rated(seed.sample(held, len(held)), tariffs, period) == rated(held, tariffs, period)


@given(histories(), st.integers(0, 8))
def test_usage_billed_in_two_runs_costs_what_one_run_would(
    history: tuple[list[Held], list[Tariff], tuple[int, int]], known: int
) -> None:
    held, tariffs, period = history
    whole = rated(held, tariffs, period)
    first = rated(held[:known], tariffs, period)
    booked = {
        (line.project_id, line.gpu_model, line.price_book_version, line.price_key): Booked(line.gpu_us, line.amount)
        for line in first
    }
    second = rated(held[known:], tariffs, period, booked)
    assert sum(line.amount for line in whole) == sum(line.amount for line in [*first, *second])
    assert sum(line.gpu_us for line in whole) == sum(line.gpu_us for line in [*first, *second])


@given(histories(), st.integers(1, 199))
def test_usage_cut_in_two_where_it_was_held_costs_the_same(
    history: tuple[list[Held], list[Tariff], tuple[int, int]], cut: int
) -> None:
    held, tariffs, period = history
    parts = [
        part
        for each in held
        for part in (
            Held(
                f"{each.usage_id}-x",
                each.project,
                each.model,
                each.gpus,
                each.start,
                max(each.start, min(each.end, cut)),
                each.share_milli,
            ),
            Held(
                f"{each.usage_id}-y",
                each.project,
                each.model,
                each.gpus,
                min(each.end, max(each.start, cut)),
                each.end,
                each.share_milli,
            ),
        )
    ]
    amounts = [
        (line.project_id, line.gpu_model, line.price_book_version, line.amount) for line in rated(held, tariffs, period)
    ]
    assert amounts == [
        (line.project_id, line.gpu_model, line.price_book_version, line.amount)
        for line in rated(parts, tariffs, period)
    ]


def test_rounding_is_half_up_and_away_from_zero() -> None:
    assert [rounded(Fraction(each, 1000), "EUR") for each in (5, 4, -5, 1005)] == [
        Decimal("0.01"),
        Decimal("0.00"),
        Decimal("-0.01"),
        Decimal("1.01"),
    ]


@given(histories())
def test_rating_only_the_sums_gives_the_same_total_as_rating_every_record(
    history: tuple[list[Held], list[Tariff], tuple[int, int]],
) -> None:
    held, tariffs, period = history
    lines = rated(held, tariffs, period)
    keys = [(line.project_id, line.gpu_model, line.price_book_version, line.price_key) for line in lines]
    sums = {key: line.gpu_us for key, line in zip(keys, lines, strict=True)}
    prices = {key: line.unit_price for key, line in zip(keys, lines, strict=True)}
    assert amount_of_sums(sums, prices, "EUR") == sum((line.amount for line in lines), Decimal(0))
