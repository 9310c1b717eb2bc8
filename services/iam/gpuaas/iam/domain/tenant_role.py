"""A tenant's own role. One law: a version never changes, and nobody puts into it what they do not hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import TenantRoleDefined
from gpuaas.iam.domain.names import REASON_MAX, identifier, written
from gpuaas.iam.domain.permissions import checked, demand_held

ROLES_MAX: Final = 200
"""Roles of its own that one tenant has at most: every service holds them all in memory."""


@dataclass(frozen=True, slots=True)
class DefineTenantRole:
    """`held`, `withheld`: the globs that its author holds, and is prohibited, in the tenant. `others`: roles of its own
    that the tenant has beside this one."""

    tenant_id: str
    role: str
    description: str
    permissions: tuple[str, ...]
    held: frozenset[str]
    withheld: frozenset[str]
    others: int


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


TenantRole = Unknown | Defined


def decide(command: DefineTenantRole, role: TenantRole) -> list[Event]:
    demand_held(
        command.held, permissions := checked(command.permissions), f"define role {command.role}", command.withheld
    )
    description = written(command.description, "description", REASON_MAX)
    match role:
        case Unknown() if command.others >= ROLES_MAX:
            raise Rejected(f"a tenant has at most {ROLES_MAX} roles of its own; change one of those")
        case Defined() as known if (description, permissions) == (known.description, known.permissions):
            return []
    return [
        TenantRoleDefined(
            tenant_id=command.tenant_id,
            role=identifier(command.role, "role"),
            version=role.version + 1,
            description=description,
            permissions=permissions,
        )
    ]


def evolve(role: TenantRole, event: Event) -> TenantRole:
    if not isinstance(event, TenantRoleDefined):
        raise Unreadable(f"the history of a tenant's role cannot hold {event.TYPE}")
    return Defined(version=event.version, description=event.description, permissions=event.permissions)


TENANT_ROLE: Final[Decider[TenantRole, DefineTenantRole]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(TenantRoleDefined)
