"""Users and service accounts. One law: iam gives the ids, so nobody can take or guess another's."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.iam.domain.service_account import CreateServiceAccount
from gpuaas.iam.domain.user import RegisterUser
from gpuaas.iam.entities import SERVICE_ACCOUNT, USER
from gpuaas.iam.parts import PRINCIPALS, Parts
from gpuaas.iam.routes.asking import LEVELS, Paged, without
from pydantic import Field

_SEALED: Final = ("event_id", "sealed", "sealed_by")
"""What opens a name is nobody's business at the door."""


class NewUser(Body):
    """A person to make known to the platform."""

    email: str = Field(description="E-mail address.", examples=["mira@example.com"], max_length=254)
    display_name: str = Field(description="The person's name as they write it.", max_length=400)


class NewServiceAccount(Body):
    """A program's account to make, at home where the path says."""

    display_name: str = Field(description="What the account is for.", max_length=400)


class Principals:
    """Routes of users (platform) and service accounts (platform, tenant, project)."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        seen = Depends(fresh(PRINCIPALS))
        add = router.add_api_route
        add("/v1/users", self.register, methods=["POST"], status_code=201, summary="Register a person.")
        add("/v1/users", self.users, methods=["GET"], dependencies=[seen], summary="The people known here.")
        for prefix, level in LEVELS:
            path, at = f"{prefix}/service-accounts", Depends(level)
            add(path, self.create, methods=["POST"], status_code=201, dependencies=[at], summary="Make an account.")
            add(path, self.accounts, methods=["GET"], dependencies=[at, seen], summary="Service accounts at home here.")

    async def register(
        self, body: NewUser, caller: Annotated[Caller, Depends(permit("iam.user.register"))]
    ) -> Accepted:
        user_id = caller.derived_id("user")
        command = RegisterUser(user_id=user_id, email=body.email, display_name=body.display_name)
        outcome = await self._parts.commands.execute(USER, PLATFORM, user_id, command, caller.cause(), fresh=True)
        return await self._parts.settled(caller, outcome, user_id)

    async def users(self, caller: Annotated[Caller, Depends(permit("iam.user.read"))], page: Paged) -> Page:
        rows = await PRINCIPALS.people(self._parts.database, self._parts.seals, page.key(str), page.limit + 1)
        return page.page([_person(row) for row in rows], ["principal_id"])

    async def create(
        self, body: NewServiceAccount, caller: Annotated[Caller, Depends(permit("iam.service-account.create"))]
    ) -> Accepted:
        account_id, home = caller.derived_id("service-account"), caller.scope.tenant_id or PLATFORM
        command = CreateServiceAccount(
            service_account_id=account_id,
            tenant_id=home,
            project_id=caller.scope.project_id,
            display_name=body.display_name,
        )
        outcome = await self._parts.commands.execute(
            SERVICE_ACCOUNT, home, account_id, command, caller.cause(), fresh=True
        )
        return await self._parts.settled(caller, outcome, account_id)

    async def accounts(
        self, caller: Annotated[Caller, Depends(permit("iam.service-account.read"))], page: Paged
    ) -> Page:
        rows = await PRINCIPALS.at_home(
            self._parts.database,
            "service-account",
            caller.scope.tenant_id or PLATFORM,
            caller.scope.project_id,
            page.key(str),
            page.limit + 1,
        )
        return page.page([without(dict(row), "email", "erased_at", *_SEALED) for row in rows], ["principal_id"])


def _person(row: dict[str, Any]) -> dict[str, Any]:
    return without(row, "tenant_id", "project_id", *_SEALED)
