"""A component's verdict closes or opens its machine. One law: nothing automatic passes the guard: the pool's automation
decides first, and only what it granted becomes a hold, by the policy that alone lifts it.

What was withheld is asked again while the verdict stands, so that it is done when what held it back has passed: the
budget is free, the promise can be kept elsewhere, the breaker is closed, the machine is in service.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import Conflict, NotFound, Rejected, Unavailable
from gpuaas.common.ids import derived_id
from gpuaas.common.projections import Database, Record
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.nodes import NodeHealthChanged, NodeRetired
from gpuaas.nodes.domain.automation import AskWithdrawal, EndWithdrawal, Guard
from gpuaas.nodes.domain.axes import OWN_NAME, SERVING, Condition, Hold, Lifecycle, Node
from gpuaas.nodes.domain.faults import CLOSING, ComponentCondition
from gpuaas.nodes.domain.orders import LiftHold, NodeCommand, PlaceHold
from gpuaas.nodes.domain.promises import told
from gpuaas.nodes.domain.proofs import POLICY
from gpuaas.nodes.projections.component_health import LEFT_OPEN_MAX, ComponentHealth
from gpuaas.nodes.promising import Promises
from gpuaas.nodes.reactions import AUTOMATION_ENTITY, COMPONENT_ENTITY, NODE_ENTITY
from prometheus_client import Counter

_HOLD: Final = "health-"
AGAIN = Counter("gpuaas_withdrawals_asked_again_total", "Withheld withdrawals asked again, by outcome.", ("outcome",))
_log = logging.getLogger(__name__)


def hold_id_of(component_id: str) -> str:
    """The hold that a component's verdict places on its machine."""
    return f"{_HOLD}{derived_id('health-hold', component_id).replace('-', '')[:24]}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a component has come to, and which fault of its life brought it there."""

    component_id: str
    condition: ComponentCondition
    fault_number: int
    rule_version: str
    reason: str


class Withdrawals:
    """Closes machines, within the guard of their pool."""

    def __init__(
        self, commands: Commands, guard: Guard, in_service: Callable[[str], Awaitable[int]], promises: Promises
    ) -> None:
        self._commands = commands
        self._guard = guard
        self._in_service = in_service
        self._promises = promises

    async def ask(self, node: Node, verdict: Verdict, now: datetime, cause: Cause) -> bool:
        """Have the machine closed because of a verdict; whether it is."""
        pool_id = node.expected.pool_id
        leased, unkept = await self._leased(node, verdict, now)
        ask = AskWithdrawal(
            pool_id=pool_id,
            node_id=node.node_id,
            component_id=verdict.component_id,
            rule_version=verdict.rule_version,
            reason=verdict.reason,
            now=now,
            in_service=await self._in_service(pool_id),
            serving=node.lifecycle in SERVING and node.health.hardware is Condition.HEALTHY,
            guard=self._guard,
            fault_number=verdict.fault_number,
            leased=leased,
            unkept_windows=unkept,
        )
        outcome = await self._commands.execute(AUTOMATION_ENTITY, PLATFORM, pool_id, ask, cause.at("ask"))
        if node.node_id not in outcome.state.withdrawn:
            return False
        hold = Hold(hold_id_of(verdict.component_id), POLICY, verdict.reason, None)
        if node.hold(hold.hold_id) is None:
            await self.give(node.node_id, PlaceHold(hold), cause.at("hold"))
        return True

    async def _leased(self, node: Node, verdict: Verdict, now: datetime) -> tuple[str | None, int]:
        """What the machine is needed for. What has failed keeps no promise: the sooner its pool knows, the better."""
        if verdict.condition is ComponentCondition.FAILED:
            return None, 0
        try:
            unkept = await self._promises.unkept_of(node.node_id, now)
        except Unavailable as behind:
            return f"what the pool has promised is not known now: {behind.detail}", 0
        return (told(unkept), len(unkept)) if unkept else (None, 0)

    async def open(self, node: Node, component_id: str, reason: str, cause: Cause) -> None:
        """A component is healthy enough: its hold goes, and with the last of them the machine's share of the budget."""
        hold_id = hold_id_of(component_id)
        if node.hold(hold_id) is not None:
            await self.give(node.node_id, LiftHold(hold_id, POLICY, reason), cause.at("hold"))
        if not any(hold.owner == POLICY and hold.hold_id != hold_id for hold in node.holds):
            await self.end(node, "every component is healthy enough again", cause)

    async def end(self, node: Node, reason: str, cause: Cause) -> None:
        """The machine counts against the budget no more."""
        pool_id = node.expected.pool_id
        end = EndWithdrawal(pool_id, node.node_id, reason)
        await self._commands.execute(AUTOMATION_ENTITY, PLATFORM, pool_id, end, cause.at("end"))

    async def give(self, node_id: str, command: NodeCommand, cause: Cause) -> None:
        try:
            await self._commands.execute(NODE_ENTITY, PLATFORM, node_id, command, cause)
        except (Rejected, NotFound) as overtaken:
            _log.info("node %s: %s", node_id, overtaken.detail)


