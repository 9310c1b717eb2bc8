"""What allocations does about events: requests become claims, claims runs, ends free GPUs. One law: each step is
ordered by the event before it, once; whoever is late is told so by a guard.

The `Scheduler` goes through the waiting line in cycles and is the one part of this process that claims and returns
GPUs. `Lives` carries each allocation from claim to end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gpuaas.allocations.adapters.alarm import AlarmClock
from gpuaas.allocations.adapters.entitlements import Entitlements
from gpuaas.allocations.adapters.lately import Lately
from gpuaas.allocations.adapters.preempter import Preempter
from gpuaas.allocations.adapters.purse import Purse
from gpuaas.allocations.adapters.starting import begun
from gpuaas.allocations.domain import allocation as life
from gpuaas.allocations.domain import kept, orders, quota, reservation, rules
from gpuaas.allocations.domain import pool as pools
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.fair import plan_with_quotas
from gpuaas.allocations.domain.nearest import nearest
from gpuaas.allocations.domain.placement import LEAST_FRAGMENTS
from gpuaas.allocations.domain.queue import Kept, Line, Plan, Refusal, Waiting, plan
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.allocations.ports import Ended, Run, Runtime
from gpuaas.allocations.projections.board import SERVICE, Board, Desk
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import Conflict, Rejected, Unavailable
from gpuaas.common.ids import new_id
from gpuaas.common.reactions import Reaction
from gpuaas.common.readers import Reader
from gpuaas.common.snapshots import Keep
from gpuaas.contracts.allocations import (
    AllocationPlaced,
    AllocationPreempted,
    AllocationReleased,
    AllocationReleaseRequested,
    ClaimGranted,
    NearestShape,
    PreemptionOrdered,
)

ALLOCATION: Final[Entity[life.Allocation, orders.AllocationCommand]] = Entity(
    SERVICE, "allocation", life.ALLOCATION, life.VOCABULARY
)
POOL: Final[Entity[Pool, pools.PoolCommand]] = Entity(
    SERVICE, "pool", pools.POOL, pools.VOCABULARY, keep=Keep(kept.written, kept.read)
)

RULES: Final[Entity[rules.Standing, rules.SetRules]] = Entity(SERVICE, "queue-rules", rules.RULES, rules.VOCABULARY)
RESERVATION: Final[Entity[reservation.Reservation, reservation.ReservationCommand]] = Entity(
    SERVICE, "reservation", reservation.RESERVATION, reservation.VOCABULARY
)
QUOTA: Final[Entity[quota.Entitled, quota.SetQuota]] = Entity(SERVICE, "quota", quota.QUOTA, quota.VOCABULARY)

ONE_BY_ONE_MAX: Final = 8
"""Claims of one cycle that are still appended one by one, each with its own cause; more go in one atomic batch, which
costs the broker as much as about ten plain appends."""
RETURNS_MAX: Final = 200
TOLD_AT_ONCE: Final = 32
LEARN_WITHIN_S: Final = 5.0
RETRY_S: Final = 0.25
LATE_S: Final = 0.01
_log = logging.getLogger(__name__)


def _id_in(fact: Fact) -> str:
    """The id of the entity that a fact is about: the last token of its subject."""
    return fact.subject.rpartition(".")[2]


@dataclass(slots=True)
class _Returning:
    """A claim to be returned, and who waits until it is."""

    command: pools.ReturnClaim
    cause: Cause
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Counter:
    """What the scheduler keeps of one pool between cycles.

    Attributes:
        pool: None means read it again.
        known: all that inventory and nodes had said up to this position of the log is part of the pool.
    """

    pool: Pool | None = None
    known: int = 0
    learning: asyncio.Task[None] | None = None
    kept: dict[str, Kept] = field(default_factory=dict)
    returns: deque[_Returning] = field(default_factory=deque)


class Scheduler:
    """Claims GPUs for those who wait and returns those of who ended, in cycles, guarded on the pool.

    Several processes may run one each: the slower one's append is refused, it reads the pool again and decides again.

    Args:
        entitlements: quotas; None: the line alone decides.
        lately: what tenants held on average; None: past use does not count.
        preempter: who decides whether running work makes way; None: it never does.
        purse: who may not start anything; None: nobody is asked.
        capacity: the reader that keeps machines up to the log. "Never" is said only of a pool that has everything in it
            that stood in the log before the request.
    """

    def __init__(
        self,
        commands: Commands,
        board: Board,
        capacity: Reader,
        policy: Policy = LEAST_FRAGMENTS,
        purse: Purse | None = None,
        entitlements: Entitlements | None = None,
        preempter: Preempter | None = None,
        lately: Lately | None = None,
        alarm: AlarmClock | None = None,
    ) -> None:
        self._lately = lately
        self._preempter = preempter
        self._commands = commands
        self._board = board
        self._purse = purse
        self._entitlements = entitlements
        self._alarm = alarm or AlarmClock(board, WallClock())
        self._capacity = capacity
        self._policy = policy
        self._counters: defaultdict[str, _Counter] = defaultdict(_Counter)
        self._to_tell: dict[str, tuple[str, orders.AllocationCommand, Cause]] = {}
        self._telling = asyncio.Event()

    async def give_back(self, pool_id: str, allocation_id: str, reason: str, cause: Cause) -> None:
        """Return a claim with the next cycle; returns when the log has it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        command = pools.ReturnClaim(pool_id, allocation_id, reason)
        self._counters[pool_id].returns.append(_Returning(command, cause.at("return"), done))
        self._board.news.set()
        await done

    async def schedule(self) -> None:
        """For ever: a cycle in every pool whenever something has changed."""
        news = self._board.news
        news.set()
        while True:
            await news.wait()
            news.clear()
            for pool_id in {*self._board.desks, *self._counters}:
                try:
                    while await self._cycle(pool_id):
                        pass
                except (Rejected, Conflict, Unavailable) as late:
                    # Another process was faster, or the log is away: forget what we believed and look again.
                    self._counters[pool_id].pool = None
                    self._board.desk(pool_id).recovered = True
                    _log.info("cycle of pool %s begins again: %s", pool_id, late.detail)
                    news.set()
                    await asyncio.sleep(RETRY_S if isinstance(late, Unavailable) else LATE_S)

    async def _cycle(self, pool_id: str) -> bool:
        """Return, plan, grant, tell; whether there is more to do at once."""
        counter, desk = self._counters[pool_id], self._board.desk(pool_id)
        returns = [counter.returns[i] for i in range(min(RETURNS_MAX, len(counter.returns)))]
        waits = self._board.complete and len(desk.line) > 0
        if not returns and not waits:
            return False
        pool = await self._pool(pool_id, counter, desk)
        decided = self._plan(pool_id, pool, counter, desk, returns) if waits else None
        await self._settle(pool_id, counter, desk, returns, decided.grants if decided else ())
        if decided is None:
            return bool(counter.returns)
        counter.kept = dict(decided.kept)
        await self._make_way(pool_id, counter, desk)
        for refusal in decided.refusals:
            if refusal.waiting.arrival <= counter.known:
                self._refuse(desk, refusal, nearest(pool.book, refusal.waiting.shape))
            elif counter.learning is None:
                counter.learning = asyncio.create_task(self._learn(counter, refusal.waiting.arrival))
        self._explain(desk, decided)
        self._alarm.set(pool_id, pool, decided)
        return decided.full or bool(counter.returns)

    async def _learn(self, counter: _Counter, position: int) -> None:
        """Wait until the pool knows all machines that stood in the log before `position`; then look again."""
        try:
            await self._capacity.reached(position, LEARN_WITHIN_S)
            counter.known, counter.pool = max(counter.known, position), None
        except Unavailable as behind:
            _log.warning("nobody is turned down yet: %s", behind.detail)
        finally:
            counter.learning = None
            self._board.news.set()

    async def _pool(self, pool_id: str, counter: _Counter, desk: Desk) -> Pool:
        if counter.pool is None or counter.pool.events < desk.pool_version:
            read: tuple[Pool, int] = await self._commands.state(POOL, PLATFORM, pool_id)
            counter.pool = read[0]
        pool = counter.pool
        if desk.recovered:
            desk.recovered = False
            for allocation_id in pool.book.claims:
                desk.line.leave(allocation_id)
                desk.untold.pop(allocation_id, None)
        return pool

    def _plan(self, pool_id: str, pool: Pool, counter: _Counter, desk: Desk, returns: Sequence[_Returning]) -> Plan:
        if pool.events == 0:
            return _nowhere(pool_id, desk.line)
        for gainer, promise in pool.book.promises.items():
            counter.kept.setdefault(promise.gpu_model, Kept(gainer, promise.nodes))
        for back in returns:
            pool = pool.returned(back.command.allocation_id)
        line, kept, outlook = desk.line, counter.kept, self._alarm.outlook()
        if self._entitlements is None:
            return plan(pool_id, pool, line, kept, self._policy, barred=self._barred, outlook=outlook)
        quotas, strict = self._entitlements.in_pool(pool_id), self._entitlements.rules(pool_id).strict
        if not quotas:
            return plan(pool_id, pool, line, kept, self._policy, barred=self._barred, strict=strict, outlook=outlook)
        lately = self._lately.in_pool(pool_id) if self._lately is not None else {}
        return plan_with_quotas(
            pool_id,
            pool,
            line,
            kept,
            quotas,
            self._policy,
            barred=self._barred,
            strict=strict,
            lately=lately,
            outlook=outlook,
        )

    def _barred(self, waiting: Waiting) -> bool:
        return self._purse is not None and self._purse.levels.bars(waiting.tenant_id, waiting.project_id) is not None

    async def _settle(
        self,
        pool_id: str,
        counter: _Counter,
        desk: Desk,
        returns: Sequence[_Returning],
        grants: Sequence[pools.GrantClaim],
    ) -> None:
        """Append the cycle's returns and grants; on the way the line and the waiting reactions learn of it."""
        if len(returns) + len(grants) > ONE_BY_ONE_MAX:
            cycle = pools.Settle(tuple(back.command for back in returns), tuple(grants))
            together = Cause(id=new_id(), actor=SERVICE, actor_kind="service", step="cycle")
            await self._order(pool_id, counter, desk, cycle, together)
            for _ in returns:
                self._returned(counter)
            for grant in grants:
                desk.line.leave(grant.allocation_id)
            return
        for back in returns:
            await self._order(pool_id, counter, desk, back.command, back.cause)
            self._returned(counter)
        for grant in grants:
            ask = self._board.asks.get(grant.allocation_id)
            if ask is not None:
                await self._order(pool_id, counter, desk, grant, ask.cause.at("grant"))
            desk.line.leave(grant.allocation_id)

    async def _make_way(self, pool_id: str, counter: _Counter, desk: Desk) -> None:
        """End running work for the heads that outrank it; its machines are kept for them from now on."""
        if self._preempter is None or counter.pool is None:
            return
        for model in list(counter.kept):
            order = self._preempter.order_for(pool_id, counter.pool, desk, model, counter.kept, self._policy)
            if order is not None:
                cause = Cause(id=new_id(), actor=SERVICE, actor_kind="service", step="preemption")
                await self._order(pool_id, counter, desk, order, cause)
                book = counter.pool.book
                nodes = sum(1 << book.number[node_id] for node_id in order.node_ids)
                counter.kept[model] = Kept(order.allocation_id, nodes)

    async def _order(
        self, pool_id: str, counter: _Counter, desk: Desk, command: pools.PoolCommand, cause: Cause
    ) -> None:
        outcome = await self._commands.execute(POOL, PLATFORM, pool_id, command, cause)
        if counter.pool is None or counter.pool.events + len(outcome.events) != outcome.state.events:
            # Somebody else changed the pool in between; the plan did not know, so look once more.
            self._board.news.set()
        counter.pool = outcome.state
        desk.own_version = outcome.state.events

    def _returned(self, counter: _Counter) -> None:
        back = counter.returns.popleft()
        if not back.done.done():
            back.done.set_result(None)

    # -- telling those who wait ------------------------------------------------------------------------------------

    def _refuse(self, desk: Desk, refusal: Refusal, instead: tuple[NearestShape, ...]) -> None:
        waiting = refusal.waiting
        desk.line.leave(waiting.allocation_id)
        desk.untold.pop(waiting.allocation_id, None)
        command = orders.RejectAllocation(refusal.reason, refusal.detail[:500], instead)
        self._tell(waiting.allocation_id, command, "rejected")

    def _explain(self, desk: Desk, decided: Plan) -> None:
        """Newcomers that could not go on are told why, once; those whose time has not come, until when."""
        for allocation_id, said in desk.news_of_time(decided.deferred):
            command = orders.DeferAllocation(said.reason, said.until, said.detail[:500])
            self._tell(allocation_id, command, f"deferred {said.until}")
        for allocation_id in list(desk.untold):
            lane = desk.line.lane_of(allocation_id)
            obstacle = decided.exhausted.get(allocation_id)
            obstacle = obstacle or decided.obstacles.get(lane) if lane else None
            if obstacle is not None:
                self._tell(allocation_id, orders.QueueAllocation(obstacle.reason, obstacle.detail[:500]), "queued")
            if obstacle is not None or lane is None:
                del desk.untold[allocation_id]

    def _tell(self, allocation_id: str, command: orders.AllocationCommand, step: str) -> None:
        if (ask := self._board.asks.get(allocation_id)) is not None:
            self._to_tell[allocation_id] = (ask.waiting.tenant_id, command, ask.cause.at(step))
            self._telling.set()

    async def tell(self) -> None:
        """For ever: write down who waits and who was turned down."""
        while True:
            await self._telling.wait()
            self._telling.clear()
            while self._to_tell:
                some = list(self._to_tell)[:TOLD_AT_ONCE]
                await asyncio.gather(*(self._tell_one(allocation_id) for allocation_id in some))

    async def _tell_one(self, allocation_id: str) -> None:
        tenant_id, command, cause = self._to_tell[allocation_id]
        try:
            await self._commands.execute(ALLOCATION, tenant_id, allocation_id, command, cause)
        except (Unavailable, Conflict):
            await asyncio.sleep(RETRY_S)
            return
        except Rejected:
            pass  # It has moved on meanwhile: placed, or called off.
        self._to_tell.pop(allocation_id, None)


