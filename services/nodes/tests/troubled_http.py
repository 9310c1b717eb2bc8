"""A way to a real HTTP back end that goes wrong at chosen calls, and counts what really changed there. One law: it
changes nothing that it does not say."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence

import httpx
from provider_contract import Trouble

SLOW_S = 0.2


def verb_of(request: httpx.Request) -> str:
    """Which ability of the port a request is the decisive step of; the others are never troubled."""
    path = request.url.path
    if request.method == "POST" and path == "/v1/nodes":
        return "adopt"
    if request.method == "PUT" and path.endswith("/states/power"):
        return "power"
    if request.method == "PUT" and path.endswith("/states/provision"):
        return "erase" if json.loads(request.content)["target"] == "clean" else "manage"
    if request.method == "GET" and not request.url.query:
        return "observe"
    return "look"


class TroubledTransport(httpx.AsyncBaseTransport):
    """Args: effects: shared by all clients of one back end; troubles: verb → what happens to its first calls."""

    def __init__(self, effects: Counter[str], troubles: Mapping[str, Sequence[Trouble]]) -> None:
        self._real = httpx.AsyncHTTPTransport()
        self._effects = effects
        self._troubles = {verb: list(each) for verb, each in troubles.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        verb = verb_of(request)
        waiting = self._troubles.get(verb, [])
        trouble = waiting.pop(0) if waiting else Trouble.NONE
        match trouble:
            case Trouble.BEFORE:
                raise httpx.ConnectTimeout("no answer", request=request)
            case Trouble.CONFLICT:
                return httpx.Response(409, json={"error_message": "Node is locked by host a"}, request=request)
            case Trouble.ERROR:
                return httpx.Response(503, text="no server is available", request=request)
        answer = await self._real.handle_async_request(request)
        content = await answer.aread()
        await answer.aclose()
        if answer.status_code in (201, 202):
            self._effects[verb] += 1
        match trouble:
            case Trouble.AFTER:
                raise httpx.ReadTimeout("no answer", request=request)
            case Trouble.WRONG_JSON:
                return httpx.Response(answer.status_code, text="<html>gateway</html>", request=request)
            case Trouble.SLOW:
                await asyncio.sleep(SLOW_S)
        headers = {"content-type": answer.headers.get("content-type", "application/json")}
        return httpx.Response(answer.status_code, headers=headers, content=content, request=request)

    async def aclose(self) -> None:
        await self._real.aclose()
