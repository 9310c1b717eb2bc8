"""One node's answers to commands. One law: what was decided is a fold over its events and of nothing else.

The states are in `axes`, the commands in `orders`, the judgement of a machine in `hardware`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.nodes import (
    NodeAllocated,
    NodeAllocationEnded,
    NodeBecameAvailable,
    NodeBurnInStarted,
    NodeBurnInStepEnded,
    NodeDrainCancelled,
    NodeDrained,
    NodeDrainOrdered,
    NodeFirmwareUpdated,
    NodeHardwareObserved,
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldLifted,
    NodeHoldPlaced,
    NodeMaintenanceEnded,
    NodeMaintenanceStarted,
    NodeOnboardingStarted,
    NodeRegistered,
    NodeRemedyEnded,
    NodeRemedyStarted,
    NodeRetired,
    NodeSanitizingStarted,
    NodeStateOverdue,
    NodeValidationFailed,
    NodeWiped,
)
from gpuaas.nodes.domain import remedies
from gpuaas.nodes.domain.admission import expired, held, lifted, said
from gpuaas.nodes.domain.axes import (
    CUSTODY,
    TRANSITIONS,
    Condition,
    Expected,
    Hold,
    Isolation,
    Lifecycle,
    Node,
    NodeState,
    Unregistered,
)
from gpuaas.nodes.domain.burn_in import step_ended, with_proofs
from gpuaas.nodes.domain.drains import cancelled, drain_after, emptied, ordered
from gpuaas.nodes.domain.enrolment import (
    looked_at,
    onboarding,
    registered,
    registered_again,
    unusable,
    validated,
    with_findings,
)
from gpuaas.nodes.domain.expectations import overdue
from gpuaas.nodes.domain.hardware import checked
from gpuaas.nodes.domain.orders import (
    BeginNodeMaintenance,
    BeginOnboarding,
    BeginRemedy,
    CancelDrain,
    EndNodeMaintenance,
    EndRemedy,
    ExpireHold,
    LiftHold,
    NodeCommand,
    OrderDrain,
    PlaceHold,
    RecordAllocated,
    RecordAllocationEnded,
    RecordBurnInStep,
    RecordDrained,
    RecordFirmware,
    RecordHardware,
    RecordHeartbeatLost,
    RecordHeartbeatRestored,
    RecordOverdue,
    RecordUnusableHardware,
    RecordWiped,
    RegisterNode,
    RetireNode,
    ValidateNode,
)
from gpuaas.nodes.domain.servicing import begun, ended, updated, with_service
from gpuaas.nodes.domain.tenancy import allocated, given_back, wiped, with_tenancy

VOCABULARY: Final = Vocabulary(
    NodeRegistered,
    NodeHardwareObserved,
    NodeBecameAvailable,
    NodeValidationFailed,
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldPlaced,
    NodeHoldLifted,
    NodeDrainOrdered,
    NodeDrainCancelled,
    NodeDrained,
    NodeOnboardingStarted,
    NodeAllocated,
    NodeAllocationEnded,
    NodeSanitizingStarted,
    NodeWiped,
    NodeMaintenanceStarted,
    NodeFirmwareUpdated,
    NodeMaintenanceEnded,
    NodeStateOverdue,
    NodeBurnInStarted,
    NodeBurnInStepEnded,
    NodeRemedyStarted,
    NodeRemedyEnded,
    NodeRetired,
)


def decide(command: NodeCommand, state: NodeState) -> Sequence[Event]:
    match state, command:
        case Unregistered(), RegisterNode() as order:
            return registered(order)
        case Unregistered(), _:
            raise NotFound("no node has this id; register it first")
        case Node() as node, RegisterNode() as order:
            return registered_again(node, order)
        case Node(lifecycle=Lifecycle.RETIRED), RetireNode():
            return []
        case Node(lifecycle=Lifecycle.RETIRED) as node, _:
            raise Rejected(f"node {node.node_id} is retired; nothing more is recorded about it")
        case Node() as node, RecordHardware() as look:
            return looked_at(node, checked(look.seen))
        case Node() as node, ValidateNode() as order:
            return validated(node, order)
        case Node() as node, RecordUnusableHardware() as look:
            return unusable(node, look)
        case Node() as node, PlaceHold() as order:
            return held(node, order.hold)
        case Node() as node, LiftHold() as order:
            return lifted(node, order)
        case Node() as node, ExpireHold() as order:
            return expired(node, order)
        case Node() as node, OrderDrain() as order:
            return ordered(node, order)
        case Node() as node, CancelDrain() as order:
            return cancelled(node, order)
        case Node() as node, RecordDrained() as look:
            return emptied(node, look)
        case Node() as node, BeginOnboarding() as order:
            return onboarding(node, order)
        case Node() as node, RecordAllocated() as claim:
            return allocated(node, claim)
        case Node() as node, RecordAllocationEnded() as end:
            return given_back(node, end)
        case Node() as node, RecordWiped() as proof:
            return wiped(node, proof)
        case Node() as node, BeginNodeMaintenance() as order:
            return begun(node, order)
        case Node() as node, RecordFirmware() as done:
            return updated(node, done)
        case Node() as node, EndNodeMaintenance() as order:
            return ended(node, order)
        case Node() as node, RecordBurnInStep() as report:
            return step_ended(node, report)
        case Node() as node, BeginRemedy() as order:
            return remedies.begun(node, order)
        case Node() as node, EndRemedy() as report:
            return remedies.ended(node, report)
        case Node() as node, RecordOverdue() as found:
            return overdue(node, found)
        case Node() as node, RecordHeartbeatLost() as silence:
            return _fell_silent(node, silence.last_seen_at)
        case Node() as node, RecordHeartbeatRestored() as sign:
            return _heard_again(node, sign.seen_at)
        case Node() as node, RetireNode() as order:
            return [NodeRetired(node_id=node.node_id, reason=said("reason", order.reason))]
        case _:
            raise Rejected(f"a node cannot {type(command).__name__}")


def evolve(state: NodeState, event: Event) -> NodeState:
    match state, event:
        case Unregistered(), NodeRegistered() as fact:
            expected = Expected(
                topology=fact.topology,
                gpu_model=fact.expected_gpu_model,
                gpu_count=fact.expected_gpu_count,
                pool_id=fact.pool_id,
                isolation=Isolation(fact.isolation or Isolation.DEVICE),
            )
            return Node(node_id=fact.node_id, expected=expected)
        case Node() as node, NodeHeartbeatLost() as fact:
            health = replace(node.health, agent=Condition.SUSPECT)
            return replace(node, health=health, agent_seen_at=fact.last_seen_at)
        case Node() as node, NodeHeartbeatRestored() as fact:
            return replace(node, health=replace(node.health, agent=Condition.HEALTHY), agent_seen_at=fact.seen_at)
        case Node() as node, NodeHoldPlaced() as fact:
            hold = Hold(hold_id=fact.hold_id, owner=fact.owner, cause=fact.cause, expires_at=fact.expires_at)
            return replace(node, holds=(*node.holds, hold))
        case Node() as node, NodeHoldLifted() as fact:
            return replace(node, holds=tuple(h for h in node.holds if h.hold_id != fact.hold_id))
        case Node() as node, NodeDrainOrdered() | NodeDrained() | NodeDrainCancelled():
            return replace(node, drain=drain_after(node, event))
        case Node() as node, NodeStateOverdue():
            return replace(node, overdue=node.overdue + 1)
        case Node() as node, NodeAllocated() | NodeAllocationEnded() | NodeWiped() | NodeFirmwareUpdated():
            return _moved(node, event)
        case Node() as node, NodeBurnInStarted() | NodeBurnInStepEnded() | NodeRemedyEnded():
            return _moved(node, event)
        case Node() as node, _ if (node.lifecycle, type(event)) in TRANSITIONS:
            return _moved(node, event)
        case _:
            raise Unreadable(f"{event.TYPE} cannot follow in a history that has come to {state}")


NODE: Final[Decider[NodeState, NodeCommand]] = Decider(initial=Unregistered(), decide=decide, evolve=evolve)


def _moved(node: Node, event: Event) -> Node:
    """The node after an event that may move its lifecycle, with all that the event says of it."""
    step = TRANSITIONS.get((node.lifecycle, type(event)), node.lifecycle)
    stayed = node.overdue if step is node.lifecycle else 0
    moved = replace(node, lifecycle=step, custody=CUSTODY.get(step, node.custody), overdue=stayed)
    for after in (with_findings, with_tenancy, with_service, with_proofs, remedies.with_remedies):
        moved = after(moved, event)
    return moved


def _fell_silent(node: Node, last_seen_at: datetime) -> list[Event]:
    if node.health.agent is not Condition.HEALTHY:
        return []
    if node.agent_seen_at is not None and last_seen_at < node.agent_seen_at:
        raise Rejected(f"node {node.node_id} was heard after {last_seen_at.isoformat()}; it is not lost")
    return [NodeHeartbeatLost(node_id=node.node_id, last_seen_at=last_seen_at)]


def _heard_again(node: Node, seen_at: datetime) -> list[Event]:
    if node.health.agent is Condition.HEALTHY:
        return []
    if node.agent_seen_at is not None and seen_at <= node.agent_seen_at:
        raise Rejected(f"node {node.node_id} was lost after that sign of life; it takes a newer one")
    return [NodeHeartbeatRestored(node_id=node.node_id, seen_at=seen_at)]
