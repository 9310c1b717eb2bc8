"""Ready-made facts and orders for the tests of this service. One law: plain values, nothing clever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gpuaas.common.events import Event
from gpuaas.contracts.nodes import Topology
from gpuaas.nodes.domain.axes import Expected, Hold, Isolation, Node, NodeState
from gpuaas.nodes.domain.hardware import SeenDevice, SeenMachine
from gpuaas.nodes.domain.node import NODE
from gpuaas.nodes.domain.orders import NodeCommand, RecordHardware, RegisterNode, ValidateNode

NOON = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
MODEL = "nvidia-h100-sxm5-80gb"
PLACE = Topology(region="eu-central", site="fra1", pod="p2", rack="r07")
ORDER = Expected(topology=PLACE, gpu_model=MODEL, gpu_count=8, pool_id="h100-fra")
REGISTER = RegisterNode(node_id="n-1", expected=ORDER)
WHOLE = replace(ORDER, isolation=Isolation.MACHINE)
"""The same machine, let to one tenant at a time."""
REGISTER_WHOLE = RegisterNode(node_id="n-1", expected=WHOLE)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def device(slot: int, serial: str | None = None) -> SeenDevice:
    return SeenDevice(serial=serial or f"165492200660{slot}", slot=slot, memory_mib=81_559)


def hardware(*devices: SeenDevice, **other: Any) -> SeenMachine:
    seen = SeenMachine(
        machine_serial="SGH138X0427",
        cpu_count=224,
        memory_mib=2_063_872,
        gpu_model=MODEL,
        devices=devices or tuple(device(slot) for slot in range(8)),
        observed_at=NOON,
    )
    return replace(seen, **other)


def hold(hold_id: str = "firmware", owner: str = "u-ops-jonas", expires_at: datetime | None = None) -> Hold:
    return Hold(hold_id=hold_id, owner=owner, cause="firmware update", expires_at=expires_at)


def said(*commands: NodeCommand) -> tuple[list[list[Event]], NodeState]:
    """What each command led to, one after the other on a new id, and the state they end in."""
    state: NodeState = NODE.initial
    answers: list[list[Event]] = []
    for command in commands:
        events: Sequence[Event] = NODE.decide(command, state)
        answers.append(list(events))
        state = NODE.fold(events, state)
    return answers, state


def node_after(*commands: NodeCommand) -> Node:
    state = said(*commands)[1]
    assert isinstance(state, Node)
    return state


def last_of(*commands: NodeCommand) -> list[Event]:
    return said(*commands)[0][-1]


AVAILABLE = (REGISTER, RecordHardware(hardware()), ValidateNode())
AVAILABLE_WHOLE = (REGISTER_WHOLE, RecordHardware(hardware()), ValidateNode())
