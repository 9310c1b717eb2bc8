"""A tenant: a customer organisation. One law: its id is its boundary, given once and for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.money import minor_digits
from gpuaas.contracts.iam import TenantClosed, TenantCreated, TenantResumed, TenantSuspended
from gpuaas.iam.domain.names import REASON_MAX, RESERVED_TENANTS, identifier, named, written

PROJECTS_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class CreateTenant:
    """`billing_currency` is an ISO 4217 code; all invoices of the tenant are written in it."""

    tenant_id: str
    display_name: str
    billing_currency: str


@dataclass(frozen=True, slots=True)
class SuspendTenant:
    """Close the tenant for now."""

    reason: str


@dataclass(frozen=True, slots=True)
class ResumeTenant:
    """Open it again."""

    reason: str


@dataclass(frozen=True, slots=True)
class CloseTenant:
    """End it for good. `open_projects`: those of its projects that go on."""

    reason: str
    open_projects: tuple[str, ...]


TenantCommand = CreateTenant | SuspendTenant | ResumeTenant | CloseTenant


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such tenant yet."""


@dataclass(frozen=True, slots=True)
class Open:
    """The tenant exists."""

    tenant_id: str


@dataclass(frozen=True, slots=True)
class Suspended:
    """The tenant exists and nothing in it counts."""

    tenant_id: str


@dataclass(frozen=True, slots=True)
class Closed:
    """It was; its id is never used again."""

    tenant_id: str


Tenant = Unknown | Open | Suspended | Closed


def decide(command: TenantCommand, tenant: Tenant) -> list[Event]:
    match tenant, command:
        case Unknown(), CreateTenant() as ask:
            return [_created(ask)]
        case ((Open() | Suspended()), CloseTenant(open_projects=(_, *_) as names)):
            raise Rejected(f"close its projects first: {', '.join(names[:PROJECTS_NAMED])}")
        case (Open() | Suspended()) as ending, CloseTenant() as order:
            return [TenantClosed(tenant_id=ending.tenant_id, reason=written(order.reason, "reason", REASON_MAX))]
        case Closed(), (SuspendTenant() | ResumeTenant() | CloseTenant()):
            raise Rejected("that tenant was closed for good")
        case _, CreateTenant() as ask:
            raise Rejected(f"a tenant {ask.tenant_id} exists already; choose another id")
        case Open() as standing, SuspendTenant() as order:
            reason = written(order.reason, "reason", REASON_MAX)
            return [TenantSuspended(tenant_id=standing.tenant_id, reason=reason)]
        case Suspended() as closed, ResumeTenant() as order:
            return [TenantResumed(tenant_id=closed.tenant_id, reason=written(order.reason, "reason", REASON_MAX))]
        case Suspended(), SuspendTenant():
            raise Rejected("that tenant is suspended already")
        case Open(), ResumeTenant():
            raise Rejected("that tenant is not suspended")
        case _:
            raise NotFound("there is no such tenant, or none that you may see")


def _created(ask: CreateTenant) -> TenantCreated:
    if ask.tenant_id in RESERVED_TENANTS:
        raise Invalid(f"{ask.tenant_id!r} cannot be a tenant's id; choose another", field="tenant_id")
    minor_digits(ask.billing_currency)
    return TenantCreated(
        tenant_id=identifier(ask.tenant_id, "tenant id"),
        display_name=named(ask.display_name, "display name"),
        billing_currency=ask.billing_currency,
    )


def evolve(tenant: Tenant, event: Event) -> Tenant:
    match tenant, event:
        case Unknown(), TenantCreated() as created:
            return Open(tenant_id=created.tenant_id)
        case Open() as standing, TenantSuspended():
            return Suspended(tenant_id=standing.tenant_id)
        case Suspended() as closed, TenantResumed():
            return Open(tenant_id=closed.tenant_id)
        case (Open() | Suspended()) as ended, TenantClosed():
            return Closed(tenant_id=ended.tenant_id)
        case _:
            raise Unreadable(f"the history of a tenant cannot hold {event.TYPE} here")


TENANT: Final[Decider[Tenant, TenantCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(TenantCreated, TenantSuspended, TenantResumed, TenantClosed)
