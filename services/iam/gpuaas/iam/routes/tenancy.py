"""Tenants and their projects. One law: a list shows exactly what its caller may read, and no more exists for them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from gpuaas.common.access import Scope
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.iam.domain.project import CreateProject
from gpuaas.iam.domain.tenant import CreateTenant
from gpuaas.iam.entities import PROJECT, TENANT
from gpuaas.iam.parts import PROJECTS, TENANTS, Parts
from gpuaas.iam.routes.asking import Paged, SignedIn
from pydantic import Field


class NewTenant(Body):
    """A customer organisation to open."""

    tenant_id: str = Field(description="Its id: 1 to 63 of a-z, 0-9 and inner hyphens.", max_length=63)
    display_name: str = Field(description="Its name as people write it.", max_length=400)
    billing_currency: str = Field(description="ISO 4217 code of its invoices.", examples=["EUR"], max_length=3)


class NewProject(Body):
    """A project to open."""

    project_id: str = Field(description="Its id, unique in its tenant.", max_length=63)
    display_name: str = Field(description="Its name as people write it.", max_length=400)


class Tenancy:
    """Routes of tenants and projects."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        tenants, projects = "/v1/tenants", "/v1/tenants/{tenant_id}/projects"
        one_tenant, one_project = tenants + "/{tenant_id}", projects + "/{project_id}"
        seen, seen_projects = [Depends(fresh(TENANTS))], [Depends(fresh(PROJECTS))]
        add = router.add_api_route
        add(tenants, self.create_tenant, methods=["POST"], status_code=201, summary="Open a tenant.")
        add(tenants, self.tenants, methods=["GET"], dependencies=seen, summary="The tenants you may see.")
        add(one_tenant, self.tenant, methods=["GET"], dependencies=seen, summary="One tenant.")
        add(projects, self.create_project, methods=["POST"], status_code=201, summary="Open a project.")
        add(projects, self.projects, methods=["GET"], dependencies=seen_projects, summary="Projects you may see.")
        add(one_project, self.project, methods=["GET"], dependencies=seen_projects, summary="One project.")

    async def create_tenant(
        self, body: NewTenant, caller: Annotated[Caller, Depends(permit("iam.tenant.create"))]
    ) -> Accepted:
        command = CreateTenant(
            tenant_id=body.tenant_id, display_name=body.display_name, billing_currency=body.billing_currency
        )
        outcome = await self._parts.commands.execute(
            TENANT, body.tenant_id, body.tenant_id, command, caller.cause(), fresh=True
        )
        return await self._parts.settled(caller, outcome, body.tenant_id)

    async def tenants(self, who: SignedIn, page: Paged) -> Page:
        reach = self._parts.access.reach(who, "iam.tenant.read", self._parts.clock.now())
        rows = await TENANTS.within(self._parts.database, reach, page.key(str), page.limit + 1)
        return page.page([self._shown(dict(row)) for row in rows], ["tenant_id"])

    async def tenant(
        self, tenant_id: str, caller: Annotated[Caller, Depends(permit("iam.tenant.read"))]
    ) -> dict[str, Any]:
        row = await TENANTS.named(self._parts.database, tenant_id)
        if row is None:
            raise NotFound(f"tenant {tenant_id} is not listed yet; ask again")
        return self._shown(dict(row))

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        """A tenant with whether it is suspended, as this process enforces it."""
        return row | {"suspended": row["tenant_id"] in self._parts.access.rights.suspended_tenants}

    async def create_project(
        self, tenant_id: str, body: NewProject, caller: Annotated[Caller, Depends(permit("iam.project.create"))]
    ) -> Accepted:
        command = CreateProject(tenant_id=tenant_id, project_id=body.project_id, display_name=body.display_name)
        outcome = await self._parts.commands.execute(
            PROJECT, tenant_id, body.project_id, command, caller.cause(), fresh=True
        )
        return await self._parts.settled(caller, outcome, body.project_id)

    async def projects(self, tenant_id: str, who: SignedIn, page: Paged) -> Page:
        now = self._parts.clock.now()
        decision = self._parts.access.check(who, "iam.project.read", Scope(tenant_id), now)
        if decision.hidden:
            decision.enforce()
        reach = self._parts.access.reach(who, "iam.project.read", now)
        rows = await PROJECTS.within(self._parts.database, tenant_id, reach, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["project_id"])

    async def project(
        self,
        tenant_id: str,
        project_id: str,
        caller: Annotated[Caller, Depends(permit("iam.project.read"))],
    ) -> dict[str, Any]:
        row = await PROJECTS.named(self._parts.database, tenant_id, project_id)
        if row is None:
            raise NotFound(f"project {project_id} is not listed yet; ask again")
        return dict(row)
