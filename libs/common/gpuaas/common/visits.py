"""How the platform's people reach a tenant's own things. One law: the tenant says how, and sees it.

A right held on the platform reaches into every tenant as long as the tenant lets it (`open`); with `sessions` it does
so only for who has a support session there, with `refused` for nobody. The platform's own work is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gpuaas.common.events import Event
from gpuaas.common.scopes import Holder, Role, once
from gpuaas.contracts import iam

OPEN, SESSIONS, REFUSED = "open", "sessions", "refused"
NEVER_FROM_ABOVE: Final = frozenset({"iam.support-policy.set"})
"""What no right on the platform gives: it would undo the tenant's own word."""
DUTIES: Final = Role(
    "duties",
    1,
    (
        "iam.tenant.*",
        "iam.tenant-ceiling.*",
        "iam.support-session.*",
        "iam.support-policy.read",
        "allocations.allocation.release",
        "allocations.quota.*",
        "billing.*.*",
        "nodes.*.*",
        "inventory.*.*",
        "audit.tree.*",
        "audit.erasure.*",
        "audit.legal-hold.*",
    ),
)
"""The platform's own work in a tenant: its contract, its bills, its machines."""


@dataclass(frozen=True, slots=True)
class SupportSession:
    """Somebody of the platform in a tenant until `expires_at` (real time)."""

    support_session_id: str
    holder: Holder
    tenant_id: str
    ticket: str
    reason: str
    expires_at: datetime


class Visits:
    """Policies of tenants and support sessions as the log has them. `policies` names only those that are not open."""

    def __init__(self) -> None:
        self.policies: dict[str, str] = {}
        self._sessions: dict[str, dict[str, SupportSession]] = {}
        self._known: dict[str, str] = {}
        self.folds: dict[type[Event], Callable[[Any], None]] = {
            iam.SupportPolicySet: self._policy_set,
            iam.SupportSessionStarted: self._started,
            iam.SupportSessionEnded: self._ended,
        }

    def policy(self, tenant_id: str) -> str:
        return self.policies.get(tenant_id, OPEN)

    def sessions(self, tenant_id: str, now: datetime) -> Iterator[SupportSession]:
        """The sessions in a tenant that go on."""
        return (each for each in self._sessions.get(tenant_id, {}).values() if now < each.expires_at)

    def admits(self, holder: Holder, permission: str, tenant_id: str, now: datetime) -> bool:
        """Whether a right that `holder` has on the platform counts for `permission` in that tenant."""
        if permission in NEVER_FROM_ABOVE:
            return False
        policy = self.policies.get(tenant_id, OPEN)
        if policy == OPEN or DUTIES.permits(permission):
            return True
        return policy == SESSIONS and any(each.holder == holder for each in self.sessions(tenant_id, now))

    # -- the fold ------------------------------------------------------------------------------------------

    def _policy_set(self, event: iam.SupportPolicySet) -> None:
        self.policies.pop(event.tenant_id, None)
        if event.policy != OPEN:
            self.policies[event.tenant_id] = event.policy

    def _started(self, event: iam.SupportSessionStarted) -> None:
        once(event.support_session_id, self._known, "support session")
        self._known[event.support_session_id] = event.tenant_id
        started = SupportSession(
            support_session_id=event.support_session_id,
            holder=(event.principal_kind, event.principal_id),
            tenant_id=event.tenant_id,
            ticket=event.ticket,
            reason=event.reason,
            expires_at=event.expires_at,
        )
        self._sessions.setdefault(event.tenant_id, {})[event.support_session_id] = started

    def _ended(self, event: iam.SupportSessionEnded) -> None:
        if self._known[event.support_session_id] != event.tenant_id:
            raise ValueError(f"support session {event.support_session_id} is in another tenant")
        self._sessions[event.tenant_id].pop(event.support_session_id, None)
