"""What follows from our own events: a registered node is adopted, looked at and judged. One law: intent first.

The provider is asked outside any transaction; its answer comes back as a command whose cause is the registration. Every
step may happen again after a crash: adopting is idempotent by our id, and what the log already knows is not said twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from gpuaas.common.clock import Clock, WallClock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.ids import derived_id
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.allocations import ClaimGranted
from gpuaas.contracts.nodes import (
    NodeHeartbeatLost,
    NodeRegistered,
)
from gpuaas.nodes.domain.automation import (
    AUTOMATION,
    Automation,
    AutomationCommand,
)
from gpuaas.nodes.domain.automation import VOCABULARY as AUTOMATION_VOCABULARY
from gpuaas.nodes.domain.axes import OWN_NAME, SERVING, Isolation, Lifecycle, Node, NodeState
from gpuaas.nodes.domain.burn_in import BurnInPolicy
from gpuaas.nodes.domain.component import COMPONENT, Component, ComponentCommand, ReportFault
from gpuaas.nodes.domain.component import VOCABULARY as COMPONENT_VOCABULARY
from gpuaas.nodes.domain.faults import FaultClass, FaultRules
from gpuaas.nodes.domain.hardware import Field, SeenMachine
from gpuaas.nodes.domain.node import NODE, VOCABULARY
from gpuaas.nodes.domain.orders import (
    BeginOnboarding,
    NodeCommand,
    RecordAllocated,
    RecordHardware,
    RecordUnusableHardware,
    ValidateNode,
)
from gpuaas.nodes.domain.rulebook import CURRENT, RULEBOOK, RuleBook, SwitchOnRules
from gpuaas.nodes.domain.rulebook import VOCABULARY as RULES_VOCABULARY
from gpuaas.nodes.ports import EnrolsMachines, ProviderRefused, Unanswered, UnknownMachine, Wanted

NODE_ENTITY: Final[Entity[NodeState, NodeCommand]] = Entity("nodes", "node", NODE, VOCABULARY)
REMEMBERED_MAX: Final = 100_000
Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Persistence:
    """How long a provider is asked again.

    Attributes:
        timeout_s: longest wait for one answer, real seconds.
        attempts_max: questions until it counts as silent.
        pause_s: pause before the second one; doubles each time.
    """

    timeout_s: float = 10.0
    attempts_max: int = 5
    pause_s: float = 0.2


class Onlooker:
    """Asks the provider about machines and records what came of it.

    Args:
        provider: adopts and observes; one order per machine is under way at a time.
        burn_in: what machines have to pass before they are available; None: nothing.
        clock: for the time of such an order.
    """

    def __init__(
        self,
        provider: EnrolsMachines,
        commands: Commands,
        persistence: Persistence,
        burn_in: BurnInPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._provider = provider
        self._commands = commands
        self._persistence = persistence
        self._burn_in = burn_in
        self._clock = clock or WallClock()

    async def enrol(self, node_id: str, wanted: Wanted, cause: Cause) -> None:
        """Bind a machine to the node and judge it, whatever went wrong on the way before.

        Raises:
            Rejected: the log has moved on: retired, or looked at by someone else.
        """
        try:
            seen = await self._adopted(node_id, wanted)
        except ProviderRefused as refused:
            await self._record_unusable(node_id, Field.PROVIDER, "a machine", refused.detail, cause)
        except Unanswered as silence:
            await self._record_unusable(node_id, Field.PROVIDER, "an answer", silence.detail, cause)
        else:
            await self.record(node_id, seen, cause)

    async def look(self, node_id: str) -> SeenMachine:
        """Look once, now. Raises Unanswered, UnknownMachine."""
        return await self._answer(lambda: self._provider.observe(node_id), node_id)

    async def record(self, node_id: str, seen: SeenMachine, cause: Cause) -> int:
        """Put a look and the verdict on it into the log; the position of the last event.

        What no machine can have becomes a typed failure.
        """
        try:
            await self._give(node_id, RecordHardware(seen), cause.at("look"))
        except Invalid as impossible:
            return await self._record_unusable(
                node_id, Field.OBSERVATION, "a possible machine", impossible.detail, cause
            )
        return await self._give(node_id, await self._validation(node_id), cause.at("verdict"))

    async def _validation(self, node_id: str) -> ValidateNode:
        node, _ = await self._commands.state(NODE_ENTITY, PLATFORM, node_id)
        if self._burn_in is None or not isinstance(node, Node):
            return ValidateNode()
        plan = self._burn_in.plan_for(node.expected.pool_id, node.proof_due)
        return ValidateNode(plan, self._clock.now() if plan else None)

    async def _record_unusable(self, node_id: str, field: Field, expected: str, observed: str, cause: Cause) -> int:
        _log.warning("node %s: %s expected, %s", node_id, expected, observed)
        return await self._give(node_id, RecordUnusableHardware(field, expected, observed), cause.at("look"))

    async def _give(self, node_id: str, command: NodeCommand, cause: Cause) -> int:
        outcome = await self._commands.execute(NODE_ENTITY, PLATFORM, node_id, command, cause)
        return outcome.position

    async def _adopted(self, node_id: str, wanted: Wanted) -> SeenMachine:
        """Adopt and look. After an order without an answer only a look follows; it says whether to order again.

        Raises:
            Unanswered: silent for all attempts.
            ProviderRefused: no such machine to give.
        """
        last: Unanswered | UnknownMachine | None = None
        for attempt in range(self._persistence.attempts_max):
            if attempt:
                await asyncio.sleep(self._persistence.pause_s * 2 ** (attempt - 1))
            try:
                if last is not None:
                    with contextlib.suppress(UnknownMachine):
                        return await self.look(node_id)
                await self._answer(lambda: self._provider.adopt(node_id, wanted), node_id)
                return await self.look(node_id)
            except (Unanswered, UnknownMachine) as again:
                last = again
        raise Unanswered(f"none in {self._persistence.attempts_max} attempts, last: {last}")

    async def _answer(self, ask: Callable[[], Awaitable[Answer]], node_id: str) -> Answer:
        try:
            async with asyncio.timeout(self._persistence.timeout_s):
                return await ask()
        except TimeoutError:
            waited_s = self._persistence.timeout_s
            raise Unanswered(f"the provider did not answer for {node_id} within {waited_s:g} s") from None


_ENROLLING: Final = frozenset({Lifecycle.REGISTERED, Lifecycle.ONBOARDING, Lifecycle.VALIDATING})


class EnrolNodes(Reaction):
    """A registered node is adopted, observed and judged."""

    name = "enrol-nodes"
    reads = (NodeRegistered,)

    def __init__(self, onlooker: Onlooker, commands: Commands, clock: Clock, concurrency: int) -> None:
        self.concurrency = concurrency  # type: ignore[misc] # a setting here, a constant elsewhere
        self._onlooker = onlooker
        self._commands = commands
        self._clock = clock

    async def react(self, fact: Fact) -> None:
        event = fact.event
        assert isinstance(event, NodeRegistered)
        state, _ = await self._commands.state(NODE_ENTITY, PLATFORM, event.node_id)
        if not isinstance(state, Node) or state.lifecycle not in _ENROLLING:
            return  # a repeat after a crash or a rebuilt database: this node is past its enrolment
        wanted = Wanted(gpu_model=event.expected_gpu_model, gpu_count=event.expected_gpu_count)
        try:
            begin = BeginOnboarding(self._clock.now())
            cause = Cause.of(fact, OWN_NAME, "begin")
            await self._commands.execute(NODE_ENTITY, PLATFORM, event.node_id, begin, cause)
            await self._onlooker.enrol(event.node_id, wanted, Cause.of(fact, OWN_NAME, "enrol"))
        except (Rejected, NotFound) as moved_on:
            _log.info("node %s was not enrolled: %s", event.node_id, moved_on.detail)


COMPONENT_ENTITY: Final[Entity[Component, ComponentCommand]] = Entity(
    "nodes", "component", COMPONENT, COMPONENT_VOCABULARY
)
AUTOMATION_ENTITY: Final[Entity[Automation, AutomationCommand]] = Entity(
    "nodes", "automation", AUTOMATION, AUTOMATION_VOCABULARY
)
RULES_ENTITY: Final[Entity[RuleBook, SwitchOnRules]] = Entity("nodes", "fault-rules", RULEBOOK, RULES_VOCABULARY)


class RulesInForce:
    """The rules that judge now: those that were switched on last, or the ones of this release."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def book(self) -> RuleBook:
        book, _ = await self._commands.state(RULES_ENTITY, PLATFORM, CURRENT)
        return book

    async def now(self) -> FaultRules:
        return (await self.book()).rules


