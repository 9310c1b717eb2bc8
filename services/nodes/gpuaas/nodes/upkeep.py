"""What follows from where a machine stands, round after round. One law: the log says where, a look says what next.

Slow work has no waiting reaction: every round reads who wants something, asks the provider once and records what is
done. After a crash the next round goes on, for an order's id is derived from the history.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.common.ids import derived_id
from gpuaas.common.projections import Database, Record
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.nodes import NodeStateOverdue
from gpuaas.nodes.domain.axes import OWN_NAME, Lifecycle, Node
from gpuaas.nodes.domain.expectations import Expectation, Expectations, Step
from gpuaas.nodes.domain.hardware import Field
from gpuaas.nodes.domain.orders import (
    NodeCommand,
    RecordAllocationEnded,
    RecordDrained,
    RecordOverdue,
    RecordUnusableHardware,
    RecordWiped,
)
from gpuaas.nodes.ports import MachineProvider, ProviderRefused, Unanswered, UnknownMachine, Wanted
from gpuaas.nodes.projections.node_claims import NodeClaims
from gpuaas.nodes.projections.nodes import Nodes
from gpuaas.nodes.reactions import NODE_ENTITY, Onlooker
from prometheus_client import Counter

CONCURRENT: Final = 16
OVERDUE = Counter("gpuaas_nodes_overdue_total", "Steps named because a machine stayed too long, by state.", ("state",))
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
                case Lifecycle.SANITIZING, True, _ if not row["occupants"]:
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
        # `wipe-again` is another order; every other step leaves the one that was given.
        again = row["overdue"] if row["overdue_step"] == Step.WIPE_AGAIN else 0
        order_id = derived_id("wipe", node_id, row["lifecycle_since"].isoformat(), again)
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


class Overseer:
    """Says which machines stay too long where they are; the step is carried out by a reaction to that.

    Where the world runs faster than machines do, its clock says nothing about them and nobody is overdue.
    """

    def __init__(
        self, views: Views, commands: Commands, clock: Clock, expectations: Expectations, *, enabled: bool
    ) -> None:
        self._views = views
        self._commands = commands
        self._clock = clock
        self._expectations = expectations
        self._enabled = enabled

    async def round(self) -> None:
        """One look at everybody that stays."""
        if self._clock.real_seconds(1.0) != 1.0:
            return
        now = self._clock.now()
        for lifecycle, expected in self._expectations.states.items():
            since = now - timedelta(seconds=expected.expected_s)
            rows = await self._views.nodes.staying(self._views.database, lifecycle.value, since, len(expected.steps))
            due = [row for row in rows if self._is_due(row, expected, now)]
            await side_by_side([self._say(row, expected, now) for row in due])

    def _is_due(self, row: Record, expected: Expectation, now: datetime) -> bool:
        return bool(now >= row["lifecycle_since"] + timedelta(seconds=expected.expected_s * (row["overdue"] + 1)))

    async def _say(self, row: Record, expected: Expectation, now: datetime) -> None:
        found = RecordOverdue(
            lifecycle=row["lifecycle"],
            since=row["lifecycle_since"],
            expected_s=expected.expected_s,
            steps=tuple(step.value for step in expected.steps),
            policy_version=self._expectations.version,
            now=now,
            enabled=self._enabled,
        )
        cause = Cause(derived_id("overdue", row["node_id"], row["version"]), OWN_NAME, "service")
        try:
            await self._commands.execute(NODE_ENTITY, PLATFORM, row["node_id"], found, cause)
            OVERDUE.labels(row["lifecycle"]).inc()
        except (Rejected, NotFound) as overtaken:
            _log.info("node %s: %s", row["node_id"], overtaken.detail)
        except Unavailable as away:
            _log.warning("node %s: %s", row["node_id"], away.detail)


class TakeSteps(Reaction):
    """A machine that stays too long gets the step that was said, unless automation is switched off here."""

    name = "take-steps"
    reads = (NodeStateOverdue,)

    def __init__(self, commands: Commands, provider: MachineProvider, onlooker: Onlooker) -> None:
        self._commands = commands
        self._provider = provider
        self._onlooker = onlooker

    async def react(self, fact: Fact) -> None:
        event = fact.event
        assert isinstance(event, NodeStateOverdue)
        node, _ = await self._commands.state(NODE_ENTITY, PLATFORM, event.node_id)
        if event.withheld or not isinstance(node, Node) or node.lifecycle.value != event.lifecycle:
            return
        try:
            await self._take(Step(event.step), node, Cause.of(fact, OWN_NAME, "step"))
        except (Rejected, NotFound, Unavailable) as refused:
            # A step that does not succeed is followed by the next one of the list, when its time has come.
            _log.warning("node %s, %s: %s", event.node_id, event.step, refused.detail)

    async def _take(self, step: Step, node: Node, cause: Cause) -> None:
        match step:
            case Step.ONBOARD_AGAIN:
                wanted = Wanted(gpu_model=node.expected.gpu_model, gpu_count=node.expected.gpu_count)
                await self._onlooker.enrol(node.node_id, wanted, cause)
            case Step.LOOK_AGAIN:
                await self._onlooker.record(node.node_id, await self._onlooker.look(node.node_id), cause)
            case Step.POWER_CYCLE:
                await self._provider.power(node.node_id, False)
                await self._provider.power(node.node_id, True)
            case Step.WIPE_AGAIN | Step.CALL_A_PERSON:
                _log.warning("node %s stays %s: %s", node.node_id, node.lifecycle.value, step.value)


async def side_by_side(orders: Iterable[Awaitable[None]], at_once: int = CONCURRENT) -> None:
    """All of them, a bounded number at once."""
    free = asyncio.Semaphore(at_once)

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
