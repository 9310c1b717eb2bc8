"""What no binding gives: prohibitions and ceilings. One law: a limit is lifted by who holds what it gives back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from gpuaas.common.access import ABSENT
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Accepted, Body, Caller, Page, permit
from gpuaas.common.scopes import Holder
from gpuaas.iam.domain.prohibition import Kind, LiftProhibition, PlaceProhibition
from gpuaas.iam.domain.tenant_ceiling import RemoveCeiling, SetCeiling
from gpuaas.iam.entities import PROHIBITION, TENANT_CEILING
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.asking import LEVELS, Paged
from pydantic import AwareDatetime, Field

Globs = Annotated[
    list[str], Field(description="`service.resource.verb`, `*` for any one word.", min_length=1, max_length=256)
]
ProhibitionId = Annotated[str, Path(description="The prohibition's id.", max_length=63)]


class NewProhibition(Body):
    """What somebody may not do, in the scope that the path says."""

    holder_kind: Kind
    holder_id: str = Field(description="Who.", max_length=63)
    permissions: Globs
    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)
    valid_until: AwareDatetime | None = Field(default=None, description="When it ends by itself (real time).")


class NewCeiling(Body):
    """The most that bindings of a tenant give."""

    permissions: Globs
    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class EndOfLimit(Body):
    """Why a limit ends."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Limits:
    """Routes of prohibitions (platform, tenant, project) and ceilings (a tenant's, set by the platform)."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add = router.add_api_route
        for prefix, level in LEVELS:
            path, at = f"{prefix}/prohibitions", [Depends(level)]
            lift = path + "/{prohibition_id}/lift"
            add(
                path,
                self.place,
                methods=["POST"],
                status_code=201,
                dependencies=at,
                summary="Prohibit somebody things.",
            )
            add(path, self.prohibitions, methods=["GET"], dependencies=at, summary="What is prohibited to whom here.")
            add(lift, self.lift, methods=["POST"], dependencies=at, summary="Lift a prohibition.")
        ceiling = "/v1/tenants/{tenant_id}/ceiling"
        add(ceiling, self.set_ceiling, methods=["PUT"], summary="Bound what bindings of a tenant give.")
        add(ceiling, self.ceiling, methods=["GET"], summary="The most that bindings of a tenant give.")
        add(ceiling + "/remove", self.remove_ceiling, methods=["POST"], summary="Bound it no longer.")

    async def place(
        self, body: NewProhibition, caller: Annotated[Caller, Depends(permit("iam.prohibition.place"))]
    ) -> Accepted:
        scope, holder = caller.scope, (body.holder_kind, body.holder_id)
        rights, now = self._parts.access.rights, self._parts.clock.now()
        home = rights.home_of(holder)
        if home is None or not (home in (PLATFORM, scope.tenant_id) or rights.visits_as_guest(holder, scope, now)):
            raise NotFound("there is no such principal, or none that can hold a role here")
        prohibition_id = caller.derived_id("prohibition")
        command = PlaceProhibition(
            prohibition_id=prohibition_id,
            holder_id=body.holder_id,
            kind=body.holder_kind,
            permissions=tuple(body.permissions),
            tenant_id=scope.tenant_id,
            project_id=scope.project_id,
            reason=body.reason,
            asked_at=now,
            valid_until=body.valid_until,
            outranked=self._outranked(holder, caller),
        )
        outcome = await self._parts.commands.execute(
            PROHIBITION, scope.tenant_id or PLATFORM, prohibition_id, command, caller.cause(), fresh=True
        )
        return await self._parts.settled(caller, outcome, prohibition_id)

    def _outranked(self, holder: Holder, caller: Caller) -> bool:
        """Whether the holder, or somebody in the group, has a binding above, where the caller prohibits nothing."""
        access, now, scope = self._parts.access, self._parts.clock.now(), caller.scope
        about = access.rights.groups.members(holder) if holder[0] == "group" else (holder,)
        above = {
            grant.scope
            for each in (holder, *about)
            for grant in access.rights.grants_of(each)
            if grant.scope != scope and grant.scope.covers(scope) and grant.in_force(now)
        }
        return not all(access.check(caller.principal, "iam.prohibition.place", at, now).allowed for at in above)

    async def lift(
        self,
        prohibition_id: ProhibitionId,
        body: EndOfLimit,
        caller: Annotated[Caller, Depends(permit("iam.prohibition.lift"))],
    ) -> Accepted:
        scope, rights, now = caller.scope, self._parts.access.rights, self._parts.clock.now()
        command = LiftProhibition(
            reason=body.reason,
            project_id=scope.project_id,
            held=self._parts.access.held(caller.principal, scope, now),
            withheld=rights.withheld(caller.principal.holder, scope, now),
        )
        outcome = await self._parts.commands.execute(
            PROHIBITION, scope.tenant_id or PLATFORM, prohibition_id, command, caller.cause()
        )
        return await self._parts.settled(caller, outcome, prohibition_id)

    async def prohibitions(
        self, caller: Annotated[Caller, Depends(permit("iam.prohibition.read"))], page: Paged
    ) -> Page:
        limits, now, after = self._parts.access.rights.limits, self._parts.clock.now(), page.after
        standing = sorted(
            (
                each
                for each in limits.standing(list(limits.prohibitions), now)
                if each.scope.tenant_id == caller.scope.tenant_id and caller.scope.covers(each.scope)
            ),
            key=lambda each: each.prohibition_id,
        )
        rows: list[dict[str, Any]] = [
            {
                "prohibition_id": each.prohibition_id,
                "holder_kind": each.holder[0],
                "holder_id": each.holder[1],
                "tenant_id": each.scope.tenant_id,
                "project_id": each.scope.project_id,
                "permissions": list(each.globs.permissions),
                "valid_until": each.valid_until,
            }
            for each in standing
            if after is None or each.prohibition_id > str(after[0])
        ]
        return page.page(rows[: page.limit + 1], ["prohibition_id"])

    async def set_ceiling(
        self, tenant_id: str, body: NewCeiling, caller: Annotated[Caller, Depends(permit("iam.tenant-ceiling.set"))]
    ) -> Accepted:
        command = SetCeiling(tenant_id, tuple(body.permissions), body.reason)
        outcome = await self._parts.commands.execute(TENANT_CEILING, tenant_id, tenant_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, tenant_id)

    async def remove_ceiling(
        self, tenant_id: str, body: EndOfLimit, caller: Annotated[Caller, Depends(permit("iam.tenant-ceiling.remove"))]
    ) -> Accepted:
        command = RemoveCeiling(tenant_id, body.reason)
        outcome = await self._parts.commands.execute(TENANT_CEILING, tenant_id, tenant_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, tenant_id)

    async def ceiling(
        self, tenant_id: str, caller: Annotated[Caller, Depends(permit("iam.tenant-ceiling.read"))]
    ) -> dict[str, Any]:
        globs = self._parts.access.rights.limits.ceiling(tenant_id)
        if globs is None:
            raise NotFound(ABSENT)
        return {"tenant_id": tenant_id, "permissions": list(globs), "position": self._parts.access.position}
