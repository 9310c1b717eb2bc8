"""Who could do what then and not now, and the other way round. One law: both sides are answered by the check itself.

Compared is every permission that some route of the suite asks for. A row is about one place and holds for what lies
below it, except where a row says otherwise; only places where something was given or taken are looked at.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.conditions import Circumstances
from gpuaas.common.errors import Invalid
from gpuaas.common.http import Caller, Page, Paging, encode_cursor, permit
from gpuaas.common.rights import Grant
from gpuaas.common.scopes import Holder
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.as_of import AsOf
from gpuaas.iam.routes.asking import LEVELS, Paged

LOOKED_AT_MAX: Final = 5_000
"""Holders looked at for one page; it may then be shorter, and says where the next begins."""
AT_ONCE: Final = 100
"""Holders looked at before others are served."""
LAST: Final = "~"
"""Sorts after every label: the holder is done with."""
Key = tuple[str, str, str, str]
State = Literal["no", "on-condition", "yes"]


class Changes(Page):
    """One page of what changed between two positions.

    Attributes:
        since, until: the positions compared; give `until` again for the following pages, or let the cursor do so.
    """

    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Side:
    """The rights of one position, and the time at which they are asked."""

    access: Access
    at: datetime

    def grants(self, holder: Holder) -> list[Grant]:
        """Its bindings in force; what a group of theirs was shared with is that group's."""
        rights = self.access.rights
        return [
            grant
            for grant in rights.grants_of(holder)
            if rights.stands(grant, self.at) and (grant.receiver is None or grant.holder == holder)
        ]

    def state(self, holder: Holder, permission: str, scope: Scope) -> State:
        """Whether `holder` may do it there."""
        if self._may(holder, permission, scope, met=False):
            return "yes"
        return "on-condition" if self._may(holder, permission, scope, met=True) else "no"

    def _may(self, holder: Holder, permission: str, scope: Scope, *, met: bool) -> bool:
        who = Principal(
            id=holder[1],
            kind=holder[0],  # type: ignore[arg-type]  # a group that a project is shared with stands for its members
            tenant_id=self.access.rights.home_of(holder) or "",
            key_id="",
            session_id="",
            token_id="",
            expires_at=self.at,
            about=Circumstances(judged=met),
        )
        return self.access.check(who, permission, scope, self.at).allowed

    def around(self) -> dict[str, dict[Scope, object]]:
        """What bears on everybody, by kind and place."""
        rights = self.access.rights
        return {
            "suspended": {Scope(each): True for each in rights.suspended_tenants},
            "closed": {Scope(*each): True for each in rights.endings.closed},
            "ceiling": {Scope(tenant): globs for tenant, globs in rights.limits.ceilings().items()},
            "policy": {Scope(tenant): policy for tenant, policy in rights.visits.policies.items()},
            "duties": {rule.scope: sorted(rights.duties.rules) for rule in rights.duties.rules.values()},
        }

    def about(self, holder: Holder) -> tuple[object, ...]:
        """Everything of their own that a decision about them can rest on."""
        rights = self.access.rights
        visited = sorted(
            tenant
            for tenant in rights.visits.policies
            if any(each.holder == holder for each in rights.visits.sessions(tenant, self.at))
        )
        given = {
            (grant.binding_id, rights.roles[grant.role].permissions, rights.stands(grant, self.at))
            for grant in rights.grants_of(holder)
        }
        banned = {each.prohibition_id for each in rights.limits.standing(rights.groups.circle(holder), self.at)}
        return rights.stopped(holder), given, banned, visited


@cache
def registry() -> tuple[str, ...]:
    """Every permission that some route asks for, sorted."""
    text = files("gpuaas.iam.domain").joinpath("permission_registry.v1.json").read_text("utf-8")
    return tuple(json.loads(text))


