"""A service account: a program's own identity. One law: it is at home in one tenant or with the operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import ServiceAccountCreated, ServiceAccountDeleted
from gpuaas.iam.domain.names import REASON_MAX, identifier, named, written


@dataclass(frozen=True, slots=True)
class CreateServiceAccount:
    """`tenant_id` is `platform` for operators; the id is given by iam, so that two tenants can never share one."""

    service_account_id: str
    tenant_id: str
    project_id: str | None
    display_name: str


@dataclass(frozen=True, slots=True)
class DeleteServiceAccount:
    """Refuse it for good. `by_itself`: it is the account that asks."""

    reason: str
    by_itself: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such account yet."""


@dataclass(frozen=True, slots=True)
class Known:
    """The account exists."""

    service_account_id: str
    tenant_id: str
    project_id: str | None


@dataclass(frozen=True, slots=True)
class Deleted:
    """It was; its id is never used again."""


ServiceAccount = Unknown | Known | Deleted
AccountCommand = CreateServiceAccount | DeleteServiceAccount


def decide(command: AccountCommand, account: ServiceAccount) -> list[Event]:
    match account, command:
        case Unknown(), CreateServiceAccount() as ask:
            return [
                ServiceAccountCreated(
                    service_account_id=identifier(ask.service_account_id, "service account id"),
                    tenant_id=ask.tenant_id,
                    project_id=ask.project_id,
                    display_name=named(ask.display_name, "display name"),
                )
            ]
        case Known(), DeleteServiceAccount(by_itself=True):
            raise Rejected("no account deletes itself: have somebody else do it")
        case Known() as known, DeleteServiceAccount() as order:
            return [
                ServiceAccountDeleted(
                    service_account_id=known.service_account_id,
                    tenant_id=known.tenant_id,
                    reason=written(order.reason, "reason", REASON_MAX),
                )
            ]
        case ((Unknown() | Deleted()), DeleteServiceAccount()):
            raise NotFound("there is no such account, or none that you may see")
        case _:
            raise Rejected("a service account of that id exists already, or did")


def evolve(account: ServiceAccount, event: Event) -> ServiceAccount:
    match event:
        case ServiceAccountCreated() as created:
            return Known(
                service_account_id=created.service_account_id,
                tenant_id=created.tenant_id,
                project_id=created.project_id,
            )
        case ServiceAccountDeleted():
            return Deleted()
        case _:
            raise Unreadable(f"the history of a service account cannot hold {event.TYPE}")


SERVICE_ACCOUNT: Final[Decider[ServiceAccount, AccountCommand]] = Decider(
    initial=Unknown(), decide=decide, evolve=evolve
)
VOCABULARY: Final = Vocabulary(ServiceAccountCreated, ServiceAccountDeleted)
