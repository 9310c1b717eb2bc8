"""A large fleet through the real TELEMETRY path: heartbeats that keep up, and faults that close a machine at once.

One law: the services run in processes of their own, as they do anywhere, and everything goes through their doors, the
stream and the log. By default 2,000 machines beat every two seconds, which is the same thousand heartbeats a second as
10,000 machines every ten; `GPUAAS_BENCH_FLEET=full` enrols those 10,000.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import nats
from gpuaas.common.embedded.process import free_port
from gpuaas.common.errors import Unavailable
from gpuaas.common.ids import new_id
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, until_ready
from gpuaas.common.testing.stack import TestStack
from gpuaas.nodes.adapters.fault_wire import FaultReport, encode_fault, fault_subject_of
from gpuaas.nodes.domain.faults import FaultClass
from nats.aio.client import Client

from tests.bench.on_the_log import log_at
from tests.bench.rows import Row, at_least, beside, no_more, percentile

FULL_VARIABLE: Final = "GPUAAS_BENCH_FLEET"
BIN: Final = Path(sys.executable).parent
MODEL: Final = "nvidia-h100-sxm5-80gb"
PER_POOL: Final = 500
ENROL_AT_ONCE: Final = 200
ENROLLED_WITHIN_S: Final = 1_200.0
RENEWED_AFTER_S: Final = 120.0
SAMPLE_S: Final = 0.5
FAULTS_PER_S: Final = 10.0
ATTEMPTS_MAX: Final = 10
CLOSED_WITHIN_S: Final = 60.0
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
GUARDS_OPEN: Final = {"GPUAAS_DRAIN_BUDGET_SHARE": "1", "GPUAAS_BREAKER_BURST_MAX": "900"}
"""The figure is how fast a machine is closed, so the guards that hold closings back are set wide."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the fleet is, and how long it is watched."""

    nodes: int
    interval_s: float
    rounds: int
    faults: int


SHORT: Final = Size(nodes=2_000, interval_s=2.0, rounds=6, faults=100)
SMALL: Final = Size(nodes=200, interval_s=2.0, rounds=3, faults=20)
"""Whether it runs at all, where other work would make figures of a larger one mean nothing."""
FULL: Final = Size(nodes=10_000, interval_s=10.0, rounds=6, faults=300)


class Badge:
    """An operator's headers; renewed in time, because a token lives five minutes and a large fleet takes longer."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._headers: dict[str, str] = {}
        self._since_s = float("-inf")

    async def headers(self) -> dict[str, str]:
        attempt = 0
        while time.monotonic() - self._since_s > RENEWED_AFTER_S:
            try:
                self._headers, self._since_s = await self._identities.operator(), time.monotonic()
            except Unavailable:
                attempt += 1
                if attempt == ATTEMPTS_MAX:
                    raise
                await asyncio.sleep(1)
        return self._headers


def size() -> Size:
    return {"full": FULL, "small": SMALL}.get(os.environ.get(FULL_VARIABLE, ""), SHORT)


def node_id(number: int) -> str:
    return f"n-{number:05d}"


@asynccontextmanager
async def process(*command: str, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of this environment until the block ends."""
    program, *arguments = command
    started = await asyncio.create_subprocess_exec(
        str(BIN / program),
        *arguments,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.terminate()
        await started.wait()


@asynccontextmanager
async def service(
    stack: TestStack, name: str, nats_url: str, directory: Path, **env: str
) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """One service, ready, on that log and a database of its own; a client of its door and its process id."""
    async with stack.fresh_database() as dsn:
        port = free_port()
        env |= {"GPUAAS_NATS_URL": nats_url, "GPUAAS_POSTGRES_DSN": dsn, "GPUAAS_HTTP_PORT": str(port)}
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)
        async with process(f"gpuaas-{name}", GPUAAS_STATE_DIR=str(directory), **env) as running, client:
            for attempt in range(ATTEMPTS_MAX):
                try:
                    await until_ready(client)
                    break
                except AssertionError:  # a machine with other work may need longer than a test has
                    if attempt == ATTEMPTS_MAX - 1:
                        raise
            yield client, running.pid


async def ordered(client: httpx.AsyncClient, path: str, body: Mapping[str, Any], badge: Badge) -> httpx.Response:
    """The answer to a command; one that is told to come back, or loses its connection, does so with the same key."""
    key = new_id()
    for attempt in range(ATTEMPTS_MAX):
        headers = {**await badge.headers(), "Idempotency-Key": key}
        try:
            answer = await client.post(path, json=dict(body), headers=headers)
        except httpx.TransportError:
            # A connection that was idle for long may be closed just as it is used again.
            if attempt == ATTEMPTS_MAX - 1:
                raise
            continue
        if answer.status_code != 503:
            break
        await asyncio.sleep(min(0.1 * 2**attempt, 3.0))
    return answer


