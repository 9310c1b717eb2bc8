"""A binding: a principal holds a role in a scope. One law: nobody binds a role that they do not hold there.

The scope is a project, a tenant or (neither named) the platform. Times are real time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import BindingCondition, RoleBound, RoleBoundToGroup, RoleBoundUnderCondition, RoleUnbound
from gpuaas.iam.domain.names import REASON_MAX, identifier, written
from gpuaas.iam.domain.permissions import demand_held


@dataclass(frozen=True, slots=True)
class BindRole:
    """`role_permissions`: what the role permits today; `held`: the globs the granter holds in that scope;
    `withheld`: those prohibited to the granter there. `role_tenant_id`: the tenant whose own role it is.
    `joins`: rules whose duties would come together in the taker. `condition`: on what it counts; None: always."""

    binding_id: str
    principal_id: str
    principal_kind: Literal["user", "service-account", "group"]
    role: str
    role_permissions: tuple[str, ...]
    held: frozenset[str]
    tenant_id: str | None
    project_id: str | None
    reason: str
    asked_at: datetime
    valid_until: datetime | None = None
    withheld: frozenset[str] = frozenset()
    role_tenant_id: str | None = None
    joins: tuple[str, ...] = ()
    condition: BindingCondition | None = None


@dataclass(frozen=True, slots=True)
class UnbindRole:
    """End a binding now. `project_id`: the project whose administrator asks; None for the tenant's or operators."""

    reason: str
    project_id: str | None = None


BindingCommand = BindRole | UnbindRole


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such binding yet."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The principal holds the role."""

    binding_id: str
    project_id: str | None


@dataclass(frozen=True, slots=True)
class Unbound:
    """Ended; an id is never used again."""

    binding_id: str


Binding = Unknown | Bound | Unbound


def decide(command: BindingCommand, binding: Binding) -> list[Event]:
    match binding, command:
        case Unknown(), BindRole() as ask:
            return [_bound(ask)]
        case Bound() as held, UnbindRole() as order if order.project_id in (None, held.project_id):
            return [RoleUnbound(binding_id=held.binding_id, reason=written(order.reason, "reason", REASON_MAX))]
        case ((Unknown() | Bound()), UnbindRole()):
            raise NotFound("there is no such binding, or none that you may see")
        case Unbound(), UnbindRole():
            raise Rejected("that binding has ended already")
        case _:
            raise Rejected("a binding with that id was made before; make another one")


def _bound(ask: BindRole) -> RoleBound | RoleBoundToGroup | RoleBoundUnderCondition:
    if ask.project_id is not None and ask.tenant_id is None:
        raise Invalid("a project is always named with its tenant", field="tenant_id")
    if ask.valid_until is not None and ask.valid_until <= ask.asked_at:
        raise Invalid("the binding would end before it began; choose a later time", field="valid_until")
    demand_held(ask.held, ask.role_permissions, f"grant role {ask.role}", ask.withheld)
    if ask.joins:
        raise Rejected(
            f"this would bring together duties that are kept apart (rule {ask.joins[0]}); end the other first"
        )
    reason = written(ask.reason, "reason", REASON_MAX)
    if ask.condition is not None:
        return RoleBoundUnderCondition(
            binding_id=identifier(ask.binding_id, "binding id"),
            holder_kind=ask.principal_kind,
            holder_id=ask.principal_id,
            role=ask.role,
            role_tenant_id=ask.role_tenant_id,
            tenant_id=ask.tenant_id,
            project_id=ask.project_id,
            reason=reason,
            valid_until=ask.valid_until,
            condition=ask.condition,
        )
    if ask.principal_kind == "group":
        return RoleBoundToGroup(
            binding_id=identifier(ask.binding_id, "binding id"),
            group_id=ask.principal_id,
            role=ask.role,
            role_tenant_id=ask.role_tenant_id,
            tenant_id=ask.tenant_id,
            project_id=ask.project_id,
            reason=reason,
            valid_until=ask.valid_until,
        )
    return RoleBound(
        binding_id=identifier(ask.binding_id, "binding id"),
        principal_id=ask.principal_id,
        principal_kind=ask.principal_kind,
        role=ask.role,
        role_tenant_id=ask.role_tenant_id,
        tenant_id=ask.tenant_id,
        project_id=ask.project_id,
        reason=reason,
        valid_until=ask.valid_until,
    )


def evolve(binding: Binding, event: Event) -> Binding:
    match event:
        case (RoleBound() | RoleBoundToGroup() | RoleBoundUnderCondition()) as bound:
            return Bound(binding_id=bound.binding_id, project_id=bound.project_id)
        case RoleUnbound() as unbound:
            return Unbound(binding_id=unbound.binding_id)
        case _:
            raise Unreadable(f"the history of a binding cannot hold {event.TYPE}")


BINDING: Final[Decider[Binding, BindingCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(RoleBound, RoleBoundToGroup, RoleBoundUnderCondition, RoleUnbound)
