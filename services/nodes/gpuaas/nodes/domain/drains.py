"""Making a machine empty: ordered, drained, called off. One law: a drain is closed by its own hold until it ends.

A stronger order replaces a weaker one, never the reverse. What a maintenance window ordered ends with the window; an
operator's order outlives any window that found it standing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.nodes import NodeDrainCancelled, NodeDrained, NodeDrainOrdered, NodeHoldLifted, NodeHoldPlaced
from gpuaas.nodes.domain.admission import said
from gpuaas.nodes.domain.axes import DRAIN_HOLD, OWN_NAME, Drain, DrainMode, Node
from gpuaas.nodes.domain.orders import CancelDrain, OrderDrain, RecordDrained
from gpuaas.nodes.domain.promises import insist

NOTICE_S_MAX: Final = 30 * 86_400


def ordered(node: Node, order: OrderDrain) -> list[Event]:
    """The order and the hold that goes with it; nothing where as much has been ordered already."""
    if not 0 <= order.notice_s <= NOTICE_S_MAX:
        raise Invalid(f"notice_s is {order.notice_s}; use 0 to {NOTICE_S_MAX} seconds")
    standing = node.drain
    if standing is not None and (standing.drained_at is not None or order.mode.rank <= standing.mode.rank):
        return []
    over_promises = insist(order.unkept, order.over_promises, f"draining node {node.node_id}")
    event = NodeDrainOrdered(
        node_id=node.node_id,
        mode=order.mode.value,
        notice_s=order.notice_s if order.mode is DrainMode.NOTICE_THEN_STOP else 0,
        deadline=_deadline(order),
        reason=said("reason", order.reason),
        ordered_at=order.now,
        window_id=order.window_id if standing is None else standing.window_id,
        over_promises=over_promises,
    )
    if node.hold(DRAIN_HOLD) is not None:
        return [event]
    cause = f"drained ({order.mode.value}): {order.reason}"[:500]
    return [
        event,
        NodeHoldPlaced(node_id=node.node_id, hold_id=DRAIN_HOLD, owner=OWN_NAME, cause=cause, expires_at=None),
    ]


def _deadline(order: OrderDrain) -> datetime | None:
    match order.mode:
        case DrainMode.LET_FINISH:
            return None
        case DrainMode.NOW:
            return order.now
        case DrainMode.NOTICE_THEN_STOP:
            earliest = order.now + timedelta(seconds=order.notice_s)
            return max(earliest, order.deadline) if order.deadline is not None else earliest


def cancelled(node: Node, order: CancelDrain) -> list[Event]:
    """The drain called off and its hold lifted; nothing where there is none, or none of that window."""
    if (drain := node.drain) is None:
        return []
    if drain.window_id != order.window_id:
        if order.window_id is not None:
            return []
        raise Rejected(f"the drain belongs to the maintenance window {drain.window_id}; cancel or end that")
    called_off = NodeDrainCancelled(
        node_id=node.node_id, reason=said("reason", order.reason), window_id=drain.window_id
    )
    return [called_off, *hold_lifted(node, order.reason)]


def hold_lifted(node: Node, reason: str) -> list[Event]:
    """The drain's own hold goes; one that somebody else gave that name stays."""
    hold = node.hold(DRAIN_HOLD)
    if hold is None or hold.owner != OWN_NAME:
        return []
    return [NodeHoldLifted(node_id=node.node_id, hold_id=DRAIN_HOLD, reason=reason)]


def emptied(node: Node, seen: RecordDrained) -> list[Event]:
    if (drain := node.drain) is None:
        raise Rejected(f"node {node.node_id} is not being drained; order a drain first")
    if drain.drained_at is not None:
        return []
    return [
        NodeDrained(
            node_id=node.node_id,
            drained_at=seen.now,
            pool_position=seen.pool_position,
            window_id=drain.window_id,
        )
    ]


def drain_after(node: Node, event: Event) -> Drain | None:
    """The drain that stands once `event` is in the history."""
    match event:
        case NodeDrainOrdered() as fact:
            return Drain(mode=DrainMode(fact.mode), deadline=fact.deadline, window_id=fact.window_id)
        case NodeDrained() as fact:
            assert node.drain is not None
            return Drain(node.drain.mode, node.drain.deadline, node.drain.window_id, fact.drained_at)
        case _:
            return None
