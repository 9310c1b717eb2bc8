"""Stop a tenant, a person or a program for now, and lift that. One law: it counts in every service at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.http import Accepted, Body, Caller, permit
from gpuaas.iam.domain.principal import Kind, ResumePrincipal, SuspendPrincipal
from gpuaas.iam.domain.tenant import ResumeTenant, SuspendTenant
from gpuaas.iam.entities import PRINCIPAL, TENANT
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.asking import LEVELS
from gpuaas.iam.routes.handing_on import beyond_giver, demand_account, demand_user
from pydantic import Field

PrincipalId = Annotated[str, Path(description="Whom it is about.", max_length=63)]


class Why(Body):
    """Why it is done."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Suspensions:
    """Routes of suspension: tenants and people (by the platform), service accounts (by where they are at home)."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add = router.add_api_route
        tenant, user = "/v1/tenants/{tenant_id}", "/v1/users/{principal_id}"
        add(tenant + "/suspend", self.suspend_tenant, methods=["POST"], summary="Close a tenant for now.")
        add(tenant + "/resume", self.resume_tenant, methods=["POST"], summary="Open a suspended tenant again.")
        add(user + "/suspend", self.suspend_user, methods=["POST"], summary="Refuse a person everywhere for now.")
        add(user + "/resume", self.resume_user, methods=["POST"], summary="Believe a suspended person again.")
        for prefix, level in LEVELS:
            account, at = prefix + "/service-accounts/{principal_id}", [Depends(level)]
            stop, lift = account + "/suspend", account + "/resume"
            add(stop, self.suspend_account, methods=["POST"], dependencies=at, summary="Refuse a program for now.")
            add(lift, self.resume_account, methods=["POST"], dependencies=at, summary="Believe a program again.")

    async def suspend_tenant(
        self, tenant_id: str, body: Why, caller: Annotated[Caller, Depends(permit("iam.tenant.suspend", relief=True))]
    ) -> Accepted:
        order = SuspendTenant(reason=body.reason)
        outcome = await self._parts.commands.execute(TENANT, tenant_id, tenant_id, order, caller.cause())
        return await self._parts.settled(caller, outcome, tenant_id)

    async def resume_tenant(
        self, tenant_id: str, body: Why, caller: Annotated[Caller, Depends(permit("iam.tenant.resume"))]
    ) -> Accepted:
        order = ResumeTenant(reason=body.reason)
        outcome = await self._parts.commands.execute(TENANT, tenant_id, tenant_id, order, caller.cause())
        return await self._parts.settled(caller, outcome, tenant_id)

    async def suspend_user(
        self,
        principal_id: PrincipalId,
        body: Why,
        caller: Annotated[Caller, Depends(permit("iam.user.suspend", relief=True))],
    ) -> Accepted:
        demand_user(self._parts, principal_id)
        return await self._suspend("user", principal_id, body, caller)

    async def resume_user(
        self, principal_id: PrincipalId, body: Why, caller: Annotated[Caller, Depends(permit("iam.user.resume"))]
    ) -> Accepted:
        demand_user(self._parts, principal_id)
        return await self._resume("user", principal_id, body, caller)

    async def suspend_account(
        self,
        principal_id: PrincipalId,
        body: Why,
        caller: Annotated[Caller, Depends(permit("iam.service-account.suspend", relief=True))],
    ) -> Accepted:
        await demand_account(self._parts, principal_id, caller.scope)
        return await self._suspend("service-account", principal_id, body, caller)

    async def resume_account(
        self,
        principal_id: PrincipalId,
        body: Why,
        caller: Annotated[Caller, Depends(permit("iam.service-account.resume"))],
    ) -> Accepted:
        await demand_account(self._parts, principal_id, caller.scope)
        return await self._resume("service-account", principal_id, body, caller)

    async def _suspend(self, kind: Kind, principal_id: str, body: Why, caller: Caller) -> Accepted:
        home = caller.scope.tenant_id or PLATFORM
        order = SuspendPrincipal(
            principal_id=principal_id,
            kind=kind,
            tenant_id=home,
            reason=body.reason,
            by_itself=caller.principal.holder == (kind, principal_id),
        )
        outcome = await self._parts.commands.execute(PRINCIPAL, home, principal_id, order, caller.cause())
        return await self._parts.settled(caller, outcome, principal_id)

    async def _resume(self, kind: Kind, principal_id: str, body: Why, caller: Caller) -> Accepted:
        home, now = caller.scope.tenant_id or PLATFORM, self._parts.clock.now()
        rights, giver = self._parts.access.rights, caller.principal
        order = ResumePrincipal(
            principal_id=principal_id,
            kind=kind,
            tenant_id=home,
            reason=body.reason,
            beyond_resumer=beyond_giver(rights, giver, (kind, principal_id), now),
        )
        outcome = await self._parts.commands.execute(PRINCIPAL, home, principal_id, order, caller.cause())
        return await self._parts.settled(caller, outcome, principal_id)
