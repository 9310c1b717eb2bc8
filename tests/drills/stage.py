"""What flows and drills play on: a state folder, a small fleet, small jobs, a world. One law: it leaves nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import nats
from gpuaas.cli.client import Suite
from gpuaas.cli.demo import trace
from gpuaas.cli.demo.trace import WORLD_EPOCH, Host, Job
from gpuaas.cli.demo.world import World
from gpuaas.cli.profile import Profile
from gpuaas.cli.readiness import until_ready
from gpuaas.cli.service_table import service
from gpuaas.cli.supervisor import Backoff
from gpuaas.cli.up import Stack
from gpuaas.common.clock import Pace, PacedClock
from gpuaas.common.embedded.process import free_port
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.testing.running import told_by_time

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
async def steady_world(
    folder: Path,
    rate: float,
    since: datetime = WORLD_EPOCH,
    *,
    profile: Profile | None = None,
    restart: bool = True,
) -> AsyncIterator[World]:
    """A running suite whose world has one pace from its start on, so that a process that comes back has it too."""
    pace = Pace(time.time(), since, rate)
    environment = {"GPUAAS_CLOCK_PACE": pace.encode()}
    again = QUICK_RESTART if restart else None
    stack = Stack(folder, profile=profile or "demo", environment=environment, restart=again)
    endpoints = await stack.start()
    try:
        async with Suite(endpoints.services, stack.operator_key) as operator:
            yield World(stack, endpoints, operator, PacedClock(pace))
    finally:
        await stack.stop()


@asynccontextmanager
async def second_process(
    world: World, name: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """One more process of a service on the same log and database, told what the first was told; and its address."""
    port, entry = free_port(), service(name)
    told = world.stack._extra | world.stack._servers.environment_of(entry, port) | dict(environment or {})
    with world.stack.log_path(f"{name}-2").open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"from {entry.module} import main; main()",
            env={**os.environ, **told},
            stdout=out,
            stderr=out,
        )
    try:
        await until_ready(name, port, world.stack.log_path(f"{name}-2"), 30, lambda: process.returncode is None)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def open_log(world: World) -> AsyncIterator[JetStreamLog]:
    """The world's log, read as the operator, who may not write to it."""
    connection = await nats.connect(world.stack.operator_nats_url.split(","), inbox_prefix=b"_INBOX_operator")
    try:
        yield JetStreamLog(lambda: connection)
    finally:
        await connection.close()


async def stored(world: World, subjects: str) -> int:
    """How many events stand on the subjects (a NATS filter), but for those about refusals and visits, told by time."""
    async with open_log(world) as log:
        return sum(not told_by_time(event) for event in await log.history(subjects))


async def admin_key(world: World, tenant: str) -> str:
    """A new API key that may do in `tenant` whatever a tenant can let anybody do there, and nothing elsewhere."""
    path = f"/v1/tenants/{tenant}/service-accounts"
    account = (await world.operator.post("iam", path, {"display_name": "Tenant's own admin"}))["id"]
    binding = {"principal_id": account, "principal_kind": "service-account", "role": "tenant-admin", "reason": "a test"}
    await world.operator.post("iam", f"/v1/tenants/{tenant}/bindings", binding)
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    issued = await world.operator.post("iam", f"{path}/{account}/keys", {"label": "test", "expires_at": expires})
    key: str = issued["api_key"]
    return key


def member(world: World, api_key: str) -> Suite:
    """A client that has seen everything that the operator has."""
    client = world.member(api_key)
    client.position = world.operator.position
    return client


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
