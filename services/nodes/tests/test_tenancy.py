"""A machine that one tenant has at a time: taken, given back, wiped, looked at, validated, and never otherwise."""

from __future__ import annotations

import pytest
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.contracts.nodes import NodeAllocated, NodeBecameAvailable, NodeHoldLifted, NodeHoldPlaced
from gpuaas.nodes.domain.axes import Custody, DrainMode, Lifecycle
from gpuaas.nodes.domain.orders import (
    BeginNodeMaintenance,
    EndNodeMaintenance,
    NodeCommand,
    OrderDrain,
    RecordAllocated,
    RecordAllocationEnded,
    RecordDrained,
    RecordFirmware,
    RecordHardware,
    RecordWiped,
    ValidateNode,
)
from node_facts import AVAILABLE, AVAILABLE_WHOLE, at, device, hardware, last_of, node_after

TAKEN = RecordAllocated("alloc-1", "acme", "folding", 10)
GIVEN_BACK = RecordAllocationEnded("alloc-1", "completed")
WIPED = RecordWiped("secure-erase", 8, 8, at(20), "0" * 64)
SEEN = RecordHardware(hardware(observed_at=at(21)))
USED: tuple[NodeCommand, ...] = (*AVAILABLE_WHOLE, TAKEN, GIVEN_BACK)
DRAINED: tuple[NodeCommand, ...] = (
    OrderDrain(DrainMode.NOW, 0, "firmware", at(5), window_id="mw-1"),
    RecordDrained(at(6), 9),
)


def test_a_claim_passes_the_machine_into_the_tenants_hands_and_closes_it() -> None:
    taken, placed = last_of(*AVAILABLE_WHOLE, TAKEN)
    assert isinstance(taken, NodeAllocated)
    assert taken.unclean is None
    assert isinstance(placed, NodeHoldPlaced)
    node = node_after(*AVAILABLE_WHOLE, TAKEN)
    assert (node.lifecycle, node.hands, node.placeable) == (Lifecycle.ALLOCATED, Custody.TENANT, False)
    assert last_of(*AVAILABLE_WHOLE, TAKEN, TAKEN) == []


def test_a_shared_machine_records_nothing_of_its_tenants() -> None:
    assert last_of(*AVAILABLE, TAKEN) == []
    assert last_of(*AVAILABLE, GIVEN_BACK) == []


def test_it_comes_back_wiped_seen_and_validated() -> None:
    assert node_after(*USED).lifecycle is Lifecycle.SANITIZING
    available, lifted = last_of(*USED, WIPED, SEEN, ValidateNode())
    assert isinstance(available, NodeBecameAvailable)
    assert isinstance(lifted, NodeHoldLifted)
    node = node_after(*USED, WIPED, SEEN, ValidateNode())
    assert (node.placeable, node.hands) == (True, Custody.POOL)


@pytest.mark.parametrize(
    ("orders", "word"),
    [
        ((SEEN,), "not wiped"),
        ((WIPED, RecordHardware(hardware(observed_at=at(19)))), "wiped after"),
        ((RecordDrained(at(1), 1),), "not being drained"),
    ],
)
def test_no_step_of_the_return_can_be_left_out(orders: tuple[NodeCommand, ...], word: str) -> None:
    with pytest.raises(Rejected, match=word):
        last_of(*USED, *orders)


def test_a_wipe_that_left_a_gpu_out_is_none() -> None:
    with pytest.raises(Invalid, match="7 GPUs cleared of 8"):
        last_of(*USED, RecordWiped("secure-erase", 8, 7, at(20), "0" * 64))
    with pytest.raises(Rejected, match="only a machine that is sanitizing"):
        last_of(*AVAILABLE_WHOLE, WIPED)


def test_a_wipe_does_not_count_while_a_late_claim_has_the_machine() -> None:
    again = (*USED, RecordAllocated("alloc-9", "acme", "folding", 12))
    with pytest.raises(Rejected, match="alloc-9 got node"):
        last_of(*again, WIPED)
    assert node_after(*again, RecordAllocationEnded("alloc-9", "completed"), WIPED).unclean is None


def test_a_gpu_that_a_tenant_took_away_is_found() -> None:
    swapped = hardware(*(device(n, "OTHER" if n == 3 else None) for n in range(8)), observed_at=at(21))
    assert node_after(*USED, WIPED, RecordHardware(swapped), ValidateNode()).lifecycle is Lifecycle.REPAIR


def test_the_last_of_several_claims_counts() -> None:
    two = (*AVAILABLE_WHOLE, TAKEN, RecordAllocated("alloc-2", "acme", "folding", 11), GIVEN_BACK)
    assert node_after(*two).lifecycle is Lifecycle.ALLOCATED
    assert node_after(*two, RecordAllocationEnded("alloc-2", "completed")).lifecycle is Lifecycle.SANITIZING


def test_a_second_tenant_on_an_unclean_machine_is_said_aloud() -> None:
    taken = last_of(*USED, RecordAllocated("alloc-9", "kyoto", "vision", 12))[0]
    assert isinstance(taken, NodeAllocated)
    assert taken.unclean is True


def test_a_tenants_machine_is_not_judged_and_not_serviced_while_it_has_it() -> None:
    with pytest.raises(Rejected, match="allocated"):
        last_of(*AVAILABLE_WHOLE, TAKEN, RecordHardware(hardware(device(0), observed_at=at(9))))
    with pytest.raises(Rejected, match="allocated"):
        last_of(*AVAILABLE_WHOLE, TAKEN, *DRAINED, BeginNodeMaintenance("mw-1"))


def test_maintenance_takes_an_empty_machine_and_returns_a_validated_one() -> None:
    serviced = (*AVAILABLE, *DRAINED, BeginNodeMaintenance("mw-1"))
    assert node_after(*serviced).hands is Custody.REPAIR
    assert len(last_of(*serviced, RecordFirmware("mw-1", "bmc", "1.3", "1.2", at(8)))) == 1
    done = (*serviced, RecordFirmware("mw-1", "bmc", "1.3", "1.2", at(8)), EndNodeMaintenance("mw-1"))
    assert node_after(*done).lifecycle is Lifecycle.VALIDATING
    assert last_of(*done, ValidateNode()) == [], "an old look proves nothing"
    back = node_after(*done, RecordHardware(hardware(observed_at=at(9))), ValidateNode())
    assert (back.placeable, back.drain, dict(back.firmware)) == (True, None, {"bmc": "1.3"})


def test_failed_maintenance_leads_to_repair() -> None:
    node = node_after(*AVAILABLE, *DRAINED, BeginNodeMaintenance("mw-1"), EndNodeMaintenance("mw-1", "bmc is silent"))
    assert node.lifecycle is Lifecycle.REPAIR
    assert node.mismatches[0].observed == "bmc is silent"


def test_a_machine_that_is_not_empty_is_not_taken() -> None:
    with pytest.raises(Rejected, match="drain it first"):
        last_of(*AVAILABLE, BeginNodeMaintenance("mw-1"))


def test_an_unclean_machine_is_wiped_after_its_maintenance() -> None:
    serviced = (*USED, *DRAINED, BeginNodeMaintenance("mw-1"), EndNodeMaintenance("mw-1"))
    node = node_after(*serviced, RecordHardware(hardware(observed_at=at(9))), ValidateNode())
    assert node.lifecycle is Lifecycle.SANITIZING
