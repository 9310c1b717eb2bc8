"""What the demo checks for itself, from the log and from files. One law: it recomputes, it does not ask again.

Three readings of the same facts must agree: the trace (what should have run), the log (what did) and the invoices (what
it cost); and a verifier that knows nothing of the suite must find the invoices in the signed trees.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import nats
from gpuaas.cli.demo.trace import Job
from gpuaas.cli.demo.world import World
from gpuaas.common.envelope import decode, moment
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.money import rounded

VERIFIERS_AT_ONCE: Final = 2
_MS_PER_HOUR: Final = 3_600_000


@dataclass(slots=True)
class Reading:
    """The whole log, folded by the demo's own hands.

    Attributes:
        by_type: events by type.
        gpu_ms: tenant → metered GPU-milliseconds.
        waits_s: tenant → world seconds from request to placement, one per placed allocation.
        held_twice: devices that were granted while they were held, as `device@position`.
        still_held: devices held at the end.
    """

    events: int = 0
    bytes: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    gpu_ms: Counter[str] = field(default_factory=Counter)
    waits_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    held_twice: list[str] = field(default_factory=list)
    still_held: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None


async def reading_of(world: World) -> Reading:
    """Read the world's log as the operator, who may not write to it."""
    connection = await nats.connect(world.stack.operator_nats_url.split(","), inbox_prefix=b"_INBOX_operator")
    try:
        return await read_log(JetStreamLog(lambda: connection))
    finally:
        await connection.close()


async def read_log(log: JetStreamLog) -> Reading:
    """Fold every event from the first to the last."""
    reading = Reading()
    requested: dict[str, datetime] = {}
    holder: dict[str, str] = {}
    held: dict[str, list[str]] = {}
    last = await log.last_position()
    follower = log.follow(["events.>"], 0)
    async for batch in follower.batches():
        for event in batch.events:
            reading.events += 1
            reading.bytes += len(event.payload)
            reading.first_at = reading.first_at or event.recorded_at
            reading.last_at = event.recorded_at
            reading.by_type[event.type] += 1
            _take(reading, event.position, event.payload, requested, holder, held)
        if batch.seen >= last or batch.caught_up:
            break
    await follower.close()
    reading.still_held = len(holder)
    return reading


def _take(
    reading: Reading,
    position: int,
    payload: bytes,
    requested: dict[str, datetime],
    holder: dict[str, str],
    held: dict[str, list[str]],
) -> None:
    envelope = decode(payload)
    fact = envelope.type.split(".")[2]
    if fact not in _FOLDED:
        return
    data = json.loads(bytes(envelope.data))
    match fact:
        case "allocation-requested":
            requested[data["allocation_id"]] = moment(envelope.time)
        case "allocation-placed":
            waited = moment(envelope.time) - requested[data["allocation_id"]]
            reading.waits_s[envelope.tenantid].append(waited.total_seconds())
        case "claim-granted":
            devices = [device for member in data["members"] for device in member["device_ids"]]
            reading.held_twice += [f"{device}@{position}" for device in devices if device in holder]
            holder.update(dict.fromkeys(devices, data["allocation_id"]))
            held[data["allocation_id"]] = devices
        case "claim-returned":
            for device in held.pop(data["allocation_id"]):
                holder.pop(device, None)
        case "usage-metered":
            reading.gpu_ms[envelope.tenantid] += int(data["gpu_ms"])


_FOLDED: Final = frozenset(
    {"allocation-requested", "allocation-placed", "claim-granted", "claim-returned", "usage-metered"}
)


def expected_gpu_ms(jobs: Iterable[Job]) -> Counter[str]:
    """Tenant → GPU-milliseconds of the trace."""
    total: Counter[str] = Counter()
    for job in jobs:
        total[job.tenant] += job.gpu_ms
    return total


def expected_amounts(jobs: Iterable[Job], price: str, currency: str) -> dict[str, Decimal]:
    """Tenant → what its invoice must say: one line per project, each rounded once, half up."""
    lines: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        lines[job.tenant, job.project] += job.gpu_ms
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for (tenant, _), gpu_ms in lines.items():
        totals[tenant] += rounded(Fraction(gpu_ms) * Fraction(price) / _MS_PER_HOUR, currency)
    return dict(totals)


@dataclass(frozen=True, slots=True)
class Verified:
    """What the offline verifier said of one tenant's invoice."""

    tenant: str
    invoice: str
    verdict: str
    checks: int
    detail: str


async def verify_offline(world: World, found: dict[str, dict[str, Any]], folder: Path, done: Any) -> Sequence[Verified]:
    """Save each invoice's bundle and let `gpuaas-verify`, a process without network or suite, judge the file."""
    folder.mkdir(parents=True, exist_ok=True)
    key = (await world.operator.get("audit", "/v1/key"))["verifier_key"]
    (folder / "audit.vkey").write_text(key + "\n", "utf-8")
    free = asyncio.Semaphore(VERIFIERS_AT_ONCE)
    results: list[Verified] = []

    async def one(tenant: str, invoice: dict[str, Any]) -> None:
        async with free:
            path = folder / f"{invoice['number']}.bundle.json"
            address = f"/v1/tenants/{tenant}/bundles/invoices/{invoice['invoice_id']}"
            path.write_bytes(await world.operator.get_bytes("audit", address))
            results.append(await _judge(tenant, invoice["number"], path, key))
            done(len(results))

    async with asyncio.TaskGroup() as group:
        for tenant, invoice in found.items():
            group.create_task(one(tenant, invoice))
    return sorted(results, key=lambda each: each.tenant)


async def _judge(tenant: str, number: str, path: Path, key: str) -> Verified:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gpuaas.verify.main",
        "invoice",
        str(path),
        "--tenant",
        tenant,
        "--key",
        key,
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    try:
        report = json.loads(said)
    except ValueError:
        return Verified(tenant, number, "unusable", 0, said.decode(errors="replace")[-300:])
    return Verified(tenant, number, report["verdict"], len(report.get("checks", ())), report.get("detail", ""))
