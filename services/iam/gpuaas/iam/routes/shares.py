"""Projects shared with another tenant's people. One law: both sides say yes, either may end it, and both see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from gpuaas.common.access import ABSENT
from gpuaas.common.commands import Order
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.guests import beyond_guests
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.common.rights import Rights, role_key
from gpuaas.common.scopes import Scope
from gpuaas.iam.domain.permissions import beyond
from gpuaas.iam.domain.project_share import (
    AcceptShare,
    EndShare,
    HolderKind,
    Offered,
    OfferShare,
    ProjectShare,
    Share,
    Standing,
    Unknown,
)
from gpuaas.iam.domain.received_share import LoseShare, RefuseShare, TakeShare
from gpuaas.iam.entities import PROJECT_SHARE, RECEIVED_SHARE
from gpuaas.iam.parts import PROJECT_SHARES, Parts
from gpuaas.iam.routes.asking import Paged
from pydantic import AwareDatetime, Field

ShareId = Annotated[str, Path(description="The share's id.", max_length=63)]


class NewShare(Body):
    """A role in the path's project, offered to somebody of another tenant."""

    receiver_tenant_id: str = Field(description="The other tenant.", max_length=63)
    principal_kind: HolderKind
    principal_id: str = Field(description="Its person, account or group, as it named them to you.", max_length=63)
    role: str = Field(description="The role's name; it has nothing that decides who may do what.", max_length=63)
    role_tenant_id: str | None = Field(
        default=None, description="For one of your tenant's own roles: your tenant.", max_length=63
    )
    reason: str = Field(description="Why, for the people of both tenants who review access.", max_length=1_000)
    valid_until: AwareDatetime | None = Field(default=None, description="When it ends by itself (real time).")


class Answer(Body):
    """Why a share is accepted, declined or ended."""

    reason: str = Field(description="Why, for the people of both tenants who review access.", max_length=1_000)


