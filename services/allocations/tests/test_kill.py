"""The process is killed at any moment and started again: nothing asked for is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import nats
import pytest
from allocations_world import accepted
from gpuaas.allocations.reactions import ALLOCATION, POOL
from gpuaas.common.clock import Pace
from gpuaas.common.embedded.process import free_port
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.projections import decoded
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.common.testing.stack import LogAddress
from gpuaas.contracts.allocations import AllocationReleased, ClaimGranted, ClaimReturned

JOBS = 80
SECONDS = 3_600.25
PROGRAM = "from gpuaas.allocations.app import main; main()"


def environment(log: LogAddress, dsn: str, directory: Path, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "GPUAAS_PROFILE": "demo",
        "GPUAAS_NATS_URL": log.url,
        "GPUAAS_POSTGRES_DSN": dsn,
        "GPUAAS_HTTP_PORT": str(port),
        "GPUAAS_STATE_DIR": str(directory),
        "GPUAAS_CLOCK_PACE": Pace(time.time(), datetime(2026, 8, 5, tzinfo=UTC), 20_000).encode(),
        "GPUAAS_LOG_LEVEL": "ERROR",
    }


@pytest.mark.drill
async def test_killed_again_and_again_it_loses_and_doubles_nothing(
    log_address: LogAddress, database_dsn: str, tmp_path: Path
) -> None:
    port = free_port()
    env = environment(log_address, database_dsn, tmp_path, port)
    connection = await nats.connect(log_address.url)
    log = JetStreamLog(lambda: connection)
    headers = await (await Identities.on(log, "demo")).member("acme", "research")
    for number in range(6):
        await tell(log, accepted(number), entity_id=f"n{number}")
    asked: list[str] = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=2) as client:
        asking = asyncio.create_task(_ask_until_heard(client, headers, asked))
        for life_s in (2.5, 2.7, 3.1):
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=env)
            await asyncio.sleep(life_s + random.random())
            process.kill()
            await process.wait()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=env)
        try:
            await asyncio.wait_for(asking, 60)
            await _until_all_claims_are_back(log)
        finally:
            process.terminate()
            await process.wait()
    await _check(log, asked)
    await connection.close()


async def _ask_until_heard(client: httpx.AsyncClient, headers: dict[str, str], asked: list[str]) -> None:
    """Each request again with its own key until it is answered."""
    for number in range(JOBS):
        body = {
            "pool_id": "main",
            "gpus_per_replica": (1, 3, 8)[number % 3],
            "image": "sim",
            "command": ["sleep", str(SECONDS)],
        }
        while True:
            try:
                answer = await client.post(
                    "/v1/tenants/acme/projects/research/allocations",
                    json=body,
                    headers=headers | {"Idempotency-Key": f"job-{number}"},
                )
                if answer.status_code == 202:
                    asked.append(answer.json()["id"])
                    break
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)


async def _until_all_claims_are_back(log: JetStreamLog) -> None:
    async with asyncio.timeout(60):
        while True:
            facts = decoded(POOL.vocabulary, await log.history(POOL.subject(PLATFORM, "main")))
            kinds = Counter(type(fact.event) for fact in facts)
            if kinds[ClaimGranted] == kinds[ClaimReturned] == JOBS:
                return
            await asyncio.sleep(0.2)


async def _check(log: JetStreamLog, asked: list[str]) -> None:
    assert len(set(asked)) == JOBS
    for name in asked:
        facts = decoded(ALLOCATION.vocabulary, await log.history(ALLOCATION.subject("acme", name)))
        kinds = Counter(type(fact.event).__name__ for fact in facts)
        assert max(kinds.values()) == 1, kinds
        end = facts[-1].event
        assert isinstance(end, AllocationReleased)
        assert end.started_at is not None
        assert (end.end_reason, end.ended_at - end.started_at) == ("completed", timedelta(seconds=SECONDS))
    held: dict[str, str] = {}
    for fact in decoded(POOL.vocabulary, await log.history(POOL.subject(PLATFORM, "main"))):
        if isinstance(fact.event, ClaimGranted):
            for member in fact.event.members:
                for device in member.device_ids:
                    assert device not in held
                    held[device] = fact.event.allocation_id
        elif isinstance(fact.event, ClaimReturned):
            held = {device: who for device, who in held.items() if who != fact.event.allocation_id}
