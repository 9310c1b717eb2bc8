"""What follows when a machine proved itself, or failed to. One law: only what was answered is healthy again."""

from __future__ import annotations

import logging

from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.nodes import NodeBecameAvailable, NodeBurnInStepEnded
from gpuaas.nodes.domain.axes import OWN_NAME, Node
from gpuaas.nodes.domain.burn_in import FAULT_OF
from gpuaas.nodes.domain.component import RecordRecovery, ReportFault
from gpuaas.nodes.domain.faults import FaultClass
from gpuaas.nodes.domain.proofs import Load
from gpuaas.nodes.reactions import COMPONENT_ENTITY, NODE_ENTITY, RulesInForce, machine_component_of

_log = logging.getLogger(__name__)


class CountBurnInFailures(Reaction):
    """A burn-in that failed is a fault of the GPU that failed it, or of the machine as a whole."""

    name = "count-burn-in-failures"
    reads = (NodeBurnInStepEnded,)

    def __init__(self, commands: Commands, rules: RulesInForce) -> None:
        self._commands = commands
        self._rules = rules

    async def react(self, fact: Fact) -> None:
        event = fact.event
        assert isinstance(event, NodeBurnInStepEnded)
        node, _ = await self._commands.state(NODE_ENTITY, PLATFORM, event.node_id)
        if event.outcome not in ("failed", "late") or not isinstance(node, Node) or node.hardware is None:
            return
        device = next((each for each in node.hardware.devices if each.device_id == event.device_id), None)
        serial = device.serial if device else node.hardware.machine_serial
        component_id = device.device_id if device else machine_component_of(serial)
        report = ReportFault(
            component_id=component_id,
            node_id=node.node_id,
            serial=serial,
            fault=FAULT_OF[Load(event.step)] if device else FaultClass.UNKNOWN,
            code=None,
            source="agent",
            detail=f"burn-in, {event.step}: {event.detail}"[:500],
            observed_at=fact.time,
            rules=await self._rules.now(),
        )
        cause = Cause.of(fact, OWN_NAME, "burn-in")
        try:
            await self._commands.execute(COMPONENT_ENTITY, PLATFORM, component_id, report, cause)
        except Rejected as refused:
            _log.warning("burn-in of %s is not counted: %s", node.node_id, refused.detail)


class ProveRecovery(Reaction):
    """A machine that is available again after a remedy proves the component healthy that the remedy was for."""

    name = "prove-recovery"
    reads = (NodeBecameAvailable,)

    def __init__(self, commands: Commands, rules: RulesInForce) -> None:
        self._commands = commands
        self._rules = rules

    async def react(self, fact: Fact) -> None:
        event = fact.event
        assert isinstance(event, NodeBecameAvailable)
        node, _ = await self._commands.state(NODE_ENTITY, PLATFORM, event.node_id)
        if not isinstance(node, Node):
            return
        rules = await self._rules.now()
        for component_id, remedy in node.remedied.items():
            if remedy.outcome != "done":
                continue
            burnt_in = node.burned_in_at is not None and node.burned_in_at > remedy.started_at
            proof = "validated and burnt in" if burnt_in else "looked at and validated"
            reason = f"{remedy.action.value} done; {proof} again"
            recovery = RecordRecovery(reason, fact.time, rules.version, remedy.fault_number)
            try:
                cause = Cause.of(fact, OWN_NAME, f"proved-{component_id}")
                await self._commands.execute(COMPONENT_ENTITY, PLATFORM, component_id, recovery, cause)
            except (Rejected, NotFound) as overtaken:
                _log.info("component %s: %s", component_id, overtaken.detail)