async def enrol(client: httpx.AsyncClient, badge: Badge, count: int) -> float:
    """Register `count` machines at the door and wait until each is available; seconds."""
    began = time.perf_counter()
    for start in range(0, count, ENROL_AT_ONCE):
        body = {"nodes": [_order(number) for number in range(start, min(count, start + ENROL_AT_ONCE))]}
        answer = await ordered(client, "/v1/nodes/batch", body, badge)
        assert answer.status_code == 202, answer.text

    async def all_available() -> bool:
        await asyncio.sleep(0.2)
        rows = (await client.get("/v1/fleet", headers=await badge.headers())).json()["items"]
        return sum(int(row["nodes"]) for row in rows if row["lifecycle"] == "available") == count

    await eventually(all_available, ENROLLED_WITHIN_S)
    return time.perf_counter() - began


def _order(number: int) -> dict[str, Any]:
    pool = number // PER_POOL
    return {
        "node_id": node_id(number),
        "topology": {"region": "r", "site": "s", "pod": f"p{pool}", "rack": f"r{number // 8}"},
        "expected_gpu_model": MODEL,
        "expected_gpu_count": 8,
        "pool_id": f"pool-{pool}",
    }


async def fleet_heartbeats(stack: TestStack) -> list[Row]:
    """Heartbeats of the whole fleet beside what the stream got, the consumer's lag, and what one costs."""
    chosen = size()
    async with AsyncExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="gpuaas-bench-")))
        address = await opened.enter_async_context(stack.fresh_log())
        log = await opened.enter_async_context(log_at(address.url))
        badge = Badge(await Identities.on(log))
        client, pid = await opened.enter_async_context(service(stack, "nodes", address.url, directory / "nodes"))
        enrolled_s = await enrol(client, badge, chosen.nodes)
        listed = directory / "nodes.txt"
        listed.write_text("\n".join(map(node_id, range(chosen.nodes))))
        broker = await nats.connect(address.url)
        opened.push_async_callback(broker.close)
        before, cpu_s, began = await _heard(client), _cpu_s(pid), time.perf_counter()
        rounds = f"--rounds={chosen.rounds}"
        agent = ("gpuaas-node-agent", f"--nodes-file={listed}", f"--interval-s={chosen.interval_s}", rounds)
        async with process(*agent, GPUAAS_NATS_URL=address.url) as beating:
            waiting = await _lag_until(broker, client, beating)
        took_s, sent = time.perf_counter() - began, chosen.nodes * chosen.rounds
        await _settled(client, before + sent)
        spent_s, heard = _cpu_s(pid) - cpu_s, await _heard(client) - before
    name = f"{chosen.nodes:,} nodes, a heartbeat every {chosen.interval_s:g} s"
    return [
        Row(f"{name}: enrolled", chosen.nodes / enrolled_s, "nodes/s"),
        at_least(f"{name}: heard", heard / took_s, "heartbeats/s", round(0.95 * sent / took_s), sent / took_s),
        at_least(f"{name}: heard of those sent", 100 * heard / sent, "%", 99.9),
        no_more(
            f"{name}: furthest that the service was ever behind",
            max(waiting),
            "heartbeats",
            chosen.nodes / chosen.interval_s,
        ),
        beside(f"{name}: the nodes service, all it does meanwhile", spent_s / took_s, "cores", 1.0),
        Row(f"{name}: one heartbeat, CPU", 1e6 * spent_s / heard, "µs"),
    ]


async def fleet_faults(stack: TestStack) -> list[Row]:
    """An agent's fault until the machine is held, and until no scheduler sees its GPUs; the fleet beats meanwhile."""
    chosen = size()
    async with AsyncExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="gpuaas-bench-")))
        address = await opened.enter_async_context(stack.fresh_log())
        log = await opened.enter_async_context(log_at(address.url))
        badge = Badge(await Identities.on(log))
        doors: list[httpx.AsyncClient] = []
        for name in ("nodes", "inventory", "allocations"):
            part = service(stack, name, address.url, directory / name, **GUARDS_OPEN)
            doors.append((await opened.enter_async_context(part))[0])
        await enrol(doors[0], badge, chosen.nodes)
        await eventually(lambda: _pooled(doors[2], badge, chosen.nodes), ENROLLED_WITHIN_S)
        listed = directory / "nodes.txt"
        listed.write_text("\n".join(map(node_id, range(chosen.nodes))))
        agent = ("gpuaas-node-agent", f"--nodes-file={listed}", f"--interval-s={chosen.interval_s}")
        await opened.enter_async_context(process(*agent, GPUAAS_NATS_URL=address.url))
        held_ms, gone_ms = await _closings(address.url, chosen)
    name = f"fault of one of {chosen.nodes:,} beating nodes"
    return [
        Row(f"{name}, machine held, p50", percentile(held_ms, 0.5), "ms"),
        no_more(f"{name}, machine held, p99 of {len(held_ms)}", percentile(held_ms, 0.99), "ms", 1_000),
        Row(f"{name}, out of its pool, p50", percentile(gone_ms, 0.5), "ms"),
        no_more(f"{name}, out of its pool, p99 of {len(gone_ms)}", percentile(gone_ms, 0.99), "ms", 1_000),
    ]


