"""Which grant pays for what. One law: the order is written down, so the same grants and costs always burn alike.

Lower priority number first, then what ends sooner, then what was given for free, then what was granted earlier. What
is given back goes back in the reverse order of its taking, so a correction leaves the grants as if it had not happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import combinations

NOTHING = Decimal(0)
SCOPES_EXACT_MAX = 10
"""Projects whose grants are compared in every combination; beyond that one by one and all together."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Credit that can be used in [effective_from, expires_at).

    Attributes:
        left: not yet taken, for whatever.
        number: how many grants there were before it.
        project_ids: the only projects it pays for; empty: all.
    """

    grant_id: str
    granted: Decimal
    left: Decimal
    priority: int
    promotional: bool
    number: int
    effective_from: datetime
    expires_at: datetime | None = None
    project_ids: frozenset[str] = frozenset()

    def is_usable(self, at: datetime) -> bool:
        return self.effective_from <= at and (self.expires_at is None or at < self.expires_at)

    def pays_for(self, project_id: str) -> bool:
        return not self.project_ids or project_id in self.project_ids


@dataclass(frozen=True, slots=True)
class Part:
    """An amount of one grant taken for one project."""

    grant_id: str
    project_id: str
    amount: Decimal


def in_order(grants: Iterable[Grant]) -> list[Grant]:
    """The grants as they burn."""
    return sorted(grants, key=_order)


def _order(grant: Grant) -> tuple[object, ...]:
    ends = (grant.expires_at is None, grant.expires_at or grant.effective_from)
    return (grant.priority, *ends, not grant.promotional, grant.number)


def collect(grants: Iterable[Grant], project_id: str, amount: Decimal, at: datetime) -> list[Part]:
    """The parts that grants usable `at` give for `amount`; together they may be less."""
    parts: list[Part] = []
    for grant in in_order(grants):
        if amount <= 0:
            break
        if not (grant.is_usable(at) and grant.pays_for(project_id)) or grant.left <= 0:
            continue
        taken = min(amount, grant.left)
        parts.append(Part(grant.grant_id, project_id, taken))
        amount -= taken
    return parts


def unwind(parts: Sequence[Part], amount: Decimal) -> list[Part]:
    """What goes back when `amount` of what was taken in `parts` is given back: the last taken first."""
    back: list[Part] = []
    for part in reversed(parts):
        if amount <= 0:
            break
        given = min(amount, part.amount)
        back.append(Part(part.grant_id, part.project_id, given))
        amount -= given
    return back


def first_of(parts: Sequence[Part], amount: Decimal) -> list[Part]:
    """The first parts that make up `amount`, or all of them."""
    found: list[Part] = []
    for part in parts:
        if amount <= 0:
            break
        taken = min(amount, part.amount)
        found.append(Part(part.grant_id, part.project_id, taken))
        amount -= taken
    return found


def without(parts: Sequence[Part], gone: Sequence[Part], *, newest_first: bool) -> tuple[Part, ...]:
    """`parts` less the amounts in `gone`, taken off from the end that is named."""
    left = [part.amount for part in parts]
    for away in gone:
        rest = away.amount
        for at in range(len(parts) - 1, -1, -1) if newest_first else range(len(parts)):
            if (parts[at].grant_id, parts[at].project_id) == (away.grant_id, away.project_id):
                taken = min(rest, left[at])
                left[at] -= taken
                rest -= taken
    return tuple(
        Part(part.grant_id, part.project_id, amount) for part, amount in zip(parts, left, strict=True) if amount > 0
    )


def joined(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Neighbours of one grant and project become one part; the order stays."""
    found: list[Part] = []
    for part in parts:
        if found and (found[-1].grant_id, found[-1].project_id) == (part.grant_id, part.project_id):
            found[-1] = Part(part.grant_id, part.project_id, found[-1].amount + part.amount)
        else:
            found.append(part)
    return tuple(found)


def total_of(parts: Iterable[Part]) -> Decimal:
    """Sum of the parts."""
    return sum((part.amount for part in parts), NOTHING)


def runway_s(left: Iterable[Grant], burn_per_hour: Mapping[str, Decimal], at: datetime) -> int | None:
    """Whole seconds until some project can no longer be paid for; None when nothing burns.

    Projects share grants, so the shortest of all combinations of burning projects counts: what they burn together
    against the grants that pay for any of them.
    """
    usable = [grant for grant in left if grant.is_usable(at)]
    burning = {project_id: rate for project_id, rate in burn_per_hour.items() if rate > 0}
    if not burning:
        return None
    sizes = range(1, len(burning) + 1) if len(burning) <= SCOPES_EXACT_MAX else (1, len(burning))
    lasting: list[int] = []
    for size in sizes:
        for projects in combinations(sorted(burning), size):
            money = sum((g.left for g in usable if any(map(g.pays_for, projects))), NOTHING)
            lasting.append(int(money * 3_600 / sum((burning[each] for each in projects), NOTHING)))
    return min(lasting)
