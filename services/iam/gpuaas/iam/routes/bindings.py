"""Who may do what where: bindings, and the roles they name. One law: nobody hands on what they do not hold."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, fresh, permit
from gpuaas.common.rights import role_key
from gpuaas.iam.domain.binding import BindRole, UnbindRole
from gpuaas.iam.domain.role import DefineRole
from gpuaas.iam.entities import BINDING, ROLE
from gpuaas.iam.parts import BINDINGS, ROLES, Parts
from gpuaas.iam.routes.asking import LEVELS, Paged, SignedIn
from gpuaas.iam.routes.conditions import NewCondition
from pydantic import AwareDatetime, Field


class NewBinding(Body):
    """A role to give to somebody, in the scope that the path says."""

    principal_kind: Literal["user", "service-account", "group"]
    principal_id: str = Field(description="Who gets it.", max_length=63)
    role: str = Field(description="The role's name; GET /v1/roles lists them.", max_length=63)
    role_tenant_id: str | None = Field(
        default=None, description="For one of the tenant's own roles: the tenant.", max_length=63
    )
    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)
    valid_until: AwareDatetime | None = Field(default=None, description="When it ends by itself (real time).")
    condition: NewCondition | None = Field(default=None, description="On what it counts; without: always.")


class EndOfBinding(Body):
    """Why a binding ends."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class NewRole(Body):
    """The next version of a role of your own."""

    description: str = Field(description="What its holder can do, in one sentence.", max_length=1_000)
    permissions: list[str] = Field(
        description="`service.resource.verb`, `*` for any one word.", min_length=1, max_length=256
    )


class Bindings:
    """Routes of bindings (platform, tenant, project) and roles (platform)."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add, seen = router.add_api_route, Depends(fresh(BINDINGS))
        for prefix, level in LEVELS:
            path, at = f"{prefix}/bindings", Depends(level)
            end = path + "/{binding_id}/end"
            add(path, self.bind, methods=["POST"], status_code=201, dependencies=[at], summary="Give somebody a role.")
            listed = self.platforms if prefix == "/v1" else self.bindings
            add(path, listed, methods=["GET"], dependencies=[at, seen], summary="Who holds which role here.")
            add(end, self.unbind, methods=["POST"], dependencies=[at], summary="End a binding.")
        roles = [Depends(fresh(ROLES))]
        add("/v1/roles", self.roles, methods=["GET"], dependencies=roles, summary="The roles there are.")
        add("/v1/roles/{role}", self.define, methods=["PUT"], summary="Define a role, or its next version.")

    async def bind(
        self, body: NewBinding, caller: Annotated[Caller, Depends(permit("iam.binding.create"))]
    ) -> Accepted:
        scope, now, rights = caller.scope, self._parts.clock.now(), self._parts.access.rights
        taker = (body.principal_kind, body.principal_id)
        home = rights.standing_home(taker)
        if home is None or home not in (PLATFORM, scope.tenant_id):
            raise NotFound("there is no such principal, or none that can hold a role here")
        role = rights.roles.get(role_key(body.role_tenant_id, body.role)) if "/" not in body.role else None
        if role is None or body.role_tenant_id not in (None, scope.tenant_id):
            raise Rejected(f"there is no role {body.role!r} here; GET /v1/roles and the tenant's roles list them")
        binding_id = caller.derived_id("binding")
        command = BindRole(
            binding_id=binding_id,
            principal_id=body.principal_id,
            principal_kind=body.principal_kind,
            role=body.role,
            role_tenant_id=body.role_tenant_id,
            joins=rights.duties.joined_by(scope, rights.held_at_times(taker, scope, now), role.permissions),
            role_permissions=role.permissions,
            held=self._parts.access.held(caller.principal, scope, now),
            tenant_id=scope.tenant_id,
            project_id=scope.project_id,
            reason=body.reason,
            asked_at=now,
            valid_until=body.valid_until,
            withheld=rights.withheld(caller.principal.holder, scope, now),
            condition=None if body.condition is None else body.condition.checked(),
        )
        outcome = await self._parts.commands.execute(
            BINDING, scope.tenant_id or PLATFORM, binding_id, command, caller.cause(), fresh=True
        )
        return await self._parts.settled(caller, outcome, binding_id)

    async def unbind(
        self,
        binding_id: str,
        body: EndOfBinding,
        caller: Annotated[Caller, Depends(permit("iam.binding.remove", relief=True))],
    ) -> Accepted:
        scope = caller.scope
        command = UnbindRole(reason=body.reason, project_id=scope.project_id)
        outcome = await self._parts.commands.execute(
            BINDING, scope.tenant_id or PLATFORM, binding_id, command, caller.cause()
        )
        return await self._parts.settled(caller, outcome, binding_id)

    async def bindings(
        self, caller: Annotated[Caller, Depends(permit("iam.binding.read", in_part=True))], page: Paged
    ) -> Page:
        return await self._listed(caller, page)

    async def platforms(self, caller: Annotated[Caller, Depends(permit("iam.binding.read"))], page: Paged) -> Page:
        """Those on the platform itself: they belong to no tenant, so no part of it shows them."""
        return await self._listed(caller, page)

    async def _listed(self, caller: Caller, page: Paging) -> Page:
        rows = await BINDINGS.standing(
            self._parts.database, caller.scope.tenant_id, caller.reach, page.key(str), page.limit + 1
        )
        return page.page([dict(row) for row in rows], ["binding_id"])

    async def roles(self, who: SignedIn, page: Paged) -> Page:
        rows = await ROLES.newest(self._parts.database, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["role"])

    async def define(
        self, role: str, body: NewRole, caller: Annotated[Caller, Depends(permit("iam.role.define"))]
    ) -> Accepted:
        rights, holder, now = self._parts.access.rights, caller.principal.holder, self._parts.clock.now()
        command = DefineRole(
            role=role,
            description=body.description,
            permissions=tuple(body.permissions),
            held=self._parts.access.held(caller.principal, caller.scope, now),
            withheld=rights.withheld(holder, caller.scope, now),
        )
        outcome = await self._parts.commands.execute(ROLE, PLATFORM, role, command, caller.cause())
        return await self._parts.settled(caller, outcome, role)
