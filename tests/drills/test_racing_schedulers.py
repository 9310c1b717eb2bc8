"""Two schedulers race for one pool under load, now one and now the other frozen. One law: no GPU is held twice.

A scheduler that wakes up believes what was true when it fell asleep; the guard on the pool's history is all that stands
between its plan and a GPU that somebody else was given meanwhile. Whole GPUs, gangs, shares and requests for one of
several shapes are mixed; what is read afterwards is the log alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import nats
import pytest
from gpuaas.allocations.reactions import ALLOCATION, POOL
from gpuaas.common.clock import Pace
from gpuaas.common.embedded.process import free_port
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.events import Event
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.projections import decoded
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.common.testing.stack import LogAddress
from gpuaas.contracts.allocations import AllocationReleased, ClaimGranted, ClaimReturned, Member, Receipt
from gpuaas.contracts.inventory import Device, MachineAccepted, Topology

from tests.drills.ordeal import seed

pytestmark = [pytest.mark.drill, pytest.mark.slow]
PROGRAM: Final = "from gpuaas.allocations.app import main; main()"
MACHINES: Final = 6
GPUS: Final = 8
ASKERS: Final = 6
"""Requests under way at once, half of them at each door."""
PACE: Final = 2_000.0
SHAPES: Final[tuple[dict[str, Any], ...]] = (
    {"gpus_per_replica": 1},
    {"gpus_per_replica": 3},
    {"gpus_per_replica": 8},
    {"gpus_per_replica": 4, "replicas": 3},
    {"gpus_per_replica": 1, "share_milli": 400},
    {"gpus_per_replica": 1, "replicas": 2, "share_milli": 300},
    {"gpus_per_replica": 8, "replicas": 6, "replicas_min": 1},
    {"gpus_per_replica": 8, "replicas": 4, "alternatives": [{"gpus_per_replica": 2, "replicas": 2}]},
)
PATIENCE_S: Final = 240.0


async def test_two_schedulers_never_give_one_gpu_twice(
    log_address: LogAddress, database_dsn: str, tmp_path: Path
) -> None:
    await _race(log_address, database_dsn, tmp_path, seconds=5.0, frozen_s=0.7)


@pytest.mark.long
async def test_two_schedulers_never_give_one_gpu_twice_for_minutes(
    log_address: LogAddress, database_dsn: str, tmp_path: Path
) -> None:
    await _race(log_address, database_dsn, tmp_path, seconds=240.0, frozen_s=3.0)


async def _race(address: LogAddress, dsn: str, directory: Path, seconds: float, frozen_s: float) -> None:
    dice = random.Random(seed())
    connection = await nats.connect(address.url)
    log = JetStreamLog(lambda: connection)
    headers = await (await Identities.on(log, "demo")).member("acme", "research")
    for number in range(MACHINES):
        await tell(log, _machine(number), entity_id=f"n{number}")
    pace = Pace(time.time(), datetime(2026, 8, 5, tzinfo=UTC), PACE).encode()
    async with AsyncExitStack() as stack:
        doors: list[httpx.AsyncClient] = []
        processes: list[Process] = []
        for name in ("one", "two"):
            port = free_port()
            env = _environment(address, dsn, directory / name, port, pace)
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=env)
            stack.push_async_callback(_ended, process)
            processes.append(process)
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)
            doors.append(await stack.enter_async_context(client))
        await asyncio.gather(*(_ready(door) for door in doors))
        until = time.monotonic() + seconds
        freezing = asyncio.create_task(_freeze(processes, until, frozen_s, random.Random(dice.random())))
        asked = await asyncio.gather(
            *(_ask(doors[n % 2], headers, n, until, random.Random(dice.random())) for n in range(ASKERS))
        )
        await freezing
        names = [name for some in asked for name in some]
        await _until_all_is_back(log, names)
        commands = [await _pool_commands(door) for door in doors]
    facts = decoded(POOL.vocabulary, await log.history(POOL.subject(PLATFORM, "main")))
    most = held_at_most_once([fact.event for fact in facts])
    await connection.close()
    print(f"{len(names)} requests, claims by process {commands}, at most {most}/1000 of all GPUs held at once")
    assert names
    assert min(commands) > 0, commands
    assert most > 0


def test_a_gpu_that_is_given_twice_would_be_seen() -> None:
    receipt = Receipt(pool_version=0, policy="test", nodes_considered=0, exclusions=(), score=Decimal(0))

    def claim(name: str, share: int | None) -> ClaimGranted:
        gpu = Member(member=0, node_id="n0", device_ids=("n0-g0",), share_milli=share)
        return ClaimGranted(
            pool_id="main",
            allocation_id=name,
            tenant_id="acme",
            project_id="research",
            gpu_model="h100",
            members=(gpu,),
            receipt=receipt,
        )

    def back(name: str) -> ClaimReturned:
        return ClaimReturned(pool_id="main", allocation_id=name, reason="completed")

    assert held_at_most_once([claim("a", 600), claim("b", 400), back("a"), back("b"), claim("c", None), back("c")])
    for breach in ([claim("a", None), claim("b", 1)], [claim("a", 600), claim("b", 401)], [claim("a", 1)]):
        with pytest.raises(AssertionError):
            held_at_most_once(breach)


def held_at_most_once(events: Sequence[Event]) -> int:
    """Go through a pool's history; the most thousandths of all its GPUs held at once.

    Fails where more of a GPU is held than there is, or an allocation holds two claims.
    """
    used: Counter[str] = Counter()
    claims: dict[str, list[tuple[str, int]]] = {}
    most = 0
    for event in events:
        match event:
            case ClaimGranted() as claim:
                assert claim.allocation_id not in claims, event
                claims[claim.allocation_id] = held = [
                    (device, member.share_milli or 1_000) for member in claim.members for device in member.device_ids
                ]
                for device, milli in held:
                    used[device] += milli
                    assert used[device] <= 1_000, event
            case ClaimReturned() as back:
                for device, milli in claims.pop(back.allocation_id):
                    used[device] -= milli
        most = max(most, sum(used.values()) // (MACHINES * GPUS))
    assert not claims
    return most


def _machine(number: int) -> MachineAccepted:
    return MachineAccepted(
        machine_id=f"n{number}",
        machine_serial=f"serial-{number}",
        pool_id="main",
        gpu_model="h100",
        devices=tuple(
            Device(device_id=f"n{number}-g{slot}", serial=f"{number}-{slot}", slot=slot, memory_mib=81_559)
            for slot in range(GPUS)
        ),
        topology=Topology(region="eu", site="s0", pod="p0", rack=f"r{number // 4}"),
    )


def _environment(address: LogAddress, dsn: str, directory: Path, port: int, pace: str) -> dict[str, str]:
    return {
        **os.environ,
        "GPUAAS_PROFILE": "demo",
        "GPUAAS_NATS_URL": address.url,
        "GPUAAS_POSTGRES_DSN": dsn,
        "GPUAAS_HTTP_PORT": str(port),
        "GPUAAS_STATE_DIR": str(directory),
        "GPUAAS_CLOCK_PACE": pace,
        "GPUAAS_LOG_LEVEL": "ERROR",
    }


async def _ready(door: httpx.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if (await door.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


async def _freeze(processes: Sequence[Process], until: float, longest_s: float, dice: random.Random) -> None:
    """Stop one process for a moment, again and again; it goes on with what it believed."""
    while time.monotonic() < until:
        await asyncio.sleep(dice.uniform(0.1, 1.0))
        process = dice.choice(processes)
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(dice.uniform(0.05, longest_s))
        finally:
            process.send_signal(signal.SIGCONT)


async def _ask(
    door: httpx.AsyncClient, headers: dict[str, str], number: int, until: float, dice: random.Random
) -> list[str]:
    """Ask for one thing after the other at one door, each until it is answered; what was accepted."""
    accepted: list[str] = []
    sent = 0
    while time.monotonic() < until:
        sent += 1
        body = {"pool_id": "main", "image": "sim", "command": ["sleep", str(dice.randrange(50, 2_000))]}
        body |= dice.choice(SHAPES)
        key = {"Idempotency-Key": f"asker-{number}-{sent}"}
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    answer = await door.post(
                        "/v1/tenants/acme/projects/research/allocations", json=body, headers=headers | key
                    )
                    if answer.status_code == 202:
                        accepted.append(answer.json()["id"])
                        break
                    assert answer.status_code == 503, answer.text
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
        await asyncio.sleep(dice.uniform(0.0, 0.1))
    return accepted


async def _until_all_is_back(log: JetStreamLog, names: Sequence[str]) -> None:
    """Every request has ended and the pool holds nothing."""
    left = set(names)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for name in list(left):
                facts = decoded(ALLOCATION.vocabulary, await log.history(ALLOCATION.subject("acme", name)))
                if any(isinstance(fact.event, AllocationReleased) for fact in facts):
                    left.discard(name)
            if not left:
                facts = decoded(POOL.vocabulary, await log.history(POOL.subject(PLATFORM, "main")))
                kinds = Counter(type(fact.event) for fact in facts)
                if kinds[ClaimGranted] == kinds[ClaimReturned]:
                    return
            await asyncio.sleep(0.5)


async def _pool_commands(door: httpx.AsyncClient) -> int:
    """What this process did to the pool, by its own count."""
    text = (await door.get("/metrics")).text
    start = 'gpuaas_commands_total{entity="pool",outcome="done"} '
    return next((int(float(line.removeprefix(start))) for line in text.splitlines() if line.startswith(start)), 0)


async def _ended(process: Process) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    await process.wait()
