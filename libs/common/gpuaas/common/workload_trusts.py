"""Whom tenants trust to act as their service accounts. One law: when a trust or a workload ends, its tokens have ended.

Folded from iam's events. Ended workloads are forgotten a while after, when no token of theirs can still be good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gpuaas.common.errors import Unauthenticated
from gpuaas.common.events import Event
from gpuaas.common.narrowing import Narrowing
from gpuaas.common.rights import Rights
from gpuaas.common.scopes import Holder, Scope, once
from gpuaas.contracts import iam

REMEMBERED: Final = timedelta(hours=1)
"""How long an ended workload is: a token lives five minutes."""
LOOKED_THROUGH: Final = 4_096


@dataclass(frozen=True, slots=True)
class _Trust:
    holder: Holder
    issuer: str
    narrowing: Narrowing
    ended: bool = False


class WorkloadTrusts:
    """Trusts in workloads, and workloads that ended, as the log has them. For one thread."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights
        self._trusts: dict[str, _Trust] = {}
        self._ended: dict[str, datetime] = {}
        self.folds: dict[type[Event], Callable[[Any], None]] = {
            iam.WorkloadTrusted: self._trusted,
            iam.WorkloadTrustEnded: self._trust_ended,
            iam.WorkloadEnded: self._workload_ended,
        }

    def narrowing(self, trust_id: str) -> Narrowing | None:
        """The most that comes of a trust; None: there is none such."""
        trust = self._trusts.get(trust_id)
        return None if trust is None else trust.narrowing

    def tenant_of(self, trust_id: str) -> str | None:
        """Whose trust it is, ended or not; None: there is none such."""
        trust = self._trusts.get(trust_id)
        return None if trust is None else trust.narrowing.scope.tenant_id

    def any_of(self, tenant_id: str, issuer: str) -> bool:
        """Whether the tenant has a trust in that issuer that stands."""
        return any(
            each.issuer == issuer and each.narrowing.scope.tenant_id == tenant_id and not each.ended
            for each in self._trusts.values()
        )

    def demand_live(self, trust_id: str, holder: Holder) -> None:
        """Return if the trust stands, and lets workloads act as `holder`. Raises Unauthenticated."""
        trust = self._trusts.get(trust_id)
        if trust is None or trust.holder != holder:
            raise Unauthenticated("the trust behind this is not known here; exchange a new token")
        if trust.ended:
            raise Unauthenticated("the trust behind this has ended; ask who runs the tenant", cause="ended")

    def demand_not_ended(self, workload_id: str) -> None:
        """Return unless the workload has ended. Raises Unauthenticated."""
        if workload_id in self._ended:
            raise Unauthenticated("the workload that this was given to has ended", cause="ended")

    # -- the fold ------------------------------------------------------------------------------------------

    def _trusted(self, event: iam.WorkloadTrusted) -> None:
        once(event.trust_id, self._trusts, "trust")
        holder, scope = ("service-account", event.service_account_id), Scope(event.tenant_id, event.project_id)
        if self._rights.home_of(holder) != event.tenant_id or not self._rights.exists(scope):
            raise ValueError(f"trust {event.trust_id} is about an account or a project that is not {event.tenant_id}'s")
        narrowing = Narrowing(f"trust {event.trust_id}", tuple(event.permissions or ()), scope)
        self._trusts[event.trust_id] = _Trust(holder, event.issuer, narrowing)

    def _trust_ended(self, event: iam.WorkloadTrustEnded) -> None:
        trust = self._trusts[event.trust_id]
        self._trusts[event.trust_id] = _Trust(trust.holder, trust.issuer, trust.narrowing, ended=True)

    def _workload_ended(self, event: iam.WorkloadEnded) -> None:
        self._ended[event.workload_id] = event.ended_at
        if len(self._ended) > LOOKED_THROUGH:
            since = event.ended_at - REMEMBERED
            self._ended = {name: at for name, at in self._ended.items() if at >= since}
