"""A group: people and programs that hold rights together. One law: who adds somebody holds what the group gives.

Which group is inside which is `group_tree`'s to decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import GroupCreated, GroupMemberAdded, GroupMemberRemoved
from gpuaas.iam.domain.names import REASON_MAX, identifier, named, written

MEMBERS_MAX: Final = 10_000
Kind = Literal["user", "service-account"]


@dataclass(frozen=True, slots=True)
class CreateGroup:
    """`tenant_id` is `platform` for the platform's own; the id is given by iam."""

    group_id: str
    tenant_id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class AddMember:
    """`beyond_adder`: what the group gives somewhere and who adds does not hold there."""

    member_id: str
    kind: Kind
    beyond_adder: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Take somebody out. `beyond_remover`: what is prohibited in the group and who removes does not hold."""

    member_id: str
    kind: Kind
    reason: str
    beyond_remover: tuple[str, ...] = ()


GroupCommand = CreateGroup | AddMember | RemoveMember


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such group yet."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The group exists, with these direct members."""

    group_id: str
    members: frozenset[tuple[str, str]] = frozenset()


Group = Unknown | Standing


def decide(command: GroupCommand, group: Group) -> list[Event]:
    match group, command:
        case Unknown(), CreateGroup() as ask:
            return [
                GroupCreated(
                    group_id=identifier(ask.group_id, "group id"),
                    tenant_id=ask.tenant_id,
                    display_name=named(ask.display_name, "display name"),
                )
            ]
        case Standing() as standing, AddMember() as ask:
            return [_added(standing, ask)]
        case Standing() as standing, RemoveMember() as order if (order.kind, order.member_id) in standing.members:
            demand_none_kept(order.beyond_remover)
            return [
                GroupMemberRemoved(
                    group_id=standing.group_id,
                    member_id=order.member_id,
                    member_kind=order.kind,
                    reason=written(order.reason, "reason", REASON_MAX),
                )
            ]
        case Standing(), RemoveMember():
            raise NotFound("there is no such member in that group")
        case Unknown(), _:
            raise NotFound("there is no such group, or none that you may see")
        case _:
            raise Rejected("a group with that id exists already")


def _added(group: Standing, ask: AddMember) -> GroupMemberAdded:
    if (ask.kind, ask.member_id) in group.members:
        raise Rejected("that account is in the group already")
    if len(group.members) >= MEMBERS_MAX:
        raise Rejected(f"a group has at most {MEMBERS_MAX:,} members; make another one")
    demand_none_beyond(ask.beyond_adder)
    return GroupMemberAdded(group_id=group.group_id, member_id=ask.member_id, member_kind=ask.kind)


def demand_none_beyond(missing: tuple[str, ...]) -> None:
    """Return if nothing is missing.

    Raises:
        Forbidden: the group gives more than who asks holds; names it.
    """
    if missing:
        raise Forbidden(
            "you cannot let anybody into a group that gives more than you hold; ask somebody who holds as much",
            missing_permissions=list(missing),
        )


def demand_none_kept(missing: tuple[str, ...]) -> None:
    """Return if nothing is missing.

    Raises:
        Forbidden: leaving the group would lift a prohibition of what who asks does not hold; names it.
    """
    if missing:
        raise Forbidden(
            "you cannot take anybody out of a group that is prohibited what you do not hold; ask somebody who holds it",
            missing_permissions=list(missing),
        )


def evolve(group: Group, event: Event) -> Group:
    match group, event:
        case Unknown(), GroupCreated() as created:
            return Standing(group_id=created.group_id)
        case Standing() as standing, GroupMemberAdded() as added:
            return replace(standing, members=standing.members | {(added.member_kind, added.member_id)})
        case Standing() as standing, GroupMemberRemoved() as removed:
            return replace(standing, members=standing.members - {(removed.member_kind, removed.member_id)})
        case _:
            raise Unreadable(f"the history of a group cannot hold {event.TYPE} here")


GROUP: Final[Decider[Group, GroupCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(GroupCreated, GroupMemberAdded, GroupMemberRemoved)
