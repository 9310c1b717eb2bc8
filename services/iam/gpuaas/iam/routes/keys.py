"""API keys of users and service accounts. One law: a secret is shown once, and kept only as its digest."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Response
from gpuaas.common.access import ABSENT, Scope
from gpuaas.common.apikeys import ApiKey as Secret
from gpuaas.common.apikeys import new_api_key
from gpuaas.common.commands import Order, Outcome
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Invalid, NotFound
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.common.narrowing import WHOLE, Narrowing
from gpuaas.iam.domain.api_key import ApiKey, Issued, IssueKey, KeyCommand, RevokeKey, SupersedeKey
from gpuaas.iam.domain.permissions import checked
from gpuaas.iam.entities import API_KEY
from gpuaas.iam.parts import API_KEYS, Parts
from gpuaas.iam.routes.asking import LEVELS, Paged
from gpuaas.iam.routes.handing_on import beyond_giver, demand_account, demand_no_wider, demand_user
from pydantic import AwareDatetime, Field

Kind = Literal["user", "service-account"]
PrincipalId = Annotated[str, Path(description="Whose key.", max_length=63)]
Issuing = Annotated[Caller, Depends(permit("iam.key.issue"))]
Reading = Annotated[Caller, Depends(permit("iam.key.read"))]
Revoking = Annotated[Caller, Depends(permit("iam.key.revoke", relief=True))]


OVERLAP_S_MAX: Final = 30 * 86_400


Glob = Annotated[str, Field(max_length=128, description="`service.resource.verb`, `*` for any one word.")]


class NewKey(Body):
    """An API key to issue."""

    label: str = Field(description="What it is for.", max_length=200)
    expires_at: AwareDatetime = Field(description="The first instant at which it is refused (real time).")
    permissions: tuple[Glob, ...] = Field(
        default=(), description="The most that it is good for; none: all that its principal may.", max_length=64
    )
    only_tenant_id: str | None = Field(
        default=None, description="It is good for nothing outside of this tenant.", max_length=63
    )
    only_project_id: str | None = Field(
        default=None, description="It is good for nothing outside of this project of that tenant.", max_length=63
    )


class EndOfKey(Body):
    """Why a key ends."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Rotation(Body):
    """A key to take another's place."""

    label: str = Field(description="What it is for.", max_length=200)
    expires_at: AwareDatetime = Field(description="The first instant at which the new key is refused (real time).")
    overlap_s: int = Field(default=86_400, ge=0, le=OVERLAP_S_MAX, description="How long the old key still works.")


class IssuedKey(Accepted):
    """A new key. `api_key` is its secret, shown only in this answer; null when the request was a repeat."""

    api_key: str | None
    expires_at: AwareDatetime


