"""Whether a machine may be claimed, out of its two histories: any doubt closes it, a new acceptance opens it again."""

from __future__ import annotations

from allocations_world import accepted
from gpuaas.allocations.domain.offer import ABOUT_MACHINES, offer_of
from gpuaas.contracts.inventory import MachineMismatched, MachineRemoved, Mismatch
from gpuaas.contracts.nodes import NodeHoldLifted, NodeHoldPlaced

MACHINE = accepted(0)
TAKEN = MachineMismatched(
    machine_id=MACHINE.machine_id,
    mismatches=(Mismatch(field="devices.serial", expected="a free serial number", observed="S-1 of n9"),),
)


def test_an_accepted_machine_is_open() -> None:
    offer = offer_of([MACHINE], [])
    assert offer is not None
    assert offer.closed is None


def test_a_machine_that_mismatches_after_it_was_accepted_is_closed_with_what_differed() -> None:
    offer = offer_of([MACHINE, TAKEN], [])
    assert offer is not None
    assert offer.closed == "not the machine that was accepted: devices.serial"
    assert MachineMismatched in ABOUT_MACHINES, "the reaction must hear of it"


def test_a_settled_mismatch_opens_the_machine_again() -> None:
    offer = offer_of([MACHINE, TAKEN, MACHINE], [])
    assert offer is not None
    assert offer.closed is None


def test_a_machine_that_mismatched_before_it_was_ever_accepted_is_no_offer() -> None:
    assert offer_of([TAKEN], []) is None


def test_a_hold_closes_until_it_is_lifted_and_a_mismatch_outlasts_it() -> None:
    held = NodeHoldPlaced(node_id="n0", hold_id="health-a", owner="policy:health", cause="XID 79", expires_at=None)
    lifted = NodeHoldLifted(node_id="n0", hold_id="health-a", reason="healthy again")
    for machine, node, closed in (
        ([MACHINE], [held], "held by policy:health: XID 79"),
        ([MACHINE], [held, lifted], None),
        ([MACHINE, TAKEN], [held, lifted], "not the machine that was accepted: devices.serial"),
        ([MACHINE, MachineRemoved(machine_id="n0", reason="sold")], [], "removed: sold"),
    ):
        offer = offer_of(machine, node)
        assert offer is not None
        assert offer.closed == closed
