"""An OpenID provider that can be told to be odd. One law: each oddity is one, and the rest is as it should be."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gpuaas.iam.routes.provider_sign_in import challenge_of


@dataclass
class OddProvider:
    """What it says next.

    Attributes:
        subject: who signs in. `claims`: what its ID token says beside or instead of the right things.
        metadata: the same for its discovery document.
        status: of its token endpoint. `asked`: how often each path was asked.
        key_id: which key it signs with; a new one is shown at once.
    """

    issuer: str
    subject: str = "mira"
    nonce: str = ""
    challenge: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    asked: Counter[str] = field(default_factory=Counter)
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)

    def turn_keys(self, key_id: str) -> None:
        """Sign with a new key, and show that one alone."""
        self.keys = {key_id: Ed25519PrivateKey.generate()}

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        self.asked[path] += 1
        match path:
            case "/.well-known/openid-configuration":
                endpoints = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/keys"}
                told = {name: self.issuer + at for name, at in endpoints.items()} | {"issuer": self.issuer}
                return 200, told | self.metadata
            case "/keys":
                algorithm = jwt.algorithms.OKPAlgorithm
                shown = [json.loads(algorithm.to_jwk(each.public_key())) for each in self.keys.values()]
                return 200, {"keys": [each | {"kid": kid} for each, kid in zip(shown, self.keys, strict=True)]}
            case "/token":
                form = dict(parse_qsl(body.decode()))
                if challenge_of(form["code_verifier"]) != self.challenge:
                    return 400, {"error": "invalid_grant"}
                return self.status, {"id_token": self._token(), "access_token": "none"}
            case _:
                return 404, {}

    def _token(self) -> str:
        now = int(time.time())
        right = {"iss": self.issuer, "aud": "gpuaas", "sub": self.subject, "nonce": self.nonce, "iat": now}
        right |= {"exp": now + 60, "email": f"{self.subject}@example.com", "email_verified": True}
        [(kid, private)] = self.keys.items()
        return jwt.encode(right | self.claims, private, algorithm="EdDSA", headers={"kid": kid})


@asynccontextmanager
async def odd_provider() -> AsyncIterator[OddProvider]:
    """It listens until the block ends."""
    provider = OddProvider("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lengths = [line.partition(":")[2] for line in head.splitlines() if line.lower().startswith("content-length:")]
        body = await reader.readexactly(int(lengths[0])) if lengths else b""
        status, told = provider.answer(head.split(" ")[1], body)
        text = json.dumps(told).encode()
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(text)) + text)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        provider.issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        provider.turn_keys("k-1")
        yield provider
    finally:
        server.close()
        await server.wait_closed()
