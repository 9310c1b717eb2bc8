"""Who goes next where quotas are set. One law: what somebody is entitled to goes before anything borrowed.

First the requests within their quota, in the order of the line (priority, then arrival), with the head protected as in
`queue.py`. Then those that borrow, on what is left and not kept: by priority, then whose tenant has borrowed least for
its weight (and held lately, where the pool's rules let past use count), then arrival; each grant counts at once, so
borrowing evens out within a cycle. A request beyond its limit keeps its place and holds nobody up; one that its limit
could never hold is turned down.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from typing import cast

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.outlook import ANY_TIME, Deferral, Outlook
from gpuaas.allocations.domain.placement import LEAST_FRAGMENTS, NoPlacement, Placement
from gpuaas.allocations.domain.pool import GrantClaim, checked
from gpuaas.allocations.domain.queue import (
    GRANTS_MAX,
    Kept,
    Lane,
    Line,
    Obstacle,
    Plan,
    Refusal,
    Waiting,
    grant_of,
    keep_for,
    nobody,
    not_yet,
)
from gpuaas.allocations.domain.quota import Scope, Standing, Usage, milli_of
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.contracts.allocations import PendingReason, QuotaSet, RejectionReason

Group = tuple[str, str, bool | None, Lane]
"""Requests that only their arrival tells apart: tenant, project, preemptible, lane."""
_Rank = tuple[int, float, int, int, "deque[Waiting]"]
"""Of a group of those that borrow: priority, share, arrival of its first; its number."""


@dataclass(slots=True)
class _Round:
    pool_id: str
    pool: Pool
    usage: Usage
    policy: Policy
    before: Mapping[str, Kept]
    strict: bool = False
    outlook: Outlook = ANY_TIME
    grants: list[GrantClaim] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    obstacles: dict[Lane, Obstacle] = field(default_factory=dict)
    own: dict[str, Obstacle] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    known: dict[str, dict[tuple[str, str, int], Standing]] = field(default_factory=dict)

    def models(self, waiting: Waiting, wanted: tuple[Standing, ...]) -> list[str]:
        """The models that it would take and stands so with."""
        named = waiting.shape.gpu_model
        models = [named] if named else sorted(self.pool.book.models)
        return [model for model in models if self.standing(waiting, model) in wanted]

    def standing(self, waiting: Waiting, model: str) -> Standing:
        key = (waiting.project_id, model, milli_of(waiting.shape))
        known = self.known.setdefault(waiting.tenant_id, {})
        if (said := known.get(key)) is None:
            said = known[key] = self.usage.standing(waiting.tenant_id, *key)
        # What may never be taken back is not lent.
        return "exhausted" if said == "borrows" and waiting.preemptible is False else said

    def put(self, waiting: Waiting, models: list[str]) -> NoPlacement | None:
        """Grant it in thought on the first of `models` that has room; else why not."""
        held_back = {model: keep.nodes for model, keep in self.kept.items()}
        refused: NoPlacement | None = None
        for model in models:
            shape = replace(waiting.shape, gpu_model=model)
            wants = replace(waiting, shape=shape)
            found = self.outlook.find(self.pool, wants, self.policy, held_back)
            if isinstance(found, Placement):
                grant = grant_of(self.pool_id, waiting, found, *self.outlook.times(waiting, self.pool))
                self.pool = self.pool.granted(checked(self.pool.book, grant))
                self.known.pop(waiting.tenant_id, None)
                self.usage.add(waiting.tenant_id, waiting.project_id, model, milli_of(shape))
                self.grants.append(grant)
                return None
            if refused is None or (refused.forever and not found.forever):
                refused = found
        assert refused is not None
        return refused

    def keep_for(self, head: Waiting, found: NoPlacement) -> None:
        """Keep nodes for it if it is the first of its model; what waits for its time needs no room."""
        if head.reservation_id is None and (self.strict or not found.promised):
            sight = self.outlook.seen(self.pool, head)
            keep_for(head, found, sight, self.kept, self.before, strict=self.strict)

    def turn_down(self, waiting: Waiting, reason: RejectionReason, detail: str) -> None:
        self.refusals.append(Refusal(waiting, reason, detail))

    def exhausted(self, group: deque[Waiting]) -> None:
        """No model is left to these, which are alike: for now, or for ever."""
        head = group[0]
        model = head.shape.gpu_model or next(iter(sorted(self.pool.book.models)))
        detail = self.usage.told(head.tenant_id, head.project_id, model, milli_of(head.shape))
        if self.models(head, ("exhausted",)):
            self.own.update(dict.fromkeys((each.allocation_id for each in group), Obstacle("quota-exhausted", detail)))
        else:
            for each in group:
                self.turn_down(each, "quota-exceeded", detail)


def plan_with_quotas(
    pool_id: str,
    pool: Pool,
    line: Line,
    kept_before: Mapping[str, Kept],
    quotas: Mapping[Scope, QuotaSet],
    policy: Policy = LEAST_FRAGMENTS,
    grants_max: int = GRANTS_MAX,
    barred: Callable[[Waiting], bool] = nobody,
    *,
    strict: bool = False,
    lately: Mapping[tuple[str, str], float] | None = None,
    outlook: Outlook = ANY_TIME,
) -> Plan:
    """One cycle's decisions. Neither `pool` nor `line` is changed; O(waiting), where `plan` is O(grants + lanes).

    Args:
        strict, barred, outlook: as in `plan`.
        lately: what tenants held on average; who borrowed much goes behind who borrowed little.
    """
    usage = Usage.of(quotas, pool.book, lately)
    cycle = _Round(pool_id, pool, usage, policy, kept_before, strict, outlook)
    deferred: dict[str, Deferral] = {}
    waiting = [
        each
        for _, lane in line.lanes()
        for each in lane
        if not barred(each) and not not_yet(each, pool, outlook, deferred, cycle.refusals)
    ]
    waiting.sort(key=lambda each: (-each.priority, each.arrival))
    later = _entitled(cycle, waiting, grants_max)
    full = _borrowing(cycle, later, grants_max)
    return Plan(
        tuple(cycle.grants),
        tuple(cycle.refusals),
        cycle.obstacles,
        cycle.kept,
        full=full,
        exhausted=cycle.own,
        deferred=deferred,
    )


def _entitled(cycle: _Round, waiting: list[Waiting], grants_max: int) -> list[Waiting]:
    """Those within their quota; who is left to borrow."""
    later: list[Waiting] = []
    stuck: set[tuple[Lane, str | None]] = set()
    beyond: set[Group] = set()
    for each in waiting:
        lane, group = each.lane, _group(each)
        if group in beyond:
            later.append(each)
            continue
        models = cycle.models(each, ("within",))
        if not models:
            beyond.add(group)
            later.append(each)
            continue
        if len(cycle.grants) >= grants_max or (lane, each.shape.gpu_model) in stuck:
            continue
        found = cycle.put(each, models)
        if found is None:
            continue
        if found.forever:
            cycle.turn_down(each, cast(RejectionReason, found.reason), found.detail)
            continue
        if each.shape.gpu_model is not None and not found.promised:
            stuck.add((lane, each.shape.gpu_model))
        cycle.obstacles.setdefault(lane, Obstacle(cast(PendingReason, found.reason), found.detail))
        cycle.keep_for(each, found)
    return later


def _borrowing(cycle: _Round, later: list[Waiting], grants_max: int) -> bool:
    """Those that borrow, the one whose tenant has borrowed least first; whether there is more to do at once."""

    def rank(number: int, group: deque[Waiting], models: list[str]) -> _Rank:
        share = min(cycle.usage.share(group[0].tenant_id, model) for model in models)
        return -group[0].priority, share, group[0].arrival, number, group

    alike: defaultdict[Group, deque[Waiting]] = defaultdict(deque)
    for each in later:
        alike[_group(each)].append(each)
    heap: list[_Rank] = []
    for number, group in enumerate(alike.values()):
        if models := cycle.models(group[0], _MAY):
            heap.append(rank(number, group, models))
        else:
            cycle.exhausted(group)
    heapify(heap)
    stuck: set[Lane] = set()
    while heap and len(cycle.grants) < grants_max:
        _, believed, _, number, group = heappop(heap)
        head, lane = group[0], group[0].lane
        models = cycle.models(head, _MAY)
        if not models:
            cycle.exhausted(group)
        elif (again := rank(number, group, models))[1] > believed:
            heappush(heap, again)
        elif lane in stuck:
            continue
        elif (found := cycle.put(head, models)) is None:
            group.popleft()
            if group:
                heappush(heap, (again[0], believed, group[0].arrival, number, group))
        elif found.forever:
            for each in group:
                cycle.turn_down(each, cast(RejectionReason, found.reason), found.detail)
        else:
            if found.promised:
                # Only its own times stand in the way; those of the next may not.
                group.popleft()
                if group:
                    heappush(heap, (again[0], believed, group[0].arrival, number, group))
            else:
                stuck.add(lane)
            cycle.obstacles.setdefault(lane, Obstacle(cast(PendingReason, found.reason), found.detail))
            cycle.keep_for(head, found)
    return len(cycle.grants) >= grants_max


def _group(each: Waiting) -> Group:
    return each.tenant_id, each.project_id, each.preemptible, each.lane


_MAY: tuple[Standing, ...] = ("within", "borrows")
