"""The pool seen at another time. One law: what will have ended is gone, what is promised to others is not there.

Everything here is thought: versions of the pool that nobody appends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from gpuaas.allocations.domain.book import Change, Claim
from gpuaas.allocations.domain.calendar import Booking, Holdings, Window, holdings_of
from gpuaas.allocations.domain.capacity import Pool, per_node
from gpuaas.allocations.domain.placement import NoPlacement, place
from gpuaas.allocations.domain.room import Bits, members
from gpuaas.allocations.domain.shape import WHOLE_MILLI, Shape
from gpuaas.common.errors import Rejected

Times = tuple[datetime, datetime]
_EVER: Final[Times] = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def without(pool: Pool, taken: Mapping[int, Bits]) -> Pool:
    """The pool in thought with these GPUs held as well."""
    if not taken:
        return pool
    book = pool.book
    changes: list[Change] = []
    for number, mask in taken.items():
        shared = [bit for bit in book.used[number] if mask >> bit & 1]
        changes += [("part", (number, bit), WHOLE_MILLI) for bit in shared]
        changes.append(("held", number, book.held[number] | mask))
    return pool.after(changes)


class Emptying:
    """The pool as time passes and claims end; asked in order of time, each claim is taken back once."""

    def __init__(self, pool: Pool, at: datetime) -> None:
        self._pool = pool
        # One that has overstayed may do so for longer.
        ends = [(c.ends_by, c.allocation_id) for c in pool.book.claims.values() if c.ends_by and c.ends_by > at]
        self._ends = sorted(ends, reverse=True)

    def at(self, moment: datetime) -> Pool:
        """As it will be then, if nothing is granted or renewed meanwhile."""
        while self._ends and self._ends[-1][0] <= moment:
            self._pool = self._pool.returned(self._ends.pop()[1])
        return self._pool


def fit(shape: Shape, times: Times, then: Pool, but: str, also: Mapping[int, Bits]) -> Holdings | NoPlacement:
    """GPUs for one window in `then`, the pool as it will be at its start."""
    taken = then.calendar.promised(then.book.nodes, *times, but)
    for number, mask in also.items():
        taken[number] = taken.get(number, 0) | mask
    sight = without(then, taken)
    found = place(sight.book, shape, sight.events)
    return found if isinstance(found, NoPlacement) else holdings_of(sight.book, found.members)


def unsound(pool: Pool, window: Window, ahead: datetime) -> dict[int, str]:
    """The groups of a window (by index) whose GPUs will not all be there, and why."""
    book, found = pool.book, {}
    closures = [each for each in pool.calendar.closures.values() if each.meets(window.starts_at, window.ends_at)]
    for index, (number, mask) in enumerate(window.holdings):
        node = book.nodes[number]
        closure = next((each for each in closures if number in each.nodes), None)
        if closure is not None:
            found[index] = f"machine {node.node_id} is closed for {closure.cause}: {closure.detail}"
        elif mask & ~node.offered:
            found[index] = f"machine {node.node_id} has lost GPUs"
        elif node.withdrawn is not None and window.starts_at < ahead:
            found[index] = f"machine {node.node_id} is withdrawn: {node.withdrawn}"
    return found


def missing(pool: Pool, booking: Booking, window: Window, ahead: datetime) -> tuple[int, str]:
    """GPUs that a window lacks of those promised, and why; (0, "") when it lacks none."""
    bad = unsound(pool, window, ahead)
    there = sum(mask.bit_count() for i, (_, mask) in enumerate(window.holdings) if i not in bad)
    lacking = booking.shape.gpu_count - there
    why = "; ".join(sorted(set(bad.values()))) or "GPUs are gone"
    return (lacking, why[:400]) if lacking > 0 else (0, "")


def refuse_promised(pool: Pool, claim: Claim, at: datetime | None, ends_by: datetime | None) -> None:
    """Nothing promised to others may be in what `claim` would hold from `at` to `ends_by`.

    Raises:
        Rejected: it is, or the claim's own reservation does not keep these GPUs for it for so long.
    """
    if not pool.calendar and claim.reservation_id is None:
        return
    times = (at or _EVER[0], ends_by or _EVER[1])
    wanted = per_node(claim.holdings)
    name = claim.allocation_id
    if claim.reservation_id is not None:
        booking = pool.calendar.bookings.get(claim.reservation_id)
        window = booking.open_at(times[0]) if booking else None
        ours = window.masks() if window else {}
        if booking is None or (booking.tenant_id, booking.project_id) != (claim.tenant_id, claim.project_id):
            raise Rejected(f"no claim for {name}: its project has no reservation {claim.reservation_id}")
        if window is None or times[1] > window.ends_at or any(mask & ~ours.get(n, 0) for n, mask in wanted.items()):
            raise Rejected(
                f"no claim for {name}: reservation {claim.reservation_id} does not keep these GPUs for so long"
            )
    taken = pool.calendar.promised(pool.book.nodes, *times, claim.reservation_id)
    for number, mask in wanted.items():
        if both := mask & taken.get(number, 0):
            node = pool.book.nodes[number]
            devices = ", ".join(node.devices[bit] for bit in members(both))
            raise Rejected(
                f"no claim for {name}: {devices} of machine {node.node_id} are promised to others before "
                f"{spelled(times[1])}",
                allocation_id=name,
            )


def spelled(moment: datetime) -> str:
    """A moment as people read it."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
