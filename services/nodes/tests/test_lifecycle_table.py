"""The table of the lifecycle is the decider's: every state that can be reached is named, every row can be walked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpuaas.common.errors import GpuaasError
from gpuaas.common.events import Event
from gpuaas.nodes.domain.axes import CUSTODY, TABLE, TRANSITIONS, DrainMode, Lifecycle, Node, NodeState
from gpuaas.nodes.domain.hardware import Field
from gpuaas.nodes.domain.node import NODE
from gpuaas.nodes.domain.orders import (
    BeginNodeMaintenance,
    BeginOnboarding,
    BeginRemedy,
    EndNodeMaintenance,
    EndRemedy,
    NodeCommand,
    OrderDrain,
    PlaceHold,
    RecordAllocated,
    RecordAllocationEnded,
    RecordDrained,
    RecordHardware,
    RecordUnusableHardware,
    RecordWiped,
    RetireNode,
    ValidateNode,
)
from gpuaas.nodes.domain.proofs import POLICY, RemedyAction
from node_facts import REGISTER, REGISTER_WHOLE, at, device, hardware, hold

STATES_MAX = 50_000
ORDERS: tuple[NodeCommand, ...] = (
    BeginOnboarding(at(0)),
    RecordHardware(hardware(observed_at=at(1))),
    RecordHardware(hardware(observed_at=at(3))),
    RecordHardware(hardware(device(0), observed_at=at(4))),
    ValidateNode(),
    RecordUnusableHardware(Field.OBSERVATION, "a possible machine", "none"),
    RecordAllocated("a", "acme", "p", 1),
    RecordAllocationEnded("a", "completed"),
    RecordWiped("secure-erase", 8, 8, at(2), "0" * 64),
    OrderDrain(DrainMode.NOW, 0, "fans", at(0), window_id="mw-1"),
    RecordDrained(at(0), 1),
    BeginNodeMaintenance("mw-1"),
    EndNodeMaintenance("mw-1"),
    EndNodeMaintenance("mw-1", "the flash failed"),
    RetireNode("sold"),
)
RESET = ("gpu-a", 1, RemedyAction.RESET)
REMEDIES: tuple[NodeCommand, ...] = (
    BeginOnboarding(at(0)),
    RecordHardware(hardware(observed_at=at(1))),
    RecordHardware(hardware(observed_at=at(3))),
    ValidateNode(),
    RecordUnusableHardware(Field.OBSERVATION, "a possible machine", "none"),
    PlaceHold(hold("health-1", owner=POLICY)),
    BeginRemedy(*RESET, 3, "v1", "told", at(2)),
    EndRemedy(*RESET, "done", "told", at(2)),
    BeginRemedy("gpu-a", 1, RemedyAction.REBOOT, None, "v1", "told", at(2)),
)
"""A walk of its own: what the platform does about components, whoever has the machine otherwise."""


def walked(first: NodeCommand, orders: Sequence[NodeCommand] = ORDERS) -> set[tuple[Lifecycle, type[Event], Lifecycle]]:
    """Every step of the lifecycle that some order of `ORDERS` can lead to, however long."""
    begun = NODE.fold(NODE.decide(first, NODE.initial))
    steps: set[tuple[Lifecycle, type[Event], Lifecycle]] = set()
    known = {repr(begun)}
    waiting: list[NodeState] = [begun]
    while waiting:
        state = waiting.pop()
        for order in orders:
            try:
                events = NODE.decide(order, state)
            except GpuaasError:
                continue
            after = state
            for event in events:
                before, after = after, NODE.evolve(after, event)
                assert isinstance(before, Node)
                assert isinstance(after, Node)
                if (before.lifecycle, type(event)) in TRANSITIONS or before.lifecycle is not after.lifecycle:
                    steps.add((before.lifecycle, type(event), after.lifecycle))
            if repr(after) not in known:
                known.add(repr(after))
                waiting.append(after)
        assert len(known) < STATES_MAX
    return steps


def test_every_reachable_step_is_in_the_table_and_every_row_can_be_walked() -> None:
    table = {(start, event, end) for (start, event), end in TRANSITIONS.items()}
    assert walked(REGISTER_WHOLE) | walked(REGISTER) | walked(REGISTER, REMEDIES) == table


def test_a_shared_machine_never_passes_into_one_tenants_hands() -> None:
    ends = {end for _, _, end in walked(REGISTER)}
    assert ends.isdisjoint({Lifecycle.ALLOCATED, Lifecycle.SANITIZING})


def test_every_state_but_the_passing_one_says_in_whose_hands_the_machine_is() -> None:
    assert set(Lifecycle) - CUSTODY.keys() == {Lifecycle.VALIDATING}


def test_the_readme_shows_the_table() -> None:
    assert TABLE in (Path(__file__).parent.parent / "README.md").read_text("utf-8")
