"""Programs without a browser sign in by a person's approval. One law: only a person who signed in themselves approves.

RFC 8628 (device authorization); the code is then a grant of the token endpoint (`grants.py`).
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Request, Response
from gpuaas.common.access import Principal
from gpuaas.common.errors import NotFound, Rejected, Unauthenticated, Unavailable
from gpuaas.common.http import Body, public
from gpuaas.common.tables import Record
from gpuaas.iam.adapters.kept_tables import digest_of
from gpuaas.iam.attempts import Attempts
from gpuaas.iam.domain.names import written
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.asking import SignedIn
from gpuaas.iam.routes.forms import OAuthRefused, fields, form
from gpuaas.iam.routes.sessions import PER_ADDRESS, SessionToken, TooManyAttempts, shown
from pydantic import BaseModel, Field

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
CODE_LIFE: Final = timedelta(minutes=10)
INTERVAL_S: Final = 5
WAITING_MAX: Final = 10_000
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels and no digits: no words by chance, nothing to mix up (RFC 8628 §6.1)."""
PER_PERSON: Final = (10, 30.0)
NONE_WAITS: Final = "no program waits with that code; look again, or have it ask for another"


class DeviceCode(BaseModel):
    """What the program shows its person, and what it then asks with (RFC 8628 §3.2)."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int = int(CODE_LIFE.total_seconds())
    interval: int = INTERVAL_S


class Approval(Body):
    """The code that a program shows, and whether it may have a session of yours."""

    user_code: str = Field(max_length=20)
    approve: bool = True


class Approved(BaseModel):
    """Which program was answered, as it named itself."""

    client: str
    approved: bool


class Devices:
    """Routes of the device flow and of the token endpoint."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._by_address = Attempts(*PER_ADDRESS)
        self._by_person = Attempts(*PER_PERSON)

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add = router.add_api_route
        ask = form(client_id="What asks, for the person to recognise.", scope="Ignored: rights are not in tokens.")
        path = "/v1/oauth/device"
        add(path, self.begin, methods=["POST"], openapi_extra=ask, summary="Ask for a code to show (RFC 8628).")
        path = "/v1/device-approvals"
        add(path, self.approve, methods=["POST"], summary="Let a program that shows this code in, or not.")

    @public
    async def begin(self, request: Request, response: Response) -> DeviceCode:
        response.headers["Cache-Control"] = "no-store"
        self._pay(request)
        given = await fields(request)
        client = written(given.get("client_id") or "a program", "client", 100)
        devices, now = self._parts.devices, self._parts.clock.now()
        if await devices.waiting(now) >= WAITING_MAX:
            raise Unavailable("too many programs wait for approval just now; try again later", retry_after_s=60)
        device_code = secrets.token_urlsafe(32)
        user_code = _new_user_code()
        while not await devices.keep(digest_of(device_code), user_code, client, now, now + CODE_LIFE, INTERVAL_S):
            user_code = _new_user_code()
        address = request.client.host if request.client else None
        await devices.came_from(user_code, address, now, now + CODE_LIFE)
        page = f"{self._parts.public_url}/v1/device"
        return DeviceCode(
            device_code=device_code,
            user_code=user_code,
            verification_uri=page,
            verification_uri_complete=f"{page}?user_code={user_code}",
        )

    async def taken(self, device_code: str) -> SessionToken:
        device, now = digest_of(device_code), self._parts.clock.now()
        row = await self._parts.devices.poll(device, now)
        if row is None or row["expires_at"] <= now:
            raise OAuthRefused("expired_token", "nobody approved this code in time, or it is none; ask for another")
        if row["early"]:
            raise OAuthRefused("slow_down", "ask less often: 5 s have been added between two questions")
        if row["decision"] is None:
            raise OAuthRefused("authorization_pending", "nobody has approved this code yet; ask again")
        taken = await self._parts.devices.take(device)
        if taken is None or taken["decision"] != "approved":
            raise OAuthRefused("access_denied", "the person did not let this program in")
        start = self._parts.signing_in.start
        try:
            begun = await start(taken["user_id"], "device", taken["client"], approved_in=taken["approved_in"])
        except Unauthenticated as refused:
            raise OAuthRefused("access_denied", refused.detail) from None
        return shown(begun)

    async def approve(self, body: Approval, who: SignedIn) -> Approved:
        return await self.decided(body.user_code, who, approve=body.approve)

    async def asking(self, user_code: str, user_id: str) -> Record:
        """What asks with that code: `client`, `user_code`, `asked_at`, `address`.

        Raises:
            NotFound: nothing waits with it.
            TooManyAttempts: that person has tried too many codes.
        """
        self._pay_by_person(user_id)
        row = await self._parts.devices.asking(_user_code(user_code), self._parts.clock.now())
        if row is None:
            raise NotFound(NONE_WAITS)
        self._by_person.give_back(user_id)
        return row

    def _pay_by_person(self, user_id: str) -> None:
        if wait_s := self._by_person.take(user_id):
            raise TooManyAttempts("too many codes tried; wait before the next", retry_after_s=max(1, round(wait_s)))

    async def decided(self, typed: str, who: Principal, *, approve: bool) -> Approved:
        """Let the program in, or not, once. Raises Rejected, NotFound, TooManyAttempts."""
        if who.kind != "user" or not who.session_id or who.credential is not None:
            raise Rejected("only a person who signed in themselves can let a program in; sign in first")
        self._pay_by_person(who.id)
        decision = "approved" if approve else "denied"
        now = self._parts.clock.now()
        client = await self._parts.devices.decide(_user_code(typed), decision, who.id, who.session_id, now)
        if client is None:
            raise NotFound(NONE_WAITS)
        self._by_person.give_back(who.id)
        return Approved(client=client, approved=approve)

    def _pay(self, request: Request) -> None:
        address = request.client.host if request.client else "unknown"
        if wait_s := self._by_address.take(address):
            raise TooManyAttempts("too many attempts from this address; wait", retry_after_s=max(1, round(wait_s)))


def _new_user_code() -> str:
    letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def _user_code(typed: str) -> str:
    """A code as it is kept: people leave the hyphen out and type small letters."""
    letters = "".join(letter for letter in typed.upper() if letter.isalnum())
    return f"{letters[:4]}-{letters[4:]}"