class Keys:
    """Routes of keys: of users (platform) and of service accounts (platform, tenant, project)."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add, seen = router.add_api_route, Depends(fresh(API_KEYS))
        people = "/v1/users/{principal_id}/keys"
        add(people, self.issue_to_user, methods=["POST"], status_code=201, summary="Issue an API key to a person.")
        add(people, self.keys_of_user, methods=["GET"], dependencies=[seen], summary="A person's keys.")
        turn = people + "/{key_id}/rotate"
        add(turn, self.rotate_of_user, methods=["POST"], status_code=201, summary="A person's key gets a successor.")
        add(people + "/{key_id}/revoke", self.revoke_of_user, methods=["POST"], summary="Revoke a person's key.")
        for prefix, level in LEVELS:
            path, at = prefix + "/service-accounts/{principal_id}/keys", Depends(level)
            revoke = path + "/{key_id}/revoke"
            add(path, self.issue, methods=["POST"], status_code=201, dependencies=[at], summary="Issue an API key.")
            add(path, self.keys, methods=["GET"], dependencies=[at, seen], summary="A service account's keys.")
            turn = path + "/{key_id}/rotate"
            add(turn, self.rotate, methods=["POST"], status_code=201, dependencies=[at], summary="Succeed a key.")
            add(revoke, self.revoke, methods=["POST"], dependencies=[at], summary="Revoke an API key.")

    async def issue_to_user(
        self, principal_id: PrincipalId, body: NewKey, caller: Issuing, response: Response
    ) -> IssuedKey:
        demand_user(self._parts, principal_id)
        return await self._issue("user", principal_id, body, caller, response)

    async def keys_of_user(self, principal_id: PrincipalId, caller: Reading, page: Paged) -> Page:
        demand_user(self._parts, principal_id)
        return await self._page("user", principal_id, page)

    async def revoke_of_user(
        self, principal_id: PrincipalId, key_id: str, body: EndOfKey, caller: Revoking
    ) -> Accepted:
        demand_user(self._parts, principal_id)
        return await self._revoke("user", principal_id, key_id, body, caller)

    async def rotate_of_user(
        self, principal_id: PrincipalId, key_id: str, body: Rotation, caller: Issuing, response: Response
    ) -> IssuedKey:
        demand_user(self._parts, principal_id)
        return await self._rotate("user", principal_id, key_id, body, caller, response)

    async def rotate(
        self, principal_id: PrincipalId, key_id: str, body: Rotation, caller: Issuing, response: Response
    ) -> IssuedKey:
        await demand_account(self._parts, principal_id, caller.scope)
        return await self._rotate("service-account", principal_id, key_id, body, caller, response)

    async def issue(self, principal_id: PrincipalId, body: NewKey, caller: Issuing, response: Response) -> IssuedKey:
        await demand_account(self._parts, principal_id, caller.scope)
        return await self._issue("service-account", principal_id, body, caller, response)

    async def keys(self, principal_id: PrincipalId, caller: Reading, page: Paged) -> Page:
        await demand_account(self._parts, principal_id, caller.scope)
        return await self._page("service-account", principal_id, page)

    async def revoke(self, principal_id: PrincipalId, key_id: str, body: EndOfKey, caller: Revoking) -> Accepted:
        await demand_account(self._parts, principal_id, caller.scope)
        return await self._revoke("service-account", principal_id, key_id, body, caller)

    async def _issue(
        self, kind: Kind, principal_id: str, body: NewKey, caller: Caller, response: Response
    ) -> IssuedKey:
        layer = self._layer(body, caller)
        order, secret = self._order(kind, principal_id, body, caller, layer)
        outcomes = await self._parts.commands.execute_together([order], caller.cause(), fresh=True)
        return await self._shown(outcomes[0], secret, body.expires_at, caller, response)

    async def _rotate(
        self, kind: Kind, principal_id: str, key_id: str, body: Rotation, caller: Caller, response: Response
    ) -> IssuedKey:
        """Both in one batch: there is never a successor without an end of the old key, or the other way round.

        The new key may what the old one may, and no more.
        """
        home = caller.scope.tenant_id or PLATFORM
        old_key, _ = await self._parts.commands.state(API_KEY, home, key_id)
        layer = WHOLE
        if isinstance(old_key, Issued):
            scope = Scope(old_key.only_tenant_id, old_key.only_project_id)
            layer = Narrowing("the key", old_key.permissions, scope)
        order, secret = self._order(kind, principal_id, body, caller, layer, predecessor_id=key_id)
        now = self._parts.clock.now()
        supersede = SupersedeKey(
            principal_id=principal_id,
            principal_kind=kind,
            successor_id=order.entity_id,
            asked_at=now,
            ends_at=now + timedelta(seconds=body.overlap_s),
        )
        orders = [order, Order(API_KEY, order.tenant_id, key_id, supersede)]
        issued, old = await self._parts.commands.execute_together(orders, caller.cause())
        latest = replace(issued, position=max(issued.position, old.position))
        return await self._shown(latest, secret, body.expires_at, caller, response)

    def _order(
        self,
        kind: Kind,
        principal_id: str,
        body: NewKey | Rotation,
        caller: Caller,
        layer: Narrowing,
        predecessor_id: str | None = None,
    ) -> tuple[Order[ApiKey, KeyCommand], Secret]:
        """The command that issues a key, and its secret."""
        demand_no_wider(caller.principal, layer)
        key_id, home = caller.derived_id("api-key", principal_id), caller.scope.tenant_id or PLATFORM
        secret = new_api_key(self._parts.profile, key_id)
        command = IssueKey(
            key_id=key_id,
            principal_id=principal_id,
            principal_kind=kind,
            tenant_id=home,
            secret_sha256=secret.sha256,
            label=body.label,
            asked_at=self._parts.clock.now(),
            expires_at=body.expires_at,
            beyond_issuer=self._beyond(caller, kind, principal_id, layer),
            permissions=layer.permissions,
            only_tenant_id=layer.scope.tenant_id,
            only_project_id=layer.scope.project_id,
            predecessor_id=predecessor_id,
        )
        return Order(API_KEY, home, key_id, command), secret

    async def _shown(
        self, outcome: Outcome[Any], secret: Secret, expires_at: datetime, caller: Caller, response: Response
    ) -> IssuedKey:
        accepted = await self._parts.settled(caller, outcome, secret.key_id)
        response.headers["Cache-Control"] = "no-store"
        shown = None if outcome.repeated else secret.text
        return IssuedKey(**accepted.model_dump(), api_key=shown, expires_at=expires_at)

    def _layer(self, body: NewKey, caller: Caller) -> Narrowing:
        """The most that a key is asked for.

        Raises:
            Invalid: the place is none, or not where the path is.
            NotFound: there is no such place.
        """
        permissions = checked(body.permissions) if body.permissions else ()
        if body.only_project_id is not None and body.only_tenant_id is None:
            raise Invalid("a project is always named with its tenant", field="only_tenant_id")
        scope = Scope(body.only_tenant_id, body.only_project_id)
        if scope.tenant_id is None:
            return Narrowing("the key", permissions)
        if not caller.scope.covers(scope) or not self._parts.access.rights.exists(scope):
            raise NotFound(ABSENT)
        return Narrowing("the key", permissions, scope)

    def _beyond(self, caller: Caller, kind: Kind, principal_id: str, layer: Narrowing) -> tuple[str, ...]:
        """What the key would lend that its issuer does not hold in the same place. One's own key lends nothing new."""
        if caller.principal.holder == (kind, principal_id):
            return ()
        now = self._parts.clock.now()
        return beyond_giver(self._parts.access.rights, caller.principal, (kind, principal_id), now, layer)

    async def _page(self, kind: Kind, principal_id: str, page: Paged) -> Page:
        rows = await API_KEYS.of(self._parts.database, kind, principal_id, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["key_id"])

    async def _revoke(self, kind: Kind, principal_id: str, key_id: str, body: EndOfKey, caller: Caller) -> Accepted:
        command = RevokeKey(principal_id=principal_id, principal_kind=kind, reason=body.reason)
        home = caller.scope.tenant_id or PLATFORM
        outcome = await self._parts.commands.execute(API_KEY, home, key_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, key_id)
