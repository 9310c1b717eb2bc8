"""Whether a principal is stopped. One law: nobody stops themselves, and nobody gives back more than they hold.

One history per id at home in one place; a person and a program of one id are told apart by kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import PrincipalResumed, PrincipalSuspended
from gpuaas.iam.domain.names import REASON_MAX, written

Kind = Literal["user", "service-account"]


@dataclass(frozen=True, slots=True)
class SuspendPrincipal:
    """Refuse a principal everywhere for now. `by_itself`: it is the principal who asks."""

    principal_id: str
    kind: Kind
    tenant_id: str
    reason: str
    by_itself: bool


@dataclass(frozen=True, slots=True)
class ResumePrincipal:
    """Believe it again. `beyond_resumer`: what it then holds somewhere and who asks does not hold there."""

    principal_id: str
    kind: Kind
    tenant_id: str
    reason: str
    beyond_resumer: tuple[str, ...]


PrincipalCommand = SuspendPrincipal | ResumePrincipal
Stopped = frozenset[str]
"""The kinds of principal that are suspended under this id."""


def decide(command: PrincipalCommand, stopped: Stopped) -> list[Event]:
    match command:
        case SuspendPrincipal(by_itself=True):
            raise Rejected("nobody suspends themselves: have somebody else do it, who can lift it again")
        case SuspendPrincipal() as order if order.kind in stopped:
            raise Rejected("that account is suspended already")
        case ResumePrincipal() as order if order.kind not in stopped:
            raise Rejected("that account is not suspended")
        case ResumePrincipal(beyond_resumer=(_, *_) as missing):
            raise Forbidden(
                "you cannot give an account back more than you hold; ask somebody who holds as much",
                missing_permissions=list(missing),
            )
        case SuspendPrincipal() as order:
            return [
                PrincipalSuspended(
                    principal_id=order.principal_id,
                    principal_kind=order.kind,
                    tenant_id=order.tenant_id,
                    reason=written(order.reason, "reason", REASON_MAX),
                )
            ]
        case ResumePrincipal() as order:
            return [
                PrincipalResumed(
                    principal_id=order.principal_id,
                    principal_kind=order.kind,
                    tenant_id=order.tenant_id,
                    reason=written(order.reason, "reason", REASON_MAX),
                )
            ]


def evolve(stopped: Stopped, event: Event) -> Stopped:
    match event:
        case PrincipalSuspended() as now if now.principal_kind not in stopped:
            return stopped | {now.principal_kind}
        case PrincipalResumed() as now if now.principal_kind in stopped:
            return stopped - {now.principal_kind}
        case _:
            raise Unreadable(f"the history of a principal cannot hold {event.TYPE} here")


PRINCIPAL: Final[Decider[Stopped, PrincipalCommand]] = Decider(initial=frozenset(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(PrincipalSuspended, PrincipalResumed)
