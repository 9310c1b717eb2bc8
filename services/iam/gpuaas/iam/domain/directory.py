"""What a tenant's directory says: its people and its groups. One law: a description is of what its sender last saw.

A directory (SCIM 2.0) makes people and groups of its own and says what they are; it never takes over what others made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import (
    DirectoryGroupDescribed,
    DirectoryGroupRemoved,
    DirectoryUserDescribed,
    DirectoryUserRemoved,
)
from gpuaas.iam.domain.names import identifier, named, written

EXTERNAL_ID_MAX: Final = 255
ABSENT: Final = "the directory has no such resource"


class Changed(Rejected):
    """It has been changed meanwhile (RFC 7644 §3.14): read it again."""

    status = 412
    code = "precondition-failed"


@dataclass(frozen=True, slots=True)
class DescribeUser:
    """`based_on`: the revision that the sender saw; 0: the person is new."""

    tenant_id: str
    user_id: str
    based_on: int
    active: bool
    stopped_here: bool
    attributes: str
    source_id: str


@dataclass(frozen=True, slots=True)
class DescribeGroup:
    """`based_on` as for a person."""

    tenant_id: str
    group_id: str
    based_on: int
    display_name: str
    external_id: str | None
    source_id: str


@dataclass(frozen=True, slots=True)
class Remove:
    """The directory knows it no longer."""

    tenant_id: str
    thing_id: str
    source_id: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A person or group of a directory. Revision 0: it never was one. `stopped_here`: by the directory."""

    revision: int = 0
    active: bool = False
    stopped_here: bool = False
    removed: bool = False

    @property
    def stands(self) -> bool:
        return self.revision > 0 and not self.removed


def decide_user(command: DescribeUser | Remove, user: Entry) -> list[Event]:
    _demand(command, user)
    match command:
        case DescribeUser() as said:
            return [
                DirectoryUserDescribed(
                    tenant_id=said.tenant_id,
                    user_id=identifier(said.user_id, "user id"),
                    revision=user.revision + 1,
                    active=said.active,
                    stopped_here=said.stopped_here,
                    attributes=said.attributes,
                    source_id=said.source_id,
                )
            ]
        case Remove() as order:
            return [DirectoryUserRemoved(tenant_id=order.tenant_id, user_id=order.thing_id, source_id=order.source_id)]


def decide_group(command: DescribeGroup | Remove, group: Entry) -> list[Event]:
    _demand(command, group)
    match command:
        case DescribeGroup() as said:
            external = said.external_id
            return [
                DirectoryGroupDescribed(
                    tenant_id=said.tenant_id,
                    group_id=identifier(said.group_id, "group id"),
                    revision=group.revision + 1,
                    display_name=named(said.display_name, "display name"),
                    external_id=None if external is None else written(external, "external id", EXTERNAL_ID_MAX),
                    source_id=said.source_id,
                )
            ]
        case Remove() as order:
            return [
                DirectoryGroupRemoved(tenant_id=order.tenant_id, group_id=order.thing_id, source_id=order.source_id)
            ]


def _demand(command: DescribeUser | DescribeGroup | Remove, entry: Entry) -> None:
    is_new = not isinstance(command, Remove) and command.based_on == 0
    if entry.removed or (entry.revision == 0 and not is_new):
        raise NotFound(ABSENT)
    if not isinstance(command, Remove) and command.based_on != entry.revision:
        raise Changed("it has been changed meanwhile; read it again and change that")


def evolve(entry: Entry, event: Event) -> Entry:
    match event:
        case DirectoryUserDescribed() as said if said.revision == entry.revision + 1 and not entry.removed:
            return Entry(said.revision, said.active, said.stopped_here)
        case DirectoryGroupDescribed() as said if said.revision == entry.revision + 1 and not entry.removed:
            return Entry(said.revision, active=True)
        case DirectoryUserRemoved() | DirectoryGroupRemoved() if entry.stands:
            return Entry(entry.revision, removed=True)
        case _:
            raise Unreadable(f"the history of a directory's entry cannot hold {event.TYPE} here")


DIRECTORY_USER: Final[Decider[Entry, DescribeUser | Remove]] = Decider(Entry(), decide_user, evolve)
DIRECTORY_GROUP: Final[Decider[Entry, DescribeGroup | Remove]] = Decider(Entry(), decide_group, evolve)
USER_VOCABULARY: Final = Vocabulary(DirectoryUserDescribed, DirectoryUserRemoved)
GROUP_VOCABULARY: Final = Vocabulary(DirectoryGroupDescribed, DirectoryGroupRemoved)
