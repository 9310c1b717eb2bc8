"""Ends for good: people, programs, projects, tenants. One law: what somebody owned ends with them, in the same batch.

With an account end its bindings, keys, sessions and memberships. With a project end the accounts at home in it; with a
tenant, every account at home there, by its own end, and it has no open project left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from gpuaas.common.commands import Order
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Rejected
from gpuaas.common.http import Accepted, Caller, permit
from gpuaas.common.scopes import Holder
from gpuaas.iam.domain.api_key import RevokeKey
from gpuaas.iam.domain.binding import UnbindRole
from gpuaas.iam.domain.group import RemoveMember
from gpuaas.iam.domain.project import CloseProject
from gpuaas.iam.domain.project_share import EndShare, Side, Standing
from gpuaas.iam.domain.service_account import DeleteServiceAccount
from gpuaas.iam.domain.session import EndSession
from gpuaas.iam.domain.tenant import CloseTenant
from gpuaas.iam.domain.user import DeleteUser
from gpuaas.iam.entities import (
    API_KEY,
    BINDING,
    GROUP,
    PROJECT,
    PROJECT_SHARE,
    SERVICE_ACCOUNT,
    SESSION,
    TENANT,
    USER,
)
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.asking import LEVELS
from gpuaas.iam.routes.handing_on import demand_account, demand_user
from gpuaas.iam.routes.shares import ending
from gpuaas.iam.routes.suspensions import PrincipalId, Why

ENDED_TOGETHER_MAX: Final = 500
"""Things that end in one batch; beyond them some are to be ended one by one first."""


class Endings:
    """Routes that end something for good."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add, tenant = router.add_api_route, "/v1/tenants/{tenant_id}"
        user, project = "/v1/users/{principal_id}/delete", tenant + "/projects/{project_id}/close"
        add(user, self.delete_user, methods=["POST"], summary="Refuse a person for good.")
        add(tenant + "/close", self.close_tenant, methods=["POST"], summary="End a tenant for good.")
        add(project, self.close_project, methods=["POST"], summary="End a project for good.")
        for prefix, level in LEVELS:
            account, at = prefix + "/service-accounts/{principal_id}/delete", [Depends(level)]
            add(account, self.delete_account, methods=["POST"], dependencies=at, summary="Refuse a program for good.")

    async def delete_user(
        self, principal_id: PrincipalId, body: Why, caller: Annotated[Caller, Depends(permit("iam.user.delete"))]
    ) -> Accepted:
        demand_user(self._parts, principal_id)
        holder = ("user", principal_id)
        delete = DeleteUser(principal_id, body.reason, caller.principal.holder == holder)
        orders = [Order(USER, PLATFORM, principal_id, delete), *self._owned(holder), *await self._shared(holder)]
        return await self._ended(orders, caller, principal_id)

    async def delete_account(
        self,
        principal_id: PrincipalId,
        body: Why,
        caller: Annotated[Caller, Depends(permit("iam.service-account.delete"))],
    ) -> Accepted:
        await demand_account(self._parts, principal_id, caller.scope)
        holder, home = ("service-account", principal_id), caller.scope.tenant_id or PLATFORM
        orders = list(self._account(principal_id, home, body.reason, caller.principal.holder == holder))
        orders += await self._shared(holder)
        return await self._ended(orders, caller, principal_id)

    async def close_project(
        self,
        tenant_id: str,
        project_id: str,
        body: Why,
        caller: Annotated[Caller, Depends(permit("iam.project.close"))],
    ) -> Accepted:
        orders: list[Order[Any, Any]] = [Order(PROJECT, tenant_id, project_id, CloseProject(body.reason))]
        for account in self._parts.access.rights.accounts_of(tenant_id, project_id):
            orders += self._account(account, tenant_id, f"project {project_id} was closed")
            orders += await self._shared(("service-account", account))
        return await self._ended(orders, caller, project_id)

    async def close_tenant(
        self, tenant_id: str, body: Why, caller: Annotated[Caller, Depends(permit("iam.tenant.close"))]
    ) -> Accepted:
        rights = self._parts.access.rights
        going_on = sorted(each for each in rights.tenants[tenant_id] if (tenant_id, each) not in rights.endings.closed)
        command = CloseTenant(body.reason, tuple(going_on))
        outcome = await self._parts.commands.execute(TENANT, tenant_id, tenant_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, tenant_id)

    def _account(self, account_id: str, home: str, reason: str, by_itself: bool = False) -> Iterator[Order[Any, Any]]:
        yield Order(SERVICE_ACCOUNT, home, account_id, DeleteServiceAccount(reason, by_itself))
        yield from self._owned(("service-account", account_id))

    def _owned(self, holder: Holder) -> Iterator[Order[Any, Any]]:
        """What ends with an account."""
        access, now, why = self._parts.access, self._parts.clock.now(), "its account was deleted"
        rights, kind, name = access.rights, holder[0], holder[1]
        home = rights.home_of(holder) or PLATFORM
        for grant in (each for each in rights.own_grants(holder) if each.receiver is None):
            yield Order(BINDING, grant.scope.tenant_id or PLATFORM, grant.binding_id, UnbindRole(why))
        for key_id in access.credentials.keys_of(holder, now):
            yield Order(API_KEY, home, key_id, RevokeKey(name, "user" if kind == "user" else "service-account", why))
        for session_id in access.credentials.sessions_of(holder, now):
            yield Order(SESSION, PLATFORM, session_id, EndSession(name, "revoked", why))
        for _, group_id in rights.groups.direct(holder):
            order = RemoveMember(name, "user" if kind == "user" else "service-account", why)
            yield Order(GROUP, rights.home_of(("group", group_id)) or PLATFORM, group_id, order)

    async def _shared(self, holder: Holder) -> list[Order[Any, Any]]:
        """The ends of what other tenants share with an account."""
        orders: list[Order[Any, Any]] = []
        side: Side = "platform" if holder[0] == "user" else "receiver"
        for grant in self._parts.access.rights.own_grants(holder):
            if grant.receiver is not None and (owner := grant.scope.tenant_id) is not None:
                known, _ = await self._parts.commands.state(PROJECT_SHARE, owner, grant.binding_id)
                at = grant.receiver if side == "receiver" else owner
                order = EndShare(side, at, "its account was deleted", isinstance(known, Standing))
                orders += ending(owner, grant.binding_id, known, order)
        return orders

    async def _ended(self, orders: list[Order[Any, Any]], caller: Caller, thing_id: str) -> Accepted:
        if len(orders) > ENDED_TOGETHER_MAX:
            raise Rejected(f"{len(orders)} things would end with it; end some of its bindings, keys or accounts first")
        outcomes = await self._parts.commands.execute_together(orders, caller.cause())
        return await self._parts.settled(caller, max(outcomes, key=lambda each: each.position), thing_id)
