"""Who asks, and what they are answered. One law: a denial says what would suffice, and nothing about what is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gpuaas.common.errors import Forbidden, NotFound, Unavailable
from gpuaas.common.scopes import Holder, Scope
from gpuaas.common.tokens import Kind

READ_VERBS: Final = frozenset({"read"})
"""Verbs that change nothing; every other verb is a change and is refused while the fold is frozen."""
ABSENT: Final = "there is no such thing, or none that you may see"


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
class Decision:
    """One answer, with what it was taken on.

    Attributes:
        reason: a sentence for the caller; for a hidden scope it does not say whether the scope exists.
        sufficient_roles: roles that hold the permission, if it was denied.
        position: log position of the newest right this was taken on.
        hidden: no such scope, or nothing the caller holds reaches into its tenant: answer as absent.
        stale: the fold is frozen: a read was answered from old rights, or a change was refused for that.
    """

    allowed: bool
    decision_id: str
    permission: str
    scope: Scope
    reason: str
    sufficient_roles: tuple[str, ...]
    position: int
    hidden: bool = False
    stale: bool = False

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
