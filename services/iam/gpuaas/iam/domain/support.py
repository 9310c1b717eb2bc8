"""How a tenant lets the platform's people in, and a visit of theirs. One law: for a stated reason, for a limited time.

Times are real time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import SupportPolicySet, SupportSessionEnded, SupportSessionStarted
from gpuaas.iam.domain.names import LABEL_MAX, REASON_MAX, identifier, written

Policy = Literal["open", "sessions", "refused"]


@dataclass(frozen=True, slots=True)
class SetSupportPolicy:
    """Say how from now on."""

    tenant_id: str
    policy: Policy
    reason: str


def decide_policy(command: SetSupportPolicy, policy: str) -> list[Event]:
    if command.policy == policy:
        return []
    reason = written(command.reason, "reason", REASON_MAX)
    return [SupportPolicySet(tenant_id=command.tenant_id, policy=command.policy, reason=reason)]


def evolve_policy(policy: str, event: Event) -> str:
    if not isinstance(event, SupportPolicySet):
        raise Unreadable(f"the history of a support policy cannot hold {event.TYPE}")
    return event.policy


@dataclass(frozen=True, slots=True)
class StartSupport:
    """Begin a visit. `refused`: the tenant lets nobody in; `from_above`: who asks is of the platform."""

    support_session_id: str
    tenant_id: str
    principal_kind: Literal["user", "service-account"]
    principal_id: str
    ticket: str
    reason: str
    expires_at: datetime
    refused: bool
    from_above: bool


@dataclass(frozen=True, slots=True)
class EndSupport:
    """End it before its time."""

    reason: str


SupportCommand = StartSupport | EndSupport


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such visit yet."""


@dataclass(frozen=True, slots=True)
class Visiting:
    """It goes on until its time is over, which nobody needs to say."""

    support_session_id: str
    tenant_id: str


@dataclass(frozen=True, slots=True)
class Over:
    """Somebody ended it."""


Support = Unknown | Visiting | Over


def decide(command: SupportCommand, support: Support) -> list[Event]:
    match support, command:
        case Unknown(), StartSupport(from_above=False):
            raise Rejected("you are of the tenant itself and need no support session there")
        case Unknown(), StartSupport(refused=True):
            raise Forbidden("this tenant lets nobody of the platform in; ask who runs it")
        case Unknown(), StartSupport() as ask:
            return [
                SupportSessionStarted(
                    support_session_id=identifier(ask.support_session_id, "support session id"),
                    tenant_id=ask.tenant_id,
                    principal_kind=ask.principal_kind,
                    principal_id=ask.principal_id,
                    ticket=written(ask.ticket, "ticket", LABEL_MAX),
                    reason=written(ask.reason, "reason", REASON_MAX),
                    expires_at=ask.expires_at,
                )
            ]
        case Visiting() as visit, EndSupport() as order:
            reason = written(order.reason, "reason", REASON_MAX)
            return [
                SupportSessionEnded(
                    support_session_id=visit.support_session_id, tenant_id=visit.tenant_id, reason=reason
                )
            ]
        case Unknown(), EndSupport():
            raise NotFound("there is no such support session, or none that you may see")
        case Over(), EndSupport():
            raise Rejected("that support session has ended already")
        case _:
            raise Rejected("a support session with that id was started before; start another one")


def evolve(support: Support, event: Event) -> Support:
    match event:
        case SupportSessionStarted() as started:
            return Visiting(started.support_session_id, started.tenant_id)
        case SupportSessionEnded():
            return Over()
        case _:
            raise Unreadable(f"the history of a support session cannot hold {event.TYPE}")


POLICY: Final[Decider[str, SetSupportPolicy]] = Decider(initial="open", decide=decide_policy, evolve=evolve_policy)
POLICY_VOCABULARY: Final = Vocabulary(SupportPolicySet)
SUPPORT: Final[Decider[Support, SupportCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(SupportSessionStarted, SupportSessionEnded)
