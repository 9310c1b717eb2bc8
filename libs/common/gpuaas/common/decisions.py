"""Who asks, and what they are answered. One law: a denial says what would suffice, and nothing about what is hidden."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from gpuaas.common.conditions import Circumstances
from gpuaas.common.errors import Forbidden, NotFound, Unavailable
from gpuaas.common.narrowing import Credential, Narrowing
from gpuaas.common.scopes import Holder, Scope
from gpuaas.common.scopes import Reach as Reach
from gpuaas.common.tokens import Kind

READ_VERBS: Final = frozenset({"read"})
"""Verbs that change nothing; every other verb is a change and is refused while the fold is frozen."""
ABSENT: Final = "there is no such thing, or none that you may see"
ID_PREFIX: Final = "d1."
NOT_BELIEVED_PREFIX: Final = "u1."
ID_CHARACTERS_MAX: Final = 1_280
BEYOND_MAX: Final = 3
"""Permissions not held that the id of a refusal names; a longer list is cut."""
KINDS: Final = frozenset({"user", "service-account"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_US_MAX: Final = 253_402_300_799_000_000
"""The end of the year 9999."""
_GLOB_CHARACTERS_MAX: Final = 128
UNMET_MAX: Final = 3
"""Bindings with an unmet condition that the id of a refusal names; a longer list is cut."""
_LABEL_MAX: Final = 63


@dataclass(frozen=True, slots=True)
class Principal:
    """Someone whose token was believed.

    `tenant_id` is where they are at home (`platform` for people and operators). Behind the token stands an API key or
    a session: one of `key_id` and `session_id` is empty; behind a workload's a trust, and both are. `token_id` is the
    token's own id. `narrowings`: the most that may be done with it; none: all that the principal may. `credential`:
    where they come from, and who acts with it; None: there are none, and nobody else does. `about`: for conditions.
    """

    id: str
    kind: Kind
    tenant_id: str
    key_id: str
    session_id: str
    token_id: str
    expires_at: datetime
    narrowings: tuple[Narrowing, ...] = ()
    credential: Credential | None = None
    about: Circumstances = field(default=Circumstances())

    @property
    def holder(self) -> Holder:
        return (self.kind, self.id)

    @property
    def names(self) -> dict[str, Any]:
        """Who acts, and for whom, as the cause of what they order names them."""
        if self.credential is None or not self.credential.actors:
            return {"actor": self.id, "actor_kind": self.kind}
        kind, name = self.credential.actors[0]
        return {"actor": name, "actor_kind": kind, "on_behalf_of": self.id}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, of which rights, and when: all that it takes to answer it again.

    `position`: log position of the newest right known when it was asked. `at`: real time. `beyond`: None where the
    permission alone decided; else what was asked for by it and refused: permissions that were to be handed on and are
    not held, or nothing, where a rule of the thing itself was against it. `credential`: as of the principal who asked.
    `unmet`: bindings that would have given it, had their conditions been met: where from it was asked stands in no
    decision.
    """

    holder: Holder
    permission: str
    scope: Scope
    position: int
    at: datetime
    beyond: tuple[str, ...] | None = None
    credential: Credential | None = None
    unmet: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The decision's id. It holds the question, so a decision can be explained though nobody keeps it; it proves
        nothing, and says nothing that who asked did not know.
        """
        kind, name = self.holder
        place = (self.scope.tenant_id, self.scope.project_id)
        plain: list[object] = [kind, name, self.permission, *place, self.position, _microseconds(self.at)]
        more: list[object] = [None if self.beyond is None else list(self.beyond[:BEYOND_MAX])]
        more.append(None if self.credential is None else self.credential.plain())
        more.append(list(self.unmet[:UNMET_MAX]) or None)
        while more and more[-1] is None:
            more.pop()
        return ID_PREFIX + _written([*plain, *more])

    @classmethod
    def read(cls, decision_id: str) -> Self:
        """The question in a decision's id.

        Raises:
            ValueError: it is none.
        """
        match _read(decision_id, ID_PREFIX):
            case [
                str(kind),
                str(name),
                str(permission),
                (str() | None) as tenant_id,
                (str() | None) as project_id,
                int(position),
                int(at_us),
                *more,
            ] if kind in KINDS and 0 <= at_us < _AT_US_MAX and 0 <= position < 2**63:
                scope, at = Scope(tenant_id, project_id), _EPOCH + timedelta(microseconds=at_us)
                beyond, credential, unmet = _beyond(more[:1]), _credential(more[1:2]), _unmet(more[2:])
                return cls((kind, name), permission, scope, position, at, beyond, credential, unmet)
        raise ValueError(_NO_ID)


@dataclass(frozen=True, slots=True)
class NotBelieved:
    """Somebody was not believed to be anyone: `cause` is one of `CAUSES`. Nothing about who it may have been."""

    cause: str
    position: int
    at: datetime

    def __str__(self) -> str:
        """The decision's id."""
        return NOT_BELIEVED_PREFIX + _written([self.cause, self.position, _microseconds(self.at)])

    @classmethod
    def read(cls, decision_id: str) -> Self:
        """What the id of such a decision says.

        Raises:
            ValueError: it is none.
        """
        match _read(decision_id, NOT_BELIEVED_PREFIX):
            case [str(cause), int(position), int(at_us)] if (
                cause in CAUSES and 0 <= at_us < _AT_US_MAX and 0 <= position < 2**63
            ):
                return cls(cause, position, _EPOCH + timedelta(microseconds=at_us))
        raise ValueError(_NO_ID)


