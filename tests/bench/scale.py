"""What a larger installation costs: a longer log, more tenants. One law: each size is measured beside the smallest.

`GPUAAS_BENCH_EVENTS` is the longest log (a million by default; ten million take about ten minutes and 8 GB).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import nats
from gpuaas.audit.adapters.key_file import Ed25519Key
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.domain.maps import checkpoint_map
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.embedded.nats_server import NatsServer, NatsUser
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.provision import provision_log
from gpuaas.common.testing.counter import COUNTER, Open, Raise, cause
from gpuaas.common.testing.identity import Identity
from gpuaas.common.testing.stack import TestStack

from tests.bench.on_the_log import fill
from tests.bench.rows import Row, in_turn

SIZES: Final = (10_000, 100_000, int(os.environ.get("GPUAAS_BENCH_EVENTS", "1000000")))
COMMANDS_PER_BLOCK: Final = 100
TENANTS: Final = (10, 1_000, 10_000)
CHECKS: Final = 20_000
MIB: Final = 1 << 20


@dataclass(slots=True)
class Broker:
    """A broker of its own, so that its memory and its disk are the log's."""

    server: NatsServer
    folder: Path

    @property
    def memory_mib(self) -> float:
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1_024

    @property
    def disk_mib(self) -> float:
        return sum(path.stat().st_size for path in self.folder.rglob("*.blk")) / MIB


@asynccontextmanager
async def broker() -> AsyncIterator[Broker]:
    folder = Path(tempfile.mkdtemp(prefix="gpuaas-bench-"))
    server = NatsServer(folder, {"CELL": {"admin": NatsUser()}})
    server.start()
    try:
        yield Broker(server, folder)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def growth_with_the_log(_: TestStack) -> list[Row]:
    """Command, memory, disk and restart of a broker as its log grows; commands in turn with those of a small one."""
    rows: list[Row] = []
    small_size, *sizes = SIZES
    async with broker() as small, broker() as own:
        filled = 0
        async with _log_of(small.server) as log:
            await fill(log, small_size)
        base = await _standing(small, small_size)
        rows += [Row(f"{what}, log of {small_size:,}", value, unit) for (what, unit), value in base.items()]
        for size in sizes:
            async with _log_of(small.server) as little, _log_of(own.server) as log:
                began = time.perf_counter()
                await fill(log, size - filled)
                rate = (size - filled) / (time.perf_counter() - began)
                rows += [
                    Row(f"appended in batches, up to {size:,}", rate, "events/s"),
                    *await _commands(little, log, size),
                ]
            filled = size
            rows += [
                Row(f"{what}, log of {size:,}", value, unit, base[what, unit], value / base[what, unit])
                for (what, unit), value in (await _standing(own, size)).items()
            ]
    return rows


async def _standing(own: Broker, size: int) -> dict[tuple[str, str], float]:
    """What the broker takes when nobody asks, and how long it takes to come back."""
    return {
        ("broker's memory", "MiB"): own.memory_mib,
        ("disk for an event", "bytes"): own.disk_mib * MIB / size,
        ("restart of the broker", "s"): await asyncio.to_thread(_restarted, own.server),
    }


@asynccontextmanager
async def _log_of(server: NatsServer) -> AsyncIterator[JetStreamLog]:
    connection = await nats.connect(server.url("admin"))
    try:
        await provision_log(connection)
        yield JetStreamLog(lambda: connection)
    finally:
        await connection.close()


async def _commands(small: JetStreamLog, large: JetStreamLog, size: int) -> list[Row]:
    """A command to a new and to a known entity, on the small and the large log in turn."""
    works = []
    for log in (small, large):
        commands = Commands(log, WallClock(), "testing", "dev")
        await commands.execute(COUNTER, "acme", f"known-{size}", Open("x"), cause())

        async def opens(number: int, commands: Commands = commands) -> None:
            await commands.execute(COUNTER, "acme", f"new-{size}-{number}", Open("x"), cause(), fresh=True)

        async def raises(_: int, commands: Commands = commands) -> None:
            await commands.execute(COUNTER, "acme", f"known-{size}", Raise(1), cause())

        works += [opens, raises]
    small_new, small_known, new, known = await in_turn(*works, calls=COMMANDS_PER_BLOCK)
    against = f"log of {size:,} against {SIZES[0]:,}"
    return [
        Row(f"command, new entity, {against}", new * 1e6, "µs", small_new * 1e6, new / small_new),
        Row(f"command, known entity, {against}", known * 1e6, "µs", small_known * 1e6, known / small_known),
    ]


def _restarted(server: NatsServer) -> float:
    server.stop()
    began = time.perf_counter()
    server.start()
    return time.perf_counter() - began


async def growth_with_tenants(_: TestStack) -> list[Row]:
    """A check of rights, what a process holds of all tenants, and audit's map over all trees."""
    rows: list[Row] = []
    first: dict[str, float] = {}
    for count in TENANTS:
        figures = {"check of rights, µs": _checked(count), "audit's map over all trees, ms": _mapped(count)}
        for what, value in figures.items():
            name, unit = what.rsplit(", ", 1)
            base = first.setdefault(what, value)
            rows.append(Row(f"{name}, {count:,} tenants", value, unit, base, value / base))
    return rows


def _checked(count: int) -> float:
    identity, access = Identity(), Access("dev")
    identity.role("viewer", "allocations.allocation.read")
    for number in range(count):
        identity.tenant(f"t-{number}", "p")
        identity.user(f"u-{number}")
        identity.bind(f"u-{number}", "viewer", f"t-{number}", "p", kind="user")
    for fact in identity.facts:
        access.apply(fact)
    now = datetime.now(UTC)
    ends = now + timedelta(minutes=5)
    asked = [
        (Principal(f"u-{n}", "user", "platform", "", "", "", ends), Scope(f"t-{n}", "p"))
        for n in range(0, count, max(1, count // 500))
    ]
    began = time.perf_counter()
    for number in range(CHECKS):
        principal, scope = asked[number % len(asked)]
        access.check(principal, "allocations.allocation.read", scope, now)
    return (time.perf_counter() - began) / CHECKS * 1e6


def _mapped(count: int) -> float:
    key = LogKey("gpuaas.example/production", Ed25519Key(b"\x05" * 32))
    notes = {f"t-{number}": key.checkpoint(f"t-{number}", 1, b"\x00" * 32) for number in range(count)}
    began = time.perf_counter()
    checkpoint_map(b"\x01" * 32, notes).root()
    return (time.perf_counter() - began) * 1e3
