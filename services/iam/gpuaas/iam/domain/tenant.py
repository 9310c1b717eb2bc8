"""A tenant: a customer organisation. One law: its id is its boundary, given once and for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.money import minor_digits
from gpuaas.contracts.iam import TenantCreated
from gpuaas.iam.domain.names import RESERVED_TENANTS, identifier, written


@dataclass(frozen=True, slots=True)
class CreateTenant:
    """`billing_currency` is an ISO 4217 code; all invoices of the tenant are written in it."""

    tenant_id: str
    display_name: str
    billing_currency: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such tenant yet."""


@dataclass(frozen=True, slots=True)
class Open:
    """The tenant exists."""

    tenant_id: str


Tenant = Unknown | Open


def decide(command: CreateTenant, tenant: Tenant) -> list[Event]:
    match tenant, command:
        case Unknown(), CreateTenant() as ask:
            if ask.tenant_id in RESERVED_TENANTS:
                raise Invalid(f"{ask.tenant_id!r} cannot be a tenant's id; choose another", field="tenant_id")
            minor_digits(ask.billing_currency)
            return [
                TenantCreated(
                    tenant_id=identifier(ask.tenant_id, "tenant id"),
                    display_name=written(ask.display_name, "display name"),
                    billing_currency=ask.billing_currency,
                )
            ]
        case _:
            raise Rejected(f"a tenant {command.tenant_id} exists already; choose another id")


def evolve(tenant: Tenant, event: Event) -> Tenant:
    match event:
        case TenantCreated() as created:
            return Open(tenant_id=created.tenant_id)
        case _:
            raise Unreadable(f"the history of a tenant cannot hold {event.TYPE}")


TENANT: Final[Decider[Tenant, CreateTenant]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(TenantCreated)
