"""People sign in, see their sessions and end them. One law: a failure does not even tell whether there is an account.

Attempts are limited by login name, whether it exists or not, and by client address; the right password gives its
attempt back. Passwords are for installations without a sign-in provider: profiles that are not durable.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from gpuaas.common.commands import Cause
from gpuaas.common.errors import Rejected, Unauthenticated, Unavailable
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit, public
from gpuaas.common.ids import new_id
from gpuaas.common.tokens import TOKEN_LIFE_S
from gpuaas.iam.attempts import Attempts
from gpuaas.iam.domain.password import PASSWORD_MAX
from gpuaas.iam.parts import SESSIONS, Parts
from gpuaas.iam.routes.asking import Paged, SignedIn, without
from gpuaas.iam.routes.handing_on import demand_user
from gpuaas.iam.signing_in import Renewed
from pydantic import BaseModel, Field

PER_LOGIN: Final = (10, 10.0)
"""Wrong attempts at once on one login name, and the seconds after which there is one more."""
PER_ADDRESS: Final = (30, 1.0)
WRONG: Final = "e-mail address and password do not fit together here, or this account cannot sign in"
NO_PASSWORDS: Final = "nobody signs in with a password here; use the sign-in provider"
Client = Annotated[str, Field(max_length=100, description="What you sign in with, for your list of sessions.")]
SessionId = Annotated[str, Path(description="The session's id.", max_length=63)]
PrincipalId = Annotated[str, Path(description="Whose sessions.", max_length=63)]


class PasswordShown(Body):
    """Who signs in, and the proof."""

    email: str = Field(max_length=254)
    password: str = Field(max_length=PASSWORD_MAX, json_schema_extra={"writeOnly": True})
    client: Client = "an HTTP client"


class EndOfSession(Body):
    """Why a session ends."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class EndedSessions(Accepted):
    """`ended`: how many sessions have ended by it."""

    ended: int


class SessionToken(BaseModel):
    """A token of a session (RFC 6749). The refresh token works once and brings the next one.

    `position`: the log position of the rights it was issued on.
    """

    access_token: str
    token_type: str = "Bearer"  # noqa: S105  the scheme's name
    expires_in: int = TOKEN_LIFE_S
    expires_at: datetime
    refresh_token: str
    session_id: str
    user_id: str
    position: int


class TooManyAttempts(Unavailable):
    """This name or address has tried too often just now."""

    status = 429
    code = "rate-limited"


