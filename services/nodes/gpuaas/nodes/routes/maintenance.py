"""The door of maintenance windows. One law: a tenant sees of a window what touches it, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.projections import Record
from gpuaas.common.wire import Moment
from gpuaas.contracts.nodes import FirmwareGoal, Label
from gpuaas.nodes.domain.admission import REASON_MAX
from gpuaas.nodes.domain.axes import DrainMode, Lifecycle
from gpuaas.nodes.domain.drains import NOTICE_S_MAX
from gpuaas.nodes.domain.maintenance import (
    FIRMWARE_MAX,
    NODES_MAX,
    POSTPONE_S_MAX,
    POSTPONEMENTS_MAX,
    AcceptMaintenance,
    CancelMaintenance,
    EndMaintenance,
    MaintenanceCommand,
    Plan,
    PostponeMaintenance,
    ScheduleMaintenance,
    Stage,
    StartMaintenance,
)
from gpuaas.nodes.domain.orders import EndNodeMaintenance, NodeCommand
from gpuaas.nodes.domain.promises import Unkept
from gpuaas.nodes.projections.maintenance_windows import MaintenanceWindows
from gpuaas.nodes.promising import Promises
from gpuaas.nodes.reactions import NODE_ENTITY
from gpuaas.nodes.routes.drains import CLAIMS_SHOWN_MAX, OverPromises, WhyNot, claim_shown
from gpuaas.nodes.upkeep import Views
from gpuaas.nodes.windows import MAINTENANCE_ENTITY
from pydantic import Field

Reason = Annotated[str, Field(min_length=1, max_length=REASON_MAX)]
Id = Annotated[str, Path(max_length=63)]


class NewWindow(Body):
    """Machines, a window of time, the notice their tenants get, and how far it may be moved."""

    window_id: Label
    node_ids: Annotated[tuple[Label, ...], Field(min_length=1, max_length=NODES_MAX)]
    starts_at: Moment
    ends_at: Moment
    notice_s: Annotated[int, Field(strict=True, ge=0, le=NOTICE_S_MAX)] = 0
    reason: Reason
    mode: DrainMode = DrainMode.NOTICE_THEN_STOP
    postpone_max_s: Annotated[int, Field(strict=True, ge=0, le=POSTPONE_S_MAX)] = 0
    postponements_max: Annotated[int, Field(strict=True, ge=0, le=POSTPONEMENTS_MAX)] = 0
    firmware: Annotated[tuple[FirmwareGoal, ...], Field(max_length=FIRMWARE_MAX)] = ()
    over_promises: OverPromises = False

    def plan(self) -> Plan:
        return Plan(
            node_ids=tuple(sorted(set(self.node_ids))),
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            notice_s=self.notice_s,
            reason=self.reason,
            mode=self.mode,
            postpone_max_s=self.postpone_max_s,
            postponements_max=self.postponements_max,
            firmware=self.firmware,
        )


class LaterStart(Body):
    """A later time to begin; the length of the window stays."""

    starts_at: Moment
    reason: Reason


class WorkDone(Body):
    """The work on one machine is over; `failed` says what did not succeed."""

    failed: Annotated[str, Field(min_length=1, max_length=REASON_MAX)] | None = None


def maintenance_router(
    views: Views, windows: MaintenanceWindows, promises: Promises, commands: Commands, clock: Clock
) -> APIRouter:
    """The routes about windows, for operators and for tenants."""
    door = APIRouter(prefix="/v1", tags=["maintenance"])
    desk = _Desk(views, windows, promises, commands, clock)
    _planning(door, desk)
    _progress(door, desk)
    _notices(door, desk)
    return door


class _Desk:
    """What the routes share: give an order, show a window, know who is affected."""

    def __init__(
        self, views: Views, windows: MaintenanceWindows, promises: Promises, commands: Commands, clock: Clock
    ) -> None:
        self.views = views
        self.windows = windows
        self.promises = promises
        self.commands = commands
        self.clock = clock
        self.seen = Depends(fresh(windows))

    async def to_node(self, caller: Caller, node_id: str, command: NodeCommand) -> Accepted:
        outcome = await self.commands.execute(NODE_ENTITY, PLATFORM, node_id, command, caller.cause())
        return caller.accepted(outcome, node_id)

    async def to_window(self, caller: Caller, window_id: str, command: MaintenanceCommand) -> Accepted:
        outcome = await self.commands.execute(MAINTENANCE_ENTITY, PLATFORM, window_id, command, caller.cause())
        return caller.accepted(outcome, window_id)

    async def unkept_in(self, plan: Plan) -> list[Unkept]:
        """What a window would break: its machines take no new work from its notice on."""
        return await self.promises.unkept_without(plan.node_ids, plan.starts_at, plan.ends_at, work_goes_on=False)

    async def later(self, window_id: str, body: LaterStart, tenant_id: str | None = None) -> PostponeMaintenance:
        """The order to begin later, with what it would break then."""
        row = await self.window(window_id)
        node_ids = list(await self.nodes_of(window_id))
        ends_at = body.starts_at + (row["ends_at"] - row["starts_at"])
        unkept = await self.promises.unkept_without(node_ids, body.starts_at, ends_at, work_goes_on=False)
        return PostponeMaintenance(body.starts_at, body.reason, self.clock.now(), tenant_id, unkept)

    async def window(self, window_id: str) -> Record:
        row = await self.windows.window(self.views.database, window_id)
        if row is None:
            raise NotFound(f"there is no maintenance window {window_id}; see GET /v1/maintenance-windows")
        return row

    async def nodes_of(self, window_id: str) -> dict[str, str]:
        places = await self.windows.places(self.views.database, [window_id])
        return {place["node_id"]: place["progress"] for place in places}

    async def affected(self, node_ids: Sequence[str]) -> list[Record]:
        return await self.views.claims.on_nodes(self.views.database, node_ids)

    async def touching(self, tenant_id: str, window_id: str) -> Record:
        """A window that has not ended and has a machine with a claim of this tenant.

        Raises:
            NotFound: there is none, or it touches others only: the same words.
        """
        missing = NotFound("no maintenance window with this id touches this tenant")
        row = await self.windows.window(self.views.database, window_id)
        if row is None or row["stage"] == Stage.ENDED:
            raise missing
        node_ids = list(await self.nodes_of(window_id))
        if not await self.views.claims.of_tenant(self.views.database, tenant_id, node_ids):
            raise missing
        return row


def _planning(door: APIRouter, desk: _Desk) -> None:
    @door.post("/maintenance-windows", status_code=201, summary="Plan a window; tenants get its notice.")
    async def schedule_maintenance(
        body: NewWindow, caller: Annotated[Caller, Depends(permit("nodes.maintenance.schedule"))]
    ) -> Accepted:
        plan, now = body.plan(), desk.clock.now()
        # One planned a moment ago counts too; two planned in the same instant meet on the machine, which takes one.
        await desk.views.windows_settled()
        await _all_there(desk, plan, body.window_id)
        unkept = await desk.unkept_in(plan)
        order = ScheduleMaintenance(body.window_id, plan, now, unkept, body.over_promises)
        return await desk.to_window(caller, body.window_id, order)

    @door.get("/maintenance-windows", dependencies=[desk.seen], summary="Windows in order of id.")
    async def list_windows(
        caller: Annotated[Caller, Depends(permit("nodes.maintenance.read"))],
        asked: Annotated[Paging, Depends(paging)],
        stage: Annotated[Stage | None, Query()] = None,
    ) -> Page:
        rows = await desk.windows.matching(desk.views.database, stage, asked.key(str), asked.limit + 1)
        return asked.page([_shown(row) for row in rows], ["window_id"])

    @door.get("/maintenance-windows/{window_id}", dependencies=[desk.seen], summary="A window: machines, claims.")
    async def get_window(
        window_id: Id, caller: Annotated[Caller, Depends(permit("nodes.maintenance.read"))]
    ) -> dict[str, Any]:
        row = await desk.window(window_id)
        progress = await desk.nodes_of(window_id)
        nodes = [{"node_id": node_id, "progress": step} for node_id, step in progress.items()]
        claims = [] if row["stage"] == Stage.ENDED else await desk.affected(list(progress))
        return {**_shown(row), "nodes": nodes, "claims": [claim_shown(each) for each in claims[:CLAIMS_SHOWN_MAX]]}

    @door.post("/maintenance-windows/{window_id}/postpone", status_code=202, summary="Begin later, by the policy.")
    async def postpone_window(
        window_id: Id, body: LaterStart, caller: Annotated[Caller, Depends(permit("nodes.maintenance.postpone"))]
    ) -> Accepted:
        return await desk.to_window(caller, window_id, await desk.later(window_id, body))

    @door.post("/maintenance-windows/{window_id}/cancel", status_code=202, summary="Call the window off.")
    async def cancel_window(
        window_id: Id, body: WhyNot, caller: Annotated[Caller, Depends(permit("nodes.maintenance.cancel"))]
    ) -> Accepted:
        return await desk.to_window(caller, window_id, CancelMaintenance(body.reason, desk.clock.now()))


def _progress(door: APIRouter, desk: _Desk) -> None:
    @door.post("/maintenance-windows/{window_id}/start", status_code=202, summary="Begin early, when all agree.")
    async def start_window(
        window_id: Id, caller: Annotated[Caller, Depends(permit("nodes.maintenance.start"))]
    ) -> Accepted:
        claims = await desk.affected(list(await desk.nodes_of(window_id)))
        tenants = frozenset(claim["tenant_id"] for claim in claims)
        return await desk.to_window(caller, window_id, StartMaintenance(desk.clock.now(), tenants, early=True))

    @door.post(
        "/maintenance-windows/{window_id}/nodes/{node_id}/done", status_code=202, summary="The work on one is over."
    )
    async def finish_node(
        window_id: Id,
        node_id: Id,
        body: WorkDone,
        caller: Annotated[Caller, Depends(permit("nodes.maintenance.complete"))],
    ) -> Accepted:
        return await desk.to_node(caller, node_id, EndNodeMaintenance(window_id, body.failed))

    @door.post("/maintenance-windows/{window_id}/end", status_code=202, summary="Close the window as things stand.")
    async def end_window(
        window_id: Id, body: WhyNot, caller: Annotated[Caller, Depends(permit("nodes.maintenance.end", relief=True))]
    ) -> Accepted:
        progress = await desk.nodes_of(window_id)
        rows = await desk.views.nodes.among(desk.views.database, list(progress))
        if working := [n for n, row in rows.items() if row["window_id"] == window_id]:
            raise Rejected(f"{working[0]} is still being worked on; say first that it is done, or failed")
        back = frozenset(n for n, row in rows.items() if progress[n] == "done" and row["lifecycle"] in _IN_SERVICE)
        return await desk.to_window(caller, window_id, EndMaintenance(back, desk.clock.now(), body.reason))


_IN_SERVICE: Final = (Lifecycle.AVAILABLE, Lifecycle.ALLOCATED)


def _notices(door: APIRouter, desk: _Desk) -> None:
    home = "/tenants/{tenant_id}/maintenance-windows"

    @door.get(home, dependencies=[desk.seen], summary="Windows that touch this tenant's claims.")
    async def list_notices(
        tenant_id: Id,
        caller: Annotated[Caller, Depends(permit("nodes.notice.read"))],
        asked: Annotated[Paging, Depends(paging)],
    ) -> Page:
        database = desk.views.database
        node_ids = await desk.views.claims.nodes_of_tenant(database, tenant_id)
        rows = await desk.windows.on_nodes(database, node_ids, asked.key(str), asked.limit + 1)
        items = [await _notice(desk, tenant_id, row) for row in rows]
        return asked.page(items, ["window_id"])

    @door.post(home + "/{window_id}/accept", status_code=202, summary="Agree to the window as it stands.")
    async def accept_window(
        tenant_id: Id, window_id: Id, caller: Annotated[Caller, Depends(permit("nodes.notice.accept"))]
    ) -> Accepted:
        await desk.touching(tenant_id, window_id)
        return await desk.to_window(caller, window_id, AcceptMaintenance(tenant_id, desk.clock.now()))

    @door.post(home + "/{window_id}/postpone", status_code=202, summary="Have it begin later, by the policy.")
    async def postpone_notice(
        tenant_id: Id,
        window_id: Id,
        body: LaterStart,
        caller: Annotated[Caller, Depends(permit("nodes.notice.postpone"))],
    ) -> Accepted:
        await desk.touching(tenant_id, window_id)
        return await desk.to_window(caller, window_id, await desk.later(window_id, body, tenant_id))


async def _all_there(desk: _Desk, plan: Plan, window_id: str) -> None:
    """Raises NotFound or Rejected: a machine is unknown, retired, or in another window at that time."""
    rows = await desk.views.nodes.among(desk.views.database, plan.node_ids)
    for node_id in plan.node_ids:
        if node_id not in rows:
            raise NotFound(f"there is no node {node_id}; see GET /v1/nodes", node_id=node_id)
        if rows[node_id]["lifecycle"] == Lifecycle.RETIRED:
            raise Rejected(f"node {node_id} is retired; leave it out")
    for other in await desk.windows.on_nodes(desk.views.database, plan.node_ids):
        if other["window_id"] != window_id and other["starts_at"] < plan.ends_at and plan.starts_at < other["ends_at"]:
            raise Rejected(f"window {other['window_id']} has one of these machines at that time; choose another")


async def _notice(desk: _Desk, tenant_id: str, row: Record) -> dict[str, Any]:
    """A window as an affected tenant sees it: no other tenant, no machine without a claim of its own."""
    node_ids = list(await desk.nodes_of(row["window_id"]))
    claims = await desk.views.claims.of_tenant(desk.views.database, tenant_id, node_ids)
    shown = ("window_id", "stage", "starts_at", "ends_at", "notice_at", "reason", "mode", "position")
    return {
        **{name: row[name] for name in shown},
        "accepted": tenant_id in row["accepted"],
        "postponements_left": max(0, row["postponements_max"] - row["postponements"]),
        "claims": [claim_shown(each) for each in claims[:CLAIMS_SHOWN_MAX]],
    }


def _shown(row: Record) -> dict[str, Any]:
    return dict(row)
