"""A role: a named list of permissions. One law: a version never changes, a change is the next version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import RoleDefined
from gpuaas.iam.domain.built_in_roles import BUILT_IN
from gpuaas.iam.domain.names import REASON_MAX, identifier, written
from gpuaas.iam.domain.permissions import checked, demand_held


@dataclass(frozen=True, slots=True)
class DefineRole:
    """`held`: the permission globs its author holds on the platform; `withheld`: those prohibited to them anywhere."""

    role: str
    description: str
    permissions: tuple[str, ...]
    held: frozenset[str]
    withheld: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class InstallBuiltInRole:
    """Bring a role that the suite ships with to the version shipped."""

    role: str


RoleCommand = DefineRole | InstallBuiltInRole


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such role yet."""

    version: int = 0


@dataclass(frozen=True, slots=True)
class Defined:
    """The role's newest version."""

    version: int
    description: str
    permissions: tuple[str, ...]


Role = Unknown | Defined


def decide(command: RoleCommand, role: Role) -> list[Event]:
    match command:
        case DefineRole() as ask if ask.role in BUILT_IN:
            raise Rejected(f"{ask.role} is a built-in role; define one with another name")
        case DefineRole() as ask:
            demand_held(ask.held, permissions := checked(ask.permissions), f"define role {ask.role}", ask.withheld)
            return _next_version(role, ask.role, ask.description, permissions)
        case InstallBuiltInRole() as ask:
            shipped = BUILT_IN[ask.role]
            return _next_version(role, ask.role, shipped.description, shipped.permissions)


def _next_version(role: Role, name: str, description: str, permissions: tuple[str, ...]) -> list[Event]:
    kept = written(description, "description", REASON_MAX)
    if isinstance(role, Defined) and (kept, permissions) == (role.description, role.permissions):
        return []
    return [
        RoleDefined(
            role=identifier(name, "role"),
            version=role.version + 1,
            description=kept,
            permissions=permissions,
        )
    ]


def evolve(role: Role, event: Event) -> Role:
    match event:
        case RoleDefined() as defined:
            return Defined(
                version=defined.version,
                description=defined.description,
                permissions=defined.permissions,
            )
        case _:
            raise Unreadable(f"the history of a role cannot hold {event.TYPE}")


ROLE: Final[Decider[Role, RoleCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(RoleDefined)
