"""From an order to a machine in service: looks and verdicts. One law: a look and its verdict are two facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.ids import is_name
from gpuaas.contracts.nodes import (
    Mismatch,
    NodeBecameAvailable,
    NodeHardwareObserved,
    NodeHoldLifted,
    NodeHoldPlaced,
    NodeOnboardingStarted,
    NodeRegistered,
    NodeValidationFailed,
)
from gpuaas.nodes.domain.axes import DRAIN_HOLD, OWN_HOLD, OWN_NAME, Condition, Isolation, Lifecycle, Node
from gpuaas.nodes.domain.burn_in import started
from gpuaas.nodes.domain.hardware import DEVICES_MAX, DIFFERENCE_MAX, Field, Hardware, differences
from gpuaas.nodes.domain.orders import BeginOnboarding, RecordUnusableHardware, RegisterNode, ValidateNode
from gpuaas.nodes.domain.remedies import under_way
from gpuaas.nodes.domain.tenancy import sanitizing_again

_CLOSED_TO_LOOKS: Final = frozenset({Lifecycle.ALLOCATED, Lifecycle.MAINTENANCE})
"""A tenant, or those who work on it, have the machine: what is seen of it then is no ground for a verdict."""


def onboarding(node: Node, order: BeginOnboarding) -> list[Event]:
    if node.lifecycle is not Lifecycle.REGISTERED:
        return []
    return [NodeOnboardingStarted(node_id=node.node_id, started_at=order.now)]


def registered(order: RegisterNode) -> list[Event]:
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
            isolation=None if expected.isolation is Isolation.DEVICE else expected.isolation.value,
        )
    ]


def registered_again(node: Node, order: RegisterNode) -> list[Event]:
    if node.lifecycle is Lifecycle.RETIRED:
        raise Rejected(f"node {node.node_id} is retired and its id is not used again; choose another id")
    if node.expected != order.expected:
        raise Rejected(f"node {node.node_id} is registered with another order; retire it and use another id")
    return []


def looked_at(node: Node, seen: Hardware) -> list[Event]:
    if node.hardware is not None and seen.observed_at < node.hardware.observed_at:
        raise Rejected(f"a newer look at node {node.node_id} is on record; look again")
    again = node.hardware is not None and seen.observed_at == node.hardware.observed_at
    due = node.look_due or node.lifecycle is Lifecycle.REPAIR
    if seen.same_as(node.hardware) and (again or not due):
        return []
    if node.lifecycle in _CLOSED_TO_LOOKS:
        raise Rejected(f"node {node.node_id} is {node.lifecycle.value}; it is looked at when that is over")
    if node.lifecycle is Lifecycle.SANITIZING and node.unclean is not None:
        raise Rejected(f"node {node.node_id} is not wiped yet; it is looked at afterwards")
    if under_way(node):
        raise Rejected(f"node {node.node_id} is being reset or rebooted; it is looked at when that is over")
    if node.wiped_at is not None and seen.observed_at < node.wiped_at:
        raise Rejected(f"node {node.node_id} was wiped after that look; look again")
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


def validated(node: Node, order: ValidateNode) -> list[Event]:
    if (seen := node.hardware) is None:
        raise Rejected(f"nobody has looked at node {node.node_id} yet; record its hardware first")
    if node.lifecycle is not Lifecycle.VALIDATING or node.look_due:
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
    if node.unclean is not None:
        return sanitizing_again(node)
    if node.burn_in is not None and not node.burn_in.done:
        return []
    due = node.proof_due is not None and node.burn_in is None
    if due and order.burn_in is not None and order.now is not None:
        return [started(node, order.burn_in, order.now)]
    available = NodeBecameAvailable(
        node_id=node.node_id,
        pool_id=node.expected.pool_id,
        gpu_model=seen.gpu_model,
        devices=seen.devices,
        topology=node.expected.topology,
        isolation=None if node.expected.isolation is Isolation.DEVICE else node.expected.isolation.value,
    )
    over = [
        NodeHoldLifted(node_id=node.node_id, hold_id=hold.hold_id, reason="validated again")
        for hold in node.holds
        if hold.owner == OWN_NAME and (hold.hold_id != DRAIN_HOLD or node.drain is None)
    ]
    return [available, *over]


def _failed(node: Node, found: Sequence[Mismatch]) -> list[Event]:
    failure = NodeValidationFailed(node_id=node.node_id, mismatches=tuple(found))
    if node.in_service is None or node.hold(OWN_HOLD) is not None:
        return [failure]
    cause = "the machine is no longer the one that was accepted"
    return [
        failure,
        NodeHoldPlaced(node_id=node.node_id, hold_id=OWN_HOLD, owner=OWN_NAME, cause=cause, expires_at=None),
    ]


def unusable(node: Node, look: RecordUnusableHardware) -> list[Event]:
    if look.field is Field.PROVIDER and node.lifecycle not in (Lifecycle.REGISTERED, Lifecycle.ONBOARDING):
        raise Rejected(f"node {node.node_id} was looked at before; a silent provider says nothing new about it")
    if node.lifecycle in _CLOSED_TO_LOOKS or under_way(node):
        raise Rejected(f"node {node.node_id} is {node.lifecycle.value}; it is judged when that is over")
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


def with_findings(node: Node, event: Event) -> Node:
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
            return replace(node, hardware=hardware, look_due=False)
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
