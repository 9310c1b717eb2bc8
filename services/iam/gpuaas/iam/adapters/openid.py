"""An OpenID Connect provider, as a client of it. One law: nothing it says is believed for anybody but its issuer.

Discovery (OpenID Connect Discovery 1.0), authorization code with PKCE S256, keys that are kept for minutes and fetched
again when one is unknown. Answers are bounded in size and time, and a redirect is never followed.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import httpx
from gpuaas.common.clock import Clock
from gpuaas.common.errors import Misconfigured
from gpuaas.common.strict_json import read_object
from gpuaas.iam.adapters.id_tokens import NotBelieved, UnknownKey, Wanted, believed
from gpuaas.iam.adapters.outside import NotOutside, Outside
from gpuaas.iam.adapters.subject_tokens import Said, believed_about
from gpuaas.iam.domain.identity_provider import Provider

ANSWER_BYTES_MAX: Final = 262_144
SECONDS_MAX: Final = 10.0
METADATA_S: Final = 3_600.0
KEYS_S: Final = 600.0
KEYS_AGAIN_S: Final = 10.0
"""Unknown keys make us fetch the provider's at most this often: made-up key ids cost it nothing."""
KEYS_MAX: Final = 64
TENANTS: Final = 0
"""The version of what no operator configured: a tenant named the issuer, so it is asked outside only."""
ISSUERS_MAX: Final = 2_000
"""Providers and issuers whose documents are kept at once."""
SECRETS_BYTES_MAX: Final = 65_536


class ProviderAway(Exception):
    """The provider does not answer, or not as the standard says."""


