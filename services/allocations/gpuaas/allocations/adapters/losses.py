"""Machines that are lost with work on them. One law: nobody's work is given up before the grace is over, and no GPU is
given to anybody else before the runtime is sure that nothing runs on it.

Silence is no proof: a machine whose heartbeat is lost has the grace to come back. One that was retired does not come
back. What stood there ends as `node-lost`, paid for up to the instant at which the machine was last known to be there;
its own retry policy says whether it is asked for again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gpuaas.allocations.domain.book import Claim
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.orders import AllocationCommand, ReleaseAllocation
from gpuaas.allocations.domain.pool import PoolCommand
from gpuaas.allocations.projections.board import SERVICE, Board
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Conflict, Rejected, Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import decoded
from gpuaas.common.readers import Reader
from gpuaas.contracts.nodes import NodeHeartbeatLost, NodeHeartbeatRestored, NodeRetired

LOOK_AGAIN_S: Final = 0.5
_WORDS: Final = Vocabulary(NodeHeartbeatLost, NodeHeartbeatRestored, NodeRetired)
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loss:
    """A machine that is silent or gone; `event_id` is its cause for everything done about it.

    Attributes:
        lost_at: when it was last known to be there.
        for_good: it does not come back.
    """

    event_id: str
    node_id: str
    lost_at: datetime
    for_good: bool
    why: str


class Losses(Reader):
    """Keeps the machines that are lost up to the log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__("losses", log)
        self.lost: dict[str, Loss] = {}

    async def _begin(self) -> int:
        self.lost.clear()
        return 0

    def _follow(self, after: int) -> Follower:
        return self._log.follow(_WORDS.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for fact in decoded(_WORDS, batch.events):
            match fact.event:
                case NodeHeartbeatLost() as said:
                    known = self.lost.get(said.node_id)
                    if known is None or not known.for_good:
                        self.lost[said.node_id] = Loss(
                            fact.envelope.id, said.node_id, said.last_seen_at, False, "its heartbeat is lost"
                        )
                case NodeHeartbeatRestored() as said:
                    known = self.lost.get(said.node_id)
                    if known is not None and not known.for_good:
                        del self.lost[said.node_id]
                case NodeRetired() as said:
                    why = f"it is retired: {said.reason}"
                    self.lost[said.node_id] = Loss(fact.envelope.id, said.node_id, fact.time, True, why)


class Rescuer:
    """Ends what stands on machines that are lost.

    Args:
        grace_s: seconds of this world for which a machine may be silent.
    """

    def __init__(
        self,
        commands: Commands,
        allocation: Entity[Any, AllocationCommand],
        pool: Entity[Pool, PoolCommand],
        board: Board,
        losses: Losses,
        clock: Clock,
        grace_s: int,
    ) -> None:
        self._commands = commands
        self._allocation = allocation
        self._pool = pool
        self._board = board
        self._losses = losses
        self._clock = clock
        self._grace = timedelta(seconds=grace_s)
        self._done: set[tuple[str, str]] = set()

    async def rescue(self) -> None:
        """For ever: look at the machines whose grace is over."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            now = self._clock.now()
            due = [loss for loss in self._losses.lost.values() if loss.for_good or now >= loss.lost_at + self._grace]
            if not due:
                self._done.clear()
                continue
            for pool_id in list(self._board.desks):
                try:
                    pool, _ = await self._commands.state(self._pool, PLATFORM, pool_id)
                    for claim, loss in struck(pool, due):
                        await self._end(claim, loss)
                except (Conflict, Unavailable) as late:
                    _log.info("losses in pool %s wait: %s", pool_id, late.detail)

    async def _end(self, claim: Claim, loss: Loss) -> None:
        key = (loss.event_id, claim.allocation_id)
        if key in self._done:
            return
        cause = Cause(loss.event_id, SERVICE, "service", project_id=claim.project_id, step="lost", relief=True)
        detail = f"machine {loss.node_id} is lost: {loss.why}"[:500]
        command = ReleaseAllocation(
            "runtime-lost", self._clock.now(), detail=detail, lost_node_id=loss.node_id, lost_at=loss.lost_at
        )
        try:
            await self._commands.execute(self._allocation, claim.tenant_id, claim.allocation_id, command, cause)
        except Rejected as early:
            # Not placed yet: looked at again; over already: its claim is about to come back.
            _log.info("%s is not ended for a lost machine: %s", claim.allocation_id, early.detail)
            return
        self._done.add(key)


def struck(pool: Pool, losses: list[Loss]) -> list[tuple[Claim, Loss]]:
    """The claims that stand on lost machines, each with the first of its losses."""
    book = pool.book
    of_node = {book.number[loss.node_id]: loss for loss in losses if loss.node_id in book.number}
    if not of_node:
        return []
    found: list[tuple[Claim, Loss]] = []
    for claim in book.claims.values():
        hit = next((of_node[number] for number, _ in claim.holdings if number in of_node), None)
        if hit is not None:
            found.append((claim, hit))
    return found
