"""An invitation to hold a role, made out to an e-mail address. One law: it gives no more than who invited holds then.

Whoever answers shows the token and is signed in as the person of that address. Only digests of the token are kept, so
neither the log nor who reads it can answer. Times are real time.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import InvitationAccepted, InvitationClosed, InvitationSent
from gpuaas.iam.domain.names import REASON_MAX, email, identifier, written
from gpuaas.iam.domain.permissions import demand_held

LIFE_MAX: Final = timedelta(days=30)
OPEN_MAX: Final = 500
"""Invitations of one tenant, or of the platform, that wait at once."""
NOT_GOOD: Final = (
    "this invitation is not good: unknown, not yours, answered or withdrawn before, or over; ask for another"
)
Inviter = tuple[Literal["user", "service-account"], str]


def address(text: str) -> str:
    """An address in the one spelling that invitations are compared in: ASCII, small letters.

    Letters that look like others, in whatever script or width, are none of it.

    Raises:
        Invalid: it is no address, or not in ASCII.
    """
    kept = email(text)
    if not kept.isascii():
        raise Invalid("write the address in ASCII, an international domain in its xn-- form", field="email")
    return kept.lower()


def digest(token: str) -> str:
    """What the log keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def digest_of_address(token: str, spelt: str) -> str:
    """What tells an address to who has the token, and nothing to anybody else."""
    return hashlib.sha256(f"{token}\n{spelt}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Invited:
    """What is given to whom: a role in a scope. `binding_valid_until`: when the binding ends by itself."""

    role: str
    role_tenant_id: str | None
    tenant_id: str | None
    project_id: str | None
    reason: str
    binding_valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class SendInvitation:
    """`held`, `withheld`: globs that who invites holds, and is prohibited, in the scope. `waiting`: how many wait."""

    invitation_id: str
    email: str
    what: Invited
    invited_by: Inviter
    token: str
    expires_at: datetime
    role_permissions: tuple[str, ...]
    held: frozenset[str]
    withheld: frozenset[str]
    waiting: int
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class AcceptInvitation:
    """`spelt`: the address of who answers, in its one spelling. `missing`: what who invited does not hold any more."""

    token: str
    spelt: str
    user_id: str
    binding_id: str
    missing: tuple[str, ...]
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class DeclineInvitation:
    """The invited person does not want it."""

    token: str
    spelt: str
    reason: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class WithdrawInvitation:
    """Whoever runs the scope takes it back. `project_id`: the project whose administrator asks."""

    reason: str
    project_id: str | None = None


InvitationCommand = SendInvitation | AcceptInvitation | DeclineInvitation | WithdrawInvitation


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such invitation yet."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nobody has answered; after `expires_at` nobody can."""

    invitation_id: str
    what: Invited
    invited_by: Inviter
    token_sha256: str
    address_sha256: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Answered:
    """Accepted, declined or withdrawn; its token is good for nothing."""

    project_id: str | None


Invitation = Unknown | Waiting | Answered


def decide(command: InvitationCommand, invitation: Invitation) -> list[Event]:
    match invitation, command:
        case Unknown(), SendInvitation() as ask:
            return [_sent(ask)]
        case Waiting() as waiting, AcceptInvitation() as ask if _is_theirs(waiting, ask):
            if ask.missing:
                raise Forbidden("who invited you does not hold what the invitation gives any more; ask for another")
            return [
                InvitationAccepted(invitation_id=waiting.invitation_id, user_id=ask.user_id, binding_id=ask.binding_id)
            ]
        case Waiting() as waiting, DeclineInvitation() as ask if _is_theirs(waiting, ask):
            return [_closed(waiting, "declined", ask.reason)]
        case Waiting() as waiting, WithdrawInvitation() as order if order.project_id in (None, waiting.what.project_id):
            return [_closed(waiting, "withdrawn", order.reason)]
        case Answered() as done, WithdrawInvitation() as order if order.project_id in (None, done.project_id):
            raise Rejected("that invitation was answered or withdrawn before")
        case _, AcceptInvitation() | DeclineInvitation():
            raise NotFound(NOT_GOOD)
        case _, WithdrawInvitation():
            raise NotFound("there is no such invitation, or none that you may see")
        case _:
            raise Rejected("an invitation with that id was sent before; send another one")


def _is_theirs(waiting: Waiting, ask: AcceptInvitation | DeclineInvitation) -> bool:
    known = hmac.compare_digest(waiting.token_sha256, digest(ask.token))
    theirs = hmac.compare_digest(waiting.address_sha256, digest_of_address(ask.token, ask.spelt))
    return known and theirs and ask.asked_at < waiting.expires_at


def _sent(ask: SendInvitation) -> InvitationSent:
    what, spelt = ask.what, address(ask.email)
    if not ask.asked_at < ask.expires_at <= ask.asked_at + LIFE_MAX:
        raise Invalid(f"an invitation is good for up to {LIFE_MAX.days} days; choose another time", field="expires_at")
    if what.binding_valid_until is not None and what.binding_valid_until <= ask.expires_at:
        raise Invalid("the binding could end before it is accepted; choose a later time", field="valid_until")
    demand_held(ask.held, ask.role_permissions, f"invite to role {what.role}", ask.withheld)
    if ask.waiting >= OPEN_MAX:
        raise Rejected(f"at most {OPEN_MAX} invitations wait at once; withdraw some first")
    kind, name = ask.invited_by
    return InvitationSent(
        invitation_id=identifier(ask.invitation_id, "invitation id"),
        email=spelt,
        role=what.role,
        role_tenant_id=what.role_tenant_id,
        tenant_id=what.tenant_id,
        project_id=what.project_id,
        reason=written(what.reason, "reason", REASON_MAX),
        invited_by_kind=kind,
        invited_by_id=name,
        token_sha256=digest(ask.token),
        address_sha256=digest_of_address(ask.token, spelt),
        expires_at=ask.expires_at,
        binding_valid_until=what.binding_valid_until,
    )


def _closed(waiting: Waiting, outcome: Literal["withdrawn", "declined"], reason: str) -> InvitationClosed:
    return InvitationClosed(
        invitation_id=waiting.invitation_id, outcome=outcome, reason=written(reason, "reason", REASON_MAX)
    )


def evolve(invitation: Invitation, event: Event) -> Invitation:
    match event, invitation:
        case InvitationSent() as sent, Unknown():
            what = Invited(
                role=sent.role,
                role_tenant_id=sent.role_tenant_id,
                tenant_id=sent.tenant_id,
                project_id=sent.project_id,
                reason=sent.reason,
                binding_valid_until=sent.binding_valid_until,
            )
            inviter: Inviter = (sent.invited_by_kind, sent.invited_by_id)
            return Waiting(sent.invitation_id, what, inviter, sent.token_sha256, sent.address_sha256, sent.expires_at)
        case ((InvitationAccepted() | InvitationClosed()), Waiting() as waiting):
            return Answered(waiting.what.project_id)
        case _:
            raise Unreadable(f"the history of an invitation cannot hold {event.TYPE} there")


INVITATION: Final[Decider[Invitation, InvitationCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(InvitationSent, InvitationAccepted, InvitationClosed)