def machine_component_of(node_id: str) -> str:
    """The component that a machine as a whole is."""
    return f"machine-{derived_id('machine-component', node_id).replace('-', '')[:24]}"


class CountSilences(Reaction):
    """A lost heartbeat is a fault of the machine as a whole, so that repeat offenders climb the ladder too."""

    name = "count-silences"
    reads = (NodeHeartbeatLost,)

    def __init__(self, commands: Commands, rules: RulesInForce) -> None:
        self._commands = commands
        self._rules = rules

    async def react(self, fact: Fact) -> None:
        event = fact.event
        assert isinstance(event, NodeHeartbeatLost)
        node, _ = await self._commands.state(NODE_ENTITY, PLATFORM, event.node_id)
        if not isinstance(node, Node) or node.hardware is None or node.lifecycle not in SERVING:
            return  # a machine that is wiped, serviced or repaired falls silent by design
        component_id = machine_component_of(node.hardware.machine_serial)
        report = ReportFault(
            component_id=component_id,
            node_id=node.node_id,
            serial=node.hardware.machine_serial,
            fault=FaultClass.HEARTBEAT_LOST,
            code=None,
            source="heartbeat",
            detail=f"silent since {event.last_seen_at.isoformat()}",
            observed_at=fact.time,
            rules=await self._rules.now(),
        )
        cause = Cause.of(fact, OWN_NAME, "silence")
        try:
            await self._commands.execute(COMPONENT_ENTITY, PLATFORM, component_id, report, cause)
        except Rejected as refused:
            _log.warning("silence of %s is not counted: %s", node.node_id, refused.detail)


