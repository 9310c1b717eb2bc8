"""The door to SKUs, to plans and to what came of them. One law: a plan and what it alone may have change together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from gpuaas.common.commands import Cause, Commands, Order, Outcome
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import GpuaasError, NotFound
from gpuaas.common.http import POSITION_HEADER, Accepted, Body, Caller, Page, Paging, fresh, paging, permit, public
from gpuaas.common.projections import Database, Record
from gpuaas.contracts.inventory import BillPart, Label, Topology
from gpuaas.inventory.domain.gpu_model import GpuModel
from gpuaas.inventory.domain.plan import (
    FreeClaim,
    PlanCommand,
    PlanMachine,
    PlanState,
    TakeClaim,
    WithdrawPlan,
    claims_of,
    planned,
)
from gpuaas.inventory.domain.sku import Bill, NvlinkScope, PublishSku, RetireSkuVersion
from gpuaas.inventory.entities import CLAIM_ENTITY, GPU_MODEL_ENTITY, PLAN_ENTITY, SKU_ENTITY
from gpuaas.inventory.projections import expectations as expectation_view
from gpuaas.inventory.projections.expectations import Expectations
from gpuaas.inventory.projections.skus import Skus
from pydantic import BaseModel, Field

Text = Annotated[str | None, Query(max_length=64)]
Serial = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$", examples=["SGH138X0427"])]
PLANS_AT_ONCE_MAX: Final = 200
MachineId = Annotated[Label, Path()]
SkuId = Annotated[Label, Path()]


class NewSku(Body):
    """A version of a SKU."""

    sku_id: Label
    title: Annotated[str, Field(min_length=1, max_length=200)]
    gpu_model: Annotated[Label, Field(description="A model of the catalogue.")]
    gpu_count: Annotated[int, Field(strict=True, ge=1, le=64)]
    nvlink_scope: Annotated[NvlinkScope, Field(description="How far one NVLink domain reaches.")]
    parts: Annotated[
        tuple[BillPart, ...],
        Field(
            min_length=1,
            max_length=64,
            description="The bill of materials; its GPUs add up to gpu_count.",
            examples=[[{"kind": "gpu", "part_number": "900-2G520-0000-000", "count": 1}]],
        ),
    ]

    def bill(self) -> Bill:
        return Bill(self.title, self.gpu_model, self.gpu_count, self.nvlink_scope, self.parts)


class Reason(Body):
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Retirement(Reason):
    version: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class NewPlan(Body):
    """A machine that is expected."""

    machine_id: Annotated[Label, Field(description="Its node registers under the same id.")]
    sku_id: Label
    sku_version: Annotated[int | None, Field(strict=True, ge=1, description="Absent: the newest.")] = None
    pool_id: Label
    topology: Topology
    machine_serial: Annotated[Serial | None, Field(description="As on the delivery note.")] = None
    rack_slot: Annotated[int | None, Field(strict=True, ge=1, le=100, description="Lowest rack unit, from 1.")] = None


class NewPlans(Body):
    plans: Annotated[tuple[NewPlan, ...], Field(min_length=1, max_length=PLANS_AT_ONCE_MAX)]


class PlanAnswer(BaseModel):
    """What became of one plan of a batch."""

    id: str
    status: str
    position: int = 0
    problem: dict[str, str] | None = None


class PlanAnswers(BaseModel):
    items: list[PlanAnswer]
    position: int


class Planner:
    """Gives plans together with the claims that only one of them can have."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def plan(self, body: NewPlan, cause: Cause) -> Outcome[PlanState]:
        """Raises: NotFound: no such SKU. Rejected: a serial number or slot is another plan's; a retired version."""
        sku, _ = await self._commands.state(SKU_ENTITY, PLATFORM, body.sku_id)
        before, _ = await self._commands.state(PLAN_ENTITY, PLATFORM, body.machine_id)
        order = PlanMachine(
            machine_id=body.machine_id,
            sku_id=body.sku_id,
            sku_version=body.sku_version,
            sku=sku,
            pool_id=body.pool_id,
            topology=body.topology,
            machine_serial=body.machine_serial,
            rack_slot=body.rack_slot,
            replaces=before,
        )
        return await self._together(body.machine_id, order, before, planned(order, before), cause)

    async def withdraw(self, machine_id: str, reason: str, cause: Cause) -> Outcome[PlanState]:
        """Raises NotFound: it is not planned."""
        before, _ = await self._commands.state(PLAN_ENTITY, PLATFORM, machine_id)
        order = WithdrawPlan(machine_id, reason, before)
        return await self._together(machine_id, order, before, PLAN_ENTITY.decider.initial, cause)

    async def _together(
        self, machine_id: str, order: PlanCommand, before: PlanState, after: PlanState, cause: Cause
    ) -> Outcome[PlanState]:
        had, wants = claims_of(before), claims_of(after)
        orders: list[Order[Any, Any]] = [Order(PLAN_ENTITY, PLATFORM, machine_id, order)]
        claims = [(thing, TakeClaim(thing, machine_id)) for thing in sorted(wants - had)]
        frees = [(thing, FreeClaim(thing, machine_id)) for thing in sorted(had - wants)]
        orders += [Order(CLAIM_ENTITY, PLATFORM, thing.claim_id, what) for thing, what in (*claims, *frees)]
        outcomes = await self._commands.execute_together(orders, cause)
        return outcomes[0]


