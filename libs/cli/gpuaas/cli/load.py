"""Requests at a rate that is held, whatever the answers do. One law: open loop, so slowness is seen and not hidden.

Stages of one request, by the broker's own clock where it has one:
    door      sent → acknowledged (the event is durable)
    placed    event → the event that says where
    started   placed → the runtime says it runs
    visible   acknowledged → a question that asks for this position is answered (every tenth request)
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

import nats
from gpuaas.cli.client import Refused, Unreachable
from gpuaas.cli.demo import play
from gpuaas.cli.demo.world import World
from gpuaas.cli.servers import SERVER_NAMES
from gpuaas.cli.service_table import SERVICES
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.settings import login_of

STAGES: Final = ("door", "placed", "started", "visible")
ASKED_EVERY: Final = 10
"""One request in so many is also asked about, as a caller who wants to see it would."""
UNDER_WAY_MAX: Final = 2_000
"""Requests without an answer at which the rate is given up: the suite does not keep up."""
SETTLE_S: Final = 15.0
RUN_WORLD_S: Final = 60
FACTS: Final = ("requested", "placed", "started")
TICKS: Final = os.sysconf("SC_CLK_TCK")
BUSY: Final = 0.85
"""Cores of one process from which on it is called saturated: one event loop has one core."""


@dataclass(slots=True)
class Measured:
    """What one rate led to.

    Attributes:
        seconds: stage → every request's time.
        cores: process → cores it used on average.
        refused: answers that were no acknowledgement, by status; 0: none at all.
    """

    rate: float
    held_s: float = 0.0
    sent: int = 0
    acknowledged: int = 0
    gave_up: bool = False
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    cores: dict[str, float] = field(default_factory=dict)

    @property
    def done_per_s(self) -> float:
        return self.acknowledged / self.held_s if self.held_s else 0.0

    @property
    def first_full(self) -> str:
        """What has no room left: the machine, or the process with an event loop near one core; empty when nothing."""
        machine = sum(self.cores.values()) / (os.cpu_count() or 1)
        name, most = max(self.cores.items(), key=lambda pair: pair[1], default=("", 0.0))
        if most >= BUSY and name not in SERVER_NAMES:
            return f"{name} ({most:.2f} of one core)"
        if machine >= BUSY:
            return f"the machine ({machine:.0%} of {os.cpu_count()} cores; most of it {name}, {most:.2f})"
        return ""

    def percentile(self, stage: str, share: float) -> float | None:
        """Seconds within which `share` of the requests passed a stage; None where nothing was measured."""
        values = sorted(self.seconds[stage])
        return values[min(len(values) - 1, int(share * len(values)))] if values else None

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        stages = {
            stage: {f"p{share:g}_ms": _ms(self.percentile(stage, share / 100)) for share in (50, 95, 99)}
            for stage in STAGES
        }
        return {
            "rate": self.rate,
            "held_s": round(self.held_s, 1),
            "acknowledged_per_s": round(self.done_per_s, 1),
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "refused": dict(self.refused),
            "kept_up": not self.gave_up,
            "stages": stages,
            "cores": {name: round(used, 2) for name, used in sorted(self.cores.items(), key=lambda each: -each[1])},
            "saturated_first": self.first_full,
        }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1_000 * seconds, 1)


class Watch:
    """Follows the log and notes when the broker took each allocation's facts."""

    def __init__(self) -> None:
        self.at: defaultdict[str, dict[str, float]] = defaultdict(dict)

    @asynccontextmanager
    async def watching(self, world: World) -> AsyncIterator[None]:
        login = login_of(world.stack.operator_nats_url)
        connection = await nats.connect(
            login.servers, user=login.user, password=login.password, inbox_prefix=b"_INBOX_operator"
        )
        log = JetStreamLog(lambda: connection)
        following = asyncio.create_task(self._follow(log, await log.last_position()))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await connection.close()

    async def _follow(self, log: JetStreamLog, after: int) -> None:
        async for batch in log.follow(["events.allocations.allocation.>"], after).batches():
            for recorded in batch.events:
                fact = recorded.type.split(".")[2].removeprefix("allocation-")
                if fact in FACTS:
                    self.at[recorded.subject.rpartition(".")[2]].setdefault(fact, recorded.recorded_at.timestamp())