class Differences:
    """The route of changes, at each level."""

    def __init__(self, parts: Parts, as_of: AsOf) -> None:
        self._parts = parts
        self._as_of = as_of

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        for prefix, level in LEVELS:
            router.add_api_route(
                f"{prefix}/explain/changes",
                self.changes,
                methods=["GET"],
                dependencies=[Depends(level)],
                summary="Who gained and lost what here.",
            )

    async def changes(
        self,
        caller: Annotated[Caller, Depends(permit("iam.binding.read"))],
        page: Paged,
        since: Annotated[int, Query(ge=1, description="The earlier log position.")],
        until: Annotated[int | None, Query(ge=1, description="The later log position; default: now.")] = None,
    ) -> Changes:
        after, told = _after(page)
        until, live = until or told, self._parts.access
        later = Side(*await self._as_of.at(None if until == live.position else until))
        until = until or later.access.position
        if since > until:
            raise Invalid("`since` is after `until`; exchange them", field="since")
        earlier = Side(*await self._as_of.at(since))
        rows, stopped_at = await self._rows(caller, earlier, later, after, page.limit)
        more = None if stopped_at is None else encode_cursor([*stopped_at, until])
        return Changes(items=rows, next_cursor=more, since=since, until=until)

    async def _rows(
        self, caller: Caller, earlier: Side, later: Side, after: Key, limit: int
    ) -> tuple[list[dict[str, Any]], Key | None]:
        """Up to `limit` rows after `after`, and where the next page begins, if there may be one."""
        rows: list[dict[str, Any]] = []
        places = _changed_around(caller.scope, earlier, later)
        holders = [each for each in later.access.rights.holders() if each >= after[:2]]
        last = after
        for count, holder in enumerate(holders, 1):
            for row in self._of(caller, holder, earlier, later, places):
                key: Key = (*holder, row["tenant_id"] or "", row["project_id"] or "")
                if key <= after:
                    continue
                if len(rows) == limit:
                    return rows, last
                rows.append(row)
                last = key
            if count == LOOKED_AT_MAX:
                return rows, (*holder, LAST, LAST)
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
        return rows, None

    def _of(
        self, caller: Caller, holder: Holder, earlier: Side, later: Side, places: set[Scope]
    ) -> Iterator[dict[str, Any]]:
        """What changed for one holder, by place; nothing for who is none of the caller's to see."""
        if not places and earlier.about(holder) == later.about(holder):
            return
        grants = [*earlier.grants(holder), *later.grants(holder)]
        shared = any(grant.receiver is not None for grant in grants)
        if (holder[0] == "group" and not shared) or not any(self._reads(caller, each.scope) for each in grants):
            return
        own = {grant.scope for grant in grants} | {
            each.scope
            for side in (earlier, later)
            for each in side.access.rights.limits.standing(side.access.rights.groups.circle(holder), side.at)
        }
        inside = {caller.scope} | {each for each in own | places if caller.scope.covers(each)}
        for place in sorted(inside, key=lambda each: (each.tenant_id or "", each.project_id or "")):
            if changes := _changes(holder, place, earlier, later):
                yield {
                    "principal_kind": holder[0],
                    "principal_id": holder[1],
                    "tenant_id": place.tenant_id,
                    "project_id": place.project_id,
                    "changes": changes,
                }

    def _reads(self, caller: Caller, scope: Scope) -> bool:
        now = self._parts.clock.now()
        return (
            caller.scope.covers(scope)
            or self._parts.access.check(caller.principal, "iam.binding.read", scope, now).allowed
        )


def _changes(holder: Holder, place: Scope, earlier: Side, later: Side) -> list[dict[str, str]]:
    found = []
    for permission in registry():
        was, now = earlier.state(holder, permission, place), later.state(holder, permission, place)
        if was != now:
            found.append({"permission": permission, "was": was, "is": now})
    return found


def _changed_around(level: Scope, earlier: Side, later: Side) -> set[Scope]:
    """Places inside, or around, `level` where something changed for everybody."""
    before, after = earlier.around(), later.around()
    return {
        place
        for kind, now in after.items()
        for place in before[kind].keys() | now.keys()
        if before[kind].get(place) != now.get(place) and (level.covers(place) or place.covers(level))
    }


def _after(page: Paging) -> tuple[Key, int | None]:
    """Where the page begins, and the later position of the pages before it."""
    match page.after:
        case None:
            return ("", "", "", ""), None
        case (str() as kind, str() as name, str() as tenant, str() as project, int() as until) if until > 0:
            return (kind, name, tenant, project), until
        case _:
            raise Invalid("this cursor is not one that was given out here; begin again without it")
