"""Programs without a browser sign in by a person's approval. One law: only a person who signed in themselves approves.

RFC 8628 (device authorization) and the two grants of RFC 6749's token endpoint that people's programs need: a device
code, a refresh token. Both are forms, and failures carry `error` as those documents name it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from gpuaas.common.errors import GpuaasError, NotFound, Rejected, Unauthenticated, Unavailable
from gpuaas.common.http import Body, public
from gpuaas.iam.adapters.kept_tables import digest_of
from gpuaas.iam.attempts import Attempts
from gpuaas.iam.domain.names import written
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.asking import SignedIn
from gpuaas.iam.routes.sessions import PER_ADDRESS, SessionToken, TooManyAttempts, shown
from pydantic import BaseModel, Field

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
CODE_LIFE: Final = timedelta(minutes=10)
INTERVAL_S: Final = 5
WAITING_MAX: Final = 10_000
FIELDS_MAX: Final = 20
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels and no digits: no words by chance, nothing to mix up (RFC 8628 §6.1)."""
PER_PERSON: Final = (10, 30.0)
_FORM: Final = "application/x-www-form-urlencoded"


class OAuthRefused(GpuaasError):
    """A refusal as RFC 6749 §5.2 and RFC 8628 §3.5 name it, in the member `error`."""

    status = 400
    code = "oauth-refused"

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail, error=error, error_description=detail)


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


def _form(*required: str, **described: str) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text, "maxLength": 2_048} for name, text in described.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"requestBody": {"required": True, "content": {_FORM: {"schema": schema}}}}


class Devices:
    """Routes of the device flow and of the token endpoint."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._by_address = Attempts(*PER_ADDRESS)
        self._by_person = Attempts(*PER_PERSON)

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add = router.add_api_route
        ask = _form(client_id="What asks, for the person to recognise.", scope="Ignored: rights are not in tokens.")
        renew = _form(
            "grant_type",
            grant_type=f"`refresh_token` or `{DEVICE_GRANT}`",
            refresh_token="The session's unused refresh token.",  # noqa: S106  a description
            device_code="From `/v1/oauth/device`.",
            client_id="What asks.",
        )
        path = "/v1/oauth/device"
        add(path, self.begin, methods=["POST"], openapi_extra=ask, summary="Ask for a code to show (RFC 8628).")
        path = "/v1/oauth/token"
        add(path, self.token, methods=["POST"], openapi_extra=renew, summary="A token for a grant (RFC 6749).")
        path = "/v1/device-approvals"
        add(path, self.approve, methods=["POST"], summary="Let a program that shows this code in, or not.")

    @public
    async def begin(self, request: Request, response: Response) -> DeviceCode:
        response.headers["Cache-Control"] = "no-store"
        self._pay(request)
        given = await _fields(request)
        client = written(given.get("client_id") or "a program", "client", 100)
        devices, now = self._parts.devices, self._parts.clock.now()
        if await devices.waiting(now) >= WAITING_MAX:
            raise Unavailable("too many programs wait for approval just now; try again later", retry_after_s=60)
        device_code = secrets.token_urlsafe(32)
        user_code = _new_user_code()
        while not await devices.keep(digest_of(device_code), user_code, client, now, now + CODE_LIFE, INTERVAL_S):
            user_code = _new_user_code()
        page = f"{self._parts.public_url}/v1/device"
        return DeviceCode(
            device_code=device_code,
            user_code=user_code,
            verification_uri=page,
            verification_uri_complete=f"{page}?user_code={user_code}",
        )

    @public
    async def token(self, request: Request, response: Response) -> SessionToken:
        response.headers["Cache-Control"] = "no-store"
        given = await _fields(request)
        match given.get("grant_type"):
            case "refresh_token":
                return await self._refresh(request, given.get("refresh_token", ""))
            case str(grant) if grant == DEVICE_GRANT:
                return await self._taken(given.get("device_code", ""))
            case _:
                raise OAuthRefused("unsupported_grant_type", f"use grant_type refresh_token or {DEVICE_GRANT}")

    async def _refresh(self, request: Request, refresh_token: str) -> SessionToken:
        try:
            return shown(await self._parts.signing_in.renew(refresh_token))
        except Unauthenticated as refused:
            self._pay(request)
            raise OAuthRefused("invalid_grant", refused.detail) from None

    async def _taken(self, device_code: str) -> SessionToken:
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
        if who.kind != "user" or not who.session_id:
            raise Rejected("only a person who signed in themselves can let a program in; sign in first")
        if wait_s := self._by_person.take(who.id):
            raise TooManyAttempts("too many codes tried; wait before the next", retry_after_s=max(1, round(wait_s)))
        decision = "approved" if body.approve else "denied"
        now = self._parts.clock.now()
        client = await self._parts.devices.decide(_user_code(body.user_code), decision, who.id, who.session_id, now)
        if client is None:
            raise NotFound("no program waits with that code; look again, or have it ask for another")
        self._by_person.give_back(who.id)
        return Approved(client=client, approved=body.approve)

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


async def _fields(request: Request) -> Mapping[str, str]:
    """The fields of a form. Raises OAuthRefused: it is none, or names one twice (RFC 6749 §3.2)."""
    try:
        pairs = parse_qsl((await request.body()).decode("ascii"), max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as odd:
        raise OAuthRefused("invalid_request", f"send a form ({_FORM})") from odd
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise OAuthRefused("invalid_request", "a field is named twice; name each once")
    return fields