def plan_routes(
    door: APIRouter, skus: Skus, expectations: Expectations, database: Database, commands: Commands
) -> None:
    """Add the routes of this file."""
    _skus(door, skus, database, commands)
    _plans(door, Planner(commands))
    _expectations(door, expectations, database)


def _skus(door: APIRouter, skus: Skus, database: Database, commands: Commands) -> None:
    seen = Depends(fresh(skus))

    @door.get("/skus", dependencies=[seen], summary="Every version of every SKU; open to everyone.")
    @public
    async def list_skus(asked: Annotated[Paging, Depends(paging)], sku_id: Text = None) -> Page:
        rows = await skus.listed(database, sku_id, asked.key(str), asked.limit + 1)
        return asked.page([_sku(row) for row in rows], ["key"])

    @door.post("/skus", status_code=201, summary="Publish a SKU, or its next version.")
    async def publish_sku(
        body: NewSku, caller: Annotated[Caller, Depends(permit("inventory.sku.publish"))]
    ) -> Accepted:
        model, _ = await commands.state(GPU_MODEL_ENTITY, PLATFORM, body.gpu_model)
        order = PublishSku(body.sku_id, body.bill(), isinstance(model, GpuModel))
        outcome = await commands.execute(SKU_ENTITY, PLATFORM, body.sku_id, order, caller.cause())
        return caller.accepted(outcome, body.sku_id)

    @door.post("/skus/{sku_id}/retirements", status_code=201, summary="Take no new plans with a version.")
    async def retire_sku_version(
        sku_id: SkuId, body: Retirement, caller: Annotated[Caller, Depends(permit("inventory.sku.retire"))]
    ) -> Accepted:
        order = RetireSkuVersion(sku_id, body.version, body.reason)
        outcome = await commands.execute(SKU_ENTITY, PLATFORM, sku_id, order, caller.cause())
        return caller.accepted(outcome, sku_id)


