"""Who goes next: the waiting line of one pool. One law: higher priority first, then earlier arrival; nobody overtakes
to the harm of the first.

Order: priority, then position of the request in the log. The first in that order that cannot be placed is the *head*
of its GPU model. For it the scheduler keeps the nodes that can hold it and are nearest to being free (`hold_back`):
nothing else is placed there, and since every lease ends, they drain and the head starts there at the latest. The nodes
stay the same while the head stays the same, so a stream of small requests cannot make it wait for ever. Everyone
behind the head may go at once onto other nodes (backfill): that cannot delay the head, and a large gang at the front
does not idle the pool. Only the head is protected; those between it and a backfilled request are not. Requests with
higher priority than the head are not bound by what is kept for it. Where the pool's rules say `strict-fifo`, everything
of its model is kept for the head: nobody passes it.

Requests of one shape and priority stand in one lane, and when the first of a lane cannot be placed none of it can:
a cycle costs O(grants + lanes), whatever the length of the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Final, cast

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.outlook import ANY_TIME, Deferral, Outlook
from gpuaas.allocations.domain.placement import (
    LEAST_FRAGMENTS,
    NoPlacement,
    Placement,
    hold_back,
)
from gpuaas.allocations.domain.pool import GrantClaim, checked
from gpuaas.allocations.domain.room import Bits
from gpuaas.allocations.domain.shape import Form, Shape
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.contracts.allocations import PendingReason, RejectionReason

GRANTS_MAX: Final = 200
"""Grants of one cycle."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request in the line.

    Attributes:
        arrival: its position in the log.
        preemptible: True: gives way to higher priority too; False: never, and so never borrows; None: only what it
            borrows can be taken back.
        start_at: not before this.
        reservation_id: it wants what this reservation keeps, and nothing else.
        forms: all shapes that will do, the most wanted first; none said: `shape` alone.
    """

    allocation_id: str
    tenant_id: str
    project_id: str
    shape: Shape
    priority: int
    arrival: int
    preemptible: bool | None = None
    lease_s: int = 0
    start_at: datetime | None = None
    reservation_id: str | None = None
    forms: tuple[Form, ...] = ()

    @property
    def lane(self) -> Lane:
        return (self.priority, self.shape, self.reservation_id, self.forms)

    @property
    def choices(self) -> tuple[Form, ...]:
        """All shapes that will do, the most wanted first."""
        return self.forms or (Form(self.shape, self.shape.replicas),)

    @property
    def is_plain(self) -> bool:
        """Whether one shape alone will do, all of it."""
        return len(self.choices) == 1 and not self.choices[0].is_elastic

    def least_of(self, model: str) -> Shape:
        """The smallest of the most wanted shape that may be of this model."""
        for form in self.choices:
            if form.shape.gpu_model in (None, model):
                return replace(form.least, gpu_model=model)
        return replace(self.shape, gpu_model=model)


Lane = tuple[int, Shape, str | None, tuple[Form, ...]]
"""(priority, shape, reservation, forms): requests that only their arrival and their times tell apart."""


class Line:
    """The waiting requests of one pool."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, dict[str, Waiting]] = {}
        self._lane_of: dict[str, Lane] = {}

    def __len__(self) -> int:
        return len(self._lane_of)

    def __contains__(self, allocation_id: object) -> bool:
        return allocation_id in self._lane_of

    def join(self, waiting: Waiting) -> None:
        """Stand in the lane of its shape; joining twice changes nothing."""
        if waiting.allocation_id in self._lane_of:
            return
        key = waiting.lane
        lane = self._lanes.setdefault(key, {})
        late = bool(lane) and next(reversed(lane.values())).arrival > waiting.arrival
        lane[waiting.allocation_id] = waiting
        self._lane_of[waiting.allocation_id] = key
        if late:
            self._lanes[key] = dict(sorted(lane.items(), key=lambda item: item[1].arrival))

    def leave(self, allocation_id: str) -> Waiting | None:
        """Step out of the line; None when it does not stand in it."""
        key = self._lane_of.pop(allocation_id, None)
        if key is None:
            return None
        lane = self._lanes[key]
        waiting = lane.pop(allocation_id)
        if not lane:
            del self._lanes[key]
        return waiting

    def lane_of(self, allocation_id: str) -> Lane | None:
        return self._lane_of.get(allocation_id)

    def get(self, allocation_id: str) -> Waiting | None:
        key = self._lane_of.get(allocation_id)
        return None if key is None else self._lanes[key][allocation_id]

    def lanes(self) -> Iterator[tuple[Lane, Iterator[Waiting]]]:
        """Each lane with its requests in order of arrival."""
        for key, lane in self._lanes.items():
            yield key, iter(lane.values())


