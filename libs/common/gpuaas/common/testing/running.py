"""A whole service inside a test: real broker, real database, real HTTP. One law: what it started it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from gpuaas.common.embedded.process import free_port
from gpuaas.common.envelope import Recorded
from gpuaas.common.log import EventLog
from gpuaas.common.service import Service
from gpuaas.common.settings import Settings
from gpuaas.common.testing.stack import TestStack

Given = TypeVar("Given", bound=Settings)
READY_TIMEOUT_S = 60.0
PATIENCE_S = 30.0
"""How long a question waits for a view: tests share few cores, and what they test is not how few."""


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Run `service` until the block ends; gives a client of its door once it is ready."""
    await service.open_door()
    await service.broker.start()
    client = httpx.AsyncClient(base_url=f"http://{service.settings.http_host}:{service.settings.http_port}", timeout=30)
    try:
        await service.start()
        await until_ready(client)
        yield client
    finally:
        await client.aclose()
        await service.stop()
        await service.broker.stop()


async def until_ready(client: httpx.AsyncClient) -> None:
    """Wait for `/readyz`; a service that does not get there fails the test with what it says of itself."""
    told: Any = "no answer"
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while True:
                try:
                    answer = await client.get("/readyz")
                    told = answer.json()
                    if answer.status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not ready within {READY_TIMEOUT_S} s: {told}") from None


@asynccontextmanager
async def fresh_settings(stack: TestStack, kind: type[Given], directory: Path, **given: Any) -> AsyncIterator[Given]:
    """Settings for a service on a log and a database of its own, and a free port."""
    async with stack.fresh_log() as log, stack.fresh_database() as dsn:
        patient = {"ready_timeout_s": PATIENCE_S} | given
        yield kind(nats_url=log.url, postgres_dsn=dsn, http_port=free_port(), state_dir=directory, **patient)


async def eventually(true: Callable[[], Any], within_s: float = 60.0) -> None:
    """Wait until a condition (sync or async) holds; fails the test after `within_s` seconds."""
    async with asyncio.timeout(within_s):
        while True:
            answer = true()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.02)


async def spoken(log: EventLog) -> int:
    """Position of the newest event that does not come by time alone (`told_by_time`)."""
    position = await log.last_position()
    while position and (recorded := await log.at(position)) is not None and told_by_time(recorded):
        position -= 1
    return position


def told_by_time(recorded: Recorded) -> bool:
    """Whether it is about refusals, visits from above or keys that were used: those come when they are due."""
    return ".access." in recorded.subject or recorded.type.endswith(".api-key-used.v1")
