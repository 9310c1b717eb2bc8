"""What follows from where a machine stands, round after round. One law: the log says where, a look says what next.

Slow work has no waiting reaction: every round reads who wants something, asks the provider once and records what is
done. After a crash the next round goes on, for an order's id is derived from the history.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.common.ids import derived_id
from gpuaas.common.projections import Database, Record
from gpuaas.nodes.domain.axes import OWN_NAME, Lifecycle
from gpuaas.nodes.domain.hardware import Field
from gpuaas.nodes.domain.orders import (
    NodeCommand,
    RecordAllocationEnded,
    RecordDrained,
    RecordUnusableHardware,
    RecordWiped,
)
from gpuaas.nodes.ports import MachineProvider, ProviderRefused, Unanswered, UnknownMachine
from gpuaas.nodes.projections.node_claims import NodeClaims
from gpuaas.nodes.projections.nodes import Nodes
from gpuaas.nodes.reactions import NODE_ENTITY, Onlooker

CONCURRENT: Final = 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Views:
    """The read models that tell where machines stand.

    Attributes:
        claims_reached: waits until `claims` is folded up to a position; raises Unavailable.
        windows_settled: waits until the windows are folded up to the log's end; raises Unavailable.
    """

    nodes: Nodes
    claims: NodeClaims
    database: Database
    claims_reached: Callable[[int], Awaitable[None]]
    windows_settled: Callable[[], Awaitable[None]]


class Upkeep:
    """Drained machines are said to be empty, left ones are wiped, and what was worked on is looked at again."""

    def __init__(
        self, views: Views, commands: Commands, clock: Clock, provider: MachineProvider, onlooker: Onlooker
    ) -> None:
        self._views = views
        self._commands = commands
        self._clock = clock
        self._provider = provider
        self._onlooker = onlooker

    async def round(self) -> None:
        """One look at every machine that is drained, left, unclean or not yet looked at."""
        rows = await self._views.nodes.wanting(self._views.database)
        if not rows:
            return
        # Whatever the pools did before these machines came to stand so is folded before the claims are read.
        seen = max(row["position"] for row in rows)
        await self._views.claims_reached(seen)
        ids = [row["node_id"] for row in rows]
        standing: dict[str, set[str]] = {node_id: set() for node_id in ids}
        for claim in await self._views.claims.on_nodes(self._views.database, ids):
            standing[claim["node_id"]].add(claim["allocation_id"])
        offered = await self._views.claims.offered(self._views.database, ids)
        await side_by_side(
            [self._attend(row, standing[row["node_id"]], row["node_id"] in offered, seen) for row in rows]
        )

    async def _attend(self, row: Record, standing: set[str], offered: bool, seen: int) -> None:
        try:
            await self._ended(row, standing, seen)
            await self._emptied(row, standing, offered, seen)
            match row["lifecycle"], row["unclean"], row["look_due"]:
                case Lifecycle.SANITIZING, True, _:
                    await self._wipe(row)
                case Lifecycle.SANITIZING | Lifecycle.VALIDATING, False, True:
                    await self._look(row)
                case Lifecycle.VALIDATING, True, True if not row["occupants"]:
                    await self._look(row)
        except (Rejected, NotFound) as overtaken:
            _log.info("node %s: %s", row["node_id"], overtaken.detail)
        except Unavailable as away:
            _log.warning("node %s: %s", row["node_id"], away.detail)

    async def _ended(self, row: Record, standing: set[str], seen: int) -> None:
        """Allocations that the log of this service still has on the machine and the pool has taken back."""
        for allocation_id, told in row["occupants"].items():
            if allocation_id not in standing and seen >= int(told["pool_position"]):
                order = RecordAllocationEnded(allocation_id, "the pool took the claim back")
                await self.give(row, order, f"ended-{allocation_id}")

    async def _emptied(self, row: Record, standing: set[str], offered: bool, seen: int) -> None:
        drain: dict[str, Any] = row["drain"]
        if not drain or drain["drained_at"] is not None or standing or offered or row["occupants"]:
            return
        await self.give(row, RecordDrained(self._clock.now(), seen), "drained")

    async def _wipe(self, row: Record) -> None:
        node_id = row["node_id"]
        order_id = derived_id("wipe", node_id, row["lifecycle_since"].isoformat())
        try:
            report = await self._provider.erase(node_id, order_id)
        except (Unanswered, UnknownMachine) as again:
            _log.warning("wipe of %s: %s", node_id, again.detail)
            return
        except ProviderRefused as refused:
            await self.give(row, RecordUnusableHardware(Field.WIPE, "a wiped machine", refused.detail), "not-wiped")
            return
        if report is not None:
            proof = RecordWiped(report.method, report.disks, report.gpus, report.finished_at, report.sha256)
            await self.give(row, proof, "wiped")

    async def _look(self, row: Record) -> None:
        cause = self._cause(row, "look")
        await self._onlooker.record(row["node_id"], await self._onlooker.look(row["node_id"]), cause)

    async def give(self, row: Record, command: NodeCommand, step: str) -> None:
        await self._commands.execute(NODE_ENTITY, PLATFORM, row["node_id"], command, self._cause(row, step))

    def _cause(self, row: Record, step: str) -> Cause:
        return Cause(derived_id("upkeep", row["node_id"], row["version"], step), OWN_NAME, "service")


async def side_by_side(orders: Sequence[Awaitable[None]]) -> None:
    """All of them, a bounded number at once."""
    free = asyncio.Semaphore(CONCURRENT)

    async def one(order: Awaitable[None]) -> None:
        async with free:
            await order

    async with asyncio.TaskGroup() as group:
        for order in orders:
            group.create_task(one(order))


async def again_and_again(rounds: Sequence[Callable[[], Awaitable[None]]], pause_s: float) -> None:
    """Run the rounds in order, for ever, with a pause of real seconds between."""
    while True:
        for each in rounds:
            await each()
        await asyncio.sleep(pause_s)
