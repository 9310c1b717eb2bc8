"""What a quantity costs. One law: a charge is a function of the total so far, and nothing in here rounds money.

Cumulative rating: what is due now is `charge(total so far) - already booked`. Splits, late events and progressive
bills are then differences of one function, so however a history is cut, the parts add up to the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import Literal, TypeAlias, assert_never

from gpuaas.common.errors import Invalid

TIERS_MAX = 100
Rounding: TypeAlias = Literal["ceil", "floor", "exact"]


@dataclass(frozen=True, slots=True)
class PerUnit:
    """`unit` for each unit."""

    unit: Fraction


@dataclass(frozen=True, slots=True)
class Flat:
    """`amount` once, whatever the quantity."""

    amount: Fraction


@dataclass(frozen=True, slots=True)
class Tier:
    """Units above the tier before, up to and including `up_to` (None: without end).

    Attributes:
        flat: charged once when the tier is entered.
        block: units are sold in whole blocks of this size, `unit` is the price of a block (None: by the unit).
    """

    up_to: Fraction | None
    unit: Fraction
    flat: Fraction = Fraction(0)
    block: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Graduated:
    """Each tier prices the units that fall into it. The last tier has no end, whatever its `up_to` says.

    Attributes:
        entered_at_zero: whether a quantity of zero has already entered the first tier and owes its flat part.
    """

    tiers: tuple[Tier, ...]
    entered_at_zero: bool = True


@dataclass(frozen=True, slots=True)
class Volume:
    """The tier that the total falls into prices all units. The last tier has no end, whatever its `up_to` says."""

    tiers: tuple[Tier, ...]
    entered_at_zero: bool = True


@dataclass(frozen=True, slots=True)
class Converted:
    """Measured units become sold units: divided by `divide` and rounded, on the running total and not on its parts."""

    divide: Fraction
    rounding: Rounding
    of: Price


@dataclass(frozen=True, slots=True)
class Beyond:
    """The first `free` units cost nothing."""

    free: Fraction
    of: Price


@dataclass(frozen=True, slots=True)
class Scaled:
    """The charge times `factor`: a discount, a percentage, a share of a period."""

    factor: Fraction
    of: Price


@dataclass(frozen=True, slots=True)
class AtMost:
    """Never more than `maximum`."""

    maximum: Fraction
    of: Price


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Never less than `minimum` once the period has closed; before that, what was used."""

    minimum: Fraction
    of: Price


@dataclass(frozen=True, slots=True)
class Committed:
    """Up to `commitment` as priced; what is above it times `overage`.

    Attributes:
        true_up: an unused rest of the commitment is owed when the period closes.
    """

    commitment: Fraction
    overage: Fraction
    true_up: bool
    of: Price


@dataclass(frozen=True, slots=True)
class Together:
    """Several charges on the same quantity, added up."""

    of: tuple[Price, ...]


Price: TypeAlias = (
    PerUnit | Flat | Graduated | Volume | Converted | Beyond | Scaled | AtMost | AtLeast | Committed | Together
)


def package(size: Fraction, price: Fraction, free: Fraction = Fraction(0)) -> Price:
    """`price` for every begun package of `size` units, after `free` units."""
    return Beyond(free=free, of=Converted(divide=size, rounding="ceil", of=PerUnit(price)))


def charge(price: Price, total: Fraction, *, closed: bool = True) -> Fraction:
    """What `total` units since the start of the period cost altogether, exactly.

    Args:
        closed: the period is over, so that minimums and unused commitments are owed.

    Raises:
        Invalid: a negative quantity, or tiers that do not rise.
    """
    if total < 0:
        raise Invalid(f"a quantity cannot be negative, and {total} is; credit the usage that was wrong")
    match price:
        case PerUnit(unit=unit):
            return total * unit
        case Flat(amount=amount):
            return amount
        case Graduated(tiers=tiers, entered_at_zero=entered):
            return _graduated(tiers, total, entered)
        case Volume(tiers=tiers, entered_at_zero=entered):
            return _volume(tiers, total, entered)
        case Converted(of=inner) as converted:
            return charge(inner, _sold(converted, total), closed=closed)
        case Beyond(free=free, of=inner):
            return charge(inner, max(Fraction(0), total - free), closed=closed)
        case Scaled(factor=factor, of=inner):
            return factor * charge(inner, total, closed=closed)
        case AtMost(maximum=maximum, of=inner):
            return min(maximum, charge(inner, total, closed=closed))
        case AtLeast(minimum=minimum, of=inner):
            used = charge(inner, total, closed=closed)
            return max(minimum, used) if closed else used
        case Committed(of=inner) as committed:
            return _committed(committed, charge(inner, total, closed=closed), closed)
        case Together(of=parts):
            return sum((charge(part, total, closed=closed) for part in parts), Fraction(0))
        case _:
            assert_never(price)