class Shares:
    """Routes of shares: at the owner's project, and at the receiver."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        tenant, seen, add = "/v1/tenants/{tenant_id}", [Depends(fresh(PROJECT_SHARES))], router.add_api_route
        mine, theirs = tenant + "/projects/{project_id}/shares", tenant + "/received-shares"
        one = theirs + "/{share_id}"
        add(mine, self.offer, methods=["POST"], status_code=201, dependencies=seen, summary="Offer to share a project.")
        add(mine, self.of_project, methods=["GET"], dependencies=seen, summary="With whom a project is shared.")
        add(mine + "/{share_id}/end", self.end, methods=["POST"], summary="End a share, or take back its offer.")
        add(tenant + "/shares", self.of_tenant, methods=["GET"], dependencies=seen, summary="What a tenant shares.")
        add(theirs, self.received, methods=["GET"], dependencies=seen, summary="What other tenants share with it.")
        add(one + "/accept", self.accept, methods=["POST"], dependencies=seen, summary="Accept what is offered.")
        add(one + "/end", self.give_back, methods=["POST"], dependencies=seen, summary="Decline it, or give it back.")

    # -- the owner ---------------------------------------------------------------------------------------------

    async def offer(
        self,
        tenant_id: str,
        project_id: str,
        body: NewShare,
        caller: Annotated[Caller, Depends(permit("iam.project-share.offer"))],
    ) -> Accepted:
        scope, now, rights = caller.scope, self._parts.clock.now(), self._parts.access.rights
        role = rights.roles.get(role_key(body.role_tenant_id, body.role)) if "/" not in body.role else None
        if role is None or body.role_tenant_id not in (None, tenant_id):
            raise Rejected(f"there is no role {body.role!r} here; GET /v1/roles and the tenant's roles list them")
        share = Share(
            share_id=caller.derived_id("share"),
            tenant_id=tenant_id,
            project_id=project_id,
            receiver_tenant_id=body.receiver_tenant_id,
            principal_kind=body.principal_kind,
            principal_id=body.principal_id,
            role=body.role,
            role_tenant_id=body.role_tenant_id,
            valid_until=body.valid_until,
        )
        command = OfferShare(
            share=share,
            reason=body.reason,
            offered_by=(caller.principal.kind, caller.principal.id),
            role_permissions=role.permissions,
            held=self._parts.access.held(caller.principal, scope, now),
            withheld=rights.withheld(caller.principal.holder, scope, now),
            not_for_guests=tuple(beyond_guests(role.permissions)),
            others=await PROJECT_SHARES.going_on(self._parts.database, tenant_id, project_id),
            asked_at=now,
        )
        outcome = await self._parts.commands.execute(
            PROJECT_SHARE, tenant_id, share.share_id, command, caller.cause(), fresh=True
        )
        return await self._parts.settled(caller, outcome, share.share_id)

    async def end(
        self,
        tenant_id: str,
        project_id: str,
        share_id: ShareId,
        body: Answer,
        caller: Annotated[Caller, Depends(permit("iam.project-share.end", relief=True))],
    ) -> Accepted:
        share, _ = await self._parts.commands.state(PROJECT_SHARE, tenant_id, share_id)
        order = EndShare("owner", tenant_id, body.reason, isinstance(share, Standing), project_id)
        return await self._told(list(ending(tenant_id, share_id, share, order)), caller, share_id)

    async def of_project(
        self,
        tenant_id: str,
        project_id: str,
        caller: Annotated[Caller, Depends(permit("iam.project-share.read"))],
        page: Paged,
    ) -> Page:
        rows = await PROJECT_SHARES.of_owner(
            self._parts.database, tenant_id, project_id, caller.reach, page.key(str), page.limit + 1
        )
        return page.page([dict(row) for row in rows], ["share_id"])

    async def of_tenant(
        self,
        tenant_id: str,
        caller: Annotated[Caller, Depends(permit("iam.project-share.read", in_part=True))],
        page: Paged,
    ) -> Page:
        rows = await PROJECT_SHARES.of_owner(
            self._parts.database, tenant_id, None, caller.reach, page.key(str), page.limit + 1
        )
        return page.page([dict(row) for row in rows], ["share_id"])

    # -- the receiver ------------------------------------------------------------------------------------------

    async def received(
        self, tenant_id: str, caller: Annotated[Caller, Depends(permit("iam.received-share.read"))], page: Paged
    ) -> Page:
        rows = await PROJECT_SHARES.of_receiver(self._parts.database, tenant_id, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["share_id"])

    async def accept(
        self,
        tenant_id: str,
        share_id: ShareId,
        body: Answer,
        caller: Annotated[Caller, Depends(permit("iam.received-share.accept"))],
    ) -> Accepted:
        owner, known = await self._offered(tenant_id, share_id)
        orders: list[Order[Any, Any]] = [Order(PROJECT_SHARE, owner, share_id, self._acceptance(tenant_id, known))]
        if isinstance(known, Offered):
            orders.append(Order(RECEIVED_SHARE, tenant_id, share_id, TakeShare(known.share, body.reason)))
        return await self._told(orders, caller, share_id)

    async def give_back(
        self,
        tenant_id: str,
        share_id: ShareId,
        body: Answer,
        caller: Annotated[Caller, Depends(permit("iam.received-share.end", relief=True))],
    ) -> Accepted:
        owner, known = await self._offered(tenant_id, share_id)
        order = EndShare("receiver", tenant_id, body.reason, isinstance(known, Standing))
        return await self._told(list(ending(owner, share_id, known, order)), caller, share_id)

    async def _offered(self, tenant_id: str, share_id: str) -> tuple[str, ProjectShare]:
        """The owner and the newest state of what was offered to a tenant. Raises NotFound: nothing was, by that id."""
        row = await PROJECT_SHARES.received(self._parts.database, tenant_id, share_id)
        if row is None:
            raise NotFound(ABSENT)
        known, _ = await self._parts.commands.state(PROJECT_SHARE, row["tenant_id"], share_id)
        return row["tenant_id"], known

    def _acceptance(self, tenant_id: str, known: ProjectShare) -> AcceptShare:
        now, rights = self._parts.clock.now(), self._parts.access.rights
        if not isinstance(known, Offered):
            return AcceptShare(tenant_id, is_theirs=True, missing=(), joins=(), asked_at=now)
        share, giver = known.share, known.offered_by
        scope, holder = Scope(share.tenant_id, share.project_id), (share.principal_kind, share.principal_id)
        wanted = rights.roles[role_key(share.role_tenant_id, share.role)].permissions
        return AcceptShare(
            receiver_tenant_id=tenant_id,
            is_theirs=_is_of(rights, holder, tenant_id, self._parts),
            missing=tuple(beyond(rights.held(giver, scope, now), wanted, rights.withheld(giver, scope, now))),
            joins=rights.duties.joined_by(scope, rights.held_at_times(holder, scope, now), wanted),
            asked_at=now,
        )

    async def _told(self, orders: list[Order[Any, Any]], caller: Caller, share_id: str) -> Accepted:
        outcomes = await self._parts.commands.execute_together(orders, caller.cause())
        return await self._parts.settled(caller, max(outcomes, key=lambda each: each.position), share_id)


def _is_of(rights: Rights, holder: tuple[str, str], tenant_id: str, parts: Parts) -> bool:
    """At home in the tenant; a person, who is at home on the platform: somebody that the tenant gave something."""
    home = rights.standing_home(holder)
    if home != PLATFORM:
        return home == tenant_id
    now = parts.clock.now()
    return holder[0] == "user" and any(
        grant.scope.tenant_id == tenant_id and grant.receiver is None and grant.in_force(now)
        for grant in rights.grants_of(holder)
    )


def ending(owner: str, share_id: str, known: ProjectShare, order: EndShare) -> Iterator[Order[Any, Any]]:
    """What ends a share, or its offer, in the trails that it stands in; the owner's history may still refuse it."""
    yield Order(PROJECT_SHARE, owner, share_id, order)
    if isinstance(known, Unknown):
        return
    share, side = known.share, order.side
    receiver = share.receiver_tenant_id
    if isinstance(known, Standing):
        yield Order(RECEIVED_SHARE, receiver, share_id, LoseShare(share, side, order.reason))
    elif isinstance(known, Offered) and side == "receiver":
        yield Order(RECEIVED_SHARE, receiver, share_id, RefuseShare(share, order.reason))