@dataclass(frozen=True, slots=True)
class Kept:
    """Nodes kept for the head of one GPU model's line."""

    allocation_id: str
    nodes: Bits


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that can never be served, and why."""

    waiting: Waiting
    reason: RejectionReason
    detail: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a lane does not move."""

    reason: PendingReason
    detail: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One cycle's decisions.

    Attributes:
        obstacles: lanes that cannot move now; a lane that is in neither list waits for the next cycle.
        kept: what is kept for whom, by GPU model; the next cycle is to be given it.
        exhausted: requests that their quota holds back, each with its own obstacle.
        deferred: requests whose time has not come.
        full: `GRANTS_MAX` was reached, more could be granted at once.
    """

    grants: tuple[GrantClaim, ...]
    refusals: tuple[Refusal, ...]
    obstacles: Mapping[Lane, Obstacle]
    kept: Mapping[str, Kept]
    full: bool
    exhausted: Mapping[str, Obstacle] = field(default_factory=dict)
    deferred: Mapping[str, Deferral] = field(default_factory=dict)


def nobody(_: Waiting) -> bool:
    """Nobody is barred."""
    return False


def plan(
    pool_id: str,
    pool: Pool,
    line: Line,
    kept_before: Mapping[str, Kept],
    policy: Policy = LEAST_FRAGMENTS,
    grants_max: int = GRANTS_MAX,
    barred: Callable[[Waiting], bool] = nobody,
    *,
    strict: bool = False,
    outlook: Outlook = ANY_TIME,
) -> Plan:
    """Go through the line once, granting in thought. Neither `pool` nor `line` is changed.

    Args:
        barred: who may not start now; they keep their place and nobody waits for them.
        strict: nobody passes the head.
        outlook: the calendar as of now.
    """
    lanes = list(line.lanes())
    grants: list[GrantClaim] = []
    refusals: list[Refusal] = []
    obstacles: dict[Lane, Obstacle] = {}
    kept: dict[str, Kept] = {}
    deferred: dict[str, Deferral] = {}
    heads = [(-head.priority, head.arrival, i, head) for i, (_, lane) in enumerate(lanes) if (head := next(lane, None))]
    heapify(heads)
    while heads and len(grants) < grants_max:
        _, _, i, waiting = heappop(heads)
        if barred(waiting) or not_yet(waiting, pool, outlook, deferred, refusals):
            if (following := next(lanes[i][1], None)) is not None:
                heappush(heads, (-following.priority, following.arrival, i, following))
            continue
        held_back = {model: keep.nodes for model, keep in kept.items()}
        found = outlook.find(pool, waiting, policy, held_back)
        if isinstance(found, Placement):
            grant = grant_of(pool_id, waiting, found, *outlook.times(waiting, pool))
            pool = pool.granted(checked(pool.book, grant))
            grants.append(grant)
        elif found.forever:
            refusals.append(Refusal(waiting, cast(RejectionReason, found.reason), found.detail))
        else:
            obstacles.setdefault(lanes[i][0], Obstacle(cast(PendingReason, found.reason), found.detail))
            if strict or not found.promised:
                if waiting.reservation_id is None:
                    keep_for(waiting, found, outlook.seen(pool, waiting), kept, kept_before, strict=strict)
                continue
            # It waits for its time, not for room: nothing is kept for it, and a shorter lease behind it may fit.
            shorter = (each for each in lanes[i][1] if each.lease_s < waiting.lease_s)
            if (following := next(shorter, None)) is not None:
                heappush(heads, (-following.priority, following.arrival, i, following))
            continue
        if (following := next(lanes[i][1], None)) is not None:
            heappush(heads, (-following.priority, following.arrival, i, following))
    return Plan(tuple(grants), tuple(refusals), obstacles, kept, full=bool(heads), deferred=deferred)


def not_yet(
    waiting: Waiting, pool: Pool, outlook: Outlook, deferred: dict[str, Deferral], refusals: list[Refusal]
) -> bool:
    """Whether its time has not come, which is noted; one whose time will never come is refused."""
    said = outlook.deferral(waiting, pool)
    if said is None:
        return False
    if said.never:
        refusals.append(Refusal(waiting, "never-satisfiable", said.detail))
    else:
        deferred[waiting.allocation_id] = said
    return True


def grant_of(
    pool_id: str, waiting: Waiting, found: Placement, at: datetime | None = None, ends_by: datetime | None = None
) -> GrantClaim:
    """The order for the pool; the claim would stand from `at` to `ends_by` at the latest."""
    return GrantClaim(
        pool_id=pool_id,
        allocation_id=waiting.allocation_id,
        tenant_id=waiting.tenant_id,
        project_id=waiting.project_id,
        gpu_model=found.gpu_model,
        members=found.members,
        receipt=found.receipt,
        at=at,
        ends_by=ends_by,
        reservation_id=waiting.reservation_id,
    )


def keep_for(
    head: Waiting,
    found: NoPlacement,
    pool: Pool,
    kept: dict[str, Kept],
    before: Mapping[str, Kept],
    *,
    strict: bool = False,
) -> None:
    """Keep nodes for `head` if it is the first of its model that cannot go on; all of them in strict order."""
    shape = found.shape or head.shape
    if found.reason == "behind-higher-priority" or shape.gpu_model in kept:
        return
    book = pool.book
    if strict:
        every = (1 << len(book.nodes)) - 1
        for model in (shape.gpu_model,) if shape.gpu_model else book.models:
            kept.setdefault(model, Kept(head.allocation_id, every))
        return
    for model, nearest in hold_back(book, shape).items():
        if model in kept:
            return
        earlier = before.get(model)
        still = earlier is not None and earlier.allocation_id == head.allocation_id
        if still and earlier is not None and not earlier.nodes & ~book.models[model].free.with_at_least(0):
            kept[model] = earlier
        else:
            kept[model] = Kept(head.allocation_id, nearest)
