"""The policy lab: work lived through once more under other rules. One law: the engine's own decisions, in thought.

Every arrival, end and preemption is an instant; at each the line is gone through as the scheduler does it, by the same
code. What differs from life is said: work ends after the time that it ran in life, claims come back at once, and who is
ended early stands in line again with the place it had and begins anew. Nothing is written and no clock is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from statistics import mean
from typing import Final, Literal

from gpuaas.allocations.domain.capacity import Pool, evolve
from gpuaas.allocations.domain.decay import PastUse
from gpuaas.allocations.domain.fair import plan_with_quotas
from gpuaas.allocations.domain.outlook import ANY_TIME, Outlook
from gpuaas.allocations.domain.placement import LEAST_FRAGMENTS, fragments
from gpuaas.allocations.domain.pool import GrantClaim, checked
from gpuaas.allocations.domain.preemption import Running, make_way
from gpuaas.allocations.domain.queue import Kept, Line, Plan, Waiting, plan
from gpuaas.allocations.domain.quota import Scope, milli_of
from gpuaas.allocations.domain.room import Bits
from gpuaas.allocations.domain.rules import Rules
from gpuaas.allocations.domain.shape import WHOLE_MILLI
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.common.events import Event
from gpuaas.contracts.allocations import QuotaSet

Due = tuple[datetime, int, Literal["change", "arrive", "end", "look"], str, datetime | None]
"""When, in which order, what, to whom; of an end: the start that it belongs to."""
_MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Job:
    """A request as it came, and how long its work ran."""

    waiting: Waiting
    arrives_at: datetime
    runs: timedelta


@dataclass(frozen=True, slots=True)
class Way:
    """What decides: policy of placement, rules of the line, quotas (none: the line alone)."""

    policy: Policy = LEAST_FRAGMENTS
    rules: Rules = field(default_factory=Rules)
    quotas: Mapping[Scope, QuotaSet] = field(default_factory=dict)


@dataclass(slots=True)
class Lived:
    """What came of it.

    Attributes:
        waits: from arrival to the start that it ended from.
        refused: could never be served.
        left: still waiting or running at the end.
        lost_gpu_ms: what ended early had done.
        borrowed_gpu_ms: what tenants held beyond their quota.
        fragments: share of the free GPUs that typical demand could not use, on average over time.
        starts: when each first started, also what has not ended.
    """

    waits: dict[str, timedelta] = field(default_factory=dict)
    starts: dict[str, datetime] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    left: int = 0
    preemptions: int = 0
    lost_gpu_ms: int = 0
    borrowed_gpu_ms: int = 0
    fragments: float = 0.0

    @property
    def mean_wait_s(self) -> float:
        return mean(wait.total_seconds() for wait in self.waits.values()) if self.waits else 0.0

    def wait_s(self, share: float) -> float:
        """The wait that this share of all did not exceed, in seconds."""
        waits = sorted(self.waits.values())
        return waits[min(len(waits) - 1, int(share * len(waits)))].total_seconds() if waits else 0.0


@dataclass(frozen=True, slots=True)
class Instant:
    """What an onlooker sees after the line was gone through; nothing of it may be changed.

    Attributes:
        arrived: who came at this instant.
    """

    now: datetime
    pool: Pool
    line: Line
    running: Mapping[str, Running]
    lived: Lived
    arrived: Sequence[Waiting]


@dataclass(slots=True)
class _Lab:
    pool_id: str
    pool: Pool
    way: Way
    jobs: dict[str, Job]
    lived: Lived = field(default_factory=Lived)
    line: Line = field(default_factory=Line)
    kept: dict[str, Kept] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    past: PastUse = field(default_factory=PastUse)
    due: list[Due] = field(default_factory=list)
    held: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    since: dict[tuple[str, str], datetime] = field(default_factory=dict)
    changes: Sequence[Event] = ()
    spread: float = 0.0
    spread_since: datetime | None = None
    spread_s: float = 0.0
    by_calendar: bool = False
    to_starts: bool = False
    look: Callable[[Instant], None] | None = None

    # -- instants ----------------------------------------------------------------------------------------------

    def live(self, until: datetime | None) -> None:
        while self.due and (until is None or self.due[0][0] <= until):
            now = self.due[0][0]
            arrived: list[Waiting] = []
            while self.due and self.due[0][0] == now:
                _, number, kind, name, started_at = heappop(self.due)
                if kind == "change":
                    self.pool = evolve(self.pool, self.changes[number])
                elif kind == "arrive":
                    self.line.join(self.jobs[name].waiting)
                    arrived.append(self.jobs[name].waiting)
                elif kind == "end" and (work := self.running.get(name)) is not None and work.started_at == started_at:
                    if name in self.jobs:
                        self.lived.waits[name] = work.started_at - self.jobs[name].arrives_at
                    self._give_back(name, now)
            if not self.to_starts:
                self._measure(now)
            while self._cycle(now):
                pass
            if self.look is not None:
                self.look(Instant(now, self.pool, self.line, self.running, self.lived, arrived))
            if self.to_starts and not len(self.line):
                break
        self.lived.left = len(self.line) + len(self.running)
        if self.spread_s:
            self.lived.fragments = self.spread / self.spread_s

    def _cycle(self, now: datetime) -> bool:
        """Grant what can be, end what makes way; whether there is more to do at once."""
        if not len(self.line):
            self.kept.clear()
            return False
        decided = self._plan(now)
        for grant in decided.grants:
            self._start(grant, now)
        for refusal in decided.refusals:
            self.line.leave(refusal.waiting.allocation_id)
            self.lived.refused.append(refusal.waiting.allocation_id)
        self.kept = dict(decided.kept)
        if self.by_calendar:
            self._look_again(decided, now)
        ended = sum(self._made_way(model, now) for model in list(self.kept))
        return ended > 0 or decided.full

    def _plan(self, now: datetime) -> Plan:
        way, strict = self.way, self.way.rules.strict
        outlook = Outlook(now) if self.by_calendar else ANY_TIME
        if not way.quotas:
            return plan(self.pool_id, self.pool, self.line, self.kept, way.policy, strict=strict, outlook=outlook)
        return plan_with_quotas(
            self.pool_id,
            self.pool,
            self.line,
            self.kept,
            way.quotas,
            way.policy,
            strict=strict,
            lately=dict(self.past.at(now)),
            outlook=outlook,
        )

    def _look_again(self, decided: Plan, now: datetime) -> None:
        """When somebody's time comes, and when what is promised begins or ends."""
        moments = [each.until for each in decided.deferred.values()]
        moments.append(self.pool.calendar.next_change_after(now))
        for moment in moments:
            if moment is not None and moment > now:
                heappush(self.due, (moment, 0, "look", "", None))

    def _made_way(self, model: str, now: datetime) -> bool:
        head = self.line.get(self.kept[model].allocation_id)
        if head is None:
            return False
        way = self.way
        decided = make_way(
            self.pool_id,
            self.pool,
            head,
            model,
            way.quotas,
            self.running,
            (),
            way.rules,
            now,
            self.kept,
            way.policy,
            self._promised(head, now),
        )
        if decided.again_at is not None:
            heappush(self.due, (decided.again_at, head.arrival, "look", head.allocation_id, None))
        if decided.order is None:
            return False
        self.lived.preemptions += len(decided.order.victims)
        for victim in decided.order.victims:
            self.lived.lost_gpu_ms += victim.lost_gpu_ms
            self._give_back(victim.allocation_id, now)
            if (job := self.jobs.get(victim.allocation_id)) is not None:
                self.line.join(job.waiting)
        nodes = sum(1 << self.pool.book.number[node_id] for node_id in decided.order.node_ids)
        self.kept[model] = Kept(head.allocation_id, nodes)
        return True

    def _promised(self, head: Waiting, now: datetime) -> Mapping[int, Bits]:
        if not self.by_calendar or not self.pool.calendar:
            return {}
        begins, ends = Outlook(now).times(head, self.pool)
        assert begins is not None
        assert ends is not None
        return self.pool.calendar.promised(self.pool.book.nodes, begins, ends)

    # -- books -------------------------------------------------------------------------------------------------

    def _start(self, grant: GrantClaim, now: datetime) -> None:
        name = grant.allocation_id
        job, waiting = self.jobs[name], self.line.leave(name)
        assert waiting is not None
        self.pool = self.pool.granted(checked(self.pool.book, grant))
        self.running[name] = Running(waiting.priority, waiting.preemptible, now)
        self.lived.starts.setdefault(name, now)
        heappush(self.due, (now + job.runs, waiting.arrival, "end", name, now))
        milli = milli_of(waiting.shape)
        self._hold(waiting.tenant_id, grant.gpu_model, milli, now)
        self.past.granted(name, waiting.tenant_id, grant.gpu_model, milli, now)

    def _give_back(self, name: str, now: datetime) -> None:
        claim = self.pool.book.claims[name]
        self.pool = self.pool.returned(name)
        del self.running[name]
        self._hold(claim.tenant_id, claim.gpu_model, -claim.milli, now)
        self.past.returned(name, now)

    def _hold(self, tenant_id: str, model: str, milli: int, now: datetime) -> None:
        key = (tenant_id, model)
        said = self.way.quotas.get((tenant_id, model, None))
        beyond = self.held[key] - (WHOLE_MILLI * said.nominal_gpus if said else 0)
        if beyond > 0 and self.way.quotas:
            self.lived.borrowed_gpu_ms += beyond * ((now - self.since[key]) // _MS) // WHOLE_MILLI
        self.held[key] += milli
        self.since[key] = now

    def _measure(self, now: datetime) -> None:
        """What free GPUs are worth to typical demand, from the last instant to this one."""
        if self.spread_since is not None:
            length_s = (now - self.spread_since).total_seconds()
            book = self.pool.book
            asked = sum(book.demand)
            free = wasted = 0.0
            for rooms in book.models.values():
                waste = fragments(book.demand, len(rooms.free.counts))
                free += rooms.free.total
                wasted += sum(count * waste[k] for k, count in enumerate(rooms.free.counts)) / (asked or 1)
            if free:
                self.spread += length_s * wasted / free
                self.spread_s += length_s
        self.spread_since = now


@dataclass(frozen=True, slots=True)
class Standing:
    """A claim that stands when the stretch begins.

    Attributes:
        ends_at: when it came back in life; None: it never did.
    """

    work: Running
    ends_at: datetime | None


def live_through(
    pool_id: str,
    pool: Pool,
    jobs: Iterable[Job],
    way: Way,
    until: datetime | None = None,
    standing: Mapping[str, Standing] | None = None,
    changes: Sequence[tuple[datetime, Event]] = (),
    *,
    by_calendar: bool = False,
    to_starts: bool = False,
    look: Callable[[Instant], None] | None = None,
) -> Lived:
    """What becomes of `jobs` in `pool` under `way`, to the end or up to `until`. `pool` is not changed.

    Args:
        jobs: their `waiting.arrival` orders those that arrive at one instant; allocation ids differ.
        standing: the claims in `pool`; without it they stay for ever.
        changes: machines that come and go, in order.
        by_calendar: what the pool's calendar promises is kept free, and who asked for a later start waits for it.
        to_starts: stop when nobody waits any more; fragments are not measured.
        look: is shown every instant.
    """
    known = {job.waiting.allocation_id: job for job in jobs}
    lab = _Lab(pool_id, pool, way, known, past=PastUse(way.rules.half_life))
    lab.by_calendar, lab.to_starts, lab.look = by_calendar, to_starts, look
    lab.changes = [event for _, event in changes]
    lab.due = [(job.arrives_at, job.waiting.arrival, "arrive", name, None) for name, job in known.items()]
    lab.due += [(at, number, "change", "", None) for number, (at, _) in enumerate(changes)]
    for name, claim in (standing or {}).items():
        held, began = pool.book.claims[name], claim.work.started_at
        lab.running[name] = claim.work
        lab.past.granted(name, held.tenant_id, held.gpu_model, held.milli, began)
        lab.held[held.tenant_id, held.gpu_model] += held.milli
        lab.since[held.tenant_id, held.gpu_model] = began
        if claim.ends_at is not None:
            lab.due.append((claim.ends_at, 0, "end", name, began))
    heapify(lab.due)
    lab.live(until)
    return lab.lived
