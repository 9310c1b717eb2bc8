"""The price engine. One law tested: it agrees with a naive rater, and a split history costs what the whole one does."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import accumulate

import pytest
from gpuaas.billing.domain.prices import (
    AtLeast,
    AtMost,
    Beyond,
    Committed,
    Converted,
    Flat,
    Graduated,
    PerUnit,
    Price,
    Scaled,
    Tier,
    Together,
    Volume,
    charge,
    due,
    due_by_period,
    package,
)
from gpuaas.common.errors import Invalid
from hypothesis import given
from hypothesis import strategies as st
from naive_rater import Step, graduated_by_walking, packages_by_walking, volume_by_walking

AMOUNTS = st.fractions(min_value=0, max_value=100, max_denominator=1_000)


def steps(seed: random.Random) -> list[Step]:
    lasts = sorted(seed.sample(range(1, 40), seed.randint(0, 4)))
    return [Step(last, seed.randint(0, 9), seed.randint(0, 9)) for last in [*lasts, None]]


def tiers(made: list[Step]) -> tuple[Tier, ...]:
    return tuple(
        Tier(None if step.last is None else Fraction(step.last), Fraction(step.unit), Fraction(step.entry))
        for step in made
    )


@st.composite
def prices(draw: st.DrawFn, depth: int = 3) -> Price:
    amount = draw(AMOUNTS)
    made = tiers(steps(draw(st.randoms(use_true_random=False))))
    leaves: list[Price] = [PerUnit(amount), Flat(amount), Graduated(made), Volume(made, entered_at_zero=False)]
    if depth == 0:
        return draw(st.sampled_from(leaves))
    inner = draw(prices(depth=depth - 1))
    wraps: list[Price] = [
        Converted(amount + 1, draw(st.sampled_from(["ceil", "floor", "exact"])), inner),
        Beyond(amount, inner),
        Scaled(amount, inner),
        AtMost(amount, inner),
        AtLeast(amount, inner),
        Committed(amount, Fraction(3, 2), draw(st.booleans()), inner),
        Together((inner, PerUnit(amount))),
    ]
    return draw(st.sampled_from([*leaves, *wraps]))


@given(st.randoms(use_true_random=False), st.integers(0, 60))
def test_the_engine_agrees_with_a_rater_that_walks_unit_by_unit(seed: random.Random, quantity: int) -> None:
    made = steps(seed)
    size, price, free = seed.randint(1, 9), seed.randint(0, 9), seed.randint(0, 9)
    total = Fraction(quantity)
    assert charge(Graduated(tiers(made), entered_at_zero=False), total) == graduated_by_walking(made, quantity)
    assert charge(Volume(tiers(made), entered_at_zero=False), total) == volume_by_walking(made, quantity)
    assert charge(package(Fraction(size), Fraction(price), Fraction(free)), total) == packages_by_walking(
        size, price, free, quantity
    )


@given(prices(), st.lists(AMOUNTS, min_size=1, max_size=6))
def test_progressive_bills_add_up_to_one_bill(price: Price, parts: list[Fraction]) -> None:
    booked = Fraction(0)
    for at, total in enumerate(accumulate(parts)):
        booked += due(price, total, booked, closed=at == len(parts) - 1)
    assert booked == charge(price, sum(parts, Fraction(0)))


@given(prices(), st.lists(AMOUNTS, min_size=2, max_size=6), st.integers(0, 5), AMOUNTS)
def test_a_late_unit_is_the_difference_to_having_known_it_all_along(
    price: Price, parts: list[Fraction], at: int, late: Fraction
) -> None:
    known = list(accumulate(parts))
    complete = [total + late if at % len(parts) <= period else total for period, total in enumerate(known)]
    first = due_by_period(price, known, [], closed=True)
    correction = due_by_period(price, complete, first, closed=True)
    together = [one + other for one, other in zip(first, correction, strict=True)]
    assert together == due_by_period(price, complete, [], closed=True)


@pytest.mark.parametrize(
    ("price", "complaint"),
    [
        (Graduated(()), "1 to 100 tiers"),
        (Volume((Tier(None, Fraction(1)), Tier(None, Fraction(1)))), "only the last tier"),
        (
            Graduated((Tier(Fraction(5), Fraction(1)), Tier(Fraction(5), Fraction(1)), Tier(None, Fraction(1)))),
            "must rise",
        ),
        (Graduated((Tier(Fraction(0), Fraction(1)), Tier(None, Fraction(1)))), "must rise"),
        (Converted(Fraction(0), "ceil", PerUnit(Fraction(1))), "above zero"),
    ],
)
def test_a_price_that_cannot_be_is_refused(price: Price, complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint):
        charge(price, Fraction(1))


def test_a_negative_quantity_is_refused() -> None:
    with pytest.raises(Invalid, match="cannot be negative"):
        charge(PerUnit(Fraction(1)), Fraction(-1))


def test_running_totals_that_fall_are_refused() -> None:
    with pytest.raises(Invalid, match="cannot fall"):
        due_by_period(PerUnit(Fraction(1)), [Fraction(2), Fraction(1)], [], closed=True)
