"""What is ordered and what arrives: SKU versions never change, nothing is planned twice, differences are typed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.contracts.inventory import BillPart, MachineAccepted, MachineMismatched, MachinePlanned, SkuPublished
from gpuaas.inventory.domain.machine import MACHINE, Accepted, EnterMachine, FailMachine, Mismatched, RemoveMachine
from gpuaas.inventory.domain.plan import (
    CLAIM,
    PLAN,
    Claim,
    Claimable,
    FreeClaim,
    Plan,
    PlanMachine,
    TakeClaim,
    Unplanned,
    WithdrawPlan,
    claims_of,
    planned,
)
from gpuaas.inventory.domain.sku import SKU, Bill, PublishSku, RetireSkuVersion, Sku, SkuCommand
from machine_facts import MEMORY_MIB, MODEL, device, found

GPUS = BillPart(kind="gpu", part_number="900-2G520", count=8)
BILL = Bill("eight H100", MODEL, 8, "machine", (BillPart(kind="chassis", part_number="HGX", count=1), GPUS))
PUBLISH = PublishSku("hgx-8", BILL, model_known=True)


def after(*commands: SkuCommand) -> Sku:
    sku = SKU.initial
    for command in commands:
        sku = SKU.fold(SKU.decide(command, sku), sku)
    return sku


def order(**other: Any) -> PlanMachine:
    plan = PlanMachine(
        machine_id="m-1",
        sku_id="hgx-8",
        sku_version=None,
        sku=after(PUBLISH),
        pool_id="h100-fra",
        topology=found().topology,
        machine_serial="CHASSIS-m-1",
        rack_slot=17,
        replaces=Unplanned(),
    )
    return replace(plan, **other)


PLANNED = planned(order(), Unplanned())
ENTER = EnterMachine(found(), MEMORY_MIB, plan=PLANNED)


def test_a_version_never_changes_and_the_next_says_it_better() -> None:
    assert SKU.decide(PUBLISH, after(PUBLISH)) == []
    (second,) = SKU.decide(replace(PUBLISH, bill=replace(BILL, title="eight H100, liquid")), after(PUBLISH))
    assert isinstance(second, SkuPublished)
    assert second.version == 2
    assert after(PUBLISH, replace(PUBLISH, bill=replace(BILL, title="x"))).bills[0] == BILL


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        (replace(PUBLISH, sku_id="HGX 8"), Invalid),
        (replace(PUBLISH, model_known=False), Rejected),
        (replace(PUBLISH, bill=replace(BILL, gpu_count=7)), Invalid),
        (replace(PUBLISH, bill=replace(BILL, parts=(GPUS, GPUS))), Invalid),
    ],
)
def test_an_impossible_bill_of_materials_is_refused(wrong: PublishSku, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        SKU.decide(wrong, SKU.initial)


def test_a_retired_version_takes_no_new_plans_and_keeps_the_old_ones() -> None:
    retired = after(PUBLISH, RetireSkuVersion("hgx-8", 1, "no longer made"))
    assert SKU.decide(RetireSkuVersion("hgx-8", 1, "again"), retired) == []
    with pytest.raises(Rejected, match="publish the next one"):
        PLAN.decide(order(sku=retired), Unplanned())
    with pytest.raises(Rejected, match="retired"):
        PLAN.decide(order(sku=retired, sku_version=1), Unplanned())
    moved = order(sku=retired, sku_version=1, rack_slot=20, replaces=PLANNED)
    assert len(PLAN.decide(moved, PLANNED)) == 1
    with pytest.raises(NotFound):
        SKU.decide(RetireSkuVersion("hgx-8", 7, "x"), retired)
    assert len(SKU.decide(PUBLISH, retired)) == 1


def test_a_plan_says_what_the_sku_says() -> None:
    (said,) = PLAN.decide(order(), Unplanned())
    assert isinstance(said, MachinePlanned)
    assert (said.gpu_model, said.gpu_count, said.sku_version, said.nvlink_domain) == (MODEL, 8, 1, "m-1")
    assert PLAN.fold([said]) == PLANNED
    assert PLAN.decide(order(replaces=PLANNED), PLANNED) == []
    assert PLAN.fold(PLAN.decide(WithdrawPlan("m-1", "cancelled", PLANNED), PLANNED), PLANNED) == Unplanned()
    with pytest.raises(NotFound):
        PLAN.decide(order(sku=Sku()), Unplanned())
    with pytest.raises(NotFound):
        PLAN.decide(WithdrawPlan("m-1", "x", Unplanned()), Unplanned())


def test_a_plan_that_changed_meanwhile_is_not_overwritten() -> None:
    with pytest.raises(Rejected, match="has just changed"):
        PLAN.decide(order(), PLANNED)


def test_machines_of_one_rack_share_a_domain_where_the_rack_is_one() -> None:
    rack = after(replace(PUBLISH, bill=replace(BILL, nvlink_scope="rack")))
    one, other = (planned(order(sku=rack, machine_id=name), Unplanned()) for name in ("m-1", "m-2"))
    assert one.nvlink_domain == other.nvlink_domain != None  # noqa: E711
    elsewhere = found().topology.model_copy(update={"pod": "p9"})
    assert planned(order(sku=rack, topology=elsewhere), Unplanned()).nvlink_domain != one.nvlink_domain


def test_a_serial_and_a_slot_are_in_one_plan() -> None:
    serial, slot = sorted(claims_of(PLANNED))
    assert (serial.value, slot.value) == ("CHASSIS-m-1", "eu-central/fra1/p2/r07/17")
    mine = CLAIM.fold(CLAIM.decide(TakeClaim(serial, "m-1"), Claim()))
    assert CLAIM.decide(TakeClaim(serial, "m-1"), mine) == []
    with pytest.raises(Rejected, match="planned for m-1"):
        CLAIM.decide(TakeClaim(serial, "m-2"), mine)
    assert CLAIM.decide(FreeClaim(serial, "m-2"), mine) == []
    assert CLAIM.fold(CLAIM.decide(FreeClaim(serial, "m-1"), mine), mine) == Claim()
    assert Claimable("serial", "X").claim_id != Claimable("slot", "X").claim_id


def test_what_arrives_as_planned_is_accepted() -> None:
    (said,) = MACHINE.decide(ENTER, MACHINE.initial)
    assert isinstance(said, MachineAccepted)


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (replace(PLANNED, machine_serial="OTHER"), "machine_serial"),
        (replace(PLANNED, gpu_model="nvidia-l4-24gb"), "gpu_model"),
        (replace(PLANNED, gpu_count=4), "gpu_count"),
        (replace(PLANNED, pool_id="elsewhere"), "pool_id"),
        (replace(PLANNED, topology=PLANNED.topology.model_copy(update={"rack": "r99"})), "topology"),
    ],
)
def test_every_difference_from_the_plan_has_its_type(plan: Plan, field: str) -> None:
    (said,) = MACHINE.decide(replace(ENTER, plan=plan), MACHINE.initial)
    assert isinstance(said, MachineMismatched)
    assert [mismatch.field for mismatch in said.mismatches] == [field]


def test_a_chassis_that_another_plan_waits_for_is_named() -> None:
    (said,) = MACHINE.decide(replace(ENTER, planned_elsewhere="m-9"), MACHINE.initial)
    assert isinstance(said, MachineMismatched)
    assert (said.mismatches[0].field, said.mismatches[0].expected) == ("plan", "CHASSIS-m-1 as m-9")
    assert isinstance(MACHINE.decide(replace(ENTER, planned_elsewhere="m-1"), MACHINE.initial)[0], MachineAccepted)


def test_a_machine_that_comes_back_with_other_hardware_leaves_the_shelf() -> None:
    other = MACHINE.decide(replace(ENTER, found=found(machine_serial="X")), MACHINE.initial)
    assert isinstance(other[0], MachineMismatched)
    state = MACHINE.fold(MACHINE.decide(ENTER, MACHINE.initial))
    failed = FailMachine(tuple(other[0].mismatches))
    after_failure = MACHINE.fold(MACHINE.decide(failed, state), state)
    assert isinstance(after_failure, Mismatched)
    assert after_failure.before == found()
    assert MACHINE.decide(failed, after_failure) == []
    assert MACHINE.decide(failed, MACHINE.initial) == []
    swapped = replace(ENTER, found=found(devices=(device(0, "NEW"), *found().devices[1:])))
    assert isinstance(MACHINE.fold(MACHINE.decide(swapped, after_failure), after_failure), Accepted)
    gone = MACHINE.fold(MACHINE.decide(RemoveMachine("x"), state), state)
    assert MACHINE.decide(failed, gone) == []
