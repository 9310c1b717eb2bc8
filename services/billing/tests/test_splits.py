"""Amounts that are split, taxed and given back. One law tested: the parts are the whole, however it is cut."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from gpuaas.billing.domain.apportion import apportioned
from gpuaas.billing.domain.commitments import amortised
from gpuaas.billing.domain.taxes import Credited, Tax, credit_due, grouped, less_coupon, totalled
from gpuaas.common.errors import Invalid
from gpuaas.common.money import rounded
from hypothesis import given
from hypothesis import strategies as st

CENTS = st.integers(0, 10**7).map(lambda cents: Decimal(cents).scaleb(-2))
WEIGHTS = st.lists(st.integers(0, 1_000), min_size=1, max_size=12).filter(any)
NOTHING = Credited(Decimal(0), Decimal(0))


@given(CENTS, WEIGHTS)
def test_parts_of_a_split_add_up_and_none_is_a_cent_off_its_share(amount: Decimal, weights: list[int]) -> None:
    parts = apportioned(amount, weights, 2)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert abs(Fraction(part) - Fraction(amount) * weight / sum(weights)) < Fraction(1, 100)
    assert [-part for part in parts] == apportioned(-amount, weights, 2)


@pytest.mark.parametrize(("amount", "weights"), [("1", []), ("1", [0]), ("1", [-1, 2]), ("0.001", [1])])
def test_what_cannot_be_split_is_refused(amount: str, weights: list[Any]) -> None:
    with pytest.raises(Invalid):
        apportioned(Decimal(amount), weights, 2)


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 999)), min_size=1, max_size=10), st.integers(0, 2_700))
def test_credit_notes_of_all_parts_give_back_exactly_the_invoice(parts: list[tuple[int, int]], percent: int) -> None:
    """Parts with fractions of cents; each is credited by a note of its own."""
    tax = Tax("S", Decimal(percent) / 100)
    nets = [Fraction(cents, 100) + Fraction(1, rest) for cents, rest in parts]
    (group,) = grouped([(tax, net) for net in nets], "EUR")
    earlier, given_back = Fraction(0), NOTHING
    for net in nets:
        note = credit_due({tax: net}, {tax: earlier}, {tax: given_back}, "EUR")[tax]
        earlier += net
        given_back = Credited(given_back.net + note.net, given_back.tax + note.tax)
    assert (given_back.net, given_back.tax) == (group.net, group.amount)


@given(st.lists(CENTS, min_size=1, max_size=8), CENTS, CENTS, CENTS)
def test_net_tax_gross_and_due_hang_together(
    nets: list[Decimal], coupon: Decimal, note: Decimal, paid: Decimal
) -> None:
    tax = Tax("S", Decimal(19))
    totals = totalled([(tax, net) for net in nets], coupon, note, paid, "EUR")
    assert totals.net == sum(nets) - sum(less_coupon(nets, coupon, "EUR"))
    assert totals.tax == rounded(Fraction(totals.net) * 19 / 100, "EUR")
    assert totals.due == max(Decimal(0), totals.gross - note - paid)
    assert totals.net >= 0


@given(st.integers(0, 5_000), st.lists(st.integers(0, 2_000), max_size=8), st.booleans())
def test_a_commitment_costs_what_is_billed_for_it_in_the_end(commitment: int, used: list[int], upfront: bool) -> None:
    rows = amortised(Fraction(commitment), [Fraction(each) for each in used], upfront=upfront)
    assert sum(row.billed for row in rows) == sum(row.effective for row in rows) == max(commitment, sum(used))


def test_a_rate_of_tax_that_cannot_be_is_refused() -> None:
    with pytest.raises(Invalid, match="no tax rate"):
        Tax("S", Decimal(101))
    with pytest.raises(Invalid, match="has no rate"):
        Tax("AE", Decimal(19))
