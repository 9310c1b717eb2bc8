"""A client of the suite's doors. One law: what you wrote you can read: every question waits for your last command.

Retries what is safe to repeat: every command carries an Idempotency-Key, so a repeat after a lost answer is the same
command. Tokens are fetched from the API key and renewed before they end.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from gpuaas.cli.session import SessionFile
from gpuaas.common.ids import new_id

ATTEMPTS_MAX: Final = 8
TIMEOUT_S: Final = 30.0
READY_S: Final = 5.0
"""How long a service may take to say how it is."""
PAGE_LIMIT: Final = 500
_RENEW_BEFORE_S: Final = 60.0
_AGAIN: Final = frozenset({429, 502, 503, 504})


class Refused(Exception):
    """A service answered with a problem document (RFC 9457).

    Attributes:
        status: HTTP status.
        problem: the document.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))
        self.status = status
        self.problem = dict(problem)


class Unreachable(Exception):
    """A service did not answer, for longer than retries last."""


class Suite:
    """The seven doors as one principal.

    Args:
        addresses: service name → base URL.
        credential: an API key (`gpk_…`), exchanged for short-lived tokens at iam, or the session of who signed in here.
        connections_max: open connections to all services together.
    """

    def __init__(self, addresses: Mapping[str, str], credential: str | SessionFile, connections_max: int = 64) -> None:
        self._addresses = dict(addresses)
        self._credential = credential
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT_S,
            limits=httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max),
        )
        self._token = ""
        self._token_ends = 0.0
        self._nobody_signs = False
        self._signing_in = asyncio.Lock()
        self.position = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(self, service: str, path: str, *, at_least: int | None = None, **params: Any) -> Any:
        """The JSON answer to a question that has seen this client's commands (or `at_least`)."""
        given = {name: value for name, value in params.items() if value is not None}
        answer = await self._send("GET", service, path, at_least=at_least, params=given)
        return answer.json()

    async def get_bytes(self, service: str, path: str, accept: str = "*/*") -> bytes:
        """The body of an answer as it is."""
        return (await self._send("GET", service, path, headers={"Accept": accept})).content

    async def save(self, service: str, path: str, file: Path) -> int:
        """Write the body of an answer to a file as it comes, whole or not at all; how many bytes."""
        part = file.with_name(f"{file.name}.part")
        await self._send("GET", service, path, into=part)
        part.replace(file)
        return file.stat().st_size

    async def post(self, service: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """Give a command; `key` makes a later repeat by another process the same command."""
        headers = {"Idempotency-Key": key or new_id()}
        return (await self._send("POST", service, path, json=body, headers=headers)).json()

    async def put(self, service: str, path: str, body: Any) -> Any:
        """Say what something is to be."""
        return (await self._send("PUT", service, path, json=body, headers={"Idempotency-Key": new_id()})).json()

    async def put_bytes(self, service: str, path: str, content: bytes | AsyncIterable[bytes], media_type: str) -> Any:
        """Store bytes under a name that the caller chose; pieces that begin anew each time they are iterated."""
        answer = await self._send("PUT", service, path, content=content, headers={"Content-Type": media_type})
        return answer.json() if answer.content else None

    async def delete(self, service: str, path: str) -> Any:
        """Take something back."""
        answer = await self._send("DELETE", service, path, headers={"Idempotency-Key": new_id()})
        return answer.json() if answer.content else None

    async def items(self, service: str, path: str, **params: Any) -> AsyncIterator[dict[str, Any]]:
        """Every item of a paged list."""
        cursor: str | None = None
        while True:
            page = await self.get(service, path, limit=PAGE_LIMIT, cursor=cursor, **params)
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    async def ready(self, service: str) -> dict[str, Any] | None:
        """What `/readyz` tells, with reasons where this principal may read them; None when nobody answers."""
        try:
            answer = await self._http.get(self._url(service, "/readyz"), timeout=READY_S)
        except httpx.TransportError:
            return None
        told: dict[str, Any] = answer.json()
        return await self._reasons(service) or told

    async def _reasons(self, service: str) -> dict[str, Any] | None:
        """The same with reasons; None where the answer needs more than is up just now."""
        if self._nobody_signs:
            return None
        try:
            async with asyncio.timeout(READY_S):
                headers = {"Authorization": f"Bearer {await self._bearer()}"}
                answer = await self._http.get(self._url(service, "/v1/readiness"), headers=headers)
        except (TimeoutError, Unreachable, Refused):
            self._nobody_signs = not self._token
            return None
        except httpx.TransportError:
            return None
        told: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return told

    def _url(self, service: str, path: str) -> str:
        try:
            return self._addresses[service] + path
        except KeyError:
            known = ", ".join(sorted(self._addresses))
            raise Unreachable(f"no address is known for {service}; there are {known}") from None

    async def _send(
        self,
        method: str,
        service: str,
        path: str,
        *,
        at_least: int | None = None,
        headers: Mapping[str, str] | None = None,
        into: Path | None = None,
        **rest: Any,
    ) -> httpx.Response:
        said: Exception = Unreachable(f"{service} did not answer")
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(min(0.1 * 2**attempt, 3.0) * (0.5 + random.random() / 2))
            given = {
                "Authorization": f"Bearer {await self._bearer()}",
                "GPUaaS-At-Least": str(at_least if at_least is not None else self.position),
                **(headers or {}),
            }
            try:
                answer = await self._answered(method, self._url(service, path), into, headers=given, **rest)
            except httpx.TransportError as lost:
                said = Unreachable(
                    f"{service} does not answer at {self._url(service, '')}: {lost or type(lost).__name__}"
                )
                continue
            if answer.status_code < 400:
                self.position = max(self.position, int(answer.headers.get("GPUaaS-Position", 0)))
                return answer
            said = _refused(answer)
            if answer.status_code == 401:
                self._token_ends = 0.0
            elif answer.status_code not in _AGAIN:
                break
        raise said

    async def _answered(self, method: str, url: str, into: Path | None, **rest: Any) -> httpx.Response:
        """The answer; with `into`, its body goes there and not into memory."""
        if into is None:
            return await self._http.request(method, url, **rest)
        async with self._http.stream(method, url, **rest) as answer:
            if answer.status_code >= 400:
                await answer.aread()
            else:
                with into.open("wb") as file:
                    async for piece in answer.aiter_bytes():
                        file.write(piece)
        return answer

    async def _bearer(self) -> str:
        async with self._signing_in:
            if time.monotonic() >= self._token_ends:
                await self._sign_in()
            return self._token

    async def _sign_in(self) -> None:
        if isinstance(self._credential, SessionFile):
            self._token, left = await self._renewed(self._credential)
            self._token_ends = time.monotonic() + max(5.0, left - _RENEW_BEFORE_S)
            return
        for attempt in range(ATTEMPTS_MAX):
            try:
                answer = await self._http.post(
                    self._url("iam", "/v1/tokens"), headers={"Authorization": f"Bearer {self._credential}"}
                )
            except httpx.TransportError as lost:
                if attempt == ATTEMPTS_MAX - 1:
                    raise Unreachable(f"iam does not answer: {lost or type(lost).__name__}") from lost
            else:
                if answer.status_code < 400:
                    told = answer.json()
                    self._token = told["access_token"]
                    self._token_ends = time.monotonic() + max(5.0, float(told["expires_in"]) - _RENEW_BEFORE_S)
                    return
                if answer.status_code not in _AGAIN or attempt == ATTEMPTS_MAX - 1:
                    raise _refused(answer)
            await asyncio.sleep(0.1 * 2**attempt)

    async def _renewed(self, session: SessionFile) -> tuple[str, float]:
        try:
            return await session.token(self._http, self._url("iam", ""))
        except httpx.HTTPError as lost:
            raise Unreachable(f"iam does not renew your session: {lost or type(lost).__name__}") from lost


def _refused(answer: httpx.Response) -> Refused:
    try:
        problem = answer.json()
    except ValueError:
        problem = {"detail": f"{answer.request.url} answered {answer.status_code} without saying why"}
    return Refused(answer.status_code, problem if isinstance(problem, dict) else {"detail": str(problem)})
