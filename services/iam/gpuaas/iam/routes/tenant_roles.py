"""A tenant's own roles. One law: who defines one holds all of it in the tenant, and it is bound nowhere else."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from gpuaas.common.http import Accepted, Caller, Page, fresh, permit
from gpuaas.common.rights import role_key
from gpuaas.iam.domain.tenant_role import DefineTenantRole
from gpuaas.iam.entities import TENANT_ROLE
from gpuaas.iam.parts import TENANT_ROLES, Parts
from gpuaas.iam.routes.asking import Paged
from gpuaas.iam.routes.bindings import NewRole
from pydantic import Field


class NewTenantRole(NewRole):
    """The next version of one of the tenant's own roles."""

    role: str = Field(description="The role's name, unique among the tenant's own.", max_length=63)


class TenantRoles:
    """Routes of a tenant's own roles."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        path, seen = "/v1/tenants/{tenant_id}/roles", [Depends(fresh(TENANT_ROLES))]
        add = router.add_api_route
        add(path, self.roles, methods=["GET"], dependencies=seen, summary="A tenant's own roles.")
        add(
            path,
            self.define,
            methods=["POST"],
            status_code=201,
            summary="Define a role of its own, or its next version.",
        )

    async def roles(
        self, tenant_id: str, caller: Annotated[Caller, Depends(permit("iam.tenant-role.read"))], page: Paged
    ) -> Page:
        rows = await TENANT_ROLES.newest(self._parts.database, tenant_id, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["role"])

    async def define(
        self,
        tenant_id: str,
        body: NewTenantRole,
        caller: Annotated[Caller, Depends(permit("iam.tenant-role.define"))],
    ) -> Accepted:
        rights, holder, now = self._parts.access.rights, caller.principal.holder, self._parts.clock.now()
        own = {name for name, _ in rights.roles_in(tenant_id) if name.startswith(f"{tenant_id}/")}
        command = DefineTenantRole(
            tenant_id=tenant_id,
            role=body.role,
            description=body.description,
            permissions=tuple(body.permissions),
            held=self._parts.access.held(caller.principal, caller.scope, now),
            withheld=rights.withheld(holder, caller.scope, now),
            others=len(own - {role_key(tenant_id, body.role)}),
        )
        outcome = await self._parts.commands.execute(TENANT_ROLE, tenant_id, body.role, command, caller.cause())
        return await self._parts.settled(caller, outcome, body.role)
