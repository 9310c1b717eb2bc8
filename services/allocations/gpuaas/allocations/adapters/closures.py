"""Maintenance and burn-in, as nodes plans them, become closures on the pool's calendar. One law: what is planned for a
machine is known to the calendar before anybody is placed on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from gpuaas.allocations.domain.booking import BookingCommand, CloseTime, OpenTime
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.pool import PoolCommand
from gpuaas.allocations.projections.board import SERVICE
from gpuaas.allocations.projections.pool_capacity import PoolCapacity
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import PLATFORM, Fact, subject_of
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import EventLog
from gpuaas.common.projections import Database, decoded
from gpuaas.common.reactions import Reaction
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
_PLANS: Final = Vocabulary(MaintenanceScheduled)
_log = logging.getLogger(__name__)


class Closures(Reaction):
    """Closes and opens machines on the calendars of the pools they are in."""

    name = "closures"
    reads = (
        MaintenanceScheduled,
        MaintenancePostponed,
        MaintenanceStarted,
        MaintenanceEnded,
        NodeBurnInStarted,
        NodeBecameAvailable,
    )

    def __init__(
        self,
        commands: Commands,
        log: EventLog,
        database: Database,
        capacity: PoolCapacity,
        pool: Entity[Pool, PoolCommand],
    ) -> None:
        self._commands = commands
        self._log = log
        self._database = database
        self._capacity = capacity
        self._pool = pool

    async def react(self, fact: Fact) -> None:
        match fact.event:
            case MaintenanceScheduled() as plan:
                await self._close(fact, plan.window_id, plan)
            case MaintenancePostponed() | MaintenanceStarted() as moved:
                await self._close(fact, moved.window_id, await self._plan(moved.window_id))
            case MaintenanceEnded() as end:
                await self._everywhere(fact, lambda pool_id: OpenTime(pool_id, end.window_id, end.outcome))
            case NodeBurnInStarted() as burn:
                await self._burn_in(fact, burn)
            case NodeBecameAvailable() as back:
                name = _burn_in_of(back.node_id)
                await self._commands.execute(
                    self._pool,
                    PLATFORM,
                    back.pool_id,
                    OpenTime(back.pool_id, name, "the machine is available"),
                    Cause.of(fact, SERVICE, "opened"),
                )

    async def _plan(self, window_id: str) -> MaintenanceScheduled | None:
        history = await self._log.history(subject_of("nodes", "maintenance", PLATFORM, window_id))
        first = decoded(_PLANS, history)
        return first[0].event if first and isinstance(first[0].event, MaintenanceScheduled) else None

    async def _close(self, fact: Fact, window_id: str, plan: MaintenanceScheduled | None) -> None:
        if plan is None:
            _log.warning("window %s was moved and never planned", window_id)
            return
        said = fact.event
        starts_at, ends_at = plan.starts_at, plan.ends_at
        if isinstance(said, MaintenancePostponed):
            starts_at, ends_at = said.starts_at, said.ends_at
        elif isinstance(said, MaintenanceStarted):
            starts_at, ends_at = said.started_at, max(said.ends_at, said.started_at + timedelta(seconds=1))

        def closing(pool_id: str) -> CloseTime:
            return CloseTime(pool_id, window_id, plan.node_ids, starts_at, ends_at, "maintenance", plan.reason)

        await self._everywhere(fact, closing)

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
        await self._commands.execute(self._pool, PLATFORM, machine.pool_id, command, Cause.of(fact, SERVICE, "closed"))

    async def _everywhere(self, fact: Fact, command: _ForPool) -> None:
        """Ordered of every pool: each takes from it what is about its machines."""
        for pool_id in await self._capacity.pool_ids(self._database):
            await self._commands.execute(
                self._pool, PLATFORM, pool_id, command(pool_id), Cause.of(fact, SERVICE, "closure")
            )


def _burn_in_of(node_id: str) -> str:
    return f"burn-in-{node_id}"[:63].rstrip("-")
