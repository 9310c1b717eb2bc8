"""Groups of people and programs. One law: nobody lets anybody into more than they hold themselves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from gpuaas.common.access import ABSENT
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.iam.domain.group import AddMember, CreateGroup, Kind, RemoveMember
from gpuaas.iam.domain.group_tree import NestGroup, UnnestGroup
from gpuaas.iam.entities import GROUP, GROUP_TREE
from gpuaas.iam.parts import GROUPS, Parts
from gpuaas.iam.routes.asking import LEVELS, Paged
from gpuaas.iam.routes.handing_on import beyond_giver, beyond_lifter
from pydantic import Field

GroupId = Annotated[str, Path(description="The group's id.", max_length=63)]
Changing = Annotated[Caller, Depends(permit("iam.group.change"))]
Reading = Annotated[Caller, Depends(permit("iam.group.read"))]


class NewGroup(Body):
    """A group to make, at home where the path says."""

    display_name: str = Field(description="What it is called.", max_length=400)


class Member(Body):
    """Somebody to let in."""

    member_kind: Kind
    member_id: str = Field(description="Who.", max_length=63)


class FormerMember(Member):
    """Somebody to take out."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Parent(Body):
    """The group to be inside of."""

    parent_id: str = Field(description="The outer group, of the same home.", max_length=63)


class FormerParent(Parent):
    """The group to be inside of no longer."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Groups:
    """Routes of groups: the platform's and each tenant's."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add, seen = router.add_api_route, Depends(fresh(GROUPS))
        for prefix, level in LEVELS[:2]:
            path, at = f"{prefix}/groups", Depends(level)
            one, members = path + "/{group_id}", path + "/{group_id}/members"
            add(path, self.create, methods=["POST"], status_code=201, dependencies=[at], summary="Make a group.")
            add(path, self.groups, methods=["GET"], dependencies=[at, seen], summary="The groups at home here.")
            add(members, self.add, methods=["POST"], dependencies=[at], summary="Let somebody in.")
            add(members, self.members, methods=["GET"], dependencies=[at], summary="Who is in it, also by nesting.")
            add(members + "/remove", self.remove, methods=["POST"], dependencies=[at], summary="Take somebody out.")
            add(one + "/nest", self.nest, methods=["POST"], dependencies=[at], summary="Put it inside another.")
            add(one + "/unnest", self.unnest, methods=["POST"], dependencies=[at], summary="Take it out again.")

    async def create(self, body: NewGroup, caller: Annotated[Caller, Depends(permit("iam.group.create"))]) -> Accepted:
        group_id, home = caller.derived_id("group"), caller.scope.tenant_id or PLATFORM
        command = CreateGroup(group_id=group_id, tenant_id=home, display_name=body.display_name)
        outcome = await self._parts.commands.execute(GROUP, home, group_id, command, caller.cause(), fresh=True)
        return await self._parts.settled(caller, outcome, group_id)

    async def groups(self, caller: Reading, page: Paged) -> Page:
        home = caller.scope.tenant_id or PLATFORM
        rows = await GROUPS.at_home(self._parts.database, home, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["group_id"])

    async def members(self, group_id: GroupId, caller: Reading, page: Paged) -> Page:
        self._home_of(group_id, caller)
        after = "" if page.after is None else str(page.after[0])
        inside = sorted(self._parts.access.rights.groups.members(("group", group_id)), key=lambda each: each[1])
        rows: list[dict[str, Any]] = [{"member_kind": kind, "member_id": id_} for kind, id_ in inside if id_ > after]
        return page.page(rows[: page.limit + 1], ["member_id"])

    async def add(self, group_id: GroupId, body: Member, caller: Changing) -> Accepted:
        home, rights = self._home_of(group_id, caller), self._parts.access.rights
        if rights.home_of((body.member_kind, body.member_id)) not in (PLATFORM, home):
            raise NotFound("there is no such principal, or none that can be in this group")
        command = AddMember(body.member_id, body.member_kind, self._beyond(caller, group_id))
        outcome = await self._parts.commands.execute(GROUP, home, group_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, group_id)

    async def remove(self, group_id: GroupId, body: FormerMember, caller: Changing) -> Accepted:
        home = self._home_of(group_id, caller)
        command = RemoveMember(body.member_id, body.member_kind, body.reason, self._kept(caller, group_id))
        outcome = await self._parts.commands.execute(GROUP, home, group_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, group_id)

    async def nest(self, group_id: GroupId, body: Parent, caller: Changing) -> Accepted:
        home = self._home_of(group_id, caller)
        self._home_of(body.parent_id, caller)
        command = NestGroup(home, group_id, body.parent_id, self._beyond(caller, body.parent_id))
        outcome = await self._parts.commands.execute(GROUP_TREE, home, home, command, caller.cause())
        return await self._parts.settled(caller, outcome, group_id)

    async def unnest(self, group_id: GroupId, body: FormerParent, caller: Changing) -> Accepted:
        home = self._home_of(group_id, caller)
        command = UnnestGroup(home, group_id, body.parent_id, body.reason, self._kept(caller, body.parent_id))
        outcome = await self._parts.commands.execute(GROUP_TREE, home, home, command, caller.cause())
        return await self._parts.settled(caller, outcome, group_id)

    def _home_of(self, group_id: str, caller: Caller) -> str:
        """Where a group is at home, which must be where the path says."""
        home = caller.scope.tenant_id or PLATFORM
        if self._parts.access.rights.home_of(("group", group_id)) != home:
            raise NotFound(ABSENT)
        return home

    def _beyond(self, caller: Caller, group_id: str) -> tuple[str, ...]:
        rights, now = self._parts.access.rights, self._parts.clock.now()
        return beyond_giver(rights, caller.principal, ("group", group_id), now)

    def _kept(self, caller: Caller, group_id: str) -> tuple[str, ...]:
        rights, now = self._parts.access.rights, self._parts.clock.now()
        return beyond_lifter(rights, caller.principal, ("group", group_id), now)