CAUSES: Final = {
    "no-credential": "sign in, and send the token as `Authorization: Bearer <token>`",
    "not-valid": "get a new token, for this installation and profile; what was sent is none, or not whole",
    "over": "get a new token; if that is refused too, sign in again or have a new API key issued",
    "ended": "sign in again, or use another API key: what stood behind the token was revoked or has ended",
    "suspended": "have the suspension lifted by whoever runs the place where the account is at home",
}
"""Why somebody is not believed → what would do."""
_NO_ID: Final = "it is not the id of a decision"


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _written(plain: list[object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).decode().rstrip("=")


def _read(decision_id: str, prefix: str) -> object:
    text = decision_id.removeprefix(prefix)
    if text == decision_id or len(decision_id) > ID_CHARACTERS_MAX:
        raise ValueError(_NO_ID)
    return json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))


def _beyond(more: list[object]) -> tuple[str, ...] | None:
    match more:
        case [] | [None]:
            return None
        case [list(globs)] if len(globs) <= BEYOND_MAX and all(
            isinstance(glob, str) and len(glob) <= _GLOB_CHARACTERS_MAX for glob in globs
        ):
            return tuple(globs)
    raise ValueError(_NO_ID)


def _credential(more: list[object]) -> Credential | None:
    match more:
        case [] | [None]:
            return None
        case [list(plain)]:
            return Credential.read(plain)
    raise ValueError(_NO_ID)


def _unmet(more: list[object]) -> tuple[str, ...]:
    match more:
        case []:
            return ()
        case [list(ids)] if 0 < len(ids) <= UNMET_MAX and all(
            isinstance(each, str) and len(each) <= _LABEL_MAX for each in ids
        ):
            return tuple(ids)
    raise ValueError(_NO_ID)


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer, with what it was taken on.

    Attributes:
        reason: a sentence for the caller; for a hidden scope it does not say whether the scope exists.
        sufficient_roles: roles that hold the permission, if it was denied.
        hidden: no such scope, or nothing the caller holds reaches into its tenant: answer as absent.
        stale: the fold is frozen: a read was answered from old rights, or a change was refused for that.
        from_above: it is about a tenant, and only a binding on the platform gives it.
    """

    allowed: bool
    asked: Asked
    reason: str
    sufficient_roles: tuple[str, ...]
    hidden: bool = False
    stale: bool = False
    from_above: bool = False

    @property
    def decision_id(self) -> str:
        return str(self.asked)

    @property
    def permission(self) -> str:
        return self.asked.permission

    @property
    def scope(self) -> Scope:
        return self.asked.scope

    @property
    def position(self) -> int:
        """Log position of the newest right this was taken on."""
        return self.asked.position

    def enforce(self) -> None:
        """Return if allowed.

        Raises:
            Unavailable: the rights known here are old; newer ones might allow it.
            NotFound: the scope must look absent.
            Forbidden: denied; the problem says which roles would suffice.
        """
        if self.allowed:
            return
        if self.stale:
            raise Unavailable(self.reason, retry_after_s=5, decision_id=self.decision_id)
        if self.hidden:
            raise NotFound(ABSENT, decision_id=self.decision_id)
        raise Forbidden(
            self.reason,
            decision_id=self.decision_id,
            permission=self.permission,
            sufficient_roles=list(self.sufficient_roles),
            position=self.position,
        )
