"""The door of drains: order one, call it off, and what stands or is promised on a machine. One law: a drain that would
break a promise to a tenant is refused in a sentence, unless it says that it may."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Invalid, Unavailable
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, paging, permit
from gpuaas.common.projections import Record
from gpuaas.common.wire import Moment
from gpuaas.nodes.domain.admission import REASON_MAX
from gpuaas.nodes.domain.axes import DrainMode
from gpuaas.nodes.domain.drains import NOTICE_S_MAX
from gpuaas.nodes.domain.orders import CancelDrain, NodeCommand, OrderDrain
from gpuaas.nodes.projections.node_claims import KEPT_KEYS
from gpuaas.nodes.promising import Promises
from gpuaas.nodes.reactions import NODE_ENTITY
from gpuaas.nodes.upkeep import Views
from pydantic import Field

Reason = Annotated[str, Field(min_length=1, max_length=REASON_MAX)]
Id = Annotated[str, Path(max_length=63)]
OverPromises = Annotated[
    bool, Field(strict=True, description="Though windows of reservations are left with too few GPUs by it.")
]
CLAIMS_SHOWN_MAX: Final = 1_000


class NewDrain(Body):
    """How a machine becomes empty."""

    mode: DrainMode = DrainMode.LET_FINISH
    notice_s: Annotated[int, Field(strict=True, ge=0, le=NOTICE_S_MAX, description="For `notice-then-stop`.")] = 0
    deadline: Annotated[Moment | None, Field(description="World time; absent: when the notice is over.")] = None
    reason: Reason
    over_promises: OverPromises = False


class WhyNot(Body):
    """Why something is called off or done, in a sentence."""

    reason: Reason


def drains_router(views: Views, promises: Promises, commands: Commands, clock: Clock) -> APIRouter:
    """The routes about making machines empty."""
    door = APIRouter(prefix="/v1", tags=["maintenance"])
    _orders(door, promises, commands, clock)
    _questions(door, views, promises, clock)
    return door


def _orders(door: APIRouter, promises: Promises, commands: Commands, clock: Clock) -> None:
    async def give(caller: Caller, node_id: str, command: NodeCommand) -> Accepted:
        outcome = await commands.execute(NODE_ENTITY, PLATFORM, node_id, command, caller.cause())
        return caller.accepted(outcome, node_id)

    @door.post("/nodes/{node_id}/drain", status_code=202, summary="Have the machine become empty.")
    async def order_drain(
        node_id: Id, body: NewDrain, caller: Annotated[Caller, Depends(permit("nodes.drain.order", relief=True))]
    ) -> Accepted:
        return await give(caller, node_id, await _drain_of(promises, node_id, body, clock))

    @door.post("/nodes/{node_id}/drain/cancel", status_code=202, summary="Call the drain off.")
    async def cancel_drain(
        node_id: Id, body: WhyNot, caller: Annotated[Caller, Depends(permit("nodes.drain.cancel"))]
    ) -> Accepted:
        return await give(caller, node_id, CancelDrain(body.reason))


async def _drain_of(promises: Promises, node_id: str, body: NewDrain, clock: Clock) -> OrderDrain:
    """The order, with what it would break: nothing new lands there, and without `let-finish` what runs is stopped.

    Raises:
        Unavailable: what is promised is not known, and the order does not say that it does not matter.
    """
    now = clock.now()
    order = OrderDrain(body.mode, body.notice_s, body.reason, now, body.deadline, over_promises=body.over_promises)
    until = now + timedelta(seconds=promises.horizon_s)
    stays = body.mode is DrainMode.LET_FINISH
    try:
        return replace(order, unkept=await promises.unkept_without([node_id], now, until, work_goes_on=stays))
    except Unavailable:
        if body.over_promises:
            return order
        raise


def _questions(door: APIRouter, views: Views, promises: Promises, clock: Clock) -> None:
    @door.get("/nodes/{node_id}/claims", summary="Which allocations have GPUs on the machine, by the pool's history.")
    async def list_claims(node_id: Id, caller: Annotated[Caller, Depends(permit("nodes.node.read"))]) -> Page:
        rows = await views.claims.on_nodes(views.database, [node_id])
        return Page(items=[claim_shown(each) for each in rows[:CLAIMS_SHOWN_MAX]])

    @door.get("/nodes/{node_id}/promises", summary="What is kept on the machine for reservations, and if it must be.")
    async def list_promises(
        node_id: Id,
        caller: Annotated[Caller, Depends(permit("nodes.node.read"))],
        asked: Annotated[Paging, Depends(paging)],
    ) -> Page:
        now = clock.now()
        unkept = await promises.unkept_of(node_id, now)
        needed = {(each.reservation_id, each.window): each.gpus for each in unkept}
        rows = await views.claims.kept_on(views.database, node_id, now, _after(asked), asked.limit + 1)
        shown = ("reservation_id", "tenant_id", "window", "member", "starts_at", "ends_at", "gpu_model", "gpus")
        items = [
            {name: row[name] for name in shown}
            | {"not_elsewhere_gpus": needed.get((row["reservation_id"], row["window"]), 0)}
            for row in rows
        ]
        return asked.page(items, [column.name for column in KEPT_KEYS])


def _after(asked: Paging) -> tuple[str, int, int] | None:
    match asked.after:
        case None:
            return None
        case (str() as reservation_id, int() as window, int() as member) if max(abs(window), abs(member)) < 1 << 31:
            return reservation_id, window, member
        case _:
            raise Invalid("this cursor belongs to another list; begin again without it")


def claim_shown(row: Record) -> dict[str, Any]:
    """A claim as operators and its own tenant see it."""
    return {name: row[name] for name in ("allocation_id", "tenant_id", "project_id", "node_id", "gpus")}
