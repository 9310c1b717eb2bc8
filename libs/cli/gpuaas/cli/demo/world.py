"""The demo's stage: a running stack whose world has its own pace. One law: everything goes through the real doors."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import nats
from gpuaas.cli.client import Suite
from gpuaas.cli.demo.trace import WORLD_EPOCH
from gpuaas.cli.state import Endpoints
from gpuaas.cli.supervisor import Progress
from gpuaas.cli.up import Stack
from gpuaas.common.clock import Pace, PacedClock
from gpuaas.common.service import PACE_SUBJECT

NOTICE_S: Final = 0.25
"""Real seconds between announcing a pace and its beginning, so that every process hears of it before."""
AGENT_STOP_S: Final = 5.0


@dataclass(slots=True)
class World:
    """The running stack, a client with the operator's rights, and the clock that all processes share."""

    stack: Stack
    endpoints: Endpoints
    operator: Suite
    clock: PacedClock

    async def set_pace(self, rate: float, world: datetime | None = None) -> None:
        """From `NOTICE_S` from now on the world runs `rate` times as fast, from where it stands or from `world`."""
        begins_s = time.time() + NOTICE_S
        at_begin = self.clock.now() + timedelta(seconds=NOTICE_S * self.rate)
        pace = Pace(begins_s, max(world, at_begin) if world else at_begin, rate)
        connection = await nats.connect(self.stack.operator_nats_url.split(","), inbox_prefix=b"_INBOX_operator")
        try:
            await connection.publish(PACE_SUBJECT, pace.encode().encode())
            await connection.flush()
        finally:
            await connection.close()
        self.clock.change(pace)
        self.stack.remember({"GPUAAS_CLOCK_PACE": pace.encode()})
        await asyncio.sleep(NOTICE_S)

    @property
    def rate(self) -> float:
        """World seconds in one real second."""
        return 1.0 / self.clock.real_seconds(1.0)

    async def until(self, moment: datetime) -> None:
        """Sleep until the world's clock shows `moment`."""
        while (left := (moment - self.clock.now()).total_seconds()) > 0:
            await asyncio.sleep(min(self.clock.real_seconds(left), 0.5))

    def member(self, api_key: str) -> Suite:
        """A client of the same doors as somebody else."""
        return Suite(self.endpoints.services, api_key)


@asynccontextmanager
async def running_world(state_dir: Path | None, progress: Progress) -> AsyncIterator[World]:
    """Start the stack in the demo profile, an hour before the world's epoch, at real speed; stop it at the end."""
    pace = Pace(time.time(), WORLD_EPOCH - timedelta(hours=1), 1.0)
    stack = Stack(state_dir, profile="demo", environment={"GPUAAS_CLOCK_PACE": pace.encode()}, progress=progress)
    endpoints = await stack.start()
    try:
        async with Suite(endpoints.services, stack.operator_key) as operator:
            yield World(stack, endpoints, operator, PacedClock(pace))
    finally:
        await stack.stop()


@asynccontextmanager
async def beating(world: World, nodes_file: Path) -> AsyncIterator[None]:
    """The node agent, speaking for every machine in the file, as a process of its own."""
    log = world.stack.log_path("node-agent")
    with log.open("ab") as out:
        agent = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gpuaas.nodes.agent",
            "--nodes-file",
            str(nodes_file),
            env={**os.environ, "GPUAAS_NATS_URL": world.endpoints.nats_url_of("agent")},
            stdout=out,
            stderr=out,
        )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            agent.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(agent.wait(), AGENT_STOP_S)
        if agent.returncode is None:
            agent.kill()
            await agent.wait()
