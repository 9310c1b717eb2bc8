"""People sign in through a provider. One law: what a provider answers is believed in the browser that asked, once.

A program sends its person's browser here (RFC 8252: a loopback address, PKCE S256), iam sends it on to the provider,
and back with a code of its own that is good for a minute. Between the two, everything hangs on one random secret in a
cookie of that browser: state, nonce and PKCE verifier for the provider are derived from it, and iam keeps the digest of
the state. An answer without the cookie, a second time, or at another provider's address is nobody's.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from html import escape
from typing import Annotated, Any, Final
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse
from gpuaas.common.commands import Cause
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import GpuaasError, Invalid, Unauthenticated
from gpuaas.common.http import public
from gpuaas.common.tables import Record
from gpuaas.iam.adapters.kept_tables import digest_of
from gpuaas.iam.adapters.openid import ProviderAway, ProviderRefused, Question
from gpuaas.iam.attempts import Attempts
from gpuaas.iam.domain.identity_provider import Provider
from gpuaas.iam.domain.names import written
from gpuaas.iam.entities import PROVIDER
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.sessions import PER_ADDRESS, SessionToken, TooManyAttempts, shown

COOKIE: Final = "gpuaas-sign-in"
COOKIE_PATH: Final = "/v1/oauth"
LIFE: Final = timedelta(minutes=10)
CODE_LIFE: Final = timedelta(minutes=1)
CODE_PREFIX: Final = "gpa_"
UNDER_WAY_MAX: Final = 10_000
BEGUN_PER_ADDRESS: Final = (100, 0.2)
"""Sign-ins begun at once from one address, and the seconds after which there is one more."""
CLIENT_MAX: Final = 100
_CHALLENGE: Final = re.compile(r"^[A-Za-z0-9_-]{43}$")
_VERIFIER: Final = re.compile(r"^[A-Za-z0-9._~-]{43,128}$")
_LOOPBACK: Final = re.compile(r"^http://(127\.0\.0\.1|\[::1\]):[1-9][0-9]{0,4}(/[A-Za-z0-9._~/-]*)?$")
_VISIBLE: Final = re.compile(r"^[\x20-\x7e]{1,512}$")
NOT_BEGUN: Final = "this sign-in was not begun in this browser, was finished before, or took too long; begin again"
NOT_GOOD: Final = "this code is not good here: unknown, used before, over, or of another program; sign in again"
Text = Annotated[str, Query(max_length=2_048)]


class Refusal(Exception):
    """A refusal that the program is told by redirect (RFC 6749 §4.1.2.1)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class ProviderSignIn:
    """The authorization endpoint, and where providers send people back to."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._by_address = Attempts(*PER_ADDRESS)
        self._begun_by_address = Attempts(*BEGUN_PER_ADDRESS)
        self.to_page: Callable[[str, str], HTMLResponse] = _nowhere

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        asked: dict[str, Any] = {"methods": ["GET"], "status_code": 303, "response_class": HTMLResponse}
        summary = "Send a person's browser to a sign-in provider (RFC 6749 §4.1.1, RFC 7636)."
        router.add_api_route("/v1/oauth/authorize", self.authorize, summary=summary, **asked)
        summary = "Where a sign-in provider sends people back to."
        router.add_api_route("/v1/oauth/callback/{provider_id}", self.callback, summary=summary, **asked)

    @public
    async def authorize(
        self,
        request: Request,
        provider: Annotated[str, Query(max_length=63, description="Id of the sign-in provider.")],
        redirect_uri: Annotated[str, Query(max_length=200, description="http://127.0.0.1:<port>/… or http://[::1]:…")],
        response_type: Text = "",
        client_id: Annotated[str, Query(max_length=CLIENT_MAX, description="What asks, as it calls itself.")] = "",
        state: Text = "",
        code_challenge: Text = "",
        code_challenge_method: Text = "",
    ) -> HTMLResponse:
        _pay(self._begun_by_address, request)
        if not _is_loopback(redirect_uri):
            raise Invalid("a program is told at a loopback address of its own: http://127.0.0.1:<port>/…")
        try:
            if response_type != "code":
                raise Refusal("unsupported_response_type", "ask with response_type=code")
            if code_challenge_method != "S256" or _CHALLENGE.fullmatch(code_challenge) is None:
                raise Refusal("invalid_request", "ask with a code_challenge by S256 (RFC 7636)")
            if _VISIBLE.fullmatch(state) is None:
                raise Refusal("invalid_request", "ask with a state of 1 to 512 visible characters")
            client = _client(client_id)
            row = {"redirect_uri": redirect_uri, "client_state": state, "code_challenge": code_challenge}
            return await self.sent_to(provider, client=client, **row)
        except Refusal as refused:
            told = {"error": refused.error, "error_description": refused.description}
            return self._back(redirect_uri, {**told, **({"state": state} if _VISIBLE.fullmatch(state) else {})})

    async def sent_to(self, provider_id: str, **purpose: str) -> HTMLResponse:
        """The browser, on its way to the provider. `purpose`: what its answer is for. Raises Refusal."""
        provider = await self._provider(provider_id)
        browser, now = secrets.token_urlsafe(32), self._parts.clock.now()
        question = self._question(provider_id, browser)
        if await self._parts.under_way.count(now) >= UNDER_WAY_MAX:
            raise Refusal("temporarily_unavailable", "too many people sign in just now; try again in a minute")
        try:
            address = await self._parts.openid.address(provider, question)
        except ProviderAway as away:
            raise Refusal("temporarily_unavailable", str(away)) from away
        row = {"redirect_uri": None, "client_state": None, "code_challenge": None, "user_code": None, **purpose}
        state_sha256 = digest_of(question.state)
        await self._parts.under_way.begin(
            state_sha256=state_sha256, provider_id=provider_id, expires_at=now + LIFE, **row
        )
        answer = _sent(address)
        secure = self._parts.public_url.startswith("https:")
        life_s = int(LIFE.total_seconds())
        answer.set_cookie(
            COOKIE, browser, max_age=life_s, path=COOKIE_PATH, secure=secure, httponly=True, samesite="lax"
        )
        return answer

    async def begun_from_page(self, request: Request, provider_id: str, client: str, user_code: str) -> HTMLResponse:
        """The browser of who wants to let a program in, on its way to the provider. Raises Refusal."""
        _pay(self._begun_by_address, request)
        return await self.sent_to(provider_id, client=client, user_code=user_code[:20])

    @public
    async def callback(
        self,
        request: Request,
        provider_id: Annotated[str, Path(max_length=63, description="The provider that answers.")],
        state: Text = "",
        code: Text = "",
        error: Text = "",
        iss: Text = "",
    ) -> HTMLResponse:
        row, question = await self._begun(request, provider_id, state)
        try:
            user_id = await self._vouched(provider_id, question, code, error, iss)
            if row["redirect_uri"] is None:
                return await self._on_page(row, user_id)
            told = {"code": await self._offer(row, user_id)}
        except Refusal as refused:
            self._parts.failures.count(None)
            told = {"error": refused.error, "error_description": refused.description}
            if row["redirect_uri"] is None:
                raise Unauthenticated(refused.description) from refused
        answer = self._back(row["redirect_uri"], {**told, "state": row["client_state"]})
        answer.delete_cookie(COOKIE, path=COOKIE_PATH)
        return answer

    async def _begun(self, request: Request, provider_id: str, state: str) -> tuple[Record, Question]:
        """What was begun in this browser with this state, used up."""
        browser = request.cookies.get(COOKIE, "")
        question = self._question(provider_id, browser[:100])
        same = hmac.compare_digest(question.state.encode(), state.encode("utf-8", "replace"))
        row = await self._parts.under_way.take(digest_of(state), self._parts.clock.now()) if browser and same else None
        if row is None or row["provider_id"] != provider_id:
            _pay(self._by_address, request)
            raise Unauthenticated(NOT_BEGUN)
        return row, question

    async def _vouched(self, provider_id: str, question: Question, code: str, error: str, iss: str) -> str:
        """Who the provider sent back. Raises Refusal."""
        openid = self._parts.openid
        try:
            provider = await self._provider(provider_id)
            if iss != provider.issuer and (iss or await openid.says_who_answers(provider)):
                raise Refusal("access_denied", "another issuer than the provider answers; begin again")
            if error or not code:
                raise Refusal("access_denied", "the provider did not let you in")
            return await self._parts.vouched.who(provider, await openid.vouched(provider, question, code))
        except ProviderAway as away:
            raise Refusal("temporarily_unavailable", str(away)) from away
        except (ProviderRefused, GpuaasError) as refused:
            raise Refusal("access_denied", str(refused)) from refused

    async def _on_page(self, row: Record, user_id: str) -> HTMLResponse:
        """Back to the page on which a program is let in, signed in."""
        try:
            begun = await self._parts.signing_in.start(user_id, "provider", row["client"], provider=row["provider_id"])
        except Unauthenticated as refused:
            raise Refusal("access_denied", refused.detail) from refused
        answer = self.to_page(begun.access_token, str(row["user_code"] or ""))
        answer.delete_cookie(COOKIE, path=COOKIE_PATH)
        return answer

    async def _offer(self, row: Record, user_id: str) -> str:
        code, now = CODE_PREFIX + secrets.token_hex(32), self._parts.clock.now()
        kept = {name: row[name] for name in ("provider_id", "client", "redirect_uri", "code_challenge")}
        offered = {"code_sha256": digest_of(code), "user_id": user_id, "expires_at": now + CODE_LIFE}
        await self._parts.under_way.offer(**kept, **offered)
        return code

    async def redeem(self, code: str, code_verifier: str, redirect_uri: str) -> SessionToken:
        """A session for a code. One that comes twice was copied: the session it began ends.

        Raises:
            Unauthenticated: the code is not good here.
        """
        signing_in, digest = self._parts.signing_in, digest_of(code)
        row, unused = await self._parts.under_way.redeem(digest, self._parts.clock.now())
        if row is not None and not unused and row["session_id"] is not None:
            session_id, user_id = str(row["session_id"]), str(row["user_id"])
            cause = Cause(session_id, user_id, "user")
            await signing_in.end(session_id, user_id, "revoked", cause, "its sign-in code was used a second time")
        if row is None or not unused or row["redirect_uri"] != redirect_uri:
            raise Unauthenticated(NOT_GOOD)
        if not _VERIFIER.fullmatch(code_verifier) or not hmac.compare_digest(
            challenge_of(code_verifier), row["code_challenge"]
        ):
            raise Unauthenticated(NOT_GOOD)
        begun = await signing_in.start(row["user_id"], "provider", row["client"], provider=row["provider_id"])
        await self._parts.under_way.began(digest, begun.session_id, self._parts.clock.now() + signing_in.life)
        return shown(begun)

    async def _provider(self, provider_id: str) -> Provider:
        with contextlib.suppress(ValueError, GpuaasError):
            provider, _ = await self._parts.commands.state(PROVIDER, PLATFORM, provider_id)
            if provider.usable:
                return provider
        raise Refusal("invalid_request", "there is no such sign-in provider; see /v1/sign-in-options")

    def _question(self, provider_id: str, browser: str) -> Question:
        """Everything a sign-in in that browser hangs on."""
        verifier = _derived(browser, provider_id, "verifier")
        return Question(
            redirect_uri=f"{self._parts.public_url}/v1/oauth/callback/{provider_id}",
            state=_derived(browser, provider_id, "state"),
            nonce=_derived(browser, provider_id, "nonce"),
            code_verifier=verifier,
            code_challenge=challenge_of(verifier),
        )

    def _back(self, redirect_uri: str, told: dict[str, str]) -> HTMLResponse:
        """The browser, on its way back to the program (RFC 9207: with who answers)."""
        return _sent(f"{redirect_uri}?{urlencode({**told, 'iss': self._parts.public_url})}")


def _is_loopback(redirect_uri: str) -> bool:
    """Whether it is a port of the browser's own machine, by its number: a name could be anybody's (RFC 8252 §8.3)."""
    try:
        return _LOOPBACK.fullmatch(redirect_uri) is not None and bool(urlsplit(redirect_uri).port)
    except ValueError:
        return False


def _client(text: str) -> str:
    try:
        return written(text or "a program", "client", CLIENT_MAX)
    except Invalid as odd:
        raise Refusal("invalid_request", odd.detail) from odd


def _pay(attempts: Attempts, request: Request) -> None:
    address = request.client.host if request.client else "unknown"
    if wait_s := attempts.take(address):
        raise TooManyAttempts("too many attempts from this address; wait", retry_after_s=max(1, round(wait_s)))


def _sent(address: str) -> HTMLResponse:
    page = f'<!doctype html><title>Sign in</title><a href="{escape(address, quote=True)}">Go on</a>\n'
    headers = {"Location": address, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return HTMLResponse(page, status_code=303, headers=headers)


def _nowhere(token: str, user_code: str) -> HTMLResponse:
    raise Unauthenticated(NOT_BEGUN)


def _derived(browser: str, *what: str) -> str:
    """256 bits that only who knows the browser's secret can make."""
    return _text(hmac.digest(browser.encode("utf-8", "replace"), "\n".join(what).encode("utf-8", "replace"), "sha256"))


def challenge_of(verifier: str) -> str:
    """S256 of RFC 7636."""
    return _text(sha256(verifier.encode("utf-8", "replace")).digest())


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
