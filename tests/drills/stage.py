"""What flows and drills play on: a state folder, a small fleet, small jobs, a world. One law: it leaves nothing."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import nats
from gpuaas.cli.client import Suite
from gpuaas.cli.demo import trace
from gpuaas.cli.demo.trace import WORLD_EPOCH, Host, Job
from gpuaas.cli.demo.world import World
from gpuaas.cli.supervisor import Backoff
from gpuaas.cli.up import Stack
from gpuaas.common.clock import Pace, PacedClock
from gpuaas.common.logs.jetstream import JetStreamLog

SMALL_FLEET: Final = tuple(trace.fleet(8))
QUICK_RESTART: Final = Backoff(first_s=0.1, most_s=1.0)


@contextmanager
def state_folder() -> Iterator[Path]:
    """A new state folder where PostgreSQL's unprivileged user can come; removed at the end."""
    made = Path(tempfile.mkdtemp(prefix="gpuaas-test-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        elsewhere = made / "postgres" / "data-is-in"
        if elsewhere.exists():
            shutil.rmtree(elsewhere.read_text("utf-8").strip(), ignore_errors=True)
        shutil.rmtree(made, ignore_errors=True)


@asynccontextmanager
async def steady_world(folder: Path, rate: float, since: datetime = WORLD_EPOCH) -> AsyncIterator[World]:
    """A running suite whose world has one pace from its start on, so that a process that comes back has it too."""
    pace = Pace(time.time(), since, rate)
    environment = {"GPUAAS_CLOCK_PACE": pace.encode()}
    stack = Stack(folder, profile="demo", environment=environment, restart=QUICK_RESTART)
    endpoints = await stack.start()
    try:
        async with Suite(endpoints.services, stack.operator_key) as operator:
            yield World(stack, endpoints, operator, PacedClock(pace))
    finally:
        await stack.stop()


@asynccontextmanager
async def open_log(world: World) -> AsyncIterator[JetStreamLog]:
    """The world's log, read as the operator, who may not write to it."""
    connection = await nats.connect(world.stack.operator_nats_url, inbox_prefix=b"_INBOX_operator")
    try:
        yield JetStreamLog(lambda: connection)
    finally:
        await connection.close()


async def stored(world: World, subjects: str) -> int:
    """How many events stand on the subjects (a NATS filter)."""
    async with open_log(world) as log:
        return len(await log.history(subjects))


def unheard(*_: object) -> None:
    """Nobody watches the progress."""


def nodes_file(folder: Path, hosts: Sequence[Host]) -> Path:
    """The list of machines that the node agent speaks for."""
    path = folder / "nodes.txt"
    path.write_text("\n".join(host.name for host in hosts) + "\n", "utf-8")
    return path


def small_jobs(count: int, tenants: int) -> list[Job]:
    """`count` jobs of the trace that fit a small fleet and a short test, of `tenants` tenants, evenly by arrival."""
    fitting = [job for job in trace.jobs(1_000) if job.gpu_count <= 16 and job.run_s <= 2 * 3_600]
    names = sorted({job.tenant for job in fitting})[:tenants]
    theirs = [job for job in fitting if job.tenant in names]
    return [theirs[number * len(theirs) // count] for number in range(count)]
