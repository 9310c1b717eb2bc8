"""Where a browser comes back to with a sign-in code (RFC 8252 §7.3). One law: one answer, to the question asked.

A listener on a free port of 127.0.0.1, for one sign-in. PKCE (RFC 7636): whoever else reads the code cannot use it.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from gpuaas.common.errors import Misconfigured

REQUEST_BYTES_MAX: Final = 16_384
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>gpuaas</title>
<p>{said} You can close this window.</p></html>
"""


class NotSignedIn(Misconfigured):
    """The sign-in came to nothing; the sentence says why."""

    code = "not-signed-in"


@dataclass
class Loopback:
    """One sign-in: `redirect_uri` is where its browser comes back to."""

    redirect_uri: str = ""
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    _told: asyncio.Future[dict[str, str]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def address(self, iam: str, provider: str, client: str) -> str:
        """What the browser opens."""
        challenge = base64.urlsafe_b64encode(sha256(self.verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "provider": provider,
            "client_id": client,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{iam}/v1/oauth/authorize?{urlencode(asked)}"

    async def form(self, within_s: float) -> Mapping[str, str]:
        """The form that gets the session, once the browser has come back.

        Raises:
            NotSignedIn: nobody came, or with a refusal.
        """
        try:
            async with asyncio.timeout(within_s):
                told = await self._told
        except TimeoutError:
            raise NotSignedIn(f"nobody signed in within {within_s / 60:.0f} minutes; try again") from None
        if "code" not in told:
            raise NotSignedIn(told.get("error_description") or told.get("error") or "the sign-in was refused")
        return {
            "grant_type": "authorization_code",
            "code": told["code"],
            "code_verifier": self.verifier,
            "redirect_uri": self.redirect_uri,
        }

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of whatever has found the port; only the answer to our question counts."""
        try:
            line = (await reader.readline()).decode("latin-1").split(" ")
            url = urlsplit(line[1] if len(line) == 3 and line[0] == "GET" else "")
            told = dict(parse_qsl(url.query))
            ours = url.path == "/back" and hmac.compare_digest(told.get("state", "").encode(), self.state.encode())
            if ours and not self._told.done():
                self._told.set_result(told)
            said = "You are signed in." if ours and "code" in told else "You are not signed in."
            page = _PAGE.format(said=said).encode()
            head = f"HTTP/1.1 {200 if ours else 404} x\r\nContent-Type: text/html; charset=utf-8\r\n"
            head += f"Content-Length: {len(page)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + page)
            await writer.drain()
        except (ConnectionError, ValueError):
            return  # a browser that went away, or something that is none
        finally:
            writer.close()


@asynccontextmanager
async def loopback() -> AsyncIterator[Loopback]:
    """It listens until the block ends."""
    waiting = Loopback()
    server = await asyncio.start_server(waiting.answer, "127.0.0.1", 0, limit=REQUEST_BYTES_MAX)
    waiting.redirect_uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/back"
    try:
        yield waiting
    finally:
        server.close()
