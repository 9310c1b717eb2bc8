"""All services of the suite in this process, on one log. One law: built and run as they are, nothing stands in."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import httpx
from gpuaas.cli.service_table import SERVICES
from gpuaas.common.embedded.process import free_port
from gpuaas.common.log import EventLog
from gpuaas.common.service import Service
from gpuaas.common.testing.running import running
from gpuaas.common.testing.stack import TestStack

from tools.openapi.describing import Document


@dataclass(frozen=True, slots=True)
class Suite:
    """Every service by name, a client of each one's door, and each one's OpenAPI document."""

    services: Mapping[str, Service]
    clients: Mapping[str, httpx.AsyncClient]
    documents: Mapping[str, Document]

    @property
    def log(self) -> EventLog:
        return self.services["iam"].log


@asynccontextmanager
async def whole_suite(stack: TestStack, directory: Path, **given: Any) -> AsyncIterator[Suite]:
    """All services, ready, on a log of their own and a database each. `given`: settings beyond addresses."""
    async with AsyncExitStack() as opened:
        log = await opened.enter_async_context(stack.fresh_log())
        services: dict[str, Service] = {}
        for entry in SERVICES:
            app = importlib.import_module(entry.module)
            settings_type = get_type_hints(app.build)["settings"]
            services[entry.name] = app.build(
                settings_type(
                    nats_url=log.url,
                    postgres_dsn=await opened.enter_async_context(stack.fresh_database()),
                    http_port=free_port(),
                    state_dir=directory / entry.name,
                    **given,
                )
            )
        clients = await asyncio.gather(*(_kept(opened, service) for service in services.values()))
        yield Suite(
            services=services,
            clients=dict(zip(services, clients, strict=True)),
            documents={name: service.document() for name, service in services.items()},
        )


async def _kept(opened: AsyncExitStack, service: Service) -> httpx.AsyncClient:
    return await opened.enter_async_context(running(service))