def _nowhere(pool_id: str, line: Line) -> Plan:
    """Everybody in the line of a pool that does not exist is turned down."""
    detail = f"there is no pool {pool_id}; see the list of pools"
    refusals = [Refusal(waiting, "unknown-pool", detail) for _, lane in line.lanes() for waiting in lane]
    return Plan((), tuple(refusals), {}, {}, full=False)


class Lives(Reaction):
    """Carries an allocation on: claimed → placed → started; release asked → stopped → released → claim returned."""

    name = "lives"
    reads = (
        ClaimGranted,
        PreemptionOrdered,
        AllocationPlaced,
        AllocationReleaseRequested,
        AllocationPreempted,
        AllocationReleased,
    )
    concurrency = 64

    def __init__(self, commands: Commands, scheduler: Scheduler, board: Board, runtime: Runtime) -> None:
        self._commands = commands
        self._scheduler = scheduler
        self._board = board
        self._runtime = runtime

    def key(self, fact: Fact) -> str:
        """The allocation: the pool's history tells of many, and each goes its own way."""
        return fact.event.allocation_id if isinstance(fact.event, ClaimGranted) else _id_in(fact)

    async def react(self, fact: Fact) -> None:
        match fact.event:
            case ClaimGranted() as claim:
                await self._place(fact, claim)
            case AllocationPlaced() as placed:
                await self._start(fact, placed)
            case PreemptionOrdered() as order:
                await self._preempt(fact, order)
            case AllocationReleaseRequested() | AllocationPreempted():
                await self._stop(fact)
            case AllocationReleased() as over if over.gpu_count:
                cause = Cause.of(fact, SERVICE, "return")
                why = over.because or over.end_reason
                await self._scheduler.give_back(over.pool_id, over.allocation_id, why, cause)

    async def _place(self, fact: Fact, claim: ClaimGranted) -> None:
        last = claim.ends_by if claim.reservation_id is not None else None
        command = orders.PlaceAllocation(claim.pool_id, claim.gpu_model, claim.members, last)
        cause = Cause.of(fact, SERVICE, "placed")
        try:
            await self._commands.execute(ALLOCATION, claim.tenant_id, claim.allocation_id, command, cause)
        except Rejected as late:
            # It was called off between asking and granting: nobody will use these GPUs.
            _log.info("claim of %s goes back: %s", claim.allocation_id, late.detail)
            await self._scheduler.give_back(claim.pool_id, claim.allocation_id, "not-wanted-any-more", cause)

    async def _preempt(self, fact: Fact, order: PreemptionOrdered) -> None:
        for victim in order.victims:
            command = orders.PreemptAllocation(order.cause, victim.lost_gpu_ms)
            cause = replace(Cause.of(fact, SERVICE, "preempted"), project_id=victim.project_id)
            try:
                await self._commands.execute(ALLOCATION, victim.tenant_id, victim.allocation_id, command, cause)
            except Rejected as late:
                _log.info("%s need not be preempted: %s", victim.allocation_id, late.detail)

    async def _start(self, fact: Fact, placed: AllocationPlaced) -> None:
        run = await self._run(fact.tenant_id, placed)
        if run is None:
            return
        started_at = await begun(self._runtime, run)
        if isinstance(started_at, str):
            await self._give_up(fact, run, started_at)
            return
        try:
            await self._commands.execute(
                ALLOCATION,
                fact.tenant_id,
                placed.allocation_id,
                orders.StartAllocation(started_at),
                Cause.of(fact, SERVICE, "started"),
            )
        except Rejected:
            # Its release was asked for meanwhile; that event comes next and ends it in the books.
            await self._runtime.stop(run, None, started_at)

    async def _give_up(self, fact: Fact, run: Run, why: str) -> None:
        """It could not be started: end it, once the runtime is sure that nothing of it runs."""
        end = await self._runtime.stop(run, None, fact.time)
        command = orders.EndAllocation(end.ended_at, "lost", detail=why[:500])
        cause = Cause.of(fact, SERVICE, "not-started")
        await self._commands.execute(ALLOCATION, fact.tenant_id, run.allocation_id, command, cause)

    async def _run(self, tenant_id: str, placed: AllocationPlaced) -> Run | None:
        """What to start; None when it has ended already."""
        if (ask := self._board.asks.get(placed.allocation_id)) is not None:
            return ask.run(placed.members)
        state, _ = await self._commands.state(ALLOCATION, tenant_id, placed.allocation_id)
        return run_of(state) if isinstance(state, life.Placed | life.Active | life.Releasing) else None

    async def _stop(self, fact: Fact) -> None:
        allocation_id = _id_in(fact)
        state, _ = await self._commands.state(ALLOCATION, fact.tenant_id, allocation_id)
        if not isinstance(state, life.Releasing):
            return
        at = fact.time
        if state.reason == "lease-expired":
            at = life.lease_end(state) if state.started_at is not None else at
        if state.lost_at is not None:
            at = max(state.lost_at, state.started_at or state.lost_at)
        end: Ended = await self._runtime.stop(run_of(state), state.started_at, at)
        await self._commands.execute(
            ALLOCATION,
            fact.tenant_id,
            allocation_id,
            orders.EndAllocation(end.ended_at, end.how, end.exit_code),
            Cause.of(fact, SERVICE, "stopped"),
        )


def run_of(state: life.Placed | life.Active | life.Releasing) -> Run:
    """What the runtime is to run, or runs."""
    workload = state.request.workload
    return Run(state.request.allocation_id, workload.image, workload.command, state.placement.members)
