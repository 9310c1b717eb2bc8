"""What a node answers to each command, state by state."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from gpuaas.common.errors import Invalid, NotFound, Rejected
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
from gpuaas.nodes.domain.admission import HOLDS_MAX
from gpuaas.nodes.domain.axes import OWN_HOLD, Condition, Custody, Lifecycle
from gpuaas.nodes.domain.hardware import Field, SeenMachine
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
from node_facts import (
    AVAILABLE,
    MODEL,
    NOON,
    ORDER,
    PLACE,
    REGISTER,
    at,
    device,
    hardware,
    hold,
    last_of,
    node_after,
)


def test_a_registered_node_is_with_its_provider_and_not_placeable() -> None:
    (event,) = last_of(REGISTER)
    assert event == NodeRegistered(
        node_id="n-1", topology=PLACE, expected_gpu_model=MODEL, expected_gpu_count=8, pool_id="h100-fra"
    )
    node = node_after(REGISTER)
    assert (node.lifecycle, node.custody, node.placeable) == (Lifecycle.REGISTERED, Custody.PROVIDER, False)


def test_the_same_registration_twice_says_nothing_new() -> None:
    assert last_of(REGISTER, REGISTER) == []


def test_another_order_under_the_same_id_is_refused() -> None:
    with pytest.raises(Rejected, match="another order"):
        last_of(REGISTER, RegisterNode(node_id="n-1", expected=replace(ORDER, gpu_count=4)))


@pytest.mark.parametrize("gpu_count", [0, -1, 65])
def test_an_impossible_number_of_gpus_is_refused(gpu_count: int) -> None:
    with pytest.raises(Invalid, match="expected_gpu_count"):
        last_of(RegisterNode(node_id="n-1", expected=replace(ORDER, gpu_count=gpu_count)))


@pytest.mark.parametrize("node_id", ["", "N-1", "a.b", "a>", "x" * 64, "-a"])
def test_an_id_that_could_change_a_subject_is_refused(node_id: str) -> None:
    with pytest.raises(Invalid, match="node_id"):
        last_of(RegisterNode(node_id=node_id, expected=ORDER))


def test_nothing_can_be_ordered_of_an_unregistered_node() -> None:
    with pytest.raises(NotFound):
        last_of(RetireNode(reason="gone"))


def test_the_expected_machine_becomes_available() -> None:
    (observed,) = last_of(REGISTER, RecordHardware(hardware()))
    assert isinstance(observed, NodeHardwareObserved)
    assert node_after(REGISTER, RecordHardware(hardware())).lifecycle is Lifecycle.VALIDATING
    (available,) = last_of(*AVAILABLE)
    assert isinstance(available, NodeBecameAvailable)
    assert [d.slot for d in available.devices] == list(range(8))
    node = node_after(*AVAILABLE)
    assert (node.lifecycle, node.health.worst, node.custody) == (
        Lifecycle.AVAILABLE,
        Condition.HEALTHY,
        Custody.POOL,
    )
    assert node.placeable


def test_the_same_look_and_verdict_again_say_nothing_new() -> None:
    assert last_of(*AVAILABLE, RecordHardware(hardware(observed_at=at(5)))) == []
    assert last_of(*AVAILABLE, ValidateNode()) == []


def test_a_node_nobody_looked_at_cannot_be_validated() -> None:
    with pytest.raises(Rejected, match="nobody has looked"):
        last_of(REGISTER, ValidateNode())


def test_devices_are_recorded_in_slot_order() -> None:
    mixed = tuple(device(slot) for slot in (3, 1, 0, 2, 7, 6, 5, 4))
    (observed,) = last_of(REGISTER, RecordHardware(hardware(*mixed)))
    assert isinstance(observed, NodeHardwareObserved)
    assert [d.slot for d in observed.devices] == list(range(8))


def test_wrong_hardware_fails_validation_with_every_difference_named() -> None:
    seen = hardware(*(device(slot) for slot in range(7)), gpu_model="nvidia-a100-sxm4-80gb")
    wrong = (REGISTER, RecordHardware(seen), ValidateNode())
    assert last_of(*wrong) == [
        NodeValidationFailed(
            node_id="n-1",
            mismatches=(
                Mismatch(field=Field.GPU_MODEL, expected=MODEL, observed="nvidia-a100-sxm4-80gb"),
                Mismatch(field=Field.GPU_COUNT, expected="8", observed="7"),
            ),
        )
    ]
    node = node_after(*wrong)
    assert (node.lifecycle, node.custody, node.health.hardware) == (
        Lifecycle.REPAIR,
        Custody.REPAIR,
        Condition.FAILED,
    )
    assert last_of(*wrong, ValidateNode()) == []


def test_a_repaired_machine_becomes_available_on_the_next_look() -> None:
    wrong = (REGISTER, RecordHardware(hardware(*(device(slot) for slot in range(7)))), ValidateNode())
    repaired = (*wrong, RecordHardware(hardware(observed_at=at(60))), ValidateNode())
    assert isinstance(last_of(*repaired)[0], NodeBecameAvailable)
    assert node_after(*repaired).placeable


def swap(moment: datetime) -> RecordHardware:
    devices = (device(slot, serial="9999999999999" if slot == 3 else None) for slot in range(8))
    return RecordHardware(hardware(*devices, observed_at=moment))


def test_a_node_in_service_that_shows_another_gpu_is_failed_and_held() -> None:
    swapped = (*AVAILABLE, swap(at(1)), ValidateNode())
    failed, held = last_of(*swapped)
    assert isinstance(failed, NodeValidationFailed)
    assert failed.mismatches == (
        Mismatch(field=Field.DEVICE_SERIAL, expected="1654922006603 in slot 3", observed="9999999999999"),
    )
    assert isinstance(held, NodeHoldPlaced)
    assert held.owner == "nodes"
    assert not node_after(*swapped).placeable


def test_a_new_gpu_is_accepted_once_somebody_looks_again_and_the_own_hold_goes() -> None:
    again = (*AVAILABLE, swap(at(1)), ValidateNode(), swap(at(9)), ValidateNode())
    available, lifted = last_of(*again)
    assert isinstance(available, NodeBecameAvailable)
    assert isinstance(lifted, NodeHoldLifted)
    assert node_after(*again).hold(OWN_HOLD) is None
    assert node_after(*again).placeable


def test_another_chassis_under_the_same_id_never_passes() -> None:
    other = (*AVAILABLE, RecordHardware(hardware(machine_serial="OTHER", observed_at=at(1))), ValidateNode())
    failed = last_of(*other)[0]
    assert isinstance(failed, NodeValidationFailed)
    assert Mismatch(field=Field.MACHINE_SERIAL, expected="SGH138X0427", observed="OTHER") in failed.mismatches
    assert last_of(*other, ValidateNode()) == []


def test_an_older_look_is_refused() -> None:
    with pytest.raises(Rejected, match="newer look"):
        last_of(*AVAILABLE, RecordHardware(hardware(cpu_count=1, observed_at=at(-1))))


@pytest.mark.parametrize(
    ("seen", "complaint"),
    [
        (hardware(device(0), device(1, serial="1654922006600")), "claim the serial"),
        (hardware(device(0), device(0, serial="X1")), "claim the slot"),
        (hardware(device(-1)), "slot"),
        (hardware(replace(device(0), memory_mib=0)), "memory_mib"),
        (hardware(*(device(n, serial=f"S{n}") for n in range(65))), "number of devices"),
        (hardware(cpu_count=0), "cpu_count"),
        (hardware(memory_mib=-1), "memory_mib"),
        (hardware(machine_serial=""), "machine_serial"),
        (hardware(machine_serial="drop\r\ntable"), "machine_serial"),
        (hardware(gpu_model="H100 80GB"), "gpu_model"),
        (hardware(observed_at=datetime(2026, 8, 3)), "time zone"),  # noqa: DTZ001 the point of the case
    ],
)
def test_what_no_machine_can_have_is_refused(seen: SeenMachine, complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint):
        last_of(REGISTER, RecordHardware(seen))


def test_an_impossible_look_is_a_typed_failure_and_said_once() -> None:
    unusable = RecordUnusableHardware(field=Field.OBSERVATION, expected="a possible machine", observed="two of X")
    (failed,) = last_of(REGISTER, unusable)
    assert isinstance(failed, NodeValidationFailed)
    assert last_of(REGISTER, unusable, unusable) == []
    assert node_after(REGISTER, unusable).lifecycle is Lifecycle.REPAIR


def test_a_silent_provider_takes_no_node_out_of_service() -> None:
    silent = RecordUnusableHardware(field=Field.PROVIDER, expected="an answer", observed="none in 5 attempts")
    assert node_after(REGISTER, silent).lifecycle is Lifecycle.REPAIR
    with pytest.raises(Rejected, match="silent provider"):
        last_of(*AVAILABLE, silent)


def test_a_hold_closes_the_node_and_only_its_owner_lifts_it() -> None:
    held = (*AVAILABLE, PlaceHold(hold()))
    assert not node_after(*held).placeable
    with pytest.raises(Rejected, match="u-ops-jonas"):
        last_of(*held, LiftHold(hold_id="firmware", by="u-ops-mara", reason="mine now"))
    lift = LiftHold(hold_id="firmware", by="u-ops-jonas", reason="done")
    assert last_of(*held, lift) == [NodeHoldLifted(node_id="n-1", hold_id="firmware", reason="done")]
    assert node_after(*held, lift).placeable
    with pytest.raises(NotFound, match="lifted already"):
        last_of(*held, lift, lift)


def test_two_holds_are_two_reasons() -> None:
    node = node_after(
        *AVAILABLE,
        PlaceHold(hold("a")),
        PlaceHold(hold("b")),
        LiftHold(hold_id="a", by="u-ops-jonas", reason="done"),
    )
    assert [h.hold_id for h in node.holds] == ["b"]


def test_the_same_hold_again_is_quiet_and_a_taken_name_is_refused() -> None:
    assert last_of(*AVAILABLE, PlaceHold(hold()), PlaceHold(hold())) == []
    with pytest.raises(Rejected, match="another hold_id"):
        last_of(*AVAILABLE, PlaceHold(hold()), PlaceHold(hold(owner="u-ops-mara")))


def test_holds_have_a_limit() -> None:
    full = [PlaceHold(hold(f"h{n}")) for n in range(HOLDS_MAX)]
    with pytest.raises(Rejected, match="most"):
        last_of(*AVAILABLE, *full, PlaceHold(hold("one-more")))


def test_a_hold_expires_at_its_time_and_not_before() -> None:
    held = (*AVAILABLE, PlaceHold(hold(expires_at=at(60))))
    with pytest.raises(Rejected, match="not expired"):
        last_of(*held, ExpireHold(hold_id="firmware", now=at(59)))
    (lifted,) = last_of(*held, ExpireHold(hold_id="firmware", now=at(60)))
    assert isinstance(lifted, NodeHoldLifted)
    assert lifted.reason == "expired"


def test_a_hold_without_end_never_expires() -> None:
    with pytest.raises(Rejected, match="not expired"):
        last_of(*AVAILABLE, PlaceHold(hold()), ExpireHold(hold_id="firmware", now=at(1e6)))


def test_silence_makes_a_node_suspect_and_a_newer_sign_of_life_heals_it() -> None:
    lost = RecordHeartbeatLost(last_seen_at=at(1))
    back = RecordHeartbeatRestored(seen_at=at(5))
    assert last_of(*AVAILABLE, lost) == [NodeHeartbeatLost(node_id="n-1", last_seen_at=at(1))]
    silent = node_after(*AVAILABLE, lost)
    assert (silent.lifecycle, silent.health.agent, silent.placeable) == (
        Lifecycle.AVAILABLE,
        Condition.SUSPECT,
        False,
    )
    assert last_of(*AVAILABLE, lost, back) == [NodeHeartbeatRestored(node_id="n-1", seen_at=at(5))]
    assert node_after(*AVAILABLE, lost, back).placeable


def test_repeated_verdicts_are_quiet_and_stale_ones_refused() -> None:
    lost, back = RecordHeartbeatLost(last_seen_at=at(1)), RecordHeartbeatRestored(seen_at=at(5))
    assert last_of(*AVAILABLE, lost, lost) == []
    assert last_of(*AVAILABLE, back) == []
    with pytest.raises(Rejected, match="newer"):
        last_of(*AVAILABLE, lost, RecordHeartbeatRestored(seen_at=at(1)))
    with pytest.raises(Rejected, match="not lost"):
        last_of(*AVAILABLE, lost, back, RecordHeartbeatLost(last_seen_at=at(2)))


@pytest.mark.parametrize(
    "command",
    [
        RecordHardware(hardware()),
        RecordHeartbeatLost(last_seen_at=NOON),
        RecordHeartbeatRestored(seen_at=NOON),
        PlaceHold(hold()),
        LiftHold(hold_id="x", by="u", reason="r"),
    ],
)
def test_nothing_is_recorded_about_a_retired_node(command: NodeCommand) -> None:
    with pytest.raises(Rejected, match="retired"):
        last_of(*AVAILABLE, RetireNode(reason="end of lease"), command)


def test_retiring_is_final_and_quiet_the_second_time() -> None:
    retire = RetireNode(reason="end of lease")
    assert last_of(*AVAILABLE, retire) == [NodeRetired(node_id="n-1", reason="end of lease")]
    assert last_of(*AVAILABLE, retire, retire) == []
    assert node_after(*AVAILABLE, retire).custody is Custody.PROVIDER
    with pytest.raises(Rejected, match="not used again"):
        last_of(*AVAILABLE, retire, REGISTER)


@pytest.mark.parametrize("reason", ["", "x" * 501])
def test_a_reason_is_said_in_a_sentence(reason: str) -> None:
    with pytest.raises(Invalid, match="reason"):
        last_of(*AVAILABLE, RetireNode(reason=reason))
