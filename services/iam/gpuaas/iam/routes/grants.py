"""The token endpoint (RFC 6749 §3.2, RFC 8693). One law: a grant is good once, for whom it was given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from fastapi import APIRouter, Request, Response
from gpuaas.common.access import Scope
from gpuaas.common.errors import Invalid, Unauthenticated
from gpuaas.common.http import public
from gpuaas.common.tokens import Claims, audience_of
from gpuaas.iam.attempts import Attempts
from gpuaas.iam.domain.permissions import checked
from gpuaas.iam.exchanging import ExchangeRefused, Wish
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.devices import DEVICE_GRANT, Devices
from gpuaas.iam.routes.forms import OAuthRefused, fields, form
from gpuaas.iam.routes.provider_sign_in import ProviderSignIn
from gpuaas.iam.routes.sessions import PER_ADDRESS, SessionToken, TooManyAttempts, shown
from pydantic import BaseModel

JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105  a type
ACCESS: Final = "urn:ietf:params:oauth:token-type:access_token"
EXCHANGE_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_RESOURCE: Final = re.compile(r"^urn:gpuaas:tenant:([a-z0-9-]{1,63})(?::project:([a-z0-9-]{1,63}))?$")


class ExchangedToken(BaseModel):
    """A token that was given for another (RFC 8693 §2.2.1). `scope`: the most it is good for, where it is narrowed."""

    access_token: str
    issued_token_type: str = ACCESS
    token_type: str = "Bearer"  # noqa: S105  the scheme's name
    expires_in: int
    expires_at: datetime
    scope: str | None
    acting: str | None
    position: int


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
_EXCHANGE_FORM: Final = form(
    "grant_type",
    "subject_token",
    "subject_token_type",
    grant_type=f"`{EXCHANGE_GRANT}`",
    client_id="For a workload, the id of the trust.",
    subject_token="What is shown: a workload's token of its issuer's, or a token of ours.",  # noqa: S106  a description
    subject_token_type=f"`{JWT}` or `{ID_TOKEN}` of a workload's issuer, `{ACCESS}` of ours.",
    actor_token="A token of ours, of who is to act for the subject.",  # noqa: S106  as above
    actor_token_type=f"`{ACCESS}`",
    audience="For whom the new token is to be; only this suite's, which it is anyway.",
    scope="The most the new token is to be good for: permissions, `*` for any one word, apart by a space.",
    resource="Where it is to be good: `urn:gpuaas:tenant:<id>`, or `…:project:<id>` of it.",
    requested_token_type=f"`{ACCESS}`, which it is anyway.",
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
        add = router.add_api_route
        add("/v1/oauth/token", self.token, methods=["POST"], openapi_extra=_FORM, summary=summary)
        summary = "A token for a token (RFC 8693)."
        add("/v1/oauth/exchange", self.exchange, methods=["POST"], openapi_extra=_EXCHANGE_FORM, summary=summary)

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
            case str(grant) if grant == EXCHANGE_GRANT:
                raise OAuthRefused("unsupported_grant_type", "tokens are exchanged at /v1/oauth/exchange")
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

    @public
    async def exchange(self, request: Request, response: Response) -> ExchangedToken:
        response.headers["Cache-Control"] = "no-store"
        given = await fields(request)
        if given.get("grant_type") != EXCHANGE_GRANT:
            raise OAuthRefused("unsupported_grant_type", f"use grant_type {EXCHANGE_GRANT}")
        try:
            token, claims = await self._exchanged(given)
        except ExchangeRefused as refused:
            self._pay(request)
            raise OAuthRefused(refused.error, str(refused)) from None
        except Unauthenticated as refused:
            self._pay(request)
            raise OAuthRefused("invalid_request", refused.detail) from None
        return ExchangedToken(
            access_token=token,
            expires_in=int((claims.expires_at - claims.issued_at).total_seconds()),
            expires_at=claims.expires_at,
            scope=" ".join(claims.permissions) or None,
            acting=claims.actors[0].id if claims.actors else None,
            position=claims.floor,
        )

    async def _exchanged(self, given: Mapping[str, str]) -> tuple[str, Claims]:
        ours = audience_of(self._parts.profile)
        if given.get("audience", ours) != ours:
            raise ExchangeRefused(f"tokens are issued for {ours} only", "invalid_target")
        if given.get("requested_token_type", ACCESS) != ACCESS:
            raise ExchangeRefused(f"only {ACCESS} is issued")
        wish, exchanging = _wish(given), self._parts.exchanging
        token, actor_token = given.get("subject_token", ""), given.get("actor_token")
        match given.get("subject_token_type"):
            case "urn:ietf:params:oauth:token-type:access_token":
                if actor_token is not None and given.get("actor_token_type") != ACCESS:
                    raise ExchangeRefused(f"an actor shows a token of ours: actor_token_type is {ACCESS}")
                return await exchanging.for_principal(token, actor_token, wish)
            case "urn:ietf:params:oauth:token-type:jwt" | "urn:ietf:params:oauth:token-type:id_token":
                if actor_token is not None:
                    raise ExchangeRefused("a workload acts itself; leave the actor_token out")
                return await exchanging.for_workload(given.get("client_id", ""), token, wish)
        raise ExchangeRefused(f"subject_token_type is {JWT} or {ID_TOKEN} for a workload, {ACCESS} for a token of ours")

    def _pay(self, request: Request) -> None:
        address = request.client.host if request.client else "unknown"
        if wait_s := self._by_address.take(address):
            raise TooManyAttempts("too many attempts from this address; wait", retry_after_s=max(1, round(wait_s)))


def _wish(given: Mapping[str, str]) -> Wish:
    """What `scope` and `resource` ask for. Raises ExchangeRefused: they cannot be read."""
    try:
        permissions = checked(given["scope"].split(" ")) if "scope" in given else ()
    except Invalid as odd:
        raise ExchangeRefused(odd.detail, "invalid_scope") from odd
    if "resource" not in given:
        return Wish(permissions)
    place = _RESOURCE.fullmatch(given["resource"])
    if place is None:
        raise ExchangeRefused("resource is urn:gpuaas:tenant:<id>, or …:project:<id> of it", "invalid_target")
    return Wish(permissions, Scope(place[1], place[2]))
