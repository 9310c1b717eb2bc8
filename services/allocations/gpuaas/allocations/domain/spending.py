"""Who may start new work, and what must end, as billing's ladder says. One law: of a scope the newest word counts, of
several scopes the strictest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gpuaas.contracts.billing import SpendingLevelChanged

_BARS: Final = frozenset({"blocked", "stopping"})


@dataclass(frozen=True, slots=True)
class Levels:
    """Every scope that does not stand open, by (tenant, scope)."""

    scopes: Mapping[tuple[str, str], SpendingLevelChanged] = field(default_factory=dict)

    def after(self, said: SpendingLevelChanged) -> Levels:
        """The ladder after one more event."""
        scopes = dict(self.scopes)
        scopes.pop((said.tenant_id, said.scope_id), None)
        if said.level != "open":
            scopes[said.tenant_id, said.scope_id] = said
        return Levels(scopes)

    def bars(self, tenant_id: str, project_id: str) -> SpendingLevelChanged | None:
        """Why nothing new may start there; None: it may."""
        return next((said for said in self._about(tenant_id, project_id) if said.level in _BARS), None)

    def ends(self, tenant_id: str, project_id: str, now: datetime) -> SpendingLevelChanged | None:
        """Why what runs there must end now; None: it may go on."""
        for said in self._about(tenant_id, project_id):
            if said.level == "stopping" and said.grace_until is not None and said.grace_until <= now:
                return said
        return None

    def _about(self, tenant_id: str, project_id: str) -> Iterator[SpendingLevelChanged]:
        for said in self.scopes.values():
            if said.tenant_id == tenant_id and said.project_id in (None, project_id):
                yield said


def refusal(said: SpendingLevelChanged) -> str:
    """What whoever asks for GPUs is told."""
    whose = f"project {said.project_id}" if said.project_id else f"tenant {said.tenant_id}"
    return f"spending-blocked: spending of {whose} is {said.level} ({said.cause}). {said.detail or 'Ask your billing.'}"
