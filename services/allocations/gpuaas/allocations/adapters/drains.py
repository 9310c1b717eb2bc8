"""Drains that nodes orders: tenants are told, and at the deadline what still stands is released. One law: each
allocation is told once of each order, and nothing is stopped before the deadline.

That no new claims stand on a drained machine is the hold's doing; that it is empty, nodes learns from the claims that
come back. Orders that stand are kept in memory, read from the log's beginning at every start.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gpuaas.allocations.domain.book import Claim
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.orders import AllocationCommand, NotifyAllocation, ReleaseAllocation
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
from gpuaas.contracts.nodes import NodeDrainCancelled, NodeDrained, NodeDrainOrdered

LOOK_AGAIN_S: Final = 0.5
_WORDS: Final = Vocabulary(NodeDrainOrdered, NodeDrainCancelled, NodeDrained)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """A drain that stands; `event_id` is its cause for everything done about it."""

    event_id: str
    node_id: str
    deadline: datetime | None
    detail: str


class Drains(Reader):
    """Keeps the orders that stand up to the log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__("drains", log)
        self.orders: dict[str, Order] = {}

    async def _begin(self) -> int:
        self.orders.clear()
        return 0

    def _follow(self, after: int) -> Follower:
        return self._log.follow(_WORDS.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for fact in decoded(_WORDS, batch.events):
            match fact.event:
                case NodeDrainOrdered() as said:
                    detail = f"machine {said.node_id} is drained: {said.reason}"[:500]
                    self.orders[said.node_id] = Order(fact.envelope.id, said.node_id, said.deadline, detail)
                case NodeDrainCancelled() | NodeDrained() as said:
                    self.orders.pop(said.node_id, None)


class Evictor:
    """Tells and releases what stands on machines that are drained."""

    def __init__(
        self,
        commands: Commands,
        allocation: Entity[Any, AllocationCommand],
        pool: Entity[Pool, PoolCommand],
        board: Board,
        drains: Drains,
        clock: Clock,
    ) -> None:
        self._commands = commands
        self._allocation = allocation
        self._pool = pool
        self._board = board
        self._drains = drains
        self._clock = clock
        self._done: set[tuple[str, str, str]] = set()

    async def evict(self) -> None:
        """For ever: look at the orders that have a deadline."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            orders = [order for order in self._drains.orders.values() if order.deadline is not None]
            if not orders:
                self._done.clear()
                continue
            for pool_id in list(self._board.desks):
                try:
                    pool, _ = await self._commands.state(self._pool, PLATFORM, pool_id)
                    await self._look(pool, orders)
                except (Conflict, Unavailable) as late:
                    _log.info("drains in pool %s wait: %s", pool_id, late.detail)

    async def _look(self, pool: Pool, orders: list[Order]) -> None:
        book = pool.book
        of_node = {book.number[order.node_id]: order for order in orders if order.node_id in book.number}
        if not of_node:
            return
        standing = [
            (claim, order)
            for claim in book.claims.values()
            for number in {number for number, _ in claim.holdings}
            if (order := of_node.get(number)) is not None
        ]
        for claim, order in standing:
            await self._follow_up(claim, order)

    async def _follow_up(self, claim: Claim, order: Order) -> None:
        now = self._clock.now()
        assert order.deadline is not None
        if now >= order.deadline:
            step, command = "stop", ReleaseAllocation("operator", now, detail=order.detail)
            await self._give(claim, order, step, command)
        else:
            notice = NotifyAllocation(order.deadline, order.node_id, order.detail)
            await self._give(claim, order, "notice", notice)

    async def _give(self, claim: Claim, order: Order, step: str, command: AllocationCommand) -> None:
        key = (order.event_id, claim.allocation_id, step)
        if key in self._done:
            return
        cause = Cause(
            id=order.event_id,
            actor=SERVICE,
            actor_kind="service",
            project_id=claim.project_id,
            step=step,
            relief=step == "stop",
        )
        try:
            await self._commands.execute(self._allocation, claim.tenant_id, claim.allocation_id, command, cause)
        except Rejected as early:
            # Not started yet: looked at again; ending already: its claim is about to come back.
            _log.info("%s is not told of a drain: %s", claim.allocation_id, early.detail)
            return
        self._done.add(key)
