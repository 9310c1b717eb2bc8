"""Resets and reboots of a machine that is closed and empty. One law: each fault gets each action at most once.

While a remedy is under way the machine is in repair and nobody looks at it; when it has ended the machine is looked
at, validated and burnt in like any other, and that alone proves its component healthy again.
"""

from __future__ import annotations

from dataclasses import replace

from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.nodes import (
    NodeHardwareObserved,
    NodeMaintenanceStarted,
    NodeRemedyEnded,
    NodeRemedyStarted,
    NodeValidationFailed,
)
from gpuaas.nodes.domain.axes import Lifecycle, Node
from gpuaas.nodes.domain.hardware import Field
from gpuaas.nodes.domain.orders import BeginRemedy, EndRemedy
from gpuaas.nodes.domain.proofs import POLICY, Remedy, RemedyAction, with_outcome


def begun(node: Node, order: BeginRemedy) -> list[Event]:
    """The order.

    Raises:
        Rejected: another one is under way, this one was tried, or the machine is in use, open or with somebody else.
    """
    standing = node.remedy
    if standing is not None and standing.outcome is None:
        if standing.answers(order.component_id, order.fault_number, order.action):
            return []
        raise Rejected(f"node {node.node_id} is under a {standing.action.value}; one at a time")
    known = node.remedied.get(order.component_id)
    if known is not None and known.fault_number == order.fault_number and _rank(known) >= _rank(order):
        raise Rejected(f"a {known.action.value} was tried for this fault of {order.component_id}; call a person")
    if node.occupants:
        raise Rejected(f"allocation {node.occupants[0].allocation_id} has node {node.node_id}; wait for its end")
    if not _may_begin(node):
        raise Rejected(f"node {node.node_id} is {node.lifecycle.value}, or open; a remedy needs it closed and idle")
    return [
        NodeRemedyStarted(
            node_id=node.node_id,
            component_id=order.component_id,
            action=order.action.value,
            fault_number=order.fault_number,
            slot=order.slot,
            rule_version=order.rule_version,
            reason=order.reason,
            started_at=order.now,
        )
    ]


def _rank(tried: Remedy | BeginRemedy) -> int:
    return list(RemedyAction).index(tried.action)


def _may_begin(node: Node) -> bool:
    if node.lifecycle is Lifecycle.AVAILABLE:
        return any(hold.owner == POLICY for hold in node.holds)
    unproved = bool(node.mismatches) and all(each.field == Field.BURN_IN for each in node.mismatches)
    return node.lifecycle is Lifecycle.REPAIR and (unproved or node.remedy is not None)


def ended(node: Node, report: EndRemedy) -> list[Event]:
    """What came of the remedy that is under way; of another one there is nothing to add."""
    standing = node.remedy
    if standing is None or standing.outcome is not None:
        return []
    if not standing.answers(report.component_id, report.fault_number, report.action):
        return []
    return [
        NodeRemedyEnded(
            node_id=node.node_id,
            component_id=report.component_id,
            action=report.action.value,
            fault_number=report.fault_number,
            outcome=report.outcome,
            detail=report.detail[:500] or "no detail",
            ended_at=report.now,
        )
    ]


def under_way(node: Node) -> bool:
    return node.remedy is not None and node.remedy.outcome is None


def with_remedies(node: Node, event: Event) -> Node:
    """The node after an event about its remedies; other events change nothing here."""
    match event:
        case NodeRemedyStarted() as fact:
            remedy = Remedy(fact.component_id, fact.fault_number, RemedyAction(fact.action), fact.slot, fact.started_at)
            return replace(node, remedy=remedy)
        case NodeRemedyEnded() as fact:
            assert node.remedy is not None
            ended_one = with_outcome(node.remedy, fact.outcome)
            return replace(node, remedy=ended_one, remedied={**node.remedied, fact.component_id: ended_one})
        case NodeHardwareObserved() | NodeValidationFailed() | NodeMaintenanceStarted():
            return replace(node, remedy=None)
        case _:
            return node