class ProviderRefused(Exception):
    """The provider, or what is wrong about its word, refuses this sign-in."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one browser is sent to a provider with. All of it is known to that browser and to us alone."""

    redirect_uri: str
    state: str
    nonce: str
    code_verifier: str
    code_challenge: str


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a provider says about somebody. `email` is None unless the provider has verified it."""

    subject: str
    email: str | None
    name: str | None
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(slots=True)
class _Known:
    """What was fetched of one provider, and when (monotonic seconds)."""

    metadata: dict[str, Any] = field(default_factory=dict)
    metadata_at: float = -METADATA_S
    keys: list[Mapping[str, Any]] = field(default_factory=list)
    keys_at: float = -KEYS_S


_OUTSIDE: Final = Outside()


class OpenId:
    """A client of every configured provider.

    Args:
        clock: real time.
        secrets_file: JSON object of provider id → client secret; None: all are public clients (PKCE alone).
        seconds: how long ago something was fetched is told by it.
        outside: where issuers that tenants name may be.
    """

    def __init__(
        self,
        clock: Clock,
        secrets_file: Path | None,
        seconds: Callable[[], float] = time.monotonic,
        outside: Outside = _OUTSIDE,
    ) -> None:
        self._outside = outside
        self._seconds = seconds
        self._clock = clock
        self._secrets_file = secrets_file
        self._known: defaultdict[tuple[str, int], _Known] = defaultdict(_Known)
        self._fetching: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def address(self, provider: Provider, question: Question) -> str:
        """Where the browser is sent. Raises ProviderAway."""
        metadata = await self._metadata(provider)
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": question.redirect_uri,
            "scope": " ".join(dict.fromkeys(("openid", *provider.scopes))),
            "state": question.state,
            "nonce": question.nonce,
            "code_challenge": question.code_challenge,
            "code_challenge_method": "S256",
        }
        at = _endpoint(metadata, "authorization_endpoint", provider)
        return f"{at}{'&' if urlsplit(at).query else '?'}{urlencode(asked)}"

    async def says_who_answers(self, provider: Provider) -> bool:
        """Whether its answers name it (RFC 9207), so that one that does not is somebody else's. Raises ProviderAway."""
        metadata = await self._metadata(provider)
        return metadata.get("authorization_response_iss_parameter_supported") is True

    async def vouched(self, provider: Provider, question: Question, code: str) -> Vouched:
        """What the provider says about whoever it sent back with `code`. Raises ProviderAway, ProviderRefused."""
        metadata = await self._metadata(provider)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": question.redirect_uri,
            "client_id": provider.client_id,
            "code_verifier": question.code_verifier,
        }
        secret = await asyncio.to_thread(self._secret, provider.provider_id)
        answer = await self._asked("POST", _endpoint(metadata, "token_endpoint", provider), form=form, secret=secret)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ProviderRefused("the provider's answer holds no ID token")
        claims = await self._believed(provider, token, question.nonce)
        if "email" not in claims and "email" in provider.scopes and "userinfo_endpoint" in metadata:
            at = _endpoint(metadata, "userinfo_endpoint", provider)
            told = await self._asked("GET", at, bearer=str(answer.get("access_token", "")))
            if told.get("sub") != claims["sub"]:
                raise ProviderRefused("the provider speaks of two people at once")
            claims = {**told, **claims}
        return _vouched(claims)

    async def _believed(self, provider: Provider, token: str, nonce: str) -> dict[str, Any]:
        wanted = Wanted(provider.issuer, provider.client_id, nonce)
        try:
            try:
                return believed(token, await self._keys(provider, KEYS_S), wanted, self._clock.now())
            except UnknownKey:
                return believed(token, await self._keys(provider, KEYS_AGAIN_S), wanted, self._clock.now())
        except NotBelieved as wrong:
            raise ProviderRefused(f"the provider's ID token is not believed: {wrong}") from wrong

    async def about_workload(self, issuer: str, audience: str, token: str) -> Said:
        """What an issuer that some tenant trusts says about a workload. Raises ProviderAway, ProviderRefused."""
        of = Provider(provider_id=f"issuer {issuer}", version=TENANTS, issuer=issuer)
        if len(self._known) > ISSUERS_MAX:
            self._known.clear()  # all are fetched again, by who needs them
            self._fetching.clear()
        try:
            try:
                return believed_about(token, await self._keys(of, KEYS_S), issuer, audience, self._clock.now())
            except UnknownKey:
                return believed_about(token, await self._keys(of, KEYS_AGAIN_S), issuer, audience, self._clock.now())
        except NotBelieved as wrong:
            raise ProviderRefused(f"the subject token is not believed: {wrong}") from wrong
        except NotOutside as inside:
            raise ProviderRefused(f"the issuer is not asked for its keys: {inside}") from inside

    async def _metadata(self, provider: Provider) -> dict[str, Any]:
        known = self._known[mark := (provider.provider_id, provider.version)]
        async with self._fetching[mark]:
            if self._seconds() - known.metadata_at < METADATA_S:
                return known.metadata
            found = await self._got(provider, f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != provider.issuer:
                raise ProviderAway("the provider's discovery document is another issuer's")
            known.metadata, known.metadata_at = found, self._seconds()
            return found

    async def _keys(self, provider: Provider, age_s_max: float) -> list[Mapping[str, Any]]:
        metadata = await self._metadata(provider)
        known = self._known[mark := (provider.provider_id, provider.version)]
        async with self._fetching[mark]:
            if self._seconds() - known.keys_at < age_s_max:
                return known.keys
            keys = (await self._got(provider, _endpoint(metadata, "jwks_uri", provider))).get("keys")
            if not isinstance(keys, list) or len(keys) > KEYS_MAX:
                raise ProviderAway("the provider's keys are no key set")
            known.keys, known.keys_at = [each for each in keys if isinstance(each, dict)], self._seconds()
            return known.keys

    async def _got(self, provider: Provider, url: str) -> dict[str, Any]:
        """The document at an address of the provider's. Raises ProviderAway; NotOutside: it is not to be asked."""
        if provider.version != TENANTS:
            return await self._asked("GET", url)
        there, more = await self._outside.pinned(url)
        return await self._asked("GET", there, **more)

    async def _asked(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        secret: str = "",
        bearer: str = "",
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The JSON object that an address answers. Raises ProviderAway; ProviderRefused: a 4xx to a form."""
        accepts = {"Accept": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
        given: dict[str, Any] = {"headers": accepts | dict(headers or {}), "extensions": dict(extensions or {})}
        if form is not None:
            given["data"] = dict(form)
            if secret:  # RFC 6749 §2.3.1: both are form-encoded first
                given["auth"] = (quote(form["client_id"], safe=""), quote(secret, safe=""))
        try:
            async with (
                asyncio.timeout(SECONDS_MAX),
                httpx.AsyncClient(timeout=SECONDS_MAX) as client,
                client.stream(method, url, **given) as answer,
            ):
                status, body = answer.status_code, await _bounded(answer)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, UnicodeError) as lost:
            raise ProviderAway(f"the sign-in provider does not answer ({type(lost).__name__})") from lost
        if form is not None and 400 <= status < 500:
            raise ProviderRefused("the provider does not take the code that it gave")
        if status != 200:
            raise ProviderAway(f"the sign-in provider answers {status}")
        try:
            return read_object(body, bytes_max=ANSWER_BYTES_MAX)
        except ValueError as odd:
            raise ProviderAway(f"the sign-in provider's answer cannot be read: {odd}") from odd

    def _secret(self, provider_id: str) -> str:
        """The client secret of a provider; empty: a public client. Read anew each time, so it can be turned.

        Raises:
            Misconfigured: the file cannot be read, or others than this process may read it.
        """
        path = self._secrets_file
        if path is None:
            return ""
        try:
            if (mode := path.stat().st_mode & 0o777) & 0o077:
                raise Misconfigured(f"{path} can be read by others (mode {mode:04o}); run chmod 600 on it")
            secret = read_object(path.read_bytes(), bytes_max=SECRETS_BYTES_MAX).get(provider_id, "")
        except (OSError, ValueError) as broken:
            raise Misconfigured(f"the file of client secrets {path} cannot be read ({broken})") from broken
        if not isinstance(secret, str):
            raise Misconfigured(f"{path}: the secret of {provider_id} is no text")
        return secret


async def _bounded(answer: httpx.Response) -> bytes:
    body = b""
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > ANSWER_BYTES_MAX:
            raise ProviderAway("the provider answers more than anybody needs")
    return body


def _endpoint(metadata: Mapping[str, Any], name: str, provider: Provider) -> str:
    """An address of the provider's; without TLS only where its issuer is so. Raises ProviderAway."""
    at = metadata.get(name)
    schemes = ("https",) if provider.issuer.startswith("https:") else ("https", "http")
    if not isinstance(at, str) or urlsplit(at).scheme not in schemes or "#" in at:
        raise ProviderAway(f"the provider's discovery document names no {name} that can be used")
    return at


def _vouched(claims: Mapping[str, Any]) -> Vouched:
    email, name = claims.get("email"), claims.get("name")
    verified = isinstance(email, str) and claims.get("email_verified") is True
    return Vouched(
        subject=str(claims["sub"]),
        email=str(email) if verified else None,
        name=name if isinstance(name, str) else None,
        claims=claims,
    )
