"""What every request passes before any route sees it: limits, metrics, a trace. One law: a limit on everything.

Pure ASGI, because it runs on every request of every service.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from gpuaas.common.telemetry import REQUEST_SECONDS, about, span, tenant_in
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PROBLEM: Final = "application/problem+json"
CALLERS_MAX: Final = 10_000
"""Callers whose rate is remembered; the least recently seen is forgotten first."""


class Buckets:
    """Token buckets by caller: `rate` per second sustained, twice that at once."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, caller: bytes) -> float:
        """Take one token; 0.0 if there was one, else the seconds until there is."""
        now = time.monotonic()
        left, since = self._buckets.pop(caller, (2.0 * self._rate, now))
        left = min(2.0 * self._rate, left + (now - since) * self._rate)
        granted = left >= 1.0
        self._buckets[caller] = (left - 1.0 if granted else left, now)
        if len(self._buckets) > CALLERS_MAX:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1.0 - left) / self._rate


class Door:
    """ASGI middleware: rate limit, body limit, request metrics, one span.

    Args:
        body_bytes_max: most bytes of a body; paths in `streamed` are bounded by their own routes instead.
        streamed: path prefixes whose routes read their bodies piece by piece.
    """

    def __init__(self, app: ASGIApp, *, requests_per_s: int, body_bytes_max: int, streamed: Sequence[str] = ()) -> None:
        self._app = app
        self._buckets = Buckets(requests_per_s)
        self._body_bytes_max = body_bytes_max
        self._streamed = tuple(streamed)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        credential = _credential(headers)
        # A credential that no service has believed yet is no name: all of an address's strangers share its bucket,
        # so that making up a new one for each request buys nothing.
        caller = credential if credential in self._known else _address(scope)
        if wait_s := self._buckets.take(caller or b""):
            detail = f"more requests than this service takes from one caller; retry in {wait_s:.2f} s"
            await _problem(send, 429, "rate-limited", detail, retry_after_s=max(1, round(wait_s)))
            return
        status = await self._measured(scope, self._bounded(scope, headers, receive), send, headers)
        if credential is not None and status not in (401, 404, 405, 429):
            self._known[credential] = None
            self._known.move_to_end(credential)
            if len(self._known) > CALLERS_MAX:
                self._known.popitem(last=False)

    async def _measured(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> int:
        began = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        traceparent = headers.get(b"traceparent", b"").decode("ascii", "replace") or None
        try:
            with about(tenant_in(scope["path"])), span(f"{scope['method']} {scope['path']}", traceparent):
                await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unrouted")
            REQUEST_SECONDS.labels(scope["method"], route, str(status)).observe(time.perf_counter() - began)
        return status

    def _bounded(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        if scope["path"].startswith(self._streamed) and self._streamed:
            return receive
        announced = headers.get(b"content-length", b"")
        too_large = announced.isdigit() and int(announced) > self._body_bytes_max
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message: Message = {} if too_large else await receive()
            taken += len(message.get("body", b""))
            if too_large or taken > self._body_bytes_max:
                raise HTTPException(413, f"the body is larger than {self._body_bytes_max:,} bytes; send less at once")
            return message

        return counted


def _credential(headers: dict[bytes, bytes]) -> bytes | None:
    """The digest of what the caller shows, or None."""
    shown = headers.get(b"authorization")
    return hashlib.blake2b(shown, digest_size=16).digest() if shown else None


def _address(scope: Scope) -> bytes:
    return str((scope.get("client") or ("unknown",))[0]).encode()


async def _problem(send: Send, status: int, code: str, detail: str, retry_after_s: int | None = None) -> None:
    body = json.dumps({"type": f"urn:gpuaas:{code}", "title": code, "status": status, "detail": detail}).encode()
    headers = [(b"content-type", PROBLEM.encode()), (b"content-length", str(len(body)).encode())]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
