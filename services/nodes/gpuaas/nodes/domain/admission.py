"""Whether new work may land on a node: its holds. One law: only a hold's owner, or its expiry, lifts it."""

from __future__ import annotations

from typing import Final

from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.events import Event
from gpuaas.common.ids import is_name
from gpuaas.contracts.nodes import NodeHoldLifted, NodeHoldPlaced
from gpuaas.nodes.domain.axes import OWN_HOLDS, OWN_NAME, Hold, Node
from gpuaas.nodes.domain.orders import ExpireHold, LiftHold

HOLDS_MAX: Final = 32
"""Holds of others; the few of this service come on top, for they must never find the place taken."""
REASON_MAX: Final = 500
OWNER_MAX: Final = 128


def held(node: Node, hold: Hold) -> list[Event]:
    if not is_name(hold.hold_id):
        raise Invalid(f"hold_id {hold.hold_id!r} is not a name; use 1–63 of a–z, 0–9 and inner hyphens")
    placed = NodeHoldPlaced(
        node_id=node.node_id,
        hold_id=hold.hold_id,
        owner=said("owner", hold.owner, OWNER_MAX),
        cause=said("cause", hold.cause),
        expires_at=hold.expires_at,
    )
    if (known := node.hold(hold.hold_id)) is not None:
        if known == hold:
            return []
        raise Rejected(f"hold {hold.hold_id} is {known.owner}'s; choose another hold_id")
    if hold.hold_id in OWN_HOLDS and hold.owner != OWN_NAME:
        raise Rejected(f"the name {hold.hold_id} is kept for this service's own holds; choose another hold_id")
    if sum(1 for each in node.holds if each.owner != OWN_NAME) >= HOLDS_MAX:
        raise Rejected(f"node {node.node_id} has {HOLDS_MAX} holds, which is the most; lift one first")
    return [placed]


def lifted(node: Node, order: LiftHold) -> list[Event]:
    hold = node.hold(order.hold_id)
    if hold is None:
        raise NotFound(f"node {node.node_id} has no hold {order.hold_id}; it is lifted already or never was")
    if hold.owner != order.by:
        raise Rejected(f"hold {hold.hold_id} is {hold.owner}'s and only they lift it; ask them")
    reason = said("reason", order.reason)
    return [NodeHoldLifted(node_id=node.node_id, hold_id=hold.hold_id, reason=reason)]


def expired(node: Node, order: ExpireHold) -> list[Event]:
    hold = node.hold(order.hold_id)
    if hold is None:
        return []
    if hold.expires_at is None or order.now < hold.expires_at:
        raise Rejected(f"hold {hold.hold_id} has not expired; only {hold.owner} lifts it")
    return [NodeHoldLifted(node_id=node.node_id, hold_id=hold.hold_id, reason="expired")]


def said(name: str, text: str, most: int = REASON_MAX) -> str:
    """`text`, if it is a sentence of a bearable length. Raises Invalid otherwise."""
    if not 1 <= len(text) <= most:
        raise Invalid(f"{name} has {len(text)} characters; say it in 1 to {most}")
    return text
