"""Every GPU that ever sat in a supercomputer, replayed as machines, faults and retirements. One law: nothing is lost.

The log is that of Titan (OLCF, 18,688 nodes with one K20X each, 2012 to 2019): one row a stay of a GPU, with its serial
number, its place, and how it ended: DBE (double-bit error, XID 48), OTB (off the bus, XID 79) or nothing. Each stay
becomes a node that is registered, reports its fault through the TELEMETRY stream as an agent would, and is retired;
the GPU keeps its serial number, so its history goes on where it is put next. The file carries no licence that lets it
be kept here: GPUAAS_TITAN_FILE names it. One in forty serial numbers is replayed, or one in GPUAAS_TITAN_ONE_IN; all of
them with GPUAAS_BENCH_FLEET=full.

The world runs `PACE` times as fast, so that two faults of one GPU that were days apart do not count as one.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import nats
from gpuaas.common.clock import Pace
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.stack import TestStack
from gpuaas.nodes.adapters.fault_wire import FaultReport, encode_fault, fault_subject_of
from gpuaas.nodes.domain.faults import built_in
from nats.aio.client import Client

from tests.bench.fleet import FULL_VARIABLE, Badge, ordered, service
from tests.bench.on_the_log import log_at
from tests.bench.rows import Row, at_least, no_more

FILE_VARIABLE: Final = "GPUAAS_TITAN_FILE"
SHARE_VARIABLE: Final = "GPUAAS_TITAN_ONE_IN"
REPORT: Final = Path("build/titan.json")
ONE_IN: Final = 40
MODEL: Final = "nvidia-k20x-6gb"
POOL: Final = "titan"
XID: Final = {"DBE": 48, "OTB": 79}
PLACE: Final = re.compile(r"(c(\d+)-(\d+))c(\d)s(\d)n(\d)")
AVAILABLE, FAULT, REMOVED = "available", "fault", "removed"
BATCH: Final = 200
AT_ONCE: Final = 400
"""Steps under way."""
PACE: Final = 100_000.0
TOLD_EVERY_S: Final = 15.0
PENDING_BYTES: Final = 1 << 28
WITHIN_S: Final = 600.0
PATIENT_S: Final = 3_600.0
OFFENDERS_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Stay:
    """A GPU in one place. `hours`: how long, 0 where the log does not say when it came; `event` "": it just left."""

    node_id: str
    serial: str
    location: str
    inserted: str
    removed: str
    hours: float
    event: str


def stays_in(path: Path, one_in: int) -> list[Stay]:
    """The rows of the log for one in so many serial numbers; each stay at a place has an id of its own."""
    found: list[Stay] = []
    with path.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["remove"], row["SN"]))
    count: Counter[str] = Counter()
    for row in rows:
        if zlib.crc32(row["SN"].encode()) % one_in:
            continue
        count[row["location"]] += 1
        name = f"{row['location']}-{count[row['location']]}"
        hours = float(row["duration"] or 0) / 3_600
        came = row["insert"] or row["remove"]
        found.append(Stay(name, row["SN"], row["location"], came, row["remove"], hours, row["event"]))
    return found


Step = tuple[str, bool, Stay]


def steps_of(stays: Iterable[Stay]) -> list[Step]:
    """Every coming and every leaving, in order of time."""
    steps: list[Step] = [(stay.inserted, True, stay) for stay in stays]
    steps += [(stay.removed, False, stay) for stay in stays]
    # At one moment: who came without a date comes first and then goes; else those that leave make room first.
    steps.sort(key=lambda step: (step[0], step[1] and step[2].hours > 0, not step[1]))
    return steps


@dataclass(slots=True)
class Ledger:
    """What the log said meanwhile; who waits for a machine to be said something of is told at once."""

    removed: set[str] = field(default_factory=set)
    faults: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    verdicts: Counter[str] = field(default_factory=Counter)
    guards: Counter[str] = field(default_factory=Counter)
    _said: defaultdict[tuple[str, str], asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    async def said(self, what: str, node_id: str) -> None:
        """Wait until the log says this of the machine."""
        async with asyncio.timeout(WITHIN_S):
            await self._said[what, node_id].wait()
        del self._said[what, node_id]

    async def hear(self, message: Any) -> None:
        """One event as the broker passes it on to everybody."""
        kind = (message.headers or {}).get("ce-type", "").removeprefix("gpuaas.").removesuffix(".v1")
        said = json.loads(message.data)["data"]
        match kind:
            case "nodes.node-became-available":
                self._said[AVAILABLE, said["node_id"]].set()
            case "inventory.machine-removed":
                self.removed.add(said["machine_id"])
                self._said[REMOVED, said["machine_id"]].set()
            case "nodes.node-fault-reported":
                self.faults[said["node_id"]][said["code"]] += 1
                self._said[FAULT, said["node_id"]].set()
            case "nodes.node-health-changed":
                self.verdicts[f"{said['condition']}, {said['action']}"] += 1
            case "nodes.automatic-withdrawal-granted":
                self.guards["granted"] += 1
            case "nodes.automatic-withdrawal-withheld":
                self.guards[f"withheld: {said['guard']}"] += 1

    @property
    def recorded(self) -> int:
        return sum(sum(codes.values()) for codes in self.faults.values())


class Registrar:
    """Registers who waits, as many at once as the door takes."""

    def __init__(self, nodes: httpx.AsyncClient, badge: Badge) -> None:
        self._nodes = nodes
        self._badge = badge
        self._waiting: asyncio.Queue[Stay] = asyncio.Queue()

    def register(self, stay: Stay) -> None:
        self._waiting.put_nowait(stay)

    async def run(self) -> None:
        while True:
            together = [await self._waiting.get()]
            while len(together) < BATCH and not self._waiting.empty():
                together.append(self._waiting.get_nowait())
            body = {"nodes": [_order(stay) for stay in together]}
            answer = await ordered(self._nodes, "/v1/nodes/batch", body, self._badge)
            assert {item["status"] for item in answer.json()["items"]} == {"accepted"}, answer.text


@dataclass(slots=True)
class Replay:
    """Drives the doors and the stream: in order of time, but only the steps of one GPU wait for one another."""

    nodes: httpx.AsyncClient
    badge: Badge
    broker: Client
    ledger: Ledger

    async def play(self, stays: Sequence[Stay]) -> None:
        free, registrar = asyncio.Semaphore(AT_ONCE), Registrar(self.nodes, self.badge)
        before: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(registrar.run()), group.create_task(self._tell(len(stays)))]
            for _, comes, stay in steps_of(stays):
                await free.acquire()
                step = self._come(stay, registrar) if comes else self._leave(stay)
                task = group.create_task(_after(before.get(stay.serial), step))
                task.add_done_callback(lambda _: free.release())
                before[stay.serial] = task
            await asyncio.gather(*before.values())
            for helper in helpers:
                helper.cancel()

    async def _come(self, stay: Stay, registrar: Registrar) -> None:
        registrar.register(stay)
        await self.ledger.said(AVAILABLE, stay.node_id)

    async def _leave(self, stay: Stay) -> None:
        if stay.event:
            code = XID[stay.event]
            kind, said = built_in().class_of_xid(code), f"{stay.event} at {stay.removed}"
            report = FaultReport(stay.node_id, f"{stay.node_id}-{code}", 0, kind, "simulation", said, f"XID {code}")
            await self.broker.publish(fault_subject_of(stay.node_id), encode_fault(report))
            await self.ledger.said(FAULT, stay.node_id)
        answer = await ordered(self.nodes, f"/v1/nodes/{stay.node_id}/retire", {"reason": "GPU removed"}, self.badge)
        assert answer.status_code == 200, answer.text
        await self.ledger.said(REMOVED, stay.node_id)

    async def _tell(self, stays: int) -> None:
        began = time.perf_counter()
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            took_s, over = time.perf_counter() - began, len(self.ledger.removed)
            print(f"  titan: {over:,} of {stays:,} stays are over after {took_s:.0f} s", flush=True)


async def _after(before: asyncio.Task[None] | None, step: Coroutine[Any, Any, None]) -> None:
    if before is not None:
        await before
    await step


def _order(stay: Stay) -> dict[str, Any]:
    return {
        "node_id": stay.node_id,
        "topology": {"region": "ornl", "site": "titan", "pod": _place(stay)[0], "rack": _place(stay)[1]},
        "expected_gpu_model": MODEL,
        "expected_gpu_count": 1,
        "pool_id": POOL,
    }


def _place(stay: Stay) -> tuple[str, str, str]:
    """Column, cabinet and cage."""
    found = PLACE.fullmatch(stay.location)
    assert found is not None, stay.location
    return f"c{found[2]}", found[1], f"cage {found[4]}"


async def titan_failure_log(stack: TestStack) -> list[Row]:
    """Events in against faults recorded; MTBF by position, repeat offenders and verdicts go to build/titan.json."""
    path = os.environ.get(FILE_VARIABLE)
    if not path:
        print(f"  titan_failure_log is left out: {FILE_VARIABLE} names no file with the Titan failure log")
        return []
    one_in = 1 if os.environ.get(FULL_VARIABLE) == "full" else int(os.environ.get(SHARE_VARIABLE, ONE_IN))
    stays = stays_in(Path(path), one_in)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="gpuaas-bench-") as directory:
        ledger, offenders = await _replayed(stack, Path(directory), stays)
    took_s = time.perf_counter() - began
    report = _report(stays, ledger, offenders)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))
    told, recorded = report["events_in"], report["faults_recorded"]
    mtbf = report["mtbf_hours_by_position"]
    return [
        at_least("Titan log, faults recorded of those that happened", 100 * recorded / told, "%", 100),
        no_more(
            "Titan log, faults recorded at the wrong place or with the wrong code", report["faults_wrong"], "", 0.5
        ),
        Row(f"Titan log, {len(stays):,} stays replayed", len(stays) / took_s, "stays/s"),
        *(Row(f"Titan log, hours between faults of a GPU, {where}", hours, "h") for where, hours in mtbf.items()),
    ]


async def _replayed(stack: TestStack, directory: Path, stays: Sequence[Stay]) -> tuple[Ledger, list[dict[str, Any]]]:
    """Services in processes of their own, as anywhere, so that both cores work."""
    script = directory / "script.json"
    script.write_text(json.dumps({"deviations": {stay.node_id: {"serials": {"0": stay.serial}} for stay in stays}}))
    pace = Pace(time.time(), datetime(2014, 1, 1, tzinfo=UTC), PACE).encode()
    common = {"GPUAAS_PROFILE": "demo", "GPUAAS_CLOCK_PACE": pace, "GPUAAS_REQUESTS_PER_S": "100000"}
    patient = {"GPUAAS_HEARTBEAT_SILENCE_S": str(PATIENT_S), "GPUAAS_HEARTBEAT_GRACE_S": str(PATIENT_S)}
    # No machine beats here, and none is worked on: looking for those who do is not what is measured.
    patient |= {"GPUAAS_HEARTBEAT_TICK_S": "30", "GPUAAS_UPKEEP_TICK_S": "5"}
    # A stay ends with its fault, so nothing is reset: the verdicts are those of the log alone.
    given = {**common, **patient, "GPUAAS_SIM_SCRIPT": str(script), "GPUAAS_REMEDY_AUTOMATION": "false"}
    async with AsyncExitStack() as opened:
        address = await opened.enter_async_context(stack.fresh_log())
        log = await opened.enter_async_context(log_at(address.url))
        badge = Badge(await Identities.on(log, profile="demo"))
        fleet = service(stack, "nodes", address.url, directory / "nodes", **given)
        books = service(stack, "inventory", address.url, directory / "inventory", **common)
        (nodes, _), (inventory, _) = [await opened.enter_async_context(each) for each in (fleet, books)]
        broker = await nats.connect(address.url, pending_size=PENDING_BYTES)
        opened.push_async_callback(broker.close)
        ledger = Ledger()
        for subject in ("nodes.node", "nodes.component", "nodes.automation", "inventory.machine"):
            await broker.subscribe(f"events.{subject}.platform.*", cb=ledger.hear, pending_msgs_limit=-1)
        await broker.flush()
        await Replay(nodes, badge, broker, ledger).play(stays)
        offenders = await _offenders(nodes, inventory, badge, await log.last_position())
    return ledger, offenders


async def _offenders(
    nodes: httpx.AsyncClient, inventory: httpx.AsyncClient, badge: Badge, position: int
) -> list[dict[str, Any]]:
    """GPUs with more than one fault, the worst first, with the number of places they failed or sat in."""
    seen = {**await badge.headers(), "GPUaaS-At-Least": str(position)}
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        params = {"faults_min": 2, "limit": 500} | ({"cursor": cursor} if cursor else {})
        page = (await nodes.get("/v1/components", params=params, headers=seen)).json()
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    found.sort(key=lambda item: (-int(item["fault_count"]), str(item["serial"])))
    shown = ("serial", "fault_count", "condition", "action")
    worst = [{name: item[name] for name in shown} for item in found]
    for item in worst[:OFFENDERS_SHOWN]:
        device = await inventory.get(f"/v1/devices/{item['serial']}", headers=seen)
        item["places"] = len(device.json()["stays"]) if device.status_code == 200 else 0
    return worst


def _report(stays: Sequence[Stay], ledger: Ledger, offenders: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    expected = {stay.node_id: {f"XID {XID[stay.event]}": 1} for stay in stays if stay.event}
    recorded = {node_id: dict(codes) for node_id, codes in ledger.faults.items()}
    hours: defaultdict[str, float] = defaultdict(float)
    faults: Counter[str] = Counter()
    for stay in stays:
        for where in ("everywhere", _place(stay)[2]):
            hours[where] += stay.hours
            faults[where] += sum(ledger.faults.get(stay.node_id, Counter()).values())
    return {
        "stays": len(stays),
        "gpus": len({stay.serial for stay in stays}),
        "events_in": len(expected),
        "faults_recorded": ledger.recorded,
        "faults_wrong": sum(recorded.get(node) != codes for node, codes in expected.items()),
        "faults_by_code": dict(sum(ledger.faults.values(), Counter())),
        "mtbf_hours_by_position": {where: round(hours[where] / faults[where], 1) for where in sorted(hours)},
        "verdicts": dict(ledger.verdicts.most_common()),
        "withdrawals": dict(ledger.guards.most_common()),
        "repeat_offenders": len(offenders),
        "worst": list(offenders[:OFFENDERS_SHOWN]),
    }