class Sessions:
    """Routes of sessions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._by_login = Attempts(*PER_LOGIN)
        self._by_address = Attempts(*PER_ADDRESS)

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add, seen = router.add_api_route, Depends(fresh(SESSIONS))
        own, people = "/v1/me/sessions", "/v1/users/{principal_id}/sessions"
        add("/v1/sessions", self.sign_in, methods=["POST"], summary="Sign in with a password.")
        add(own, self.mine, methods=["GET"], dependencies=[seen], summary="Your sessions.")
        add(own + "/{session_id}/end", self.end_mine, methods=["POST"], summary="Sign out of one of your sessions.")
        add(people, self.of_user, methods=["GET"], dependencies=[seen], summary="A person's sessions.")
        tenant = "/v1/tenants/{tenant_id}/sessions/revoke"
        add(people + "/revoke", self.revoke_all, methods=["POST"], summary="End all sessions of a person.")
        add(tenant, self.revoke_of_tenant, methods=["POST"], summary="End all sessions of a tenant's people.")
        add(people + "/{session_id}/revoke", self.revoke, methods=["POST"], summary="End a person's session.")

    @public
    async def sign_in(self, body: PasswordShown, request: Request, response: Response) -> SessionToken:
        response.headers["Cache-Control"] = "no-store"
        return await self.begin(body, request)

    async def begin(self, body: PasswordShown, request: Request) -> SessionToken:
        """A session for a password. Raises Unauthenticated, TooManyAttempts, Rejected: not with passwords here."""
        if not self._parts.passwords_allowed:
            raise Rejected(NO_PASSWORDS)
        login = login_of(body.email)
        address = request.client.host if request.client else "unknown"
        known = await self._parts.passwords.of(login)
        user_id = None if known is None else str(known["user_id"])
        self._pay(login, address, user_id)
        password = unicodedata.normalize("NFKC", body.password)
        fits = await self._parts.argon2id.fits(None if known is None else known["argon2id"], password)
        if user_id is None or not fits:
            self._parts.failures.count(user_id)
            raise Unauthenticated(WRONG)
        self._by_login.give_back(login)
        self._by_address.give_back(address)
        try:
            return shown(await self._parts.signing_in.start(user_id, "password", body.client))
        except Unauthenticated:
            raise Unauthenticated(WRONG) from None

    def _pay(self, login: str, address: str, user_id: str | None) -> None:
        wait_s = max(self._by_address.take(address), self._by_login.take(login))
        if wait_s:
            self._parts.failures.count(user_id, limited=True)
            sentence = "too many attempts with this address or name; wait before the next"
            raise TooManyAttempts(sentence, retry_after_s=max(1, round(wait_s)))

    async def mine(self, who: SignedIn, page: Paged) -> Page:
        return await self._page(who.id if who.kind == "user" else "", page)

    async def end_mine(self, session_id: SessionId, who: SignedIn) -> Accepted:
        cause = Cause(id=new_id(), actor=who.id, actor_kind=who.kind)
        user_id = who.id if who.kind == "user" else ""
        position = await self._parts.signing_in.end(session_id, user_id, "signed-out", cause)
        return Accepted(id=session_id, position=position)

    async def of_user(
        self, principal_id: PrincipalId, caller: Annotated[Caller, Depends(permit("iam.session.read"))], page: Paged
    ) -> Page:
        demand_user(self._parts, principal_id)
        return await self._page(principal_id, page)

    async def revoke(
        self,
        principal_id: PrincipalId,
        session_id: SessionId,
        body: EndOfSession,
        caller: Annotated[Caller, Depends(permit("iam.session.revoke", relief=True))],
    ) -> Accepted:
        demand_user(self._parts, principal_id)
        end = self._parts.signing_in.end
        position = await end(session_id, principal_id, "revoked", caller.cause(), body.reason)
        return Accepted(id=session_id, position=position)

    async def revoke_all(
        self,
        principal_id: PrincipalId,
        body: EndOfSession,
        caller: Annotated[Caller, Depends(permit("iam.session.revoke", relief=True))],
    ) -> Accepted:
        demand_user(self._parts, principal_id)
        position = await self._parts.signing_in.end_all(principal_id, "revoked", caller.cause(), body.reason)
        return Accepted(id=principal_id, position=position or self._parts.access.position)

    async def revoke_of_tenant(
        self,
        tenant_id: str,
        body: EndOfSession,
        caller: Annotated[Caller, Depends(permit("iam.session.revoke", relief=True))],
    ) -> EndedSessions:
        ended, position = await self._parts.signing_in.end_of_tenant(tenant_id, caller.cause(), body.reason)
        return EndedSessions(id=tenant_id, position=position or self._parts.access.position, ended=ended)

    async def _page(self, user_id: str, page: Paged) -> Page:
        rows = await SESSIONS.of(self._parts.database, user_id, page.key(str), page.limit + 1)
        return page.page([_session(dict(row)) for row in rows], ["session_id"])


def _session(row: dict[str, Any]) -> dict[str, Any]:
    return without(row, "user_id")


def login_of(email: str) -> str:
    """An e-mail address as a login name: one spelling, whatever case and form it is typed in."""
    return unicodedata.normalize("NFKC", email).strip().casefold()


def shown(renewed: Renewed) -> SessionToken:
    """What the person's program is given."""
    return SessionToken(
        access_token=renewed.access_token,
        expires_at=renewed.expires_at,
        refresh_token=renewed.refresh_token,
        session_id=renewed.session_id,
        user_id=renewed.user_id,
        position=renewed.position,
    )
