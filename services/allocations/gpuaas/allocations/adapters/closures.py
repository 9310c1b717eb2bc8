"""Maintenance and burn-in, as nodes plans them, become closures on the pool's calendar. One law: what is planned for a
machine is known to the calendar before anybody is placed on it.

A plan may come right behind the machines it is about, which pools take in by a reaction of their own; and a machine may
join a pool while a plan for it stands. Either way it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gpuaas.allocations.domain.booking import BookingCommand, CloseTime, OpenTime
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.pool import PoolCommand
from gpuaas.allocations.projections.board import SERVICE
from gpuaas.allocations.projections.pool_capacity import PoolCapacity
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import PLATFORM, Fact, subject_of
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import Database, decoded
from gpuaas.common.reactions import Reaction
from gpuaas.common.readers import Reader
from gpuaas.contracts.allocations import PoolCapacityAdded
from gpuaas.contracts.inventory import MachineAccepted
from gpuaas.contracts.nodes import (
    MaintenanceEnded,
    MaintenancePostponed,
    MaintenanceScheduled,
    MaintenanceStarted,
    NodeBecameAvailable,
    NodeBurnInStarted,
)

_ForPool = Callable[[str], BookingCommand]
_WORDS: Final = Vocabulary(MaintenanceScheduled, MaintenancePostponed, MaintenanceStarted, MaintenanceEnded)
REACHED_S: Final = 10.0
"""How long a plan waits for the machines before it; then the reaction begins again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A maintenance window that stands, as it was last moved."""

    window_id: str
    node_ids: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    reason: str

    def closing(self, pool_id: str) -> CloseTime:
        """The order that a pool be closed for it."""
        return CloseTime(
            pool_id, self.window_id, self.node_ids, self.starts_at, self.ends_at, "maintenance", self.reason
        )


class Plans(Reader):
    """Keeps the windows that stand up to the log, read from its beginning at every start."""

    def __init__(self, log: EventLog) -> None:
        super().__init__("plans", log)
        self.standing: dict[str, Plan] = {}

    async def _begin(self) -> int:
        self.standing.clear()
        return 0

    def _follow(self, after: int) -> Follower:
        return self._log.follow(_WORDS.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for fact in decoded(_WORDS, batch.events):
            match fact.event:
                case MaintenanceScheduled() as said:
                    plan = Plan(said.window_id, tuple(said.node_ids), said.starts_at, said.ends_at, said.reason)
                    self.standing[said.window_id] = plan
                case MaintenancePostponed() as said:
                    self._move(said.window_id, said.starts_at, said.ends_at)
                case MaintenanceStarted() as said:
                    ends_at = max(said.ends_at, said.started_at + timedelta(seconds=1))
                    self._move(said.window_id, said.started_at, ends_at)
                case MaintenanceEnded() as said:
                    self.standing.pop(said.window_id, None)

    def _move(self, window_id: str, starts_at: datetime, ends_at: datetime) -> None:
        if (plan := self.standing.get(window_id)) is not None:
            self.standing[window_id] = replace(plan, starts_at=starts_at, ends_at=ends_at)


class Closures(Reaction):
    """Closes and opens machines on the calendars of the pools they are in.

    Args:
        before: what a plan has to find as it was when it was made: the pools, and the machines in them.
    """

    name = "closures"
    reads = (
        MaintenanceScheduled,
        MaintenancePostponed,
        MaintenanceStarted,
        MaintenanceEnded,
        NodeBurnInStarted,
        NodeBecameAvailable,
        PoolCapacityAdded,
    )

    def __init__(
        self,
        commands: Commands,
        log: EventLog,
        database: Database,
        capacity: PoolCapacity,
        pool: Entity[Pool, PoolCommand],
        plans: Plans,
        before: Sequence[Reader],
    ) -> None:
        self._commands = commands
        self._log = log
        self._database = database
        self._capacity = capacity
        self._pool = pool
        self._plans = plans
        self._before = before

    async def react(self, fact: Fact) -> None:
        match fact.event:
            case MaintenanceScheduled() | MaintenancePostponed() | MaintenanceStarted() as said:
                await _all_reached((*self._before, self._plans), fact.position)
                # By now it may have been moved again, or be over; then the event about that comes here as well.
                if (plan := self._plans.standing.get(said.window_id)) is not None:
                    await self._everywhere(fact, plan.closing)
            case MaintenanceEnded() as end:
                await _all_reached((*self._before, self._plans), fact.position)
                await self._everywhere(fact, lambda pool_id: OpenTime(pool_id, end.window_id, end.outcome))
            case NodeBurnInStarted() as burn:
                await self._burn_in(fact, burn)
            case NodeBecameAvailable() as back:
                closure = _burn_in_of(back.node_id)
                opening = OpenTime(back.pool_id, closure, "the machine is available")
                await self._order(fact, "opened", opening)
            case PoolCapacityAdded() as joined:
                await _all_reached((self._plans,), fact.position)
                await self._joined(fact, joined)

    async def _joined(self, fact: Fact, joined: PoolCapacityAdded) -> None:
        for plan in [each for each in self._plans.standing.values() if joined.node_id in each.node_ids]:
            await self._order(fact, f"closed for {plan.window_id}", plan.closing(joined.pool_id))
            # Its end is another history, which may have been answered meanwhile.
            if plan.window_id not in self._plans.standing:
                opening = OpenTime(joined.pool_id, plan.window_id, "it ended while the machine joined")
                await self._order(fact, f"opened for {plan.window_id}", opening)

    async def _order(self, fact: Fact, step: str, order: BookingCommand) -> None:
        cause = Cause.of(fact, SERVICE, step)
        await self._commands.execute(self._pool, PLATFORM, order.pool_id, order, cause)

    async def _burn_in(self, fact: Fact, burn: NodeBurnInStarted) -> None:
        history = await self._log.history(subject_of("inventory", "machine", PLATFORM, burn.node_id))
        known = [each.event for each in decoded(Vocabulary(MachineAccepted), history)]
        if not known or not isinstance(machine := known[-1], MachineAccepted):
            return
        length = timedelta(seconds=sum(step.expected_s for step in burn.steps))
        command = CloseTime(
            machine.pool_id,
            _burn_in_of(burn.node_id),
            (burn.node_id,),
            burn.started_at,
            burn.started_at + length,
            "burn-in",
            f"burn-in {burn.plan}: {burn.occasion}",
        )
        await self._order(fact, "closed", command)

    async def _everywhere(self, fact: Fact, command: _ForPool) -> None:
        """Ordered of every pool: each takes from it what is about its machines."""
        for pool_id in await self._capacity.pool_ids(self._database):
            await self._order(fact, "closure", command(pool_id))


def _burn_in_of(node_id: str) -> str:
    return f"burn-in-{node_id}"[:63].rstrip("-")


async def _all_reached(readers: Sequence[Reader], position: int) -> None:
    for reader in readers:
        await reader.reached(position, REACHED_S)
