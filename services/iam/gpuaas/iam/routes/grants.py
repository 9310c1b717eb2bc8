"""The token endpoint (RFC 6749 §3.2): a grant for a token. One law: each grant is good once, for whom it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Request, Response
from gpuaas.common.errors import Unauthenticated
from gpuaas.common.http import public
from gpuaas.iam.attempts import Attempts
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.devices import DEVICE_GRANT, Devices
from gpuaas.iam.routes.forms import OAuthRefused, fields, form
from gpuaas.iam.routes.provider_sign_in import ProviderSignIn
from gpuaas.iam.routes.sessions import PER_ADDRESS, SessionToken, TooManyAttempts, shown

_FORM: Final = form(
    "grant_type",
    grant_type=f"`authorization_code`, `refresh_token` or `{DEVICE_GRANT}`",
    refresh_token="The session's unused refresh token.",  # noqa: S106  a description
    device_code="From `/v1/oauth/device`.",
    code="From the redirect after `/v1/oauth/authorize`.",
    code_verifier="What `code_challenge` was made of (RFC 7636).",
    redirect_uri="As it was asked with.",
    client_id="What asks.",
)


class Grants:
    """The route of the token endpoint."""

    def __init__(self, parts: Parts, devices: Devices, provided: ProviderSignIn) -> None:
        self._parts = parts
        self._devices = devices
        self._provided = provided
        self._by_address = Attempts(*PER_ADDRESS)

    def open(self, router: APIRouter) -> None:
        """Add the route."""
        summary = "A token for a grant (RFC 6749)."
        router.add_api_route("/v1/oauth/token", self.token, methods=["POST"], openapi_extra=_FORM, summary=summary)

    @public
    async def token(self, request: Request, response: Response) -> SessionToken:
        response.headers["Cache-Control"] = "no-store"
        given = await fields(request)
        match given.get("grant_type"):
            case "refresh_token":
                return await self._refresh(request, given.get("refresh_token", ""))
            case "authorization_code":
                return await self._redeem(request, given)
            case str(grant) if grant == DEVICE_GRANT:
                return await self._devices.taken(given.get("device_code", ""))
            case _:
                grants = f"authorization_code, refresh_token or {DEVICE_GRANT}"
                raise OAuthRefused("unsupported_grant_type", f"use grant_type {grants}")

    async def _refresh(self, request: Request, refresh_token: str) -> SessionToken:
        try:
            return shown(await self._parts.signing_in.renew(refresh_token))
        except Unauthenticated as refused:
            self._pay(request)
            raise OAuthRefused("invalid_grant", refused.detail) from None

    async def _redeem(self, request: Request, given: Mapping[str, str]) -> SessionToken:
        names = ("code", "code_verifier", "redirect_uri")
        try:
            return await self._provided.redeem(*(given.get(name, "") for name in names))
        except Unauthenticated as refused:
            self._pay(request)
            raise OAuthRefused("invalid_grant", refused.detail) from None

    def _pay(self, request: Request) -> None:
        address = request.client.host if request.client else "unknown"
        if wait_s := self._by_address.take(address):
            raise TooManyAttempts("too many attempts from this address; wait", retry_after_s=max(1, round(wait_s)))
