"""How a person gets a password. One law: only the person ever knows it; whoever lets them in hands out a code, once."""

from __future__ import annotations

import contextlib
import secrets
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from gpuaas.common.commands import Cause
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Rejected, Unauthenticated, Unavailable
from gpuaas.common.http import Accepted, Body, Caller, permit, public
from gpuaas.common.ids import derived_id
from gpuaas.iam.adapters.kept_tables import digest_of
from gpuaas.iam.attempts import Attempts
from gpuaas.iam.domain.password import CODE_LIFE, PASSWORD_MAX, PASSWORD_MIN, IssueCode, SetPassword, chosen
from gpuaas.iam.entities import PASSWORD
from gpuaas.iam.parts import PRINCIPALS, Parts
from gpuaas.iam.routes.handing_on import beyond_giver, demand_user
from gpuaas.iam.routes.sessions import NO_PASSWORDS, PER_ADDRESS, TooManyAttempts, login_of
from gpuaas.iam.signing_in import SETTLE_S
from pydantic import AwareDatetime, Field

PREFIX: Final = "gpc_"
NOT_GOOD: Final = "this code is not good here: unknown, used before, or over; ask for another"


class CodeShown(Body):
    """A one-time code, and the password the person chooses with it."""

    code: str = Field(max_length=100)
    password: str = Field(min_length=PASSWORD_MIN, max_length=PASSWORD_MAX, json_schema_extra={"writeOnly": True})


class IssuedCode(Accepted):
    """A one-time code, shown only in this answer; null when the request was a repeat."""

    code: str | None
    expires_at: AwareDatetime


class Passwords:
    """Routes of passwords."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._by_address = Attempts(*PER_ADDRESS)

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add, path = router.add_api_route, "/v1/users/{principal_id}/password-codes"
        add(path, self.issue, methods=["POST"], status_code=201, summary="Let a person choose a password, once.")
        add("/v1/passwords", self.choose, methods=["POST"], summary="Choose your password with a code.")

    async def issue(
        self,
        principal_id: Annotated[str, Path(description="Who may choose a password.", max_length=63)],
        caller: Annotated[Caller, Depends(permit("iam.password-code.issue"))],
        response: Response,
    ) -> IssuedCode:
        response.headers["Cache-Control"] = "no-store"
        if not self._parts.passwords_allowed:
            raise Rejected(NO_PASSWORDS)
        demand_user(self._parts, principal_id)
        now, rights = self._parts.clock.now(), self._parts.access.rights
        missing = beyond_giver(rights, caller.principal, ("user", principal_id), now)
        command = IssueCode(user_id=principal_id, asked_at=now, beyond_issuer=missing)
        outcome = await self._parts.commands.execute(PASSWORD, PLATFORM, principal_id, command, caller.cause())
        accepted = caller.accepted(outcome, principal_id)
        code = None
        if not outcome.repeated:
            code = PREFIX + secrets.token_hex(32)
            await self._parts.passwords.allow_once(principal_id, digest_of(code), now + CODE_LIFE)
        return IssuedCode(**accepted.model_dump(), code=code, expires_at=now + CODE_LIFE)

    @public
    async def choose(self, body: CodeShown, request: Request, response: Response) -> Accepted:
        """The code is used up only once the password is good; the person's sessions end."""
        response.headers["Cache-Control"] = "no-store"
        if not self._parts.passwords_allowed:
            raise Rejected(NO_PASSWORDS)
        address = request.client.host if request.client else "unknown"
        if wait_s := self._by_address.take(address):
            raise TooManyAttempts("too many attempts from this address; wait", retry_after_s=max(1, round(wait_s)))
        code, now = digest_of(body.code), self._parts.clock.now()
        user_id = await self._parts.passwords.whose(code, now)
        email = None if user_id is None else await self._email_of(user_id)
        if user_id is None or email is None:
            raise Unauthenticated(NOT_GOOD)
        hashed = await self._parts.argon2id.hash(chosen(body.password, email))
        if await self._parts.passwords.take(code, now) is None:
            raise Unauthenticated(NOT_GOOD)
        if not await self._parts.passwords.keep(user_id, login_of(email), hashed):
            raise Rejected("another person signs in with this e-mail address; ask the platform's operators")
        self._by_address.give_back(address)
        position = await self._said(user_id, code)
        return Accepted(id=user_id, position=position)

    async def _email_of(self, user_id: str) -> str | None:
        """Read as far as the code's issuer had: the person may have been registered a moment ago."""
        with contextlib.suppress(Unavailable):
            await self._parts.principals_reader.reached(self._parts.access.position, SETTLE_S)
        return await PRINCIPALS.email_of(self._parts.database, self._parts.seals, user_id)

    async def _said(self, user_id: str, code_sha256: str) -> int:
        cause = Cause(id=derived_id(code_sha256, "password-set"), actor=user_id, actor_kind="user")
        outcome = await self._parts.commands.execute(PASSWORD, PLATFORM, user_id, SetPassword(user_id), cause)
        credentials, now = self._parts.access.credentials, self._parts.clock.now()
        for session_id in credentials.sessions_of(("user", user_id), now):
            await self._parts.signing_in.end(session_id, user_id, "password-set", cause)
        return outcome.position
