"""A person's identity at a sign-in provider. One law: it is linked once, to one person, and never by a likeness.

That two addresses or names are equal links nobody: who controls an address at one provider need not be who had it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import IdentityLinked, IdentityUnlinked
from gpuaas.iam.domain.names import REASON_MAX, identifier, written

SUBJECT_MAX: Final = 255
"""OpenID Connect Core 2: a subject has at most 255 ASCII characters."""
Origin = Literal["registered", "ordered", "provisioned"]


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """`beyond_linker`: permissions the person holds somewhere and who links does not hold there."""

    identity_id: str
    user_id: str
    provider_id: str
    subject: str
    origin: Origin
    beyond_linker: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnlinkIdentity:
    """Let that subject be nobody here."""

    user_id: str
    reason: str


IdentityCommand = LinkIdentity | UnlinkIdentity


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose it is; `linked` False and a user: it was, once."""

    identity_id: str = ""
    user_id: str = ""
    provider_id: str = ""
    linked: bool = False


def decide(command: IdentityCommand, identity: Identity) -> list[Event]:
    match command:
        case LinkIdentity() as ask if not identity.user_id:
            return [_linked(ask)]
        case LinkIdentity() as ask if identity.linked and identity.user_id == ask.user_id:
            return []
        case LinkIdentity():
            raise Rejected("that identity is linked already, or was; unlink it first")
        case UnlinkIdentity() as order if identity.user_id != order.user_id:
            raise NotFound("there is no such identity of that person's")
        case UnlinkIdentity() if not identity.linked:
            return []
        case UnlinkIdentity() as order:
            reason = written(order.reason, "reason", REASON_MAX)
            return [IdentityUnlinked(identity_id=identity.identity_id, user_id=identity.user_id, reason=reason)]


def _linked(ask: LinkIdentity) -> IdentityLinked:
    if ask.beyond_linker:
        raise Forbidden(
            "you cannot say how somebody signs in who may do more than you; ask somebody who holds as much",
            missing_permissions=list(ask.beyond_linker),
        )
    return IdentityLinked(
        identity_id=identifier(ask.identity_id, "identity id"),
        user_id=ask.user_id,
        provider_id=identifier(ask.provider_id, "provider id"),
        subject=written(ask.subject, "subject", SUBJECT_MAX),
        origin=ask.origin,
    )


def evolve(identity: Identity, event: Event) -> Identity:
    match event:
        case IdentityLinked() as now if not identity.user_id:
            return Identity(now.identity_id, now.user_id, now.provider_id, linked=True)
        case IdentityUnlinked() if identity.linked:
            return Identity(identity.identity_id, identity.user_id, identity.provider_id)
        case _:
            raise Unreadable(f"the history of an identity cannot hold {event.TYPE} here")


IDENTITY: Final[Decider[Identity, IdentityCommand]] = Decider(initial=Identity(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(IdentityLinked, IdentityUnlinked)
