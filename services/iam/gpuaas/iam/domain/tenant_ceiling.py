"""A tenant's ceiling: the most that any binding in it gives. One law: the platform sets it, never the tenant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import TenantCeilingRemoved, TenantCeilingSet
from gpuaas.iam.domain.names import REASON_MAX, written
from gpuaas.iam.domain.permissions import checked


@dataclass(frozen=True, slots=True)
class SetCeiling:
    """Bound the tenant by these permission globs from now on."""

    tenant_id: str
    permissions: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RemoveCeiling:
    """Bound it no longer."""

    tenant_id: str
    reason: str


CeilingCommand = SetCeiling | RemoveCeiling
Ceiling = tuple[str, ...] | None
"""The globs; None: the tenant is not bounded."""


def decide(command: CeilingCommand, ceiling: Ceiling) -> list[Event]:
    reason = written(command.reason, "reason", REASON_MAX)
    match command:
        case SetCeiling() as ask:
            permissions = checked(ask.permissions)
            if permissions == ceiling:
                return []
            return [TenantCeilingSet(tenant_id=ask.tenant_id, permissions=permissions, reason=reason)]
        case RemoveCeiling() if ceiling is None:
            raise Rejected("that tenant has no ceiling")
        case RemoveCeiling() as order:
            return [TenantCeilingRemoved(tenant_id=order.tenant_id, reason=reason)]


def evolve(ceiling: Ceiling, event: Event) -> Ceiling:
    match event:
        case TenantCeilingSet() as now:
            return now.permissions
        case TenantCeilingRemoved():
            return None
        case _:
            raise Unreadable(f"the history of a ceiling cannot hold {event.TYPE}")


CEILING: Final[Decider[Ceiling, CeilingCommand]] = Decider(initial=None, decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(TenantCeilingSet, TenantCeilingRemoved)
