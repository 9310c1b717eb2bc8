"""The whole suite as people start it: how long, how large, how fast it is refused. One law: these are the commands of
the README in processes of their own, on a folder of their own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from gpuaas.cli.client import Suite
from gpuaas.cli.state import Endpoints, running_endpoints
from gpuaas.common.testing.stack import TestStack

from tests.bench.rows import Row, beside, no_more, percentile
from tests.bench.wire_client import WireClient

GPUAAS: Final = str(Path(sys.executable).parent / "gpuaas")
HELPS: Final = 9
START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 30.0
SETTLED_S: Final = 2.0
REVOCATIONS: Final = 200
KEYS_REVOKED: Final = 50
POLL_S: Final = 0.005
REVOKED_WITHIN_S: Final = 30.0
JOBS, HOSTS, JOBS_PER_S = 300, 100, 1_000
OF_A_JOB: Final = ("gpuaas.allocations.allocation-", "gpuaas.allocations.claim-", "gpuaas.billing.usage-")
DEMO_TIMEOUT_S: Final = 240.0
MIB: Final = 1024 * 1024


@contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gpuaas-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


# -- the command line ------------------------------------------------------------------------------------------


async def suite_help(_: TestStack) -> list[Row]:
    """`gpuaas --help` as a process, beside a Python that does nothing."""
    helped, nothing = [median(each) for each in zip(*(_help_and_nothing() for _ in range(HELPS)), strict=True)]
    return [no_more("gpuaas --help", helped, "ms", 150, nothing)]


def _help_and_nothing() -> list[float]:
    """Milliseconds of each, one after the other."""
    took_ms: list[float] = []
    for command in ((GPUAAS, "--help"), (sys.executable, "-c", "pass")):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took_ms.append((time.perf_counter() - began) * 1e3)
    return took_ms


# -- start, memory, revocation -------------------------------------------------------------------------------


@asynccontextmanager
async def _up(state_dir: Path) -> AsyncIterator[tuple[float, Endpoints, int]]:
    """`gpuaas up` until the block ends: seconds until it says that all is ready, its endpoints, its process id."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        GPUAAS,
        "up",
        "--json",
        env={**os.environ, "GPUAAS_STATE_DIR": str(state_dir)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            said = await process.stdout.readline()
        took = time.perf_counter() - began
        assert said, "gpuaas up ended before anything was ready"
        yield took, running_endpoints(state_dir), process.pid
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()


async def suite_start(_: TestStack) -> list[Row]:
    """First and second start, and memory once all is quiet."""
    with _folder() as state_dir:
        async with _up(state_dir) as (first_s, _endpoints, _pid):
            pass
        async with _up(state_dir) as (second_s, _endpoints, pid):
            await asyncio.sleep(SETTLED_S)
            memory = memory_of(pid)
    return [
        no_more("gpuaas up, first start to all ready", first_s, "s", 8),
        no_more("gpuaas up, second start to all ready", second_s, "s", 4, first_s),
        Row(
            "memory of the whole suite, PSS against the sum of RSS",
            memory.pss_bytes / MIB,
            "MiB",
            memory.rss_bytes / MIB,
            memory.pss_bytes / memory.rss_bytes,
        ),
        Row("memory of the whole suite is that of", memory.processes, "processes"),
    ]


async def suite_revocations(_: TestStack) -> list[Row]:
    """How soon every service refuses whom it just served: rights that end, and keys that are revoked.

    Beside each stands how long the order itself took: from then on iam says that it is done.
    """
    with _folder() as state_dir:
        async with _up(state_dir) as (_start_s, endpoints, _pid):
            await asyncio.sleep(SETTLED_S)
            rights = await _revocations(endpoints)
            keys = await _keys_revoked(endpoints)
    rows: list[Row] = []
    for what, took in (("right ended", rights), ("key revoked", keys)):
        name = f"{what}, refused by all {len(endpoints.services)} services"
        refused_ms, ordered_ms = ([each[place] for each in took] for place in (0, 1))
        for share in (0.5, 0.99):
            at, beside_it = percentile(refused_ms, share), percentile(ordered_ms, share)
            label = f"{name}, p{share * 100:.0f} of {len(took)}"
            rows.append(no_more(label, at, "ms", 250, beside_it) if share > 0.5 else beside(label, at, "ms", beside_it))
    return rows


@dataclass(slots=True)
class Memory:
    """Of a process and all below it; PSS counts a page that n processes share as 1/n in each."""

    processes: int = 0
    pss_bytes: int = 0
    rss_bytes: int = 0


def memory_of(root: int) -> Memory:
    """Read from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    total = Memory()
    for pid in family:
        lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        kib = {words[0]: int(words[1]) for words in lines}
        total.processes += 1
        total.pss_bytes += kib["Pss:"] * 1_024
        total.rss_bytes += kib["Rss:"] * 1_024
    return total


async def _revocations(endpoints: Endpoints) -> list[tuple[float, float]]:
    """Milliseconds from ordering that a right ends until the last service refuses, and until the order was answered;
    each door is asked all the time."""
    async with AsyncExitStack() as opened:
        operator = await opened.enter_async_context(Suite(endpoints.services, endpoints.operator_key()))
        account = (await operator.post("iam", "/v1/service-accounts", {"display_name": "Bench"}))["id"]
        body = {"label": "bench", "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
        key = (await operator.post("iam", f"/v1/service-accounts/{account}/keys", body))["api_key"]
        headers = {"Authorization": f"Bearer {await _token(endpoints, key)}"}
        doors: list[WireClient] = []
        for url in endpoints.services.values():
            at = urlsplit(url)
            door = WireClient(at.hostname or "", at.port or 0, headers)
            doors.append(await opened.enter_async_context(door))
        took_ms: list[tuple[float, float]] = []
        for _ in range(REVOCATIONS):
            bound = {"principal_id": account, "principal_kind": "service-account", "role": "auditor", "reason": "bench"}
            binding = (await operator.post("iam", "/v1/bindings", bound))["id"]
            await asyncio.gather(*(_until(door, 200) for door in doors))
            began = time.perf_counter()
            order = operator.post("iam", f"/v1/bindings/{binding}/end", {"reason": "bench"})
            took_ms.append(await _refused_by_all(doors, 403, order, began))
    return took_ms


async def _refused_by_all(
    doors: list[WireClient], status: int, order: Coroutine[Any, Any, Any], began: float
) -> tuple[float, float]:
    async def given() -> float:
        await order
        return (time.perf_counter() - began) * 1e3

    ordering = asyncio.create_task(given())
    await asyncio.gather(*(_until(door, status) for door in doors))
    refused_ms = (time.perf_counter() - began) * 1e3
    return refused_ms, await ordering


async def _keys_revoked(endpoints: Endpoints) -> list[tuple[float, float]]:
    """The same from ordering that an API key is revoked: every token that came from it."""
    took_ms: list[tuple[float, float]] = []
    async with Suite(endpoints.services, endpoints.operator_key()) as operator:
        account = (await operator.post("iam", "/v1/service-accounts", {"display_name": "Bench"}))["id"]
        bound = {"principal_id": account, "principal_kind": "service-account", "role": "auditor", "reason": "bench"}
        await operator.post("iam", "/v1/bindings", bound)
        keys = f"/v1/service-accounts/{account}/keys"
        for _ in range(KEYS_REVOKED):
            body = {"label": "bench", "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
            made = await operator.post("iam", keys, body)
            headers = {"Authorization": f"Bearer {await _token(endpoints, made['api_key'])}"}
            async with AsyncExitStack() as opened:
                places = [urlsplit(url) for url in endpoints.services.values()]
                clients = [WireClient(at.hostname or "", at.port or 0, headers) for at in places]
                doors = [await opened.enter_async_context(each) for each in clients]
                await asyncio.gather(*(_until(door, 200) for door in doors))
                began = time.perf_counter()
                order = operator.post("iam", f"{keys}/{made['id']}/revoke", {"reason": "bench"})
                took_ms.append(await _refused_by_all(doors, 401, order, began))
    return took_ms


async def _token(endpoints: Endpoints, api_key: str) -> str:
    async with httpx.AsyncClient(base_url=endpoints.services["iam"]) as client:
        answer = await client.post("/v1/tokens", headers={"Authorization": f"Bearer {api_key}"})
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token


async def _until(door: WireClient, wanted: int) -> None:
    async with asyncio.timeout(REVOKED_WITHIN_S):
        while (await door.get("/v1/projections"))[0] != wanted:
            await asyncio.sleep(POLL_S)


# -- the main job ----------------------------------------------------------------------------------------------


async def suite_demo(_: TestStack) -> list[Row]:
    """`gpuaas demo` with all jobs at once: how fast its doors take jobs, and how many events a second come of it."""
    with _folder() as state_dir:
        command = [GPUAAS, "demo", "--json", f"--jobs={JOBS}", f"--hosts={HOSTS}", f"--jobs-per-s={JOBS_PER_S}"]
        process = await asyncio.create_subprocess_exec(
            *command,
            f"--state-dir={state_dir}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEMO_TIMEOUT_S):
            out, err = await process.communicate()
        assert process.returncode == 0, (out.decode() + err.decode())[-2_000:]
    report: dict[str, Any] = json.loads(out)
    jobs, rates = report["input"]["jobs"], report["rates"]
    events = sum(count for kind, count in report["events"]["by_type"].items() if kind.startswith(OF_A_JOB))
    return [
        Row("demo, jobs taken by the door", jobs / rates["submit_s"], "jobs/s"),
        Row("demo, jobs from submission to the last end", jobs / rates["replay_s"], "jobs/s"),
        Row("demo, events of these jobs", events / rates["replay_s"], "events/s"),
        Row("demo, machines enrolled", report["input"]["hosts"] / rates["enrol_s"], "machines/s"),
        Row("demo, the whole story", rates["total_s"], "s"),
    ]