def due(price: Price, total: Fraction, booked: Fraction, *, closed: bool = True) -> Fraction:
    """What is owed now: the charge for `total` less what has been booked for it. Negative when less is owed."""
    return charge(price, total, closed=closed) - booked


def charge_chosen(price: Volume, chosen_by: Fraction, quantity: Fraction) -> Fraction:
    """`quantity` at the price of the tier that `chosen_by` falls into: a part of a period at the whole one's tier."""
    tier = next(tier for tier, end in _bounded(price.tiers) if end is None or chosen_by <= end)
    return tier.flat + _units(tier, quantity) * tier.unit


@dataclass(frozen=True, slots=True)
class OfEach:
    """A share of each event's amount and a fee for it, after `free_events` or `free_amount`, whichever ends first.

    Not a function of the total: which events are free depends on their order, so it folds over them.
    """

    rate: Fraction
    fixed: Fraction
    free_events: int
    free_amount: Fraction


def charge_each(price: OfEach, amounts: Sequence[Fraction]) -> list[Fraction]:
    """What each event costs, in their order.

    Raises:
        Invalid: a negative amount.
    """
    if any(amount < 0 for amount in amounts):
        raise Invalid("an event's amount is zero or more")
    owed: list[Fraction] = []
    free = price.free_amount
    for number, amount in enumerate(amounts):
        within = min(amount, free) if number < price.free_events else Fraction(0)
        free -= within
        beyond = amount - within
        owed.append(beyond * price.rate + price.fixed if beyond else Fraction(0))
    return owed


def due_by_period(
    price: Price, totals: Sequence[Fraction], booked: Sequence[Fraction], *, closed: bool
) -> list[Fraction]:
    """What is owed now for each period, so that a late unit corrects the period it belongs to.

    Args:
        totals: the running total at the end of each period, oldest first, as known now.
        booked: what each earlier run has booked for these periods together, by period; shorter is padded with 0.
        closed: the newest period is over.

    Raises:
        Invalid: running totals that fall.
    """
    if any(later < earlier for earlier, later in pairwise(totals)):
        raise Invalid("running totals cannot fall from one period to the next")
    newest = len(totals) - 1
    charged = [charge(price, total, closed=closed and at == newest) for at, total in enumerate(totals)]
    earned = [now - before for before, now in pairwise([Fraction(0), *charged])]
    known = [*booked, *[Fraction(0)] * (len(totals) - len(booked))]
    return [now - then for now, then in zip(earned, known, strict=True)]


def _graduated(tiers: tuple[Tier, ...], total: Fraction, entered_at_zero: bool) -> Fraction:
    amount = Fraction(0)
    below = Fraction(0)
    for number, (tier, end) in enumerate(_bounded(tiers)):
        entered = total > below or (number == 0 and entered_at_zero)
        if not entered:
            break
        inside = total - below if end is None else min(total, end) - below
        amount += tier.flat + _units(tier, inside) * tier.unit
        below = total if end is None else end
    return amount


def _volume(tiers: tuple[Tier, ...], total: Fraction, entered_at_zero: bool) -> Fraction:
    if total == 0 and not entered_at_zero:
        return Fraction(0)
    tier = next(tier for tier, end in _bounded(tiers) if end is None or total <= end)
    return tier.flat + _units(tier, total) * tier.unit


def _bounded(tiers: tuple[Tier, ...]) -> list[tuple[Tier, Fraction | None]]:
    """Each tier with where it ends; the last one does not.

    Raises:
        Invalid: none, too many, or bounds that do not rise.
    """
    if not 1 <= len(tiers) <= TIERS_MAX:
        raise Invalid(f"a tiered price has 1 to {TIERS_MAX} tiers, not {len(tiers)}")
    ends = [tier.up_to for tier in tiers[:-1]]
    if any(end is None for end in ends):
        raise Invalid("only the last tier may be without an end")
    if any(later <= earlier for earlier, later in pairwise([Fraction(0), *filter(None, ends)])) or 0 in ends:
        raise Invalid("the ends of tiers must rise from above zero")
    return [*zip(tiers[:-1], ends, strict=True), (tiers[-1], None)]


def _units(tier: Tier, inside: Fraction) -> Fraction:
    return inside if tier.block is None else Fraction(ceil(inside / tier.block))


def _sold(converted: Converted, total: Fraction) -> Fraction:
    if converted.divide <= 0:
        raise Invalid("units are divided by a number above zero")
    sold = total / converted.divide
    match converted.rounding:
        case "ceil":
            return Fraction(ceil(sold))
        case "floor":
            return Fraction(floor(sold))
        case "exact":
            return sold


def _committed(committed: Committed, used: Fraction, closed: bool) -> Fraction:
    if used <= committed.commitment:
        return committed.commitment if committed.true_up and closed else used
    return committed.commitment + (used - committed.commitment) * committed.overage
