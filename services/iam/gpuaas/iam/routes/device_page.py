"""The page on which a person lets a program in. One law: nothing is approved but by who just saw what asks.

Plain HTML without script. The browser holds one cookie: first a random text, after the sign-in a token of a session
that lasts until the answer. Each form carries a digest of that cookie that only this page can have written, so no other
site can post it; the policy lets nothing load and nobody frame it.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse
from gpuaas.common.access import Principal
from gpuaas.common.commands import Cause
from gpuaas.common.errors import GpuaasError, Unauthenticated, Unavailable
from gpuaas.common.http import public
from gpuaas.common.ids import new_id
from gpuaas.common.tables import Record
from gpuaas.iam.parts import PROVIDERS, Parts
from gpuaas.iam.routes.devices import Devices
from gpuaas.iam.routes.forms import OAuthRefused, fields, form
from gpuaas.iam.routes.provider_sign_in import ProviderSignIn, Refusal
from gpuaas.iam.routes.sessions import PasswordShown, Sessions
from pydantic import ValidationError

COOKIE: Final = "gpuaas-device"
PAGE: Final = "/v1/device"
CLIENT: Final = "the page for programs"
LIFE_S: Final = 300
PROVIDERS_MAX: Final = 20
_STYLE: Final = (
    "body{font-family:sans-serif;max-width:34em;margin:3em auto;padding:0 1em}.w{color:#a00}"
    "input,button{font-size:1em;padding:.4em;margin:.2em 0}code{font-size:1.4em}label{display:block}"
)
_STYLE_SHA256: Final = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_SHA256}'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PAGES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": "The page, with what was wrong.", "content": {"text/html": {"schema": {"type": "string"}}}}
    for status in (400, 401, 404, 409, 422, 429, 503)
}
_CODE: Final = Query(max_length=20, description="The code that the program shows.")
ODD: Final = "nobody can sign in with that; look again"
_PROOF: Final = "The password."
FOREIGN: Final = "this form was not opened in this browser, or too long ago; open the page again"


class DevicePage:
    """Routes of the page at `verification_uri` (RFC 8628 §3.3)."""

    def __init__(self, parts: Parts, sessions: Sessions, devices: Devices, provided: ProviderSignIn) -> None:
        self._parts = parts
        self._sessions = sessions
        self._devices = devices
        self._provided = provided

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        shown: dict[str, Any] = {"response_class": HTMLResponse, "responses": _PAGES}
        add, csrf = router.add_api_route, "What this page wrote into its form."
        add(PAGE, self.page, methods=["GET"], summary="Where a person lets a program in.", **shown)
        ask = form("csrf", "email", "password", csrf=csrf, user_code="The code.", email="Who.", password=_PROOF)
        add(PAGE + "/sign-in", self.sign_in, methods=["POST"], openapi_extra=ask, summary="Sign in there.", **shown)
        ask = form("csrf", "user_code", "answer", csrf=csrf, user_code="The code.", answer="`approve` or `refuse`.")
        add(PAGE + "/answer", self.answer, methods=["POST"], openapi_extra=ask, summary="Let it in, or not.", **shown)
        at = PAGE + "/providers/{provider_id}"
        add(at, self.provider, methods=["GET"], status_code=303, summary="Sign in there through a provider.", **shown)

    @public
    async def page(self, request: Request, user_code: Annotated[str, _CODE] = "") -> HTMLResponse:
        cookie = request.cookies.get(COOKIE, "")
        who = self._who(cookie)
        if who is None:
            return await self._sign_in_page(user_code)
        if not user_code:
            return _shown(f"{_heading('Let a program in')}{_code_form(user_code)}", cookie, self._secure)
        try:
            return self._question(await self._devices.asking(user_code, who.id), cookie)
        except GpuaasError as refused:
            return _shown(_complaint(refused) + _code_form(user_code), cookie, self._secure, refused)

    @public
    async def sign_in(self, request: Request) -> HTMLResponse:
        given: Mapping[str, str] = {}
        try:
            given = await fields(request)
            self._demand_own(request, given)
            named = {"email": given.get("email", ""), "password": given.get("password", ""), "client": CLIENT}
            begun = await self._sessions.begin(PasswordShown(**named), request)
        except ValidationError:
            return await self._sign_in_page(given.get("user_code", ""), Unauthenticated(ODD))
        except GpuaasError as refused:
            return await self._sign_in_page(given.get("user_code", ""), refused)
        return self.sent_here(begun.access_token, given.get("user_code", ""))

    @public
    async def answer(self, request: Request) -> HTMLResponse:
        try:
            given = await fields(request)
            self._demand_own(request, given)
            who = self._who(request.cookies.get(COOKIE, ""))
            if who is None:
                raise Unauthenticated(FOREIGN)
            approve = given.get("answer") == "approve"
            told = await self._devices.decided(given.get("user_code", ""), who, approve=approve)
        except GpuaasError as refused:
            return await self._sign_in_page("", refused)
        cause = Cause(id=new_id(), actor=who.id, actor_kind=who.kind)
        await self._parts.signing_in.end(who.session_id, who.id, "signed-out", cause)
        end = "was let in; go on there" if told.approved else "was not let in"
        answer = _shown(
            f"{_heading('Done')}<p><b>{escape(told.client)}</b> {end}. You can close this page.</p>", "", False
        )
        answer.delete_cookie(COOKIE, path=PAGE)
        return answer

    @public
    async def provider(
        self,
        provider_id: Annotated[str, Path(max_length=63, description="Id of the sign-in provider.")],
        request: Request,
        user_code: Annotated[str, _CODE] = "",
    ) -> HTMLResponse:
        try:
            return await self._provided.begun_from_page(request, provider_id, CLIENT, user_code)
        except Refusal as refused:
            return await self._sign_in_page(user_code, Unavailable(refused.description))

    def sent_here(self, token: str, user_code: str) -> HTMLResponse:
        """The browser of somebody who has just signed in, on its way to the question."""
        known = "".join(letter for letter in user_code if letter.isalnum() or letter == "-")[:20]
        answer = HTMLResponse("", status_code=303, headers={**HEADERS, "Location": f"{PAGE}?user_code={known}"})
        _keep(answer, token, self._secure)
        return answer

    @property
    def _secure(self) -> bool:
        return self._parts.public_url.startswith("https:")

    def _who(self, cookie: str) -> Principal | None:
        """Who signed in on this page in this browser; None: nobody has."""
        try:
            who = self._parts.access.authenticate(cookie, self._parts.clock.now())
        except GpuaasError:
            return None
        return who if who.kind == "user" and who.session_id and who.credential is None else None

    def _demand_own(self, request: Request, given: Mapping[str, str]) -> None:
        cookie, shown = request.cookies.get(COOKIE, ""), given.get("csrf", "")
        if not cookie or not hmac.compare_digest(_csrf(cookie).encode(), shown.encode("utf-8", "replace")):
            raise OAuthRefused("invalid_request", FOREIGN)

    async def _sign_in_page(self, user_code: str, refused: GpuaasError | None = None) -> HTMLResponse:
        cookie, known = secrets.token_urlsafe(32), escape(user_code[:20], quote=True)
        body = _heading("Sign in to let a program in") + _complaint(refused)
        if self._parts.passwords_allowed:
            body += (
                f'<form method="post" action="{PAGE}/sign-in">{_hidden("csrf", _csrf(cookie))}'
                f'<label>Code it shows <input name="user_code" value="{known}" autocomplete="off"></label>'
                '<label>E-mail address <input name="email" type="email" autocomplete="username"></label>'
                '<label>Password <input name="password" type="password" autocomplete="current-password"></label>'
                "<button>Sign in</button></form>"
            )
        for row in await PROVIDERS.usable(self._parts.database, None, PROVIDERS_MAX):
            at = f"{PAGE}/providers/{escape(row['provider_id'], quote=True)}?user_code={known}"
            body += f'<p><a href="{at}">Sign in with {escape(row["display_name"])}</a></p>'
        return _shown(body, cookie, self._secure, refused)

    def _question(self, row: Record, cookie: str) -> HTMLResponse:
        where = row["address"] or "an unknown address"
        body = (
            f"{_heading('Let this program in?')}<p><b>{escape(row['client'])}</b> asks to act as you, with all you "
            f"may. It asked from {escape(where)} at {row['asked_at']:%Y-%m-%d %H:%M:%S} UTC and shows</p>"
            f"<p><code>{escape(row['user_code'])}</code></p>"
            '<p class="w">Go on only if you started it yourself just now and see the same code there. If somebody sent '
            "you here, refuse.</p>"
            f'<form method="post" action="{PAGE}/answer">{_hidden("csrf", _csrf(cookie))}'
            f'{_hidden("user_code", row["user_code"])}<button name="answer" value="approve">Let it in</button> '
            '<button name="answer" value="refuse">Refuse</button></form>'
        )
        return _shown(body, cookie, self._secure)


def _csrf(cookie: str) -> str:
    return sha256(b"form\n" + cookie.encode("utf-8", "replace")).hexdigest()


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{escape(value, quote=True)}">'


def _heading(text: str) -> str:
    return f"<h1>{escape(text)}</h1>"


def _complaint(refused: GpuaasError | None) -> str:
    return "" if refused is None else f'<p class="w" role="alert">{escape(refused.detail)}</p>'


def _code_form(user_code: str) -> str:
    known = escape(user_code[:20], quote=True)
    return (
        f'<form method="get" action="{PAGE}"><label>Code that the program shows '
        f'<input name="user_code" value="{known}" autocomplete="off" required></label><button>Go on</button></form>'
    )


def _shown(body: str, cookie: str, secure: bool, refused: GpuaasError | None = None) -> HTMLResponse:
    page = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>GPUaaS</title><style>{_STYLE}</style>'
    headers = dict(HEADERS)
    if isinstance(refused, Unavailable):
        headers["Retry-After"] = str(refused.retry_after_s)
    status = 200 if refused is None else refused.status
    answer = HTMLResponse(f"{page}</head><body>{body}</body></html>", status_code=status, headers=headers)
    if cookie:
        _keep(answer, cookie, secure)
    return answer


def _keep(answer: HTMLResponse, cookie: str, secure: bool) -> None:
    answer.set_cookie(COOKIE, cookie, max_age=LIFE_S, path=PAGE, secure=secure, httponly=True, samesite="lax")
