"""The door to findings of idleness. One law: a project sees its own, operators a pool's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from gpuaas.allocations.projections.idle_findings import IdleFindings
from gpuaas.common.http import Page, Paging, fresh, paging, permit
from gpuaas.common.service import Service

Paged = Annotated[Paging, Depends(paging)]


def door(service: Service, idle: IdleFindings) -> APIRouter:
    """What was noticed as idle and what came of it."""
    router = APIRouter(tags=["idleness"])
    seen = Depends(fresh(idle))

    @router.get(
        "/v1/tenants/{tenant_id}/projects/{project_id}/idle-findings",
        dependencies=[seen, Depends(permit("allocations.allocation.read"))],
        summary="The project's allocations that were noticed as idle, and what came of it; the newest first.",
    )
    async def project_findings(tenant_id: str, project_id: str, page: Paged) -> Page:
        rows = await idle.newest(service.database, (tenant_id, project_id), None, page.key(int), page.limit + 1)
        return page.page([dict(row) for row in rows], ["position"])

    @router.get(
        "/v1/pools/{pool_id}/idle-findings",
        dependencies=[seen, Depends(permit("allocations.pool.read"))],
        summary="A pool's allocations that were noticed as idle, and what came of it; the newest first.",
    )
    async def pool_findings(pool_id: str, page: Paged) -> Page:
        rows = await idle.newest(service.database, None, pool_id, page.key(int), page.limit + 1)
        return page.page([dict(row) for row in rows], ["position"])

    return router
