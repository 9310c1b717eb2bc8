"""An API key: how a principal asks for tokens. One law: every key ends, and none lends more than its issuer holds.

Only the SHA-256 of the whole secret is kept. Times are real time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import ApiKeyIssued, ApiKeyRevoked, ApiKeySuperseded, ApiKeyUsed
from gpuaas.iam.domain.names import LABEL_MAX, REASON_MAX, identifier, written
from gpuaas.iam.domain.permissions import checked

LIFE_MAX: Final = timedelta(days=366)
TOLD_EVERY: Final = timedelta(hours=1)
PERMISSIONS_MAX: Final = 64
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class IssueKey:
    """`beyond_issuer`: permissions that the key would lend somewhere and the issuer does not hold there.

    `permissions`, `only_…`: the most that it is good for; none: all that its principal may.
    """

    key_id: str
    principal_id: str
    principal_kind: Literal["user", "service-account"]
    tenant_id: str
    secret_sha256: str
    label: str
    asked_at: datetime
    expires_at: datetime
    beyond_issuer: tuple[str, ...]
    permissions: tuple[str, ...] = ()
    only_tenant_id: str | None = None
    only_project_id: str | None = None
    predecessor_id: str | None = None


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """Refuse the principal's key, and every token that came from it, from now on."""

    principal_id: str
    principal_kind: Literal["user", "service-account"]
    reason: str


@dataclass(frozen=True, slots=True)
class SupersedeKey:
    """Let the principal's key end at `ends_at`, because `successor_id` takes its place."""

    principal_id: str
    principal_kind: Literal["user", "service-account"]
    successor_id: str
    asked_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class NoteUse:
    """The key signed in. Said once an hour at most."""

    used_at: datetime


KeyCommand = IssueKey | RevokeKey | SupersedeKey | NoteUse


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such key yet."""


@dataclass(frozen=True, slots=True)
class Issued:
    """It works until it expires. `successor_id`: it has one already. `told_at`: when it was last said to be used."""

    key_id: str
    principal_id: str
    principal_kind: Literal["user", "service-account"]
    expires_at: datetime
    successor_id: str | None = None
    told_at: datetime | None = None
    permissions: tuple[str, ...] = ()
    only_tenant_id: str | None = None
    only_project_id: str | None = None


@dataclass(frozen=True, slots=True)
class Revoked:
    """The key is refused for good."""

    key_id: str
    principal_id: str
    principal_kind: Literal["user", "service-account"]


ApiKey = Unknown | Issued | Revoked


def decide(command: KeyCommand, key: ApiKey) -> list[Event]:
    match key, command:
        case Unknown(), IssueKey() as ask:
            return [_issued(ask)]
        case Issued() as live, RevokeKey() as order if _same_principal(live, order):
            return [ApiKeyRevoked(key_id=live.key_id, reason=written(order.reason, "reason", REASON_MAX))]
        case Revoked() as ended, RevokeKey() as order if _same_principal(ended, order):
            return []
        case Issued() as live, SupersedeKey() as order if _same_principal(live, order):
            return [_superseded(live, order)]
        case Revoked() as ended, SupersedeKey() as order if _same_principal(ended, order):
            raise Rejected("that API key was revoked; issue another one")
        case Issued() as live, NoteUse() as use:
            due = live.told_at is None or use.used_at - live.told_at >= TOLD_EVERY
            return [ApiKeyUsed(key_id=live.key_id, used_at=use.used_at)] if due else []
        case _, NoteUse():
            return []
        case _, RevokeKey() | SupersedeKey():
            raise NotFound("there is no such API key, or none that you may see")
        case _:
            raise Rejected("an API key with that id was issued before; issue another one")


def _same_principal(key: Issued | Revoked, order: RevokeKey | SupersedeKey) -> bool:
    return (key.principal_kind, key.principal_id) == (order.principal_kind, order.principal_id)


def _superseded(live: Issued, order: SupersedeKey) -> ApiKeySuperseded:
    if live.successor_id is not None:
        raise Rejected(f"that API key has a successor already ({live.successor_id}); rotate that one")
    if order.asked_at >= live.expires_at:
        raise Rejected("that API key has expired; issue another one")
    ends_at = min(order.ends_at, live.expires_at)
    return ApiKeySuperseded(key_id=live.key_id, successor_id=order.successor_id, ends_at=ends_at)


def _issued(ask: IssueKey) -> ApiKeyIssued:
    if not ask.asked_at < ask.expires_at <= ask.asked_at + LIFE_MAX:
        raise Invalid(
            f"an API key ends within {LIFE_MAX.days} days and not before now; choose another time",
            field="expires_at",
        )
    if _SHA256.fullmatch(ask.secret_sha256) is None:
        raise Invalid("the secret's digest is not a SHA-256 in lower-case hexadecimal", field="secret_sha256")
    if ask.beyond_issuer:
        raise Forbidden(
            "you cannot issue a key for a principal that may do more than you; ask somebody who holds as much",
            missing_permissions=list(ask.beyond_issuer),
        )
    return ApiKeyIssued(
        key_id=identifier(ask.key_id, "key id"),
        principal_id=ask.principal_id,
        principal_kind=ask.principal_kind,
        tenant_id=ask.tenant_id,
        secret_sha256=ask.secret_sha256,
        label=written(ask.label, "label", LABEL_MAX),
        expires_at=ask.expires_at,
        permissions=_narrowed(ask.permissions),
        narrowed_to_tenant_id=ask.only_tenant_id,
        narrowed_to_project_id=ask.only_project_id,
        predecessor_id=ask.predecessor_id,
    )


def _narrowed(permissions: tuple[str, ...]) -> tuple[str, ...] | None:
    if len(permissions) > PERMISSIONS_MAX:
        raise Invalid(f"an API key names at most {PERMISSIONS_MAX} permissions; give its principal a role of its own")
    return checked(permissions) if permissions else None


def evolve(key: ApiKey, event: Event) -> ApiKey:
    match key, event:
        case Unknown(), ApiKeyIssued() as issued:
            return Issued(
                key_id=issued.key_id,
                principal_id=issued.principal_id,
                principal_kind=issued.principal_kind,
                expires_at=issued.expires_at,
                permissions=tuple(issued.permissions or ()),
                only_tenant_id=issued.narrowed_to_tenant_id,
                only_project_id=issued.narrowed_to_project_id,
            )
        case Issued() as live, ApiKeyUsed() as told:
            return replace(live, told_at=told.used_at)
        case Issued(successor_id=None) as live, ApiKeySuperseded() as told:
            return replace(live, expires_at=told.ends_at, successor_id=told.successor_id)
        case Issued() as live, ApiKeyRevoked():
            return Revoked(key_id=live.key_id, principal_id=live.principal_id, principal_kind=live.principal_kind)
        case _:
            raise Unreadable(f"the history of an API key cannot hold {event.TYPE} here")


API_KEY: Final[Decider[ApiKey, KeyCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(ApiKeyIssued, ApiKeyRevoked, ApiKeySuperseded, ApiKeyUsed)
