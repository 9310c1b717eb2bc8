"""Splitting a rounded amount. One law: the parts are in whole minor units and add up to the whole, always alike.

Largest remainder (Hamilton): each part gets its share rounded down, then one unit more goes to the largest remainders;
among equals to the earlier part.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from gpuaas.common.errors import Invalid


def apportioned(amount: Decimal, weights: Sequence[Fraction | int], digits: int) -> list[Decimal]:
    """`amount` split in proportion to `weights`, each part with `digits` digits behind the point.

    Raises:
        Invalid: no weight, a negative one, all of them zero, or an amount finer than its digits.
    """
    shares = [Fraction(weight) for weight in weights]
    whole = sum(shares, Fraction(0))
    units = Fraction(amount) * 10**digits
    if not shares or min(shares) < 0 or whole == 0:
        raise Invalid("an amount is split by weights of zero or more, not all of them zero")
    if units.denominator != 1:
        raise Invalid(f"{amount:f} has more than {digits} digits behind the point; round it before it is split")
    total = abs(int(units))
    exact = [total * share / whole for share in shares]
    parts = [share.numerator // share.denominator for share in exact]
    by_rest = sorted(range(len(parts)), key=lambda at: (parts[at] - exact[at], at))
    for at in by_rest[: total - sum(parts)]:
        parts[at] += 1
    sign = -1 if units < 0 else 1
    return [Decimal(sign * part).scaleb(-digits) for part in parts]
