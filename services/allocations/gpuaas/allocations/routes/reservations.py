"""The door to reservations: make, see, give up. One law: a promise comes with booked GPUs or not at all."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from gpuaas.allocations.domain.booking import BookTime, FreeTime
from gpuaas.allocations.domain.reservation import EndReservation, MakeReservation, Nothing, times_of, windows_of
from gpuaas.allocations.domain.shape import Shape, refuse_absurd
from gpuaas.allocations.projections.reservations import Reservations
from gpuaas.allocations.reactions import POOL, RESERVATION
from gpuaas.common.access import ABSENT
from gpuaas.common.commands import Order
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.service import Service
from gpuaas.contracts.allocations import Label, Recurrence, TopologyLevel, TopologyMode
from pydantic import AwareDatetime, Field

Count = Annotated[int, Field(strict=True)]
ReservationId = Annotated[str, Path(min_length=1, max_length=63)]
Paged = Annotated[Paging, Depends(paging)]
_HOME: Final = "/v1/tenants/{tenant_id}/projects/{project_id}/reservations"


class ReserveGpus(Body):
    """GPUs to be kept for the project in a window of time, or in equal windows again and again.

    Attributes:
        replicas, gpus_per_replica: groups of GPUs, each on one machine.
        starts_at, ends_at: of the first window, with a time zone.
        every_days, occurrences: repeat it every so many days of 24 hours, so many times in all.
        reason: what it is for; whoever reads the trail sees it.
    """

    pool_id: Label
    gpu_model: Label
    replicas: Count = 1
    gpus_per_replica: Count
    topology_level: TopologyLevel | None = None
    topology_mode: TopologyMode | None = None
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    every_days: Count | None = None
    occurrences: Count | None = None
    reason: str = Field(min_length=1, max_length=500)


class GiveUp(Body):
    """Why it is not needed any more."""

    reason: str = Field(min_length=1, max_length=500)


def door(service: Service, reservations: Reservations) -> APIRouter:
    """What a tenant may reserve, and what operators see of a pool."""
    router = APIRouter(tags=["reservations"])
    _questions(router, service, reservations)

    @router.post(_HOME, status_code=201, summary="Keep GPUs for a time to come.")
    async def make_reservation(
        tenant_id: str,
        project_id: str,
        ask: ReserveGpus,
        caller: Annotated[Caller, Depends(permit("allocations.reservation.make"))],
    ) -> Accepted:
        reservation_id = f"rsv-{caller.derived_id('reservation')}"
        order = _order(ask, reservation_id, tenant_id, project_id, service.clock.now())
        refuse_absurd(order.shape)
        book = BookTime(ask.pool_id, reservation_id, tenant_id, project_id, order.shape, windows_of(order), order.at)
        orders: list[Order[Any, Any]] = [
            Order(RESERVATION, tenant_id, reservation_id, order),
            Order(POOL, PLATFORM, ask.pool_id, book),
        ]
        outcomes = await service.commands.execute_together(orders, caller.cause("reserve"))
        return caller.accepted(outcomes[0], reservation_id)

    @router.post(_HOME + "/{reservation_id}/end", status_code=202, summary="Give up what is left of a reservation.")
    async def end_reservation(
        tenant_id: str,
        project_id: str,
        reservation_id: ReservationId,
        ask: GiveUp,
        caller: Annotated[Caller, Depends(permit("allocations.reservation.end", relief=True))],
    ) -> Accepted:
        state, _ = await service.commands.state(RESERVATION, tenant_id, reservation_id)
        if isinstance(state, Nothing) or state.made.project_id != project_id:
            raise NotFound(ABSENT)
        free = FreeTime(state.made.pool_id, reservation_id, None, f"given up: {ask.reason}")
        orders: list[Order[Any, Any]] = [
            Order(RESERVATION, tenant_id, reservation_id, EndReservation(ask.reason, service.clock.now())),
            Order(POOL, PLATFORM, state.made.pool_id, free),
        ]
        outcomes = await service.commands.execute_together(orders, caller.cause("end"))
        return caller.accepted(outcomes[0], reservation_id)

    return router


def _questions(router: APIRouter, service: Service, reservations: Reservations) -> None:
    seen = Depends(fresh(reservations))

    @router.get(_HOME, dependencies=[seen], summary="The project's reservations, the newest first.")
    async def project_reservations(
        tenant_id: str,
        project_id: str,
        page: Paged,
        caller: Annotated[Caller, Depends(permit("allocations.reservation.read"))],
    ) -> Page:
        before = page.key(int)
        rows = await reservations.newest(service.database, (tenant_id, project_id), None, before, page.limit + 1)
        return page.page([_shown(dict(row)) for row in rows], ["made_position"])

    @router.get(_HOME + "/{reservation_id}", dependencies=[seen], summary="One reservation with its windows.")
    async def reservation(
        tenant_id: str,
        project_id: str,
        reservation_id: ReservationId,
        caller: Annotated[Caller, Depends(permit("allocations.reservation.read"))],
    ) -> dict[str, Any]:
        row = await reservations.one(service.database, tenant_id, project_id, reservation_id)
        if row is None:
            raise NotFound(ABSENT)
        return _shown(dict(row))

    @router.get("/v1/pools/{pool_id}/reservations", dependencies=[seen], summary="All reservations of a pool.")
    async def pool_reservations(
        pool_id: str, page: Paged, caller: Annotated[Caller, Depends(permit("allocations.pool.read"))]
    ) -> Page:
        rows = await reservations.newest(service.database, None, pool_id, page.key(int), page.limit + 1)
        return page.page([_shown(dict(row)) for row in rows], ["made_position"])


def _order(ask: ReserveGpus, reservation_id: str, tenant_id: str, project_id: str, at: datetime) -> MakeReservation:
    return MakeReservation(
        reservation_id=reservation_id,
        tenant_id=tenant_id,
        project_id=project_id,
        pool_id=ask.pool_id,
        shape=Shape(ask.gpu_model, ask.replicas, ask.gpus_per_replica, ask.topology_level, ask.topology_mode),
        starts_at=ask.starts_at,
        ends_at=ask.ends_at,
        every_days=ask.every_days,
        occurrences=ask.occurrences,
        reason=ask.reason,
        at=at,
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its windows spelled out, each with the GPUs it lacks."""
    every = row["every_days"]
    recurrence = Recurrence(every_days=every, occurrences=row["occurrences"]) if every else None
    missing = row.pop("missing_gpus")
    windows = [
        {"window": number, "starts_at": begins, "ends_at": ends, "missing_gpus": missing.get(str(number), 0)}
        for number, (begins, ends) in enumerate(times_of(row["starts_at"], row["ends_at"], recurrence))
    ]
    return row | {"windows": windows}