async def _closings(nats_url: str, chosen: Size) -> tuple[list[float], list[float]]:
    """Milliseconds from publishing each fault to the hold, and to the pool's withdrawal, as the log shows them."""
    told_s: dict[str, float] = {}
    held: dict[str, float] = {}
    gone: dict[str, float] = {}
    broker = await nats.connect(nats_url)

    async def seen(message: Any) -> None:
        now = time.perf_counter()
        kind = (message.headers or {}).get("ce-type", "")
        if kind == "gpuaas.nodes.node-hold-placed.v1":
            held.setdefault(message.subject.rpartition(".")[2], now)
        elif kind == "gpuaas.allocations.pool-capacity-withdrawn.v1":
            gone.setdefault(json.loads(message.data)["data"]["node_id"], now)

    try:
        for subject in ("events.nodes.node.platform.*", "events.allocations.pool.platform.*"):
            await broker.subscribe(subject, cb=seen)
        await broker.flush()
        step = chosen.nodes // chosen.faults
        for number in range(chosen.faults):
            node = node_id(number * step)
            told_s[node] = time.perf_counter()
            await broker.publish(fault_subject_of(node), encode_fault(_off_the_bus(node)))
            await asyncio.sleep(1 / FAULTS_PER_S)
        await eventually(lambda: len(held) == len(gone) == chosen.faults, CLOSED_WITHIN_S)
    finally:
        await broker.close()
    return [[1e3 * (at - told_s[node]) for node, at in found.items()] for found in (held, gone)]  # type: ignore[return-value]


def _off_the_bus(node: str) -> FaultReport:
    said = "GPU has fallen off the bus."
    return FaultReport(node, new_id(), 0, FaultClass.OFF_THE_BUS, "simulation", said, "XID 79")


async def _pooled(client: httpx.AsyncClient, badge: Badge, nodes: int) -> bool:
    await asyncio.sleep(0.2)
    pools: Sequence[Mapping[str, Any]] = (await client.get("/v1/pools", headers=await badge.headers())).json()["items"]
    return sum(int(pool["machines"]) for pool in pools) == nodes


async def _told(client: httpx.AsyncClient, *outcomes: str) -> int:
    """Heartbeats that this process counted since its start; with `outcomes`, only those."""
    lines = (await client.get("/metrics")).text.splitlines()
    found = [line for line in lines if line.startswith("gpuaas_heartbeats_total{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in found if not outcomes or line.split('"')[1] in outcomes)


async def _heard(client: httpx.AsyncClient) -> int:
    """Those of watched nodes."""
    return await _told(client, "counted", "too-soon")


async def _lag_until(broker: Client, client: httpx.AsyncClient, beating: asyncio.subprocess.Process) -> list[int]:
    """Heartbeats in the stream that the service had not handled, sampled until the agent has done its rounds.

    The service is asked first, so what comes between the two questions counts as lag.
    """
    ahead = await _last_sequence(broker) - await _told(client)
    waiting = [0]
    while beating.returncode is None:
        await asyncio.sleep(SAMPLE_S)
        handled = await _told(client)
        waiting.append(await _last_sequence(broker) - handled - ahead)
    return waiting


async def _last_sequence(broker: Client) -> int:
    answer = await broker.request("$JS.API.STREAM.INFO.TELEMETRY", b"", timeout=5)
    return int(json.loads(answer.data)["state"]["last_seq"])


async def _settled(client: httpx.AsyncClient, wanted: int) -> None:
    """Wait for what is still under way; not for ever, for a lost one does not come."""
    for _ in range(10):
        if await _heard(client) >= wanted:
            return
        await asyncio.sleep(SAMPLE_S)


def _cpu_s(pid: int) -> float:
    """CPU seconds a process has used, in user and system."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / TICKS_PER_S
