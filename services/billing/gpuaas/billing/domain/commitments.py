"""What is paid in advance or promised. One law: over its term, what was billed and what it cost are the same sum.

FOCUS keeps two columns for it: *billed* is what the invoice asks when it asks it, *effective* is the cost where it
arises. An advance payment is billed at once and amortised by use; what is left unused at the end costs too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gpuaas.common.errors import Invalid


@dataclass(frozen=True, slots=True)
class Amortised:
    """One row of a commitment's term."""

    billed: Fraction
    effective: Fraction


def amortised(commitment: Fraction, used: Sequence[Fraction], *, upfront: bool) -> list[Amortised]:
    """The rows of a spend commitment whose use was `used`, in order; a last row for what was promised and not used.

    Args:
        upfront: paid at the start, which is a row of its own; else each use is billed as it comes.

    Raises:
        Invalid: a negative use or commitment.
    """
    if commitment < 0 or any(each < 0 for each in used):
        raise Invalid("a commitment and its use are zero or more")
    rows = [Amortised(commitment, Fraction(0))] if upfront else []
    left = commitment
    for each in used:
        within = min(each, left)
        left -= within
        beyond = each - within
        rows.append(Amortised(beyond if upfront else each, within + beyond))
    if left:
        rows.append(Amortised(Fraction(0) if upfront else left, left))
    return rows


def reserved_hour(commitment: Fraction, used: Fraction) -> list[Amortised]:
    """One hour of a capacity that is paid for whether it is used or not: the used part, then the unused one."""
    within = min(used, commitment)
    parts = [part for part in (within, commitment - within) if part]
    return [Amortised(Fraction(0), part) for part in parts]