class KeepCustody(Reaction):
    """A claim on a machine that is let whole passes it into the tenant's hands, at once and in the pool's order.

    That it comes back is noticed by the upkeep, which compares what stands here with the pool's claims: meanwhile the
    machine is closed anyway.
    """

    name = "keep-custody"
    reads = (ClaimGranted,)

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._isolation: dict[str, Isolation] = {}

    async def react(self, fact: Fact) -> None:
        event = fact.event
        assert isinstance(event, ClaimGranted)
        for node_id in sorted({member.node_id for member in event.members}):
            if await self._isolated(node_id) is Isolation.MACHINE:
                claim = RecordAllocated(event.allocation_id, event.tenant_id, event.project_id, fact.position)
                cause = Cause.of(fact, OWN_NAME, "custody")
                try:
                    await self._commands.execute(NODE_ENTITY, PLATFORM, node_id, claim, cause)
                except (Rejected, NotFound) as overtaken:
                    _log.warning("claim of %s on %s: %s", event.allocation_id, node_id, overtaken.detail)

    async def _isolated(self, node_id: str) -> Isolation | None:
        """What was said at the registration, which never changes; None: no such node."""
        known = self._isolation.get(node_id)
        if known is None:
            node, _ = await self._commands.state(NODE_ENTITY, PLATFORM, node_id)
            if not isinstance(node, Node):
                return None
            if len(self._isolation) >= REMEMBERED_MAX:
                self._isolation.clear()
            known = self._isolation[node_id] = node.expected.isolation
        return known
