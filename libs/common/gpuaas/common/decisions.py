"""Who asks, and what they are answered. One law: a denial says what would suffice, and nothing about what is hidden."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from gpuaas.common.errors import Forbidden, NotFound, Unavailable
from gpuaas.common.scopes import Holder, Scope
from gpuaas.common.tokens import Kind

READ_VERBS: Final = frozenset({"read"})
"""Verbs that change nothing; every other verb is a change and is refused while the fold is frozen."""
ABSENT: Final = "there is no such thing, or none that you may see"
ID_PREFIX: Final = "d1."
ID_CHARACTERS_MAX: Final = 640
KINDS: Final = frozenset({"user", "service-account"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_US_MAX: Final = 253_402_300_799_000_000
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Someone whose token was believed.

    `tenant_id` is where they are at home (`platform` for people and operators). Behind the token stands an API key or
    a session: one of `key_id` and `session_id` is empty. `token_id` is the token's own id.
    """

    id: str
    kind: Kind
    tenant_id: str
    key_id: str
    session_id: str
    token_id: str
    expires_at: datetime

    @property
    def holder(self) -> Holder:
        return (self.kind, self.id)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, of which rights, and when: all that it takes to answer it again.

    `position`: log position of the newest right known when it was asked. `at`: real time.
    """

    holder: Holder
    permission: str
    scope: Scope
    position: int
    at: datetime

    def __str__(self) -> str:
        """The decision's id. It holds the question, so a decision can be explained though nobody keeps it; it proves
        nothing, and says nothing that who asked did not know.
        """
        kind, name = self.holder
        at_us = (self.at - _EPOCH) // timedelta(microseconds=1)
        place = (self.scope.tenant_id, self.scope.project_id)
        plain = json.dumps([kind, name, self.permission, *place, self.position, at_us], separators=(",", ":"))
        return ID_PREFIX + base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, decision_id: str) -> Self:
        """The question in a decision's id.

        Raises:
            ValueError: it is none.
        """
        text = decision_id.removeprefix(ID_PREFIX)
        if text == decision_id or len(decision_id) > ID_CHARACTERS_MAX:
            raise ValueError("it is not the id of a decision")
        match json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)):
            case [
                str(kind),
                str(name),
                str(permission),
                (str() | None) as tenant_id,
                (str() | None) as project_id,
                int(position),
                int(at_us),
            ] if kind in KINDS and 0 <= at_us < _AT_US_MAX and 0 <= position < 2**63:
                scope = Scope(tenant_id, project_id)
                return cls((kind, name), permission, scope, position, _EPOCH + timedelta(microseconds=at_us))
        raise ValueError("it is not the id of a decision")


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer, with what it was taken on.

    Attributes:
        reason: a sentence for the caller; for a hidden scope it does not say whether the scope exists.
        sufficient_roles: roles that hold the permission, if it was denied.
        hidden: no such scope, or nothing the caller holds reaches into its tenant: answer as absent.
        stale: the fold is frozen: a read was answered from old rights, or a change was refused for that.
    """

    allowed: bool
    asked: Asked
    reason: str
    sufficient_roles: tuple[str, ...]
    hidden: bool = False
    stale: bool = False

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


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a principal holds one permission: everywhere, or in whole tenants and single projects of others.

    For exact lists in SQL: `everywhere or tenant_id = any(tenants) or (tenant_id, project_id) in projects`.
    """

    everywhere: bool
    tenants: frozenset[str]
    projects: frozenset[tuple[str, str]]
