"""One node's answers to commands. One law: what was decided is a fold over its events and of nothing else.

The states are in `axes`, the commands in `orders`, the judgement of a machine in `hardware`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import is_name
from gpuaas.contracts.nodes import (
    Mismatch,
    NodeBecameAvailable,
    NodeHardwareObserved,
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldLifted,
    NodeHoldPlaced,
    NodeRegistered,
    NodeRetired,
    NodeValidationFailed,
)
from gpuaas.nodes.domain.axes import (
    CUSTODY,
    TRANSITIONS,
    Condition,
    Expected,
    Hold,
    Lifecycle,
    Node,
    NodeState,
    Unregistered,
)
from gpuaas.nodes.domain.hardware import DEVICES_MAX, DIFFERENCE_MAX, Field, Hardware, checked, differences
from gpuaas.nodes.domain.orders import (
    ExpireHold,
    LiftHold,
    NodeCommand,
    PlaceHold,
    RecordHardware,
    RecordHeartbeatLost,
    RecordHeartbeatRestored,
    RecordUnusableHardware,
    RegisterNode,
    RetireNode,
    ValidateNode,
)

HOLDS_MAX: Final = 32
REASON_MAX: Final = 500
OWNER_MAX: Final = 128
OWN_NAME: Final = "nodes"
OWN_HOLD: Final = "hardware-changed"
"""The hold this service itself places when a node in service turns out to be another machine."""

VOCABULARY: Final = Vocabulary(
    NodeRegistered,
    NodeHardwareObserved,
    NodeBecameAvailable,
    NodeValidationFailed,
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldPlaced,
    NodeHoldLifted,
    NodeRetired,
)


def decide(command: NodeCommand, state: NodeState) -> Sequence[Event]:
    match state, command:
        case Unregistered(), RegisterNode() as order:
            return _registered(order)
        case Unregistered(), _:
            raise NotFound("no node has this id; register it first")
        case Node() as node, RegisterNode() as order:
            return _registered_again(node, order)
        case Node(lifecycle=Lifecycle.RETIRED), RetireNode():
            return []
        case Node(lifecycle=Lifecycle.RETIRED) as node, _:
            raise Rejected(f"node {node.node_id} is retired; nothing more is recorded about it")
        case Node() as node, RecordHardware() as look:
            return _looked_at(node, checked(look.seen))
        case Node() as node, ValidateNode():
            return _validated(node)
        case Node() as node, RecordUnusableHardware() as look:
            return _unusable(node, look)
        case Node() as node, PlaceHold() as order:
            return _held(node, order.hold)
        case Node() as node, LiftHold() as order:
            return _lifted(node, order)
        case Node() as node, ExpireHold() as order:
            return _expired(node, order)
        case Node() as node, RecordHeartbeatLost() as silence:
            return _fell_silent(node, silence.last_seen_at)
        case Node() as node, RecordHeartbeatRestored() as sign:
            return _heard_again(node, sign.seen_at)
        case Node() as node, RetireNode() as order:
            return [NodeRetired(node_id=node.node_id, reason=_said("reason", order.reason))]
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
        case Node() as node, _ if (step := TRANSITIONS.get((node.lifecycle, type(event)))) is not None:
            moved = replace(node, lifecycle=step, custody=CUSTODY.get(step, node.custody))
            return _with_findings(moved, event)
        case _:
            raise Unreadable(f"{event.TYPE} cannot follow in a history that has come to {state}")


NODE: Final[Decider[NodeState, NodeCommand]] = Decider(initial=Unregistered(), decide=decide, evolve=evolve)


def _with_findings(node: Node, event: Event) -> Node:
    match event:
        case NodeHardwareObserved() as fact:
            hardware = Hardware(
                machine_serial=fact.machine_serial,
                cpu_count=fact.cpu_count,
                memory_mib=fact.memory_mib,
                gpu_model=fact.gpu_model,
                devices=tuple(fact.devices),
                observed_at=fact.observed_at,
            )
            return replace(node, hardware=hardware)
        case NodeBecameAvailable():
            serial = node.hardware.machine_serial if node.hardware else None
            return replace(
                node,
                health=replace(node.health, hardware=Condition.HEALTHY),
                in_service=node.hardware,
                mismatches=(),
                known_serial=node.known_serial or serial,
            )
        case NodeValidationFailed() as fact:
            return replace(
                node,
                health=replace(node.health, hardware=Condition.FAILED),
                in_service=None,
                mismatches=tuple(fact.mismatches),
            )
        case _:
            return node


def _registered(order: RegisterNode) -> list[Event]:
    expected = order.expected
    names = {
        "node_id": order.node_id,
        "pool_id": expected.pool_id,
        "expected_gpu_model": expected.gpu_model,
    }
    for name, value in names.items():
        if not is_name(value):
            raise Invalid(f"{name} {value!r} is not a name; use 1–63 of a–z, 0–9 and inner hyphens")
    if not 1 <= expected.gpu_count <= DEVICES_MAX:
        raise Invalid(f"expected_gpu_count is {expected.gpu_count}; a node has 1 to {DEVICES_MAX} GPUs")
    return [
        NodeRegistered(
            node_id=order.node_id,
            topology=expected.topology,
            expected_gpu_model=expected.gpu_model,
            expected_gpu_count=expected.gpu_count,
            pool_id=expected.pool_id,
        )
    ]


def _registered_again(node: Node, order: RegisterNode) -> list[Event]:
    if node.lifecycle is Lifecycle.RETIRED:
        raise Rejected(f"node {node.node_id} is retired and its id is not used again; choose another id")
    if node.expected != order.expected:
        raise Rejected(f"node {node.node_id} is registered with another order; retire it and use another id")
    return []


def _looked_at(node: Node, seen: Hardware) -> list[Event]:
    if node.hardware is not None and seen.observed_at < node.hardware.observed_at:
        raise Rejected(f"a newer look at node {node.node_id} is on record; look again")
    again = node.hardware is not None and seen.observed_at == node.hardware.observed_at
    if seen.same_as(node.hardware) and (again or node.lifecycle is not Lifecycle.REPAIR):
        return []
    return [
        NodeHardwareObserved(
            node_id=node.node_id,
            machine_serial=seen.machine_serial,
            cpu_count=seen.cpu_count,
            memory_mib=seen.memory_mib,
            gpu_model=seen.gpu_model,
            devices=seen.devices,
            observed_at=seen.observed_at,
        )
    ]


def _validated(node: Node) -> list[Event]:
    if (seen := node.hardware) is None:
        raise Rejected(f"nobody has looked at node {node.node_id} yet; record its hardware first")
    if node.lifecycle is not Lifecycle.VALIDATING:
        return []
    found = differences(
        gpu_model=node.expected.gpu_model,
        gpu_count=node.expected.gpu_count,
        known_serial=node.known_serial,
        in_service=node.in_service,
        seen=seen,
    )
    if found:
        return _failed(node, found)
    available = NodeBecameAvailable(
        node_id=node.node_id,
        pool_id=node.expected.pool_id,
        gpu_model=seen.gpu_model,
        devices=seen.devices,
        topology=node.expected.topology,
    )
    own = node.hold(OWN_HOLD)
    lifted = NodeHoldLifted(node_id=node.node_id, hold_id=OWN_HOLD, reason="validated again")
    return [available, lifted] if own is not None and own.owner == OWN_NAME else [available]


def _failed(node: Node, found: Sequence[Mismatch]) -> list[Event]:
    failure = NodeValidationFailed(node_id=node.node_id, mismatches=tuple(found))
    if node.in_service is None or node.hold(OWN_HOLD) is not None:
        return [failure]
    cause = "the machine is no longer the one that was accepted"
    return [
        failure,
        NodeHoldPlaced(node_id=node.node_id, hold_id=OWN_HOLD, owner=OWN_NAME, cause=cause, expires_at=None),
    ]


def _unusable(node: Node, look: RecordUnusableHardware) -> list[Event]:
    if look.field is Field.PROVIDER and node.lifecycle is not Lifecycle.REGISTERED:
        raise Rejected(f"node {node.node_id} was looked at before; a silent provider says nothing new about it")
    found = [
        Mismatch(
            field=look.field,
            expected=look.expected[:DIFFERENCE_MAX],
            observed=look.observed[:DIFFERENCE_MAX],
        )
    ]
    if node.lifecycle is Lifecycle.REPAIR and list(node.mismatches) == found:
        return []
    return _failed(node, found)


def _held(node: Node, hold: Hold) -> list[Event]:
    if not is_name(hold.hold_id):
        raise Invalid(f"hold_id {hold.hold_id!r} is not a name; use 1–63 of a–z, 0–9 and inner hyphens")
    placed = NodeHoldPlaced(
        node_id=node.node_id,
        hold_id=hold.hold_id,
        owner=_said("owner", hold.owner, OWNER_MAX),
        cause=_said("cause", hold.cause),
        expires_at=hold.expires_at,
    )
    if (known := node.hold(hold.hold_id)) is not None:
        if known == hold:
            return []
        raise Rejected(f"hold {hold.hold_id} is {known.owner}'s; choose another hold_id")
    if len(node.holds) >= HOLDS_MAX:
        raise Rejected(f"node {node.node_id} has {HOLDS_MAX} holds, which is the most; lift one first")
    return [placed]


def _lifted(node: Node, order: LiftHold) -> list[Event]:
    hold = node.hold(order.hold_id)
    if hold is None:
        return []
    if hold.owner != order.by:
        raise Rejected(f"hold {hold.hold_id} is {hold.owner}'s and only they lift it; ask them")
    reason = _said("reason", order.reason)
    return [NodeHoldLifted(node_id=node.node_id, hold_id=hold.hold_id, reason=reason)]


def _expired(node: Node, order: ExpireHold) -> list[Event]:
    hold = node.hold(order.hold_id)
    if hold is None:
        return []
    if hold.expires_at is None or order.now < hold.expires_at:
        raise Rejected(f"hold {hold.hold_id} has not expired; only {hold.owner} lifts it")
    return [NodeHoldLifted(node_id=node.node_id, hold_id=hold.hold_id, reason="expired")]


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


def _said(name: str, text: str, most: int = REASON_MAX) -> str:
    if not 1 <= len(text) <= most:
        raise Invalid(f"{name} has {len(text)} characters; say it in 1 to {most}")
    return text