class GuardHealth(Reaction):
    """A component's verdict closes or opens its machine, within the guard; a machine that left frees its budget."""

    name = "guard-health"
    reads = (NodeHealthChanged, NodeRetired)

    def __init__(self, commands: Commands, withdrawals: Withdrawals) -> None:
        self._commands = commands
        self._withdrawals = withdrawals

    def key(self, fact: Fact) -> str:
        """The machine: verdicts on its components are handled in order."""
        event = fact.event
        assert isinstance(event, NodeHealthChanged | NodeRetired)
        return event.node_id

    async def react(self, fact: Fact) -> None:
        event = fact.event
        assert isinstance(event, NodeHealthChanged | NodeRetired)
        node, _ = await self._commands.state(NODE_ENTITY, PLATFORM, event.node_id)
        if not isinstance(node, Node):
            return
        cause = Cause.of(fact, OWN_NAME, "ask")
        if isinstance(event, NodeRetired):
            await self._withdrawals.end(node, "the machine left the fleet", cause)
        elif node.lifecycle is Lifecycle.RETIRED:
            return
        elif ComponentCondition(event.condition) in CLOSING:
            verdict = Verdict(
                event.component_id,
                ComponentCondition(event.condition),
                event.fault_count,
                event.rule_version,
                event.reason,
            )
            if not await self._withdrawals.ask(node, verdict, event.decided_at, cause):
                _log.warning("node %s stays open: automation withheld its withdrawal", node.node_id)
        else:
            await self._withdrawals.open(node, event.component_id, event.reason, cause)


class AskAgain:
    """Withheld withdrawals are asked again: a bounded number at a time, then the next ones, the worst of them first."""

    def __init__(
        self,
        health: ComponentHealth,
        database: Database,
        commands: Commands,
        clock: Clock,
        withdrawals: Withdrawals,
        every_s: float,
    ) -> None:
        self._health = health
        self._database = database
        self._commands = commands
        self._clock = clock
        self._withdrawals = withdrawals
        self._every_s = every_s
        self._due = 0.0
        self._after = 0

    async def round(self) -> None:
        """A look at components that should close their machine and do not, once every so many real seconds."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._every_s
        rows = await self._health.left_open(self._database, self._after)
        self._after = max((int(row["position"]) for row in rows), default=0) if len(rows) == LEFT_OPEN_MAX else 0
        for row in sorted(rows, key=lambda each: each["condition"] != ComponentCondition.FAILED):
            try:
                await self._again(row)
            except (Conflict, Unavailable) as later:
                _log.info("node %s is asked for again: %s", row["node_id"], later.detail)
                return

    async def _again(self, row: Record) -> None:
        node_id, component_id = row["node_id"], row["component_id"]
        node, version = await self._commands.state(NODE_ENTITY, PLATFORM, node_id)
        verdict = await self._standing(component_id)
        if verdict is None or not isinstance(node, Node) or node.lifecycle not in SERVING:
            return
        _, said = await self._commands.state(AUTOMATION_ENTITY, PLATFORM, node.expected.pool_id)
        cause = Cause(derived_id("ask-again", component_id, version, said), OWN_NAME, "service", step="ask")
        closed = await self._withdrawals.ask(node, verdict, self._clock.now(), cause)
        AGAIN.labels("closed" if closed else "withheld").inc()
        if closed and await self._standing(component_id) is None:
            # It recovered while it was asked for, and whoever opens machines then may have come before the hold.
            node, _ = await self._commands.state(NODE_ENTITY, PLATFORM, node_id)
            if isinstance(node, Node):
                await self._withdrawals.open(node, component_id, "it recovered meanwhile", cause.at("open"))

    async def _standing(self, component_id: str) -> Verdict | None:
        """What the component's own history says now; None: nothing that closes a machine."""
        component, _ = await self._commands.state(COMPONENT_ENTITY, PLATFORM, component_id)
        if component.life.condition not in CLOSING:
            return None
        return Verdict(
            component_id,
            component.life.condition,
            component.life.fault_count,
            component.rule_version,
            component.reason,
        )
