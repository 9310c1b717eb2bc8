"""The installation observed over HTTP. One law: only what is open to everybody is asked, and each time anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import httpx
from gpuaas.evidence.domain.live_state import document, service_seen

TIMEOUT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024

Holders = Callable[[], Mapping[str, Iterable[str]]]
"""Permission → who holds it now."""


class HttpInstallation:
    """Every service's `/readyz` and `/openapi.json`.

    Args:
        addresses: service name → base URL.
        holders: rights in force, as this process knows them from iam's events.
    """

    def __init__(self, addresses: Mapping[str, str], holders: Holders) -> None:
        self._addresses = dict(addresses)
        self._holders = holders

    async def observe(self) -> bytes:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            names = sorted(self._addresses)
            seen = await asyncio.gather(*(self._look(client, self._addresses[name]) for name in names))
        return document(dict(zip(names, seen, strict=True)), self._holders())

    async def _look(self, client: httpx.AsyncClient, address: str) -> dict[str, Any]:
        return service_seen(await _asked(client, f"{address}/readyz"), await _asked(client, f"{address}/openapi.json"))


async def _asked(client: httpx.AsyncClient, url: str) -> dict[str, Any] | None:
    try:
        async with client.stream("GET", url) as answer:
            content = bytearray()
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > ANSWER_BYTES_MAX:
                    return None
        told = httpx.Response(answer.status_code, content=bytes(content)).json()
    except (httpx.HTTPError, ValueError):
        return None
    return told if isinstance(told, dict) else None