def _plans(door: APIRouter, planner: Planner) -> None:
    @door.post("/machine-plans", status_code=202, summary="Expect a machine, or expect it otherwise.")
    async def plan_machine(
        body: NewPlan, caller: Annotated[Caller, Depends(permit("inventory.plan.make"))]
    ) -> Accepted:
        return caller.accepted(await planner.plan(body, caller.cause()), body.machine_id)

    @door.post("/machine-plans/batch", status_code=202, summary="Expect up to 200 machines; each has its own answer.")
    async def plan_machines(
        body: NewPlans, caller: Annotated[Caller, Depends(permit("inventory.plan.make"))]
    ) -> PlanAnswers:
        items = await _all(planner, body.plans, caller.cause())
        answer = PlanAnswers(items=items, position=max(item.position for item in items))
        caller.response.headers[POSITION_HEADER] = str(answer.position)
        return answer

    @door.post("/machine-plans/{machine_id}/withdraw", summary="Expect it no longer.")
    async def withdraw_plan(
        machine_id: MachineId,
        body: Reason,
        caller: Annotated[Caller, Depends(permit("inventory.plan.withdraw", relief=True))],
    ) -> Accepted:
        return caller.accepted(await planner.withdraw(machine_id, body.reason, caller.cause()), machine_id)


async def _all(planner: Planner, plans: Sequence[NewPlan], cause: Cause) -> list[PlanAnswer]:
    """One after the other, so that of two plans for one thing the first has it."""
    items: list[PlanAnswer] = []
    for number, plan in enumerate(plans):
        try:
            outcome = await planner.plan(plan, cause.at(str(number)))
        except GpuaasError as refused:
            told = {"code": refused.code, "detail": refused.detail}
            items.append(PlanAnswer(id=plan.machine_id, status="refused", problem=told))
        else:
            items.append(PlanAnswer(id=plan.machine_id, status="accepted", position=outcome.position))
    return items


def _expectations(door: APIRouter, expectations: Expectations, database: Database) -> None:
    seen = Depends(fresh(expectations))

    @door.get("/expectations", dependencies=[seen], summary="What was expected, what was found, and why they differ.")
    async def list_expectations(
        caller: Annotated[Caller, Depends(permit("inventory.machine.read"))],
        asked: Annotated[Paging, Depends(paging)],
        verdict: Text = None,
        pool_id: Text = None,
        region: Text = None,
        site: Text = None,
        pod: Text = None,
        rack: Text = None,
        sku_id: Text = None,
    ) -> Page:
        given = (verdict, pool_id, region, site, pod, rack, sku_id)
        rows = await expectations.matching(database, _wanted(given), asked.key(str), asked.limit + 1)
        return asked.page([_expectation(row) for row in rows], ["machine_id"])

    @door.get("/expectations/{machine_id}", dependencies=[seen], summary="One machine: its plan, and what was found.")
    async def get_expectation(
        machine_id: Annotated[str, Path(max_length=63)],
        caller: Annotated[Caller, Depends(permit("inventory.machine.read"))],
    ) -> dict[str, Any]:
        row = await expectations.machine(database, machine_id)
        if row is None:
            raise NotFound(f"{machine_id} was neither planned nor found", machine_id=machine_id)
        return _expectation(row)

    @door.get("/expectation-counts", dependencies=[seen], summary="How many machines are there, missing, different.")
    async def count_expectations(
        caller: Annotated[Caller, Depends(permit("inventory.machine.read"))],
        pool_id: Text = None,
        region: Text = None,
        site: Text = None,
        sku_id: Text = None,
    ) -> dict[str, int]:
        return await expectations.counts(database, _wanted((None, pool_id, region, site, None, None, sku_id)))


def _wanted(values: Sequence[str | None]) -> dict[str, str]:
    pairs = zip(expectation_view.FILTERS, values, strict=True)
    return {name: value for name, value in pairs if value is not None}


def _sku(row: Record) -> dict[str, Any]:
    return {**dict(row), "parts": row["parts"]["items"]}


def _expectation(row: Record) -> dict[str, Any]:
    return {
        "machine_id": row["machine_id"],
        "verdict": row["verdict"],
        "why": row["why"],
        "planned": row["plan"] or None,
        "found": row["found"] or None,
        "mismatches": row["mismatches"].get("items", []),
        "registered": row["registered"],
        "silent": row["silent"],
        "changed_at": row["changed_at"],
        "position": row["position"],
    }
