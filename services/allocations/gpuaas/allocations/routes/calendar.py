"""The door to calendars: what a pool has free when. One law: a tenant learns what is free and what is its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from gpuaas.allocations.domain.agenda import STRETCHES_MAX, Stretch, stretches
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.routes.answers import AsOf, pool_as_of
from gpuaas.common.errors import Invalid
from gpuaas.common.http import Caller, Page, Paging, paging, permit
from gpuaas.common.service import Service
from gpuaas.contracts.allocations import Label
from pydantic import AwareDatetime

AHEAD_DEFAULT: Final = timedelta(days=14)
SPAN_MAX: Final = timedelta(days=400)
Paged = Annotated[Paging, Depends(paging)]
From = Annotated[AwareDatetime | None, Query(alias="from", description="Begin here, with a time zone; absent: now.")]
Until = Annotated[AwareDatetime | None, Query(description="End here; absent: 14 days later.")]
Model = Annotated[Label | None, Query(description="Only GPUs of this model; absent: all of the pool's.")]


def door(service: Service) -> APIRouter:
    """Calendars, for operators and for tenants."""
    router = APIRouter(tags=["calendar"])

    @router.get("/v1/pools/{pool_id}/calendar", summary="What a pool has free when, and why not more.")
    async def pool_calendar(
        pool_id: str,
        page: Paged,
        caller: Annotated[Caller, Depends(permit("allocations.pool.read"))],
        starts_at: From = None,
        until: Until = None,
        gpu_model: Model = None,
        as_of: AsOf = None,
    ) -> Page:
        page = Paging(min(page.limit, STRETCHES_MAX), page.after)
        pool = await pool_as_of(service, pool_id, as_of)
        found = _listed(service, pool, page, starts_at, until, gpu_model)
        return page.page([_whole(pool, each) for each in found], ["starts_at", "gpu_model"])

    @router.get(
        "/v1/tenants/{tenant_id}/projects/{project_id}/calendar",
        summary="What a pool has free when, and what it keeps for the project.",
    )
    async def project_calendar(
        tenant_id: str,
        project_id: str,
        page: Paged,
        caller: Annotated[Caller, Depends(permit("allocations.allocation.read"))],
        pool_id: Annotated[Label, Query(description="The pool.")],
        starts_at: From = None,
        until: Until = None,
        gpu_model: Model = None,
        as_of: AsOf = None,
    ) -> Page:
        page = Paging(min(page.limit, STRETCHES_MAX), page.after)
        pool = await pool_as_of(service, pool_id, as_of)
        found = _listed(service, pool, page, starts_at, until, gpu_model)
        shown = [_of_project(pool, each, tenant_id, project_id) for each in found]
        return page.page(shown, ["starts_at", "gpu_model"])

    return router


def _listed(
    service: Service,
    pool: Pool,
    page: Paging,
    starts_at: datetime | None,
    until: datetime | None,
    gpu_model: str | None,
) -> Sequence[Stretch]:
    """One stretch more than the page takes, in order of model and time after the page's cursor.

    Raises:
        Invalid: a span of nothing, or one too long; a cursor of another list.
    """
    begins = starts_at or service.clock.now()
    ends = until or begins + AHEAD_DEFAULT
    if not timedelta() < ends - begins <= SPAN_MAX:
        raise Invalid(f"until must be after from, by {SPAN_MAX.days} days at most", field="until")
    after = _after(page)
    models = [model for model in sorted(pool.book.models) if gpu_model in (None, model)]
    found: list[Stretch] = []
    wanted = page.limit + 1
    for model in models:
        if after is not None and model < after[1]:
            continue
        resumes = after[0] if after is not None and model == after[1] else None
        listed = stretches(pool, model, max(begins, resumes) if resumes else begins, ends)
        skipped = 1 if resumes is not None else 0
        found += islice(listed, skipped, skipped + wanted - len(found))
        if len(found) >= wanted:
            break
    return found


def _after(page: Paging) -> tuple[datetime, str] | None:
    match page.after:
        case None:
            return None
        case (str() as moment, str() as model):
            try:
                return datetime.fromisoformat(moment), model
            except ValueError as broken:
                raise Invalid("the cursor is not one of this list; begin again without it") from broken
        case _:
            raise Invalid("the cursor is not one of this list; begin again without it")


def _whole(pool: Pool, each: Stretch) -> dict[str, Any]:
    closures = [pool.calendar.closures[name] for name in each.closure_ids]
    told = [{"closure_id": c.closure_id, "cause": c.cause, "detail": c.detail} for c in closures]
    plain = asdict(each)
    plain.pop("closure_ids")
    return plain | {"closures": told}


def _of_project(pool: Pool, each: Stretch, tenant_id: str, project_id: str) -> dict[str, Any]:
    own = 0
    names: list[str] = []
    for booking, window in pool.calendar.windows():
        mine = (booking.tenant_id, booking.project_id) == (tenant_id, project_id)
        if mine and booking.shape.gpu_model == each.gpu_model and window.meets(each.starts_at, each.ends_at):
            own += window.gpu_count
            names.append(booking.reservation_id)
    return {
        "starts_at": each.starts_at,
        "ends_at": each.ends_at,
        "gpu_model": each.gpu_model,
        "free_gpus": each.free_gpus,
        "own_reserved_gpus": own,
        "own_reservation_ids": sorted(set(names)),
    }
