"""What ended for good: accounts, projects, tenants. One law: it is read and wound up, and never begins again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gpuaas.common.decisions import READ_VERBS
from gpuaas.common.events import Event
from gpuaas.common.scopes import Holder, Scope
from gpuaas.common.visits import DUTIES
from gpuaas.contracts import iam

WINDING_UP: Final = READ_VERBS | {
    "cancel",
    "end",
    "lift",
    "release",
    "remove",
    "revoke",
    "suspend",
    "unshare",
    "withdraw",
}
"""Verbs that are still let through where a project or tenant was closed."""


class Endings:
    """Deleted accounts, and closed tenants (`project_id` None) and projects, as the log has them."""

    def __init__(self) -> None:
        self.deleted: set[Holder] = set()
        self.closed: set[tuple[str, str | None]] = set()
        self.folds: dict[type[Event], Callable[[Any], None]] = {
            iam.ServiceAccountDeleted: self._account_deleted,
            iam.UserDeleted: self._user_deleted,
            iam.ProjectClosed: self._project_closed,
            iam.TenantClosed: self._tenant_closed,
        }

    def bars(self, permission: str, scope: Scope) -> str | None:
        """That `permission` is not for what has ended, as a sentence; None: nothing there has, or it winds up."""
        if scope.tenant_id is None or not self.closed:
            return None
        tenant_is = (scope.tenant_id, None) in self.closed
        if not tenant_is and (scope.tenant_id, scope.project_id) not in self.closed:
            return None
        if permission.rpartition(".")[2] in WINDING_UP or DUTIES.permits(permission):
            return None
        return f"{Scope(scope.tenant_id) if tenant_is else scope} was closed: what is there can be read and ended"

    # -- the fold ------------------------------------------------------------------------------------------

    def _account_deleted(self, event: iam.ServiceAccountDeleted) -> None:
        self._delete(("service-account", event.service_account_id))

    def _user_deleted(self, event: iam.UserDeleted) -> None:
        self._delete(("user", event.user_id))

    def _delete(self, holder: Holder) -> None:
        if holder in self.deleted:
            raise ValueError(f"{holder[0]} {holder[1]} was deleted before")
        self.deleted.add(holder)

    def _project_closed(self, event: iam.ProjectClosed) -> None:
        self._close(event.tenant_id, event.project_id)

    def _tenant_closed(self, event: iam.TenantClosed) -> None:
        self._close(event.tenant_id, None)

    def _close(self, tenant_id: str, project_id: str | None) -> None:
        if (tenant_id, project_id) in self.closed:
            raise ValueError(f"{Scope(tenant_id, project_id)} was closed before")
        self.closed.add((tenant_id, project_id))
