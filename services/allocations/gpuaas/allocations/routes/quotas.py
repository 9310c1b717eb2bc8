"""The door to quotas. One law: what a tenant has, operators say; how its projects divide it, the tenant says."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from gpuaas.allocations.domain.quota import SetQuota
from gpuaas.allocations.projections.quotas import KEYS, QuotasInForce
from gpuaas.allocations.reactions import QUOTA
from gpuaas.common.errors import Invalid
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.service import Service
from gpuaas.contracts.allocations import Label
from pydantic import Field

GPUS_MAX: Final = 1_000_000
Gpus = Annotated[int, Field(ge=0, le=GPUS_MAX, strict=True)]


class Amounts(Body):
    """How much.

    Attributes:
        nominal_gpus: entitled to.
        borrow_gpus: beyond these while they are idle; absent: as many as are idle.
        weight: among those that borrow.
    """

    gpu_model: Label
    nominal_gpus: Gpus
    borrow_gpus: Gpus | None = None
    weight: int = Field(default=1, ge=1, le=1_000, strict=True)
    reason: str = Field(min_length=1, max_length=500)


class TenantQuota(Amounts):
    """A tenant's quota in the pool of the path."""

    tenant_id: Label


class ProjectQuota(Amounts):
    """A project's part of its tenant's quota."""

    pool_id: Label
    project_id: Label


def door(service: Service, quotas: QuotasInForce) -> APIRouter:
    """Set and see quotas."""
    router = APIRouter(tags=["quotas"])
    seen = Depends(fresh(quotas))

    @router.post("/v1/pools/{pool_id}/quotas", status_code=202, summary="What a tenant is entitled to in a pool.")
    async def set_tenant_quota(
        pool_id: str, ask: TenantQuota, caller: Annotated[Caller, Depends(permit("allocations.quota.set"))]
    ) -> Accepted:
        return await _set(service, caller, _order(ask, ask.tenant_id, pool_id, None))

    @router.post("/v1/tenants/{tenant_id}/quotas", status_code=202, summary="A project's part of the tenant's quota.")
    async def set_project_quota(
        tenant_id: str, ask: ProjectQuota, caller: Annotated[Caller, Depends(permit("allocations.project-quota.set"))]
    ) -> Accepted:
        return await _set(service, caller, _order(ask, tenant_id, ask.pool_id, ask.project_id))

    @router.get("/v1/pools/{pool_id}/quotas", dependencies=[seen], summary="A pool's quotas.")
    async def pool_quotas(
        pool_id: str,
        page: Annotated[Paging, Depends(paging)],
        caller: Annotated[Caller, Depends(permit("allocations.pool.read"))],
    ) -> Page:
        return await _listed(service, quotas, None, pool_id, page)

    @router.get("/v1/tenants/{tenant_id}/quotas", dependencies=[seen], summary="The tenant's quotas in all pools.")
    async def tenant_quotas(
        tenant_id: str,
        page: Annotated[Paging, Depends(paging)],
        caller: Annotated[Caller, Depends(permit("allocations.quota.read"))],
    ) -> Page:
        return await _listed(service, quotas, tenant_id, None, page)

    return router


def _order(ask: Amounts, tenant_id: str, pool_id: str, project_id: str | None) -> SetQuota:
    return SetQuota(
        tenant_id=tenant_id,
        pool_id=pool_id,
        project_id=project_id,
        gpu_model=ask.gpu_model,
        nominal_gpus=ask.nominal_gpus,
        borrow_gpus=ask.borrow_gpus,
        weight=ask.weight,
        reason=ask.reason,
    )


async def _set(service: Service, caller: Caller, order: SetQuota) -> Accepted:
    outcome = await service.commands.execute(QUOTA, order.tenant_id, order.pool_id, order, caller.cause("quota"))
    return caller.accepted(outcome, order.pool_id)


async def _listed(
    service: Service, quotas: QuotasInForce, tenant_id: str | None, pool_id: str | None, page: Paging
) -> Page:
    after = page.after or ()
    if after and [type(key) for key in after] != [str] * len(KEYS):
        raise Invalid("the cursor is not one of this list; begin again without it")
    rows = await quotas.listed(service.database, tenant_id, pool_id, after, page.limit + 1)
    return page.page([dict(row) for row in rows], KEYS)
