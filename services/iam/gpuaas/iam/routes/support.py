"""The platform's people in a tenant. One law: they say why and for how long, and the tenant can end it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.http import Accepted, Body, Caller, Page, permit
from gpuaas.common.visits import REFUSED
from gpuaas.iam.domain.support import EndSupport, Policy, SetSupportPolicy, StartSupport
from gpuaas.iam.entities import SUPPORT, SUPPORT_POLICY
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.asking import Paged
from pydantic import Field

MINUTES_MAX: Final = 480
SupportSessionId = Annotated[str, Path(description="The support session's id.", max_length=63)]


class NewPolicy(Body):
    """How the platform's people may reach what is the tenant's own."""

    policy: Policy = Field(description="`open`: as their rights say; `sessions`: in a support session; `refused`.")
    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class NewSupportSession(Body):
    """A visit of yours to a tenant."""

    ticket: str = Field(description="What it is about, as it was filed.", max_length=200)
    reason: str = Field(description="Why, for the people of the tenant.", max_length=1_000)
    minutes: int = Field(default=60, ge=1, le=MINUTES_MAX, description="For how long.")


class EndOfSupport(Body):
    """Why a visit ends."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Support:
    """Routes of support sessions and of a tenant's policy on them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        tenant, add = "/v1/tenants/{tenant_id}", router.add_api_route
        policy, sessions = f"{tenant}/support-policy", f"{tenant}/support-sessions"
        end = sessions + "/{support_session_id}/end"
        add(policy, self.set_policy, methods=["PUT"], summary="Say how the platform's people may come in.")
        add(policy, self.policy, methods=["GET"], summary="How the platform's people may come in.")
        add(sessions, self.start, methods=["POST"], status_code=201, summary="Visit a tenant, for a reason and a time.")
        add(sessions, self.sessions, methods=["GET"], summary="Who of the platform is visiting.")
        add(end, self.end, methods=["POST"], summary="End a visit.")

    async def set_policy(
        self, tenant_id: str, body: NewPolicy, caller: Annotated[Caller, Depends(permit("iam.support-policy.set"))]
    ) -> Accepted:
        command = SetSupportPolicy(tenant_id, body.policy, body.reason)
        outcome = await self._parts.commands.execute(SUPPORT_POLICY, tenant_id, tenant_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, tenant_id)

    async def policy(
        self, tenant_id: str, caller: Annotated[Caller, Depends(permit("iam.support-policy.read"))]
    ) -> dict[str, Any]:
        access = self._parts.access
        policy = access.rights.visits.policy(tenant_id)
        return {"tenant_id": tenant_id, "policy": policy, "position": access.position}

    async def start(
        self,
        tenant_id: str,
        body: NewSupportSession,
        caller: Annotated[Caller, Depends(permit("iam.support-session.start"))],
    ) -> Accepted:
        session_id, who = caller.derived_id("support-session"), caller.principal
        command = StartSupport(
            support_session_id=session_id,
            tenant_id=tenant_id,
            principal_kind=who.kind,
            principal_id=who.id,
            ticket=body.ticket,
            reason=body.reason,
            expires_at=self._parts.clock.now() + timedelta(minutes=body.minutes),
            refused=self._parts.access.rights.visits.policy(tenant_id) == REFUSED,
            from_above=who.tenant_id == PLATFORM and caller.decision.from_above,
        )
        outcome = await self._parts.commands.execute(
            SUPPORT, tenant_id, session_id, command, caller.cause(), fresh=True
        )
        return await self._parts.settled(caller, outcome, session_id)

    async def end(
        self,
        tenant_id: str,
        support_session_id: SupportSessionId,
        body: EndOfSupport,
        caller: Annotated[Caller, Depends(permit("iam.support-session.end", relief=True))],
    ) -> Accepted:
        command = EndSupport(body.reason)
        outcome = await self._parts.commands.execute(SUPPORT, tenant_id, support_session_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, support_session_id)

    async def sessions(
        self, tenant_id: str, caller: Annotated[Caller, Depends(permit("iam.support-session.read"))], page: Paged
    ) -> Page:
        after, visits = page.key(str) or "", self._parts.access.rights.visits
        going_on = sorted(visits.sessions(tenant_id, self._parts.clock.now()), key=lambda each: each.support_session_id)
        rows: list[dict[str, Any]] = [
            {
                "support_session_id": each.support_session_id,
                "principal_kind": each.holder[0],
                "principal_id": each.holder[1],
                "ticket": each.ticket,
                "reason": each.reason,
                "expires_at": each.expires_at,
            }
            for each in going_on
            if each.support_session_id > after
        ]
        return page.page(rows[: page.limit + 1], ["support_session_id"])
