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
from gpuaas.allocations.domain.choosing import most_that, noted, passed_over
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
from gpuaas.allocations.domain.shape import Form, Shape
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.contracts.allocations import PassedOver, PendingReason, QuotaSet, RejectionReason

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

    def options(self, waiting: Waiting, wanted: tuple[Standing, ...]) -> list[Form]:
        """The shapes that it would take and stands so with, each of one model and as large as it stands so with."""
        found: list[Form] = []
        for form in waiting.choices:
            named = form.shape.gpu_model
            for model in [named] if named else sorted(self.pool.book.models):
                shape = replace(form.shape, gpu_model=model)
                if (most := self._most(waiting, Form(shape, form.replicas_min), wanted)) is not None:
                    found.append(most)
        return found

    def _most(self, waiting: Waiting, form: Form, wanted: tuple[Standing, ...]) -> Form | None:
        """The form with as many members as it stands so with; None: with none."""

        def stands(replicas: int) -> bool:
            return self.standing(waiting, replace(form.shape, replicas=replicas)) in wanted

        if not form.is_elastic:
            return form if stands(form.shape.replicas) else None
        if not stands(form.replicas_min):
            return None
        most = most_that(form.replicas_min, form.shape.replicas, stands)
        return Form(replace(form.shape, replicas=most), form.replicas_min)

    def standing(self, waiting: Waiting, shape: Shape) -> Standing:
        assert shape.gpu_model is not None
        key = (waiting.project_id, shape.gpu_model, milli_of(shape))
        known = self.known.setdefault(waiting.tenant_id, {})
        if (said := known.get(key)) is None:
            said = known[key] = self.usage.standing(waiting.tenant_id, *key)
        # What may never be taken back is not lent.
        return "exhausted" if said == "borrows" and waiting.preemptible is False else said

    def put(self, waiting: Waiting, options: list[Form]) -> NoPlacement | None:
        """Grant it in thought as the first of `options` that has room; else why not."""
        held_back = {model: keep.nodes for model, keep in self.kept.items()}
        passed: list[PassedOver] = []
        refused: NoPlacement | None = None
        for form in options:
            wants = replace(waiting, shape=form.shape, forms=(form,))
            found = self.outlook.find(self.pool, wants, self.policy, held_back)
            if isinstance(found, Placement):
                self._grant(waiting, form, found, passed)
                return None
            passed.append(passed_over(form.shape, found.reason, found.detail))
            if refused is None or (refused.forever and not found.forever):
                refused = replace(found, shape=None if waiting.is_plain else form.least)
        assert refused is not None
        return refused

    def _grant(self, waiting: Waiting, form: Form, found: Placement, passed: list[PassedOver]) -> None:
        asked = next(each for each in waiting.choices if _is_of(form, each))
        found = noted(found, asked, [] if waiting.is_plain else passed)
        grant = grant_of(self.pool_id, waiting, found, *self.outlook.times(waiting, self.pool))
        claim = checked(self.pool.book, grant)
        self.pool = self.pool.granted(claim)
        self.known.pop(waiting.tenant_id, None)
        self.usage.add(waiting.tenant_id, waiting.project_id, claim.gpu_model, claim.milli)
        self.grants.append(grant)

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
        least = head.least_of(model)
        detail = self.usage.told(head.tenant_id, head.project_id, model, milli_of(least))
        if self.options(head, ("exhausted",)):
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
        options = cycle.options(each, ("within",))
        if not options:
            beyond.add(group)
            later.append(each)
            continue
        if len(cycle.grants) >= grants_max or (lane, each.shape.gpu_model) in stuck:
            continue
        found = cycle.put(each, options)
        if found is None:
            continue
        if found.forever and not each.is_plain:
            later.append(each)  # Another of its shapes may be had beyond the quota.
            continue
        if found.forever:
            cycle.turn_down(each, cast(RejectionReason, found.reason), found.detail)
            continue
        if each.shape.gpu_model is not None and not found.promised and each.is_plain:
            stuck.add((lane, each.shape.gpu_model))
        cycle.obstacles.setdefault(lane, Obstacle(cast(PendingReason, found.reason), found.detail))
        cycle.keep_for(each, found)
    return later


def _borrowing(cycle: _Round, later: list[Waiting], grants_max: int) -> bool:
    """Those that borrow, the one whose tenant has borrowed least first; whether there is more to do at once."""

    def rank(number: int, group: deque[Waiting], options: list[Form]) -> _Rank:
        models = {form.shape.gpu_model for form in options}
        share = min(cycle.usage.share(group[0].tenant_id, model) for model in models if model is not None)
        return -group[0].priority, share, group[0].arrival, number, group

    alike: defaultdict[Group, deque[Waiting]] = defaultdict(deque)
    for each in later:
        alike[_group(each)].append(each)
    heap: list[_Rank] = []
    for number, group in enumerate(alike.values()):
        if options := cycle.options(group[0], _MAY):
            heap.append(rank(number, group, options))
        else:
            cycle.exhausted(group)
    heapify(heap)
    stuck: set[Lane] = set()
    while heap and len(cycle.grants) < grants_max:
        _, believed, _, number, group = heappop(heap)
        head, lane = group[0], group[0].lane
        options = cycle.options(head, _MAY)
        if not options:
            cycle.exhausted(group)
        elif (again := rank(number, group, options))[1] > believed:
            heappush(heap, again)
        elif lane in stuck:
            continue
        elif (found := cycle.put(head, options)) is None:
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
                if head.is_plain:
                    stuck.add(lane)
            cycle.obstacles.setdefault(lane, Obstacle(cast(PendingReason, found.reason), found.detail))
            cycle.keep_for(head, found)
    return len(cycle.grants) >= grants_max


def _is_of(form: Form, asked: Form) -> bool:
    """Whether `form` is what `asked` became: of one model, and with as many members as the quota allows."""
    model = asked.shape.gpu_model or form.shape.gpu_model
    return replace(form.shape, replicas=asked.shape.replicas) == replace(asked.shape, gpu_model=model)


def _group(each: Waiting) -> Group:
    return each.tenant_id, each.project_id, each.preemptible, each.lane


_MAY: tuple[Standing, ...] = ("within", "borrows")
