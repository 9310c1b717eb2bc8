"""Notices allocations that use none of their GPUs, tells of it, and takes them back. One law: only the finding is
written, and it rests on samples alone; whoever is not seen is left in peace.

Streaks are this process's own: after a start they begin anew, and a notice that stood is called off as not sampled.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any, Final

from gpuaas.allocations.adapters.entitlements import Entitlements
from gpuaas.allocations.domain.foresight import spelled
from gpuaas.allocations.domain.idleness import (
    BELOW_PERCENT,
    IDLENESS,
    VOCABULARY,
    EndIdle,
    Idleness,
    IdlenessCommand,
    Limits,
    NoticeIdle,
    Streak,
    limits_of,
    verdict,
)
from gpuaas.allocations.domain.orders import AllocationCommand, ReleaseAllocation
from gpuaas.allocations.ports import Meters
from gpuaas.allocations.projections.board import SERVICE, Ask, Board
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.errors import Conflict, Rejected, Unavailable
from gpuaas.contracts.allocations import AllocationIdleNoticed, IdlenessEnd

IDLE: Final[Entity[Idleness, IdlenessCommand]] = Entity(SERVICE, "idleness", IDLENESS, VOCABULARY)
LOOK_AGAIN_S: Final = 0.5
_log = logging.getLogger(__name__)


class Idlers:
    """Looks at everything that runs and may be taken back for idleness."""

    def __init__(
        self,
        commands: Commands,
        allocation: Entity[Any, AllocationCommand],
        board: Board,
        entitlements: Entitlements,
        meters: Meters,
        clock: Clock,
    ) -> None:
        self._commands = commands
        self._allocation = allocation
        self._board = board
        self._entitlements = entitlements
        self._meters = meters
        self._clock = clock
        self._streaks: dict[str, Streak] = {}
        self._standing: dict[str, Idleness] = {}
        self._settled: set[str] = set()

    async def watch(self) -> None:
        """For ever: a look at each."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            running = self._board.running.keys() - self._board.ending
            self._settled &= running
            for gone in self._streaks.keys() - running:
                self._forget(gone)
            for allocation_id in running - self._settled:
                if (ask := self._board.asks.get(allocation_id)) is None:
                    continue
                try:
                    await self._look(allocation_id, ask)
                except (Conflict, Unavailable) as late:
                    _log.info("%s is looked at again: %s", allocation_id, late.detail)
                except Rejected as moved:
                    _log.info("%s: %s", allocation_id, moved.detail)
                    self._settle(allocation_id)

    async def _look(self, allocation_id: str, ask: Ask) -> None:
        limits = limits_of(ask.idle_after_s, self._entitlements.rules(ask.pool_id))
        if limits is None and allocation_id not in self._streaks:
            return
        if allocation_id not in self._streaks:
            self._streaks[allocation_id] = await self._begin(allocation_id, ask)
        # The time first: a sample that comes meanwhile is for the next look.
        now, streak = self._clock.now(), self._streaks[allocation_id]
        run, work = self._board.runs.get(allocation_id), self._board.running.get(allocation_id)
        if run is None or work is None:
            return
        since = work.started_at
        for sample in self._meters.samples(run, since, streak.last or since, now):
            streak = streak.after(sample)
            self._streaks[allocation_id] = streak
            await self._follow(allocation_id, ask, streak, limits, sample.at)
            if allocation_id in self._settled:
                return
        await self._follow(allocation_id, ask, streak, limits, now)

    async def _begin(self, allocation_id: str, ask: Ask) -> Streak:
        """Nothing is known yet; what stood when nobody looked is called off."""
        standing, _ = await self._commands.state(IDLE, ask.waiting.tenant_id, allocation_id)
        if standing is None:
            return Streak()
        now = self._clock.now()
        await self._call_off(ask, standing, now, "not-sampled")
        return Streak(None, now)

    async def _follow(self, allocation_id: str, ask: Ask, streak: Streak, limits: Limits | None, now: datetime) -> None:
        standing = self._standing.get(allocation_id)
        match verdict(streak, limits, standing, now):
            case "notice" if limits is not None and streak.since is not None and streak.last is not None:
                said = self._said(ask, streak, limits, streak.since, streak.last)
                await self._order(ask, NoticeIdle(said), f"idle {said.noticed_at.isoformat()}")
                self._standing[allocation_id] = said
            case "take-back" if standing is not None:
                await self._take_back(ask, standing)
                self._settle(allocation_id)
            case "active-again" | "not-sampled" | "not-asked-for" as why if standing is not None:
                await self._call_off(ask, standing, now, why)
            case _:
                pass

    def _said(
        self, ask: Ask, streak: Streak, limits: Limits, since: datetime, noticed_at: datetime
    ) -> AllocationIdleNoticed:
        return AllocationIdleNoticed(
            allocation_id=ask.waiting.allocation_id,
            tenant_id=ask.waiting.tenant_id,
            project_id=ask.waiting.project_id,
            pool_id=ask.pool_id,
            idle_since=since,
            noticed_at=noticed_at,
            reclaim_at=noticed_at + limits.grace,
            idle_after_s=int(limits.idle_after.total_seconds()),
            samples=streak.samples,
            below_percent=BELOW_PERCENT,
            source=self._meters.source,
        )

    async def _call_off(self, ask: Ask, standing: AllocationIdleNoticed, at: datetime, why: IdlenessEnd) -> None:
        name = ask.waiting.allocation_id
        command = EndIdle(name, max(at, standing.noticed_at), why)
        await self._order(ask, command, f"idle {standing.noticed_at.isoformat()} {why}")
        self._standing[name] = None

    async def _take_back(self, ask: Ask, standing: AllocationIdleNoticed) -> None:
        name, tenant_id = ask.waiting.allocation_id, ask.waiting.tenant_id
        detail = f"none of its GPUs has been used since {spelled(standing.idle_since)}"
        command = ReleaseAllocation("operator", self._clock.now(), detail=detail, idle_since=standing.idle_since)
        cause = self._cause(ask, f"idle {standing.noticed_at.isoformat()} over")
        await self._commands.execute(self._allocation, tenant_id, name, command, cause)

    async def _order(self, ask: Ask, command: IdlenessCommand, step: str) -> None:
        waiting = ask.waiting
        await self._commands.execute(IDLE, waiting.tenant_id, waiting.allocation_id, command, self._cause(ask, step))

    @staticmethod
    def _cause(ask: Ask, step: str) -> Cause:
        return ask.cause.at(step)

    def _settle(self, allocation_id: str) -> None:
        """Its end is on the way: it is not looked at any more."""
        self._settled.add(allocation_id)
        self._forget(allocation_id)

    def _forget(self, allocation_id: str) -> None:
        self._streaks.pop(allocation_id, None)
        self._standing.pop(allocation_id, None)
