"""An API key for a five-minute token, and the keys that tokens are checked with. One law: a failure tells nothing.

A wrong key, a revoked one and one that never was get one answer. Failures are counted by client address; who holds a
right key is never locked out by them.
"""

from __future__ import annotations

import base64
import hmac
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response
from gpuaas.common.apikeys import KEY_CHARACTERS_MAX, ApiKey, read_api_key
from gpuaas.common.door import Buckets
from gpuaas.common.errors import Unauthenticated, Unavailable
from gpuaas.common.http import Body, public
from gpuaas.common.projections import Record
from gpuaas.common.tokens import ALGORITHM, TOKEN_LIFE_S
from gpuaas.iam.parts import API_KEYS, Parts
from gpuaas.iam.routes.asking import bearer
from gpuaas.iam.signing_in import SETTLE_S
from pydantic import BaseModel, Field

FAILURES_PER_S: Final = 5
"""Failed sign-ins per second and client address; twice that at once."""
_NO_DIGEST: Final = "0" * 64
_NOT_GOOD: Final = "this API key is not good here: unknown, expired, revoked, or of another profile; use another"


class TooManyFailures(Unavailable):
    """This address has failed too often just now."""

    status = 429
    code = "rate-limited"


class KeyShown(Body):
    """An API key, for those who cannot send it as a header."""

    api_key: str = Field(max_length=KEY_CHARACTERS_MAX, description="gpk_<profile>_<id>_<secret>_<checksum>")


class Token(BaseModel):
    """A bearer token (RFC 6750). `position`: the log position of the rights it was issued on."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105  the scheme's name
    expires_in: int = TOKEN_LIFE_S
    expires_at: datetime
    position: int


class Tokens:
    """Routes for signing in."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._failures = Buckets(FAILURES_PER_S)

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add = router.add_api_route
        add("/v1/tokens", self.issue, methods=["POST"], summary="An API key for a token.")
        add("/v1/keys.json", self.signing_keys, methods=["GET"], summary="Public signing keys (RFC 7517).")

    @public
    async def issue(
        self,
        request: Request,
        response: Response,
        body: KeyShown | None = None,
        authorization: Annotated[str | None, Header(description="`Bearer gpk_…`")] = None,
    ) -> Token:
        response.headers["Cache-Control"] = "no-store"
        try:
            key = read_api_key(body.api_key if body else bearer(authorization))
            row = await self.right(key)
        except Unauthenticated as refused:
            self.count_failure(request)
            raise refused from None
        position = self._parts.access.position
        token, expires_at = self._parts.signer.token(
            (row["principal_kind"], row["principal_id"]), row["tenant_id"], position, key_id=key.key_id
        )
        return Token(access_token=token, expires_at=expires_at, position=position)

    async def right(self, key: ApiKey) -> Record:
        """The row of a key whose secret is right and which is in force."""
        row = await self._row_of(key)
        same = hmac.compare_digest(row["secret_sha256"] if row else _NO_DIGEST, key.sha256)
        if row is None or not same or key.profile != self._parts.profile:
            raise Unauthenticated(_NOT_GOOD)
        try:
            holder = (row["principal_kind"], row["principal_id"])
            self._parts.access.credentials.demand_live_key(key.key_id, holder, self._parts.clock.now())
        except Unauthenticated:
            raise Unauthenticated(_NOT_GOOD) from None
        self._parts.key_uses.note(row["tenant_id"], key.key_id)
        return row

    async def _row_of(self, key: ApiKey) -> Record | None:
        """What is kept of the key. Ids that were never issued do not reach the database."""
        access = self._parts.access
        if not access.credentials.knows_key(key.key_id):
            if not self._parts.access_reader.caught_up:
                raise Unavailable("iam is still reading who has which key; try again in a second", retry_after_s=1)
            return None
        row = await API_KEYS.presented(self._parts.database, key.key_id)
        if row is None:  # issued a moment ago: access was quicker than the table
            await self._parts.api_keys_reader.reached(access.position, SETTLE_S)
            row = await API_KEYS.presented(self._parts.database, key.key_id)
        return row

    def count_failure(self, request: Request) -> None:
        address = request.client.host if request.client else "unknown"
        if wait_s := self._failures.take(address.encode()):
            raise TooManyFailures(
                "too many failed sign-ins from this address; wait before the next", retry_after_s=max(1, round(wait_s))
            )

    @public
    async def signing_keys(self, response: Response) -> dict[str, Any]:
        response.headers["Cache-Control"] = "public, max-age=300"
        return {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "alg": ALGORITHM,
                    "use": "sig",
                    "kid": key.key_id,
                    "x": base64.urlsafe_b64encode(key.public.public_bytes_raw()).decode().rstrip("="),
                }
                for key in self._parts.access.signing_keys(self._parts.clock.now())
            ]
        }