async def held(
    world: World,
    tenants: Mapping[str, play.Tenant],
    rate: float,
    for_s: float,
    pids: Mapping[str, int],
    progress: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Ask for GPUs `rate` times a second for `for_s` seconds, then wait for what is under way."""
    measured, watch = Measured(rate), Watch()
    names = list(tenants)
    async with watch.watching(world):
        before, began = cpu_seconds(pids), monotonic()
        running: set[asyncio.Task[None]] = set()
        key = f"load-{rate:g}-{began:.0f}"
        asked: list[str] = []
        while (now := monotonic()) - began < for_s:
            due = int((now - began) * rate)
            while measured.sent < due and not measured.gave_up:
                tenant = tenants[names[measured.sent % len(names)]]
                running.add(asyncio.create_task(_one(tenant, measured.sent, key, measured, asked)))
                measured.sent += 1
            running = {task for task in running if not task.done()}
            measured.gave_up = measured.gave_up or len(running) > UNDER_WAY_MAX
            progress(measured.sent)
            await asyncio.sleep(min(1 / rate, 0.02))
        measured.held_s = monotonic() - began
        spent = {name: used - before.get(name, used) for name, used in cpu_seconds(pids).items()}
        measured.cores = {name: used / measured.held_s for name, used in spent.items()}
        await asyncio.wait(running, timeout=SETTLE_S) if running else None
        for task in running:
            task.cancel()
        await _settled(watch, asked)
    _stages(measured, watch, asked)
    return measured


async def _one(tenant: play.Tenant, number: int, key: str, measured: Measured, asked: list[str]) -> None:
    place = f"/v1/tenants/{tenant.name}/projects/{play.PROJECTS[number % len(play.PROJECTS)]}/allocations"
    body = {
        "pool_id": play.POOL,
        "gpus_per_replica": 1,
        "image": "load",
        "command": ["sleep", str(RUN_WORLD_S)],
        "lease_s": 86_400,
    }
    began = monotonic()
    try:
        told = await tenant.client.post("allocations", place, body, key=f"{key}-{number}")
    except Refused as refused:
        measured.refused[refused.status] += 1
        return
    except Unreachable:
        measured.refused[0] += 1
        return
    acknowledged = monotonic()
    measured.acknowledged += 1
    measured.seconds["door"].append(acknowledged - began)
    asked.append(told["id"])
    if number % ASKED_EVERY == 0:
        try:
            await tenant.client.get("allocations", f"{place}/{told['id']}", at_least=told["position"])
        except (Refused, Unreachable):
            return
        measured.seconds["visible"].append(monotonic() - acknowledged)


async def _settled(watch: Watch, asked: Sequence[str]) -> None:
    deadline = time() + SETTLE_S
    while time() < deadline and not all("started" in watch.at[name] for name in asked):
        await asyncio.sleep(0.1)


def _stages(measured: Measured, watch: Watch, asked: Sequence[str]) -> None:
    for name in asked:
        at = watch.at[name]
        for stage, since, until in (("placed", "requested", "placed"), ("started", "placed", "started")):
            if since in at and until in at:
                measured.seconds[stage].append(at[until] - at[since])


def process_ids(world: World) -> dict[str, int]:
    """Every process of the suite, and this one, which makes the load."""
    names = [*(entry.name for entry in SERVICES), *SERVER_NAMES]
    found = {name: pid for name in names if (pid := world.stack.pid(name)) is not None}
    return found | {"the load itself": os.getpid()}


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of each process and, for PostgreSQL, of its children. Source: proc(5)."""
    found: dict[str, float] = {}
    for name, pid in pids.items():
        members = [pid, *_children(pid)] if name == "postgres" else [pid]
        found[name] = sum(map(_cpu_s, members))
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(each) for each in text.split()]
