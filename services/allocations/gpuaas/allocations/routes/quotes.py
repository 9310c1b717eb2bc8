"""The door to quoted starts: what was told, and how right it was. One law: quotes are judged by the start itself."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from gpuaas.allocations.projections.start_quotes import By, StartQuotes, Whose, groups_of
from gpuaas.common.errors import Invalid
from gpuaas.common.http import Page, Paging, fresh, paging, permit
from gpuaas.common.service import Service

AsOf = Annotated[
    int | None, Query(ge=1, lt=2**63, description="As it was known at this position of the log; left out: now.")
]
Paged = Annotated[Paging, Depends(paging)]
Grouped = Annotated[By, Query(description="Groups: by pool, by GPU model in it, or by tenant in that.")]
_HOME: Final = "/v1/tenants/{tenant_id}/projects/{project_id}"


def door(service: Service, quotes: StartQuotes) -> APIRouter:
    """Quotes of a project, and of a pool for operators."""
    router = APIRouter(tags=["quotes"])
    seen = Depends(fresh(quotes))
    reads, reads_pools = Depends(permit("allocations.allocation.read")), Depends(permit("allocations.pool.read"))

    @router.get(
        _HOME + "/start-quotes",
        dependencies=[seen, reads],
        summary="When the project's requests were first expected to start, and when they did; the newest first.",
    )
    async def project_quotes(tenant_id: str, project_id: str, page: Paged, as_of: AsOf = None) -> Page:
        return await _listed(service, quotes, Whose(tenant_id, project_id), page, as_of)

    @router.get(
        _HOME + "/quote-accuracy",
        dependencies=[seen, reads],
        summary="How right quoted starts were for the project's requests.",
    )
    async def project_accuracy(
        tenant_id: str, project_id: str, page: Paged, by: Grouped = "model", as_of: AsOf = None
    ) -> Page:
        return await _judged(service, quotes, Whose(tenant_id, project_id), by, page, as_of)

    @router.get(
        "/v1/pools/{pool_id}/start-quotes",
        dependencies=[seen, reads_pools],
        summary="When a pool's requests were first expected to start, and when they did; the newest first.",
    )
    async def pool_quotes(pool_id: str, page: Paged, as_of: AsOf = None) -> Page:
        return await _listed(service, quotes, Whose(pool_id=pool_id), page, as_of)

    @router.get(
        "/v1/pools/{pool_id}/quote-accuracy",
        dependencies=[seen, reads_pools],
        summary="How right quoted starts were in a pool.",
    )
    async def pool_accuracy(pool_id: str, page: Paged, by: Grouped = "model", as_of: AsOf = None) -> Page:
        return await _judged(service, quotes, Whose(pool_id=pool_id), by, page, as_of)

    return router


async def _listed(service: Service, quotes: StartQuotes, whose: Whose, page: Paging, as_of: int | None) -> Page:
    rows = await quotes.newest(service.database, whose, page.key(int), page.limit + 1, as_of)
    return page.page([dict(row) for row in rows], ["first_position"])


async def _judged(service: Service, quotes: StartQuotes, whose: Whose, by: By, page: Paging, as_of: int | None) -> Page:
    groups, after = groups_of(by), page.after or ()
    if after and [type(key) for key in after] != [str] * len(groups):
        raise Invalid("the cursor is not one of this list; begin again without it")
    rows: list[Any] = await quotes.accuracy(service.database, whose, by, after, page.limit + 1, as_of)
    return page.page([dict(row) for row in rows], list(groups))
