"""Why somebody may, who may, what they may, and since when. One law: nobody learns of rights above what they read."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.errors import Invalid, NotFound
from gpuaas.common.explaining import Held, Reason, allows, explain, what_can, who_can
from gpuaas.common.http import Caller, Page, permit
from gpuaas.common.rights import Grant
from gpuaas.common.scopes import Holder
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.as_of import AsOf
from gpuaas.iam.routes.asking import LEVELS, Paged
from gpuaas.iam.routes.rights import shows

Kind = Annotated[Literal["user", "service-account"], Query(description="Of the principal it is about.")]
Whom = Annotated[str, Query(description="The principal it is about.", max_length=63)]
Permission = Annotated[str, Query(description="`service.resource.verb`", max_length=128)]
Position = Annotated[int | None, Query(ge=1, description="As of this log position; default: now.")]
Reading = Annotated[Caller, Depends(permit("iam.binding.read"))]


class Explain:
    """Routes that explain rights at a level (platform, tenant, project), now and as of any log position."""

    def __init__(self, parts: Parts, as_of: AsOf) -> None:
        self._parts = parts
        self._as_of = as_of

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add = router.add_api_route
        for prefix, level in LEVELS:
            path, at = f"{prefix}/explain", [Depends(level)]
            add(path, self.explain, methods=["GET"], dependencies=at, summary="Why somebody may do something here.")
            add(path + "/what-can", self.what, methods=["GET"], dependencies=at, summary="What somebody may do here.")
            add(path + "/who-can", self.who, methods=["GET"], dependencies=at, summary="Who may do something here.")
            change = path + "/difference"
            add(change, self.difference, methods=["GET"], dependencies=at, summary="What somebody gained and lost.")

    async def explain(
        self,
        caller: Reading,
        principal_kind: Kind,
        principal_id: Whom,
        permission: Permission,
        as_of: Position = None,
    ) -> dict[str, Any]:
        holder = self._shown(caller, principal_kind, principal_id)
        access, now = await self._as_of.at(as_of)
        try:
            reasons = explain(access.rights, holder, permission, caller.scope, now)
        except ValueError as refused:
            raise Invalid(str(refused), field="permission") from refused
        known = access.rights.exists(caller.scope)
        return {
            "allowed": known and allows(reasons),
            "allowed_on_condition": known and allows([_as_if_met(each) for each in reasons]),
            "permission": permission,
            "principal": {"kind": principal_kind, "id": principal_id},
            "position": access.position,
            "at": now,
            "sufficient_roles": list(access.rights.sufficient_roles(permission, caller.scope.tenant_id)),
            "reasons": [self._reason(caller, each) for each in reasons],
        }

    async def what(
        self, caller: Reading, principal_kind: Kind, principal_id: Whom, as_of: Position = None
    ) -> dict[str, Any]:
        holder = self._shown(caller, principal_kind, principal_id)
        access, now = await self._as_of.at(as_of)
        given, banned, ceiling = what_can(access.rights, holder, caller.scope, now)
        return {
            "position": access.position,
            "at": now,
            "given": [self._held(caller, each) for each in given],
            "prohibited": sorted({glob for each in banned for glob in each.globs.permissions}),
            "ceiling": None if ceiling is None else list(ceiling),
        }

    async def who(self, caller: Reading, permission: Permission, page: Paged, as_of: Position = None) -> Page:
        """People and programs at home or bound here; whoever comes from above is listed to who reads above."""
        access, now = await self._as_of.at(as_of)
        try:
            found = who_can(access.rights, permission, caller.scope, now)
        except ValueError as refused:
            raise Invalid(str(refused), field="permission") from refused
        after = ("", "") if page.after is None else (str(page.after[0]), str(page.after[-1]))
        rows: list[dict[str, Any]] = []
        for holder in sorted(each for each in found if each > after):
            open_to = [grant for grant in found[holder] if self._reads(caller, grant.scope)]
            if open_to and len(rows) <= page.limit:
                bindings = [self._grant(caller, grant) for grant in open_to]
                rows.append({"principal_kind": holder[0], "principal_id": holder[1], "bindings": bindings})
        return page.page(rows, ["principal_kind", "principal_id"])

    async def difference(
        self,
        caller: Reading,
        principal_kind: Kind,
        principal_id: Whom,
        since: Annotated[int, Query(ge=1, description="The earlier log position.")],
        until: Annotated[int | None, Query(ge=1, description="The later log position; default: now.")] = None,
    ) -> dict[str, Any]:
        holder = self._shown(caller, principal_kind, principal_id)
        earlier, later = await self._as_of.at(since), await self._as_of.at(until)
        if earlier[0].position > later[0].position:
            raise Invalid("`since` is after `until`; exchange them", field="since")
        (had, no_more, ceiling), (has, now_not, top) = (
            what_can(access.rights, holder, caller.scope, now) for access, now in (earlier, later)
        )
        before, after = ({glob for each in banned for glob in each.globs.permissions} for banned in (no_more, now_not))
        return {
            "since": earlier[0].position,
            "until": later[0].position,
            "gained": [self._held(caller, each) for each in has if each not in had],
            "lost": [self._held(caller, each) for each in had if each not in has],
            "prohibited": sorted(after - before),
            "no_longer_prohibited": sorted(before - after),
            "ceiling": {"since": ceiling, "until": top},
        }

    def _shown(self, caller: Caller, kind: Literal["user", "service-account"], principal_id: str) -> Holder:
        """The principal, if who asks meets it at this level or is it."""
        access, holder = self._parts.access, (kind, principal_id)
        home, now = access.rights.home_of(holder), self._parts.clock.now()
        own = caller.principal.holder == holder
        if home is None or not (own or shows(access, caller.principal, holder, home, caller.scope, now)):
            raise NotFound("there is no such principal, or none that you may see")
        return holder

    def _reads(self, caller: Caller, scope: Scope) -> bool:
        return _reads(self._parts.access, caller.principal, caller.scope, scope, self._parts)

    def _reason(self, caller: Caller, reason: Reason) -> dict[str, Any]:
        if reason.kind != "suspension" and not self._reads(caller, reason.scope):
            return {"kind": reason.kind, "counts": reason.counts, "why": "it is above what you may read"}
        return {
            "kind": reason.kind,
            "id": reason.id,
            "through": {"kind": reason.holder[0], "id": reason.holder[1]},
            "scope": _scope(reason.scope),
            "role": reason.role,
            "counts": reason.counts,
            "why": reason.why,
            "on_condition": reason.on_condition,
        }

    def _held(self, caller: Caller, held: Held) -> dict[str, Any]:
        return {"permission": held.permission, "binding": self._grant(caller, held.grant)}

    def _grant(self, caller: Caller, grant: Grant) -> dict[str, Any] | None:
        """A binding, or None where it is above what the caller may read."""
        if not self._reads(caller, grant.scope):
            return None
        return {
            "binding_id": grant.binding_id,
            "role": grant.role,
            "scope": _scope(grant.scope),
            "through": {"kind": grant.holder[0], "id": grant.holder[1]},
            "valid_until": grant.valid_until,
            "on_condition": None if grant.condition is None else grant.condition.said,
        }


def _as_if_met(reason: Reason) -> Reason:
    return reason if reason.on_condition is None else replace(reason, counts=True)


def _reads(access: Access, who: Principal, level: Scope, scope: Scope, parts: Parts) -> bool:
    """Whether who asks at `level` reads bindings of `scope`; what lies inside the level, they do."""
    return level.covers(scope) or access.check(who, "iam.binding.read", scope, parts.clock.now()).allowed


def _scope(scope: Scope) -> dict[str, str | None]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}
