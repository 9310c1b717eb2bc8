"""Whether a machine's GPUs may be claimed, out of what its neighbours have said of it. One law: any doubt closes it.

Inventory accepts machines, finds them to be others than it accepted, and removes them; nodes holds, loses, finds and
retires them. A machine is offered while it is accepted, alive, not retired and free of holds; the order in which two
services spoke does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.inventory import MachineAccepted, MachineMismatched, MachineRemoved
from gpuaas.contracts.nodes import (
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldLifted,
    NodeHoldPlaced,
    NodeRetired,
)

ABOUT_MACHINES = (MachineAccepted, MachineMismatched, MachineRemoved)
ABOUT_NODES = (NodeHoldPlaced, NodeHoldLifted, NodeHeartbeatLost, NodeHeartbeatRestored, NodeRetired)
VOCABULARY = Vocabulary(*ABOUT_MACHINES, *ABOUT_NODES)


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine as it was last accepted, and why it is closed (None: it is open)."""

    machine: MachineAccepted
    closed: str | None


def offer_of(machine: Iterable[Event], node: Iterable[Event]) -> Offer | None:
    """What the two histories of one machine come to; None while no pool has been named for it."""
    accepted: MachineAccepted | None = None
    removed: str | None = None
    for event in machine:
        match event:
            case MachineAccepted():
                accepted, removed = event, None
            case MachineMismatched():
                fields = sorted({mismatch.field for mismatch in event.mismatches})
                removed = f"not the machine that was accepted: {', '.join(fields)}"
            case MachineRemoved():
                removed = f"removed: {event.reason}"
    if accepted is None:
        return None
    return Offer(machine=accepted, closed=removed or _closed(node))


def _closed(node: Iterable[Event]) -> str | None:
    holds: dict[str, str] = {}
    silent: str | None = None
    for event in node:
        match event:
            case NodeHoldPlaced():
                holds[event.hold_id] = f"held by {event.owner}: {event.cause}"
            case NodeHoldLifted():
                holds.pop(event.hold_id, None)
            case NodeHeartbeatLost():
                silent = "its heartbeat is lost"
            case NodeHeartbeatRestored():
                silent = None
            case NodeRetired():
                return f"retired: {event.reason}"
    return next(iter(holds.values()), silent)
