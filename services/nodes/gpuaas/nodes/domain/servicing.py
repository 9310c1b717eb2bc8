"""A machine under maintenance. One law: it is empty when they get it and validated when it returns."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.nodes import (
    Mismatch,
    NodeFirmwareUpdated,
    NodeMaintenanceEnded,
    NodeMaintenanceStarted,
    NodeValidationFailed,
)
from gpuaas.nodes.domain.admission import said
from gpuaas.nodes.domain.axes import Lifecycle, Node
from gpuaas.nodes.domain.hardware import DIFFERENCE_MAX, Field
from gpuaas.nodes.domain.orders import BeginNodeMaintenance, EndNodeMaintenance, RecordFirmware
from gpuaas.nodes.domain.remedies import under_way

SERVICEABLE: Final = frozenset({Lifecycle.AVAILABLE, Lifecycle.SANITIZING, Lifecycle.REPAIR})


def begun(node: Node, order: BeginNodeMaintenance) -> list[Event]:
    """The machine is handed over.

    Raises:
        Rejected: it is not empty, in another window, or in a state that is over in a moment.
    """
    if node.window_id == order.window_id:
        return []
    if node.window_id is not None:
        raise Rejected(f"node {node.node_id} is in the maintenance window {node.window_id}; end that first")
    if node.lifecycle not in SERVICEABLE or under_way(node):
        raise Rejected(f"node {node.node_id} is {node.lifecycle.value}; maintenance takes it when it is not")
    if node.drain is None or node.drain.drained_at is None or node.occupants:
        raise Rejected(f"node {node.node_id} is not empty; drain it first")
    return [NodeMaintenanceStarted(node_id=node.node_id, window_id=order.window_id)]


def updated(node: Node, done: RecordFirmware) -> list[Event]:
    """One piece of firmware is at its version; said once."""
    if node.window_id != done.window_id:
        raise Rejected(f"node {node.node_id} is not in the maintenance window {done.window_id}")
    if node.firmware.get(done.component) == done.version:
        return []
    return [
        NodeFirmwareUpdated(
            node_id=node.node_id,
            window_id=done.window_id,
            component=done.component,
            version=done.version,
            previous_version=done.previous_version,
            updated_at=done.now,
        )
    ]


def ended(node: Node, order: EndNodeMaintenance) -> list[Event]:
    """The work is done, or failed with a sentence; then the machine goes to repair."""
    if node.window_id != order.window_id:
        return []
    if order.failed is None:
        return [NodeMaintenanceEnded(node_id=node.node_id, window_id=order.window_id, outcome="done")]
    detail = said("failed", order.failed)
    mismatch = Mismatch(field=Field.MAINTENANCE, expected="as planned", observed=detail[:DIFFERENCE_MAX])
    return [
        NodeMaintenanceEnded(node_id=node.node_id, window_id=order.window_id, outcome="failed", detail=detail),
        NodeValidationFailed(node_id=node.node_id, mismatches=(mismatch,)),
    ]


def with_service(node: Node, event: Event) -> Node:
    """The node after an event about its maintenance; other events change nothing here."""
    match event:
        case NodeMaintenanceStarted() as fact:
            return replace(node, window_id=fact.window_id)
        case NodeFirmwareUpdated() as fact:
            return replace(node, firmware={**node.firmware, fact.component: fact.version})
        case NodeMaintenanceEnded() as fact:
            own = node.drain is not None and node.drain.window_id == fact.window_id
            # The hold of the window's drain stays until the machine has passed its validation.
            return replace(node, window_id=None, look_due=True, drain=None if own else node.drain)
        case _:
            return node
