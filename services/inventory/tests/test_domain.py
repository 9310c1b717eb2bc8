"""What the books answer: machines are compared before they are sellable, models mean one device for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.inventory import (
    Device,
    GpuModelDefined,
    MachineAccepted,
    MachineMismatched,
    MachineRemoved,
    Mismatch,
)
from gpuaas.inventory.domain.gpu_model import GPU_MODEL, DefineGpuModel, GpuModel, built_in
from gpuaas.inventory.domain.machine import (
    MACHINE,
    Accepted,
    Claimed,
    EnterMachine,
    MachineCommand,
    MachineState,
    Mismatched,
    Removed,
    RemoveMachine,
)
from hypothesis import given
from hypothesis import strategies as st
from machine_facts import MEMORY_MIB, MODEL, device, found


def said(*commands: MachineCommand) -> tuple[Sequence[Event], MachineState]:
    """The last command's answer and the state it leads to."""
    state: MachineState = MACHINE.initial
    events: Sequence[Event] = []
    for command in commands:
        events = MACHINE.decide(command, state)
        state = MACHINE.fold(events, state)
    return events, state


ENTER = EnterMachine(found=found(), model_memory_mib=MEMORY_MIB)


def test_a_machine_as_expected_is_accepted() -> None:
    events, state = said(ENTER)
    assert isinstance(events[0], MachineAccepted)
    assert state == Accepted(found())
    assert said(ENTER, ENTER)[0] == []


def test_a_model_the_catalogue_does_not_know_is_a_mismatch() -> None:
    events, _ = said(replace(ENTER, model_memory_mib=None))
    assert events == [
        MachineMismatched(
            machine_id="m-1",
            mismatches=(Mismatch(field="gpu_model", expected="a model of the catalogue", observed=MODEL),),
        )
    ]


def test_a_serial_of_another_machine_is_a_mismatch_and_names_it() -> None:
    claimed = (Claimed("m-1-3", "m-2"), Claimed("CHASSIS-m-1", "m-9"))
    events, state = said(replace(ENTER, claimed=claimed))
    assert isinstance(events[0], MachineMismatched)
    assert [(m.field, m.observed) for m in events[0].mismatches] == [
        ("machine_serial", "CHASSIS-m-1 of m-9"),
        ("devices.serial", "m-1-3 of m-2"),
    ]
    assert isinstance(state, Mismatched)


def test_its_own_serial_is_no_claim_of_another() -> None:
    assert isinstance(said(replace(ENTER, claimed=(Claimed("m-1-3", "m-1"),)))[1], Accepted)


@pytest.mark.parametrize(("memory_mib", "accepted"), [(81_559, True), (81_251, True), (78_000, True), (40_960, False)])
def test_a_device_whose_memory_is_far_off_is_another_device(memory_mib: int, accepted: bool) -> None:
    odd = found(devices=(device(0, "A"), device(1, "B", memory_mib)))
    assert isinstance(said(EnterMachine(odd, MEMORY_MIB))[1], Accepted) is accepted


def test_a_mismatch_is_said_once_and_heals_when_the_difference_is_settled() -> None:
    wrong = replace(ENTER, model_memory_mib=None)
    assert said(wrong, wrong)[0] == []
    assert isinstance(said(wrong, ENTER)[1], Accepted)


def test_an_accepted_machine_whose_serial_turns_out_taken_is_no_longer_sellable() -> None:
    events, state = said(ENTER, replace(ENTER, claimed=(Claimed("m-1-0", "m-0"),)))
    assert isinstance(events[0], MachineMismatched)
    assert isinstance(state, Mismatched)
    assert state.before == found()


def test_swapped_devices_are_a_new_acceptance() -> None:
    swapped = found(devices=(device(0, "NEW"), *found().devices[1:]))
    events, _ = said(ENTER, EnterMachine(swapped, MEMORY_MIB))
    assert isinstance(events[0], MachineAccepted)
    assert events[0].devices[0].serial == "NEW"


def test_a_machine_without_gpus_is_refused() -> None:
    with pytest.raises(Invalid):
        said(EnterMachine(found(devices=()), MEMORY_MIB))


@pytest.mark.parametrize("devices", [(device(0, "A"), device(1, "A")), (device(0, "CHASSIS-m-1"),)])
def test_one_serial_on_two_components_is_a_mismatch(devices: tuple[Device, ...]) -> None:
    events, _ = said(EnterMachine(found(devices=devices), MEMORY_MIB))
    assert isinstance(events[0], MachineMismatched)
    assert [m.field for m in events[0].mismatches] == ["devices.serial"]


def test_a_removed_machine_stays_removed() -> None:
    events, state = said(ENTER, RemoveMachine("node retired"))
    assert events == [MachineRemoved(machine_id="m-1", reason="node retired")]
    assert state == Removed("m-1")
    assert said(ENTER, RemoveMachine("x"), RemoveMachine("y"))[0] == []
    with pytest.raises(Rejected):
        said(ENTER, RemoveMachine("x"), ENTER)
    with pytest.raises(NotFound):
        said(RemoveMachine("never seen"))


ORDERS = st.one_of(
    st.builds(
        EnterMachine,
        found=st.sampled_from([found(), found(devices=(device(0, "NEW"),))]),
        model_memory_mib=st.sampled_from([None, MEMORY_MIB, 1]),
        claimed=st.sampled_from([(), (Claimed("NEW", "m-2"),)]),
    ),
    st.just(RemoveMachine("end of lease")),
)


@given(st.lists(ORDERS, max_size=12))
def test_what_is_sellable_was_compared_and_what_was_removed_stays_so(orders: list[MachineCommand]) -> None:
    state: MachineState = MACHINE.initial
    history: list[Event] = []
    for order in orders:
        try:
            events = MACHINE.decide(order, state)
        except (Rejected, NotFound):
            continue
        assert not (isinstance(state, Removed) and events)
        history += events
        state = MACHINE.fold(events, state)
        if isinstance(order, EnterMachine) and isinstance(state, Accepted):
            assert order.model_memory_mib == MEMORY_MIB
            assert not order.claimed
    assert MACHINE.fold(history) == state


H100 = next(model for model in built_in() if model.gpu_model == MODEL)


def test_the_built_in_catalogue_names_real_models_once() -> None:
    names = [model.gpu_model for model in built_in()]
    assert len(names) == len(set(names)) >= 10
    assert (H100.memory_mib, H100.interconnect) == (81_559, "nvlink-4")
    for model in built_in():
        assert [type(e) for e in GPU_MODEL.decide(DefineGpuModel(model), GPU_MODEL.initial)] == [GpuModelDefined]


def test_a_model_may_be_described_better_and_never_become_another_device() -> None:
    assert GPU_MODEL.decide(DefineGpuModel(H100), H100) == []
    better = replace(H100, description="eight of them and an NVSwitch")
    assert len(GPU_MODEL.decide(DefineGpuModel(better), H100)) == 1
    with pytest.raises(Rejected, match="another name"):
        GPU_MODEL.decide(DefineGpuModel(replace(H100, memory_mib=1)), H100)


@pytest.mark.parametrize(
    "model",
    [
        replace(H100, gpu_model="H100 80GB"),
        replace(H100, memory_mib=0),
        replace(H100, vendor=""),
        replace(H100, description="x" * 501),
    ],
)
def test_an_impossible_model_is_refused(model: GpuModel) -> None:
    with pytest.raises(Invalid):
        GPU_MODEL.decide(DefineGpuModel(model), GPU_MODEL.initial)
