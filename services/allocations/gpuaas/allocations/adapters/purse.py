"""Billing's spending ladder, followed. One law: past the grace nothing of a stopped scope goes on; each is told once.

The levels are few and kept in memory, read from the log's beginning at every start.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from gpuaas.allocations.domain.orders import AllocationCommand, ReleaseAllocation
from gpuaas.allocations.domain.spending import Levels
from gpuaas.allocations.projections.board import SERVICE, Board
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.errors import Conflict, Rejected, Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import decoded
from gpuaas.common.readers import Reader
from gpuaas.contracts.billing import SpendingLevelChanged

LOOK_AGAIN_S: Final = 0.5
_WORDS: Final = Vocabulary(SpendingLevelChanged)
_log = logging.getLogger(__name__)


class Purse(Reader):
    """Keeps `levels` up to the log and wakes the scheduler when they change."""

    def __init__(self, log: EventLog, board: Board) -> None:
        super().__init__("purse", log)
        self._board = board
        self._causes: dict[tuple[str, str], str] = {}
        self.levels = Levels()

    async def _begin(self) -> int:
        self.levels = Levels()
        self._causes.clear()
        return 0

    def _follow(self, after: int) -> Follower:
        return self._log.follow(_WORDS.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for fact in decoded(_WORDS, batch.events):
            if isinstance(fact.event, SpendingLevelChanged):
                self.levels = self.levels.after(fact.event)
                self._causes[fact.event.tenant_id, fact.event.scope_id] = fact.envelope.id
                self._board.news.set()

    def cause_of(self, said: SpendingLevelChanged) -> str:
        """The event that said so."""
        return self._causes[said.tenant_id, said.scope_id]


class Stopper:
    """Ends what may not go on."""

    def __init__(
        self,
        commands: Commands,
        allocation: Entity[Any, AllocationCommand],
        board: Board,
        purse: Purse,
        clock: Clock,
    ) -> None:
        self._commands = commands
        self._allocation = allocation
        self._board = board
        self._purse = purse
        self._clock = clock
        self._told: set[tuple[str, str]] = set()

    async def stop(self) -> None:
        """For ever: release what stands in a scope past its grace, waiting or running."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            if not self._purse.levels.scopes:
                self._told.clear()
                continue
            now = self._clock.now()
            for allocation_id, ask in list(self._board.asks.items()):
                said = self._purse.levels.ends(ask.waiting.tenant_id, ask.waiting.project_id, now)
                if said is not None:
                    await self._release(ask.waiting.tenant_id, allocation_id, self._purse.cause_of(said))

    async def _release(self, tenant_id: str, allocation_id: str, because: str) -> None:
        if (because, allocation_id) in self._told:
            return
        cause = Cause(id=because, actor=SERVICE, actor_kind="service", step="stop", relief=True)
        command = ReleaseAllocation("operator", self._clock.now(), "spending-stopped")
        try:
            await self._commands.execute(self._allocation, tenant_id, allocation_id, command, cause)
        except (Conflict, Unavailable) as late:
            _log.info("%s is not stopped yet: %s", allocation_id, late.detail)
            return
        except Rejected:
            pass  # It has ended by itself.
        self._told.add((because, allocation_id))
