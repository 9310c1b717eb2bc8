"""Whom a tenant trusts to act as its service accounts. One law: nobody lends more than they hold."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Response
from gpuaas.common.access import ABSENT, Scope
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.common.ids import is_name
from gpuaas.common.narrowing import Narrowing
from gpuaas.iam.domain.permissions import checked
from gpuaas.iam.domain.workload import OWN_ISSUER, EndTrust, EndWorkload, TrustWorkloads
from gpuaas.iam.entities import WORKLOAD, WORKLOAD_TRUST
from gpuaas.iam.exchanging import own_audience, subject_of_allocation
from gpuaas.iam.parts import WORKLOADS, Parts
from gpuaas.iam.routes.asking import Paged
from gpuaas.iam.routes.handing_on import beyond_giver, demand_account, demand_no_wider
from gpuaas.iam.routes.keys import Glob
from pydantic import BaseModel, Field

SUBJECT_TOKEN_LIFE: Final = timedelta(minutes=10)
TrustId = Annotated[str, Path(description="The trust's id.", max_length=63)]
WorkloadId = Annotated[str, Path(description="The workload's id.", max_length=63)]


class NewTrust(Body):
    """Which workloads may act as a service account."""

    service_account_id: str = Field(description="As whom they act; an account of the tenant's.", max_length=63)
    issuer: str = Field(
        description="Whose word is believed: an OpenID Connect issuer, or `gpuaas` for allocations that run here.",
        max_length=500,
        examples=["https://token.actions.example.com"],
    )
    audience: str | None = Field(
        default=None, description="For whom the token must be made; needed but for `gpuaas`.", max_length=200
    )
    subject_pattern: str = Field(
        description="Which subjects fit; `*`: one or more characters other than `:` and `/`.",
        max_length=255,
        examples=["repo:acme/train:ref:refs/heads/main"],
    )
    permissions: tuple[Glob, ...] = Field(
        default=(), description="The most that comes of it; none: all that the account may.", max_length=64
    )
    project_id: str | None = Field(default=None, description="Nothing outside of it comes of it.", max_length=63)
    single_use: bool = Field(default=True, description="Whether a token of the issuer's is good once only.")
    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Why(Body):
    """Why something ends."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class SubjectToken(BaseModel):
    """iam's word that an allocation runs, for the exchange and nothing else."""

    subject_token: str
    subject_token_type: str = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105  a type
    subject: str
    audience: str
    expires_at: datetime


class Workloads:
    """Routes of trusts (tenant), of workloads, and of iam's word about allocations (project)."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add, seen = router.add_api_route, [Depends(fresh(WORKLOADS))]
        tenant = "/v1/tenants/{tenant_id}"
        trusts, came = f"{tenant}/workload-trusts", f"{tenant}/workloads"
        add(trusts, self.trust, methods=["POST"], status_code=201, summary="Let workloads act as an account.")
        add(trusts, self.trusts, methods=["GET"], dependencies=seen, summary="Which workloads may act as whom.")
        add(trusts + "/{trust_id}/end", self.end_trust, methods=["POST"], summary="Trust them no longer.")
        add(came, self.workloads, methods=["GET"], dependencies=seen, summary="Workloads that came.")
        add(came + "/{workload_id}/end", self.end, methods=["POST"], summary="Let a workload act no more.")
        word = tenant + "/projects/{project_id}/workloads/{allocation_id}/subject-tokens"
        add(word, self.vouch, methods=["POST"], status_code=201, summary="iam's word that an allocation runs.")

    async def trust(
        self, tenant_id: str, body: NewTrust, caller: Annotated[Caller, Depends(permit("iam.workload-trust.set"))]
    ) -> Accepted:
        scope = Scope(tenant_id, body.project_id)
        if not self._parts.access.rights.exists(scope):
            raise NotFound(ABSENT)
        await demand_account(self._parts, body.service_account_id, caller.scope)
        permissions = checked(body.permissions) if body.permissions else ()
        layer = Narrowing("the trust", permissions, scope)
        demand_no_wider(caller.principal, layer)
        trust_id, now = caller.derived_id("workload-trust"), self._parts.clock.now()
        holder = ("service-account", body.service_account_id)
        audience = own_audience(self._parts.profile) if body.issuer == OWN_ISSUER else body.audience
        command = TrustWorkloads(
            trust_id=trust_id,
            tenant_id=tenant_id,
            project_id=body.project_id,
            service_account_id=body.service_account_id,
            issuer=body.issuer,
            audience=audience or "",
            subject_pattern=body.subject_pattern,
            permissions=permissions,
            single_use=body.single_use,
            reason=body.reason,
            plain_http=self._parts.plain_http,
            beyond_giver=beyond_giver(self._parts.access.rights, caller.principal, holder, now, layer),
        )
        outcome = await self._parts.commands.execute(
            WORKLOAD_TRUST, tenant_id, trust_id, command, caller.cause(), fresh=True
        )
        return await self._parts.settled(caller, outcome, trust_id)

    async def trusts(
        self, tenant_id: str, caller: Annotated[Caller, Depends(permit("iam.workload-trust.read"))], page: Paged
    ) -> Page:
        rows = await WORKLOADS.trusts(self._parts.database, tenant_id, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["trust_id"])

    async def end_trust(
        self,
        tenant_id: str,
        trust_id: TrustId,
        body: Why,
        caller: Annotated[Caller, Depends(permit("iam.workload-trust.end", relief=True))],
    ) -> Accepted:
        order = EndTrust(body.reason)
        outcome = await self._parts.commands.execute(WORKLOAD_TRUST, tenant_id, trust_id, order, caller.cause())
        return await self._parts.settled(caller, outcome, trust_id)

    async def workloads(
        self, tenant_id: str, caller: Annotated[Caller, Depends(permit("iam.workload.read"))], page: Paged
    ) -> Page:
        rows = await WORKLOADS.came(self._parts.database, tenant_id, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["workload_id"])

    async def end(
        self,
        tenant_id: str,
        workload_id: WorkloadId,
        body: Why,
        caller: Annotated[Caller, Depends(permit("iam.workload.end", relief=True))],
    ) -> Accepted:
        if not is_name(workload_id) or not await WORKLOADS.knows(self._parts.database, tenant_id, workload_id):
            raise NotFound(ABSENT)
        order = EndWorkload(workload_id, tenant_id, "revoked", self._parts.clock.now(), reason=body.reason)
        outcome = await self._parts.commands.execute(WORKLOAD, tenant_id, workload_id, order, caller.cause())
        return await self._parts.settled(caller, outcome, workload_id)

    async def vouch(
        self,
        tenant_id: str,
        project_id: str,
        allocation_id: Annotated[str, Path(description="The allocation that runs.", max_length=63)],
        caller: Annotated[Caller, Depends(permit("iam.workload.vouch"))],
        response: Response,
    ) -> SubjectToken:
        runs_in = await self._parts.exchanging.runs(tenant_id, allocation_id) if is_name(allocation_id) else None
        if runs_in is None or runs_in != project_id:
            raise NotFound("there is no such allocation that runs, or none that you may see")
        if not self._parts.access.credentials.workloads.any_of(tenant_id, OWN_ISSUER):
            raise Rejected("nobody here trusts allocations to act as an account; say so with workload-trusts first")
        response.headers["Cache-Control"] = "no-store"
        subject = subject_of_allocation(tenant_id, project_id, allocation_id)
        audience = own_audience(self._parts.profile)
        token, ends = self._parts.signer.about_workload(subject, audience, SUBJECT_TOKEN_LIFE)
        return SubjectToken(subject_token=token, subject=subject, audience=audience, expires_at=ends)
