"""The demo's input: a real fleet and real jobs. One law: only when a job arrives is shifted, never what it is.

Fleet: hosts of Alibaba's Lingjun cluster, eight GPUs each. Jobs: Microsoft's Philly trace of 2017. A slice takes every
tenant's busiest stretch of a few hours and lets all stretches begin together, so that a short demo has all tenants and
real contention; within a stretch, gaps, run times and GPU counts are the trace's own.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from typing import Final

WORLD_EPOCH: Final = datetime(2017, 10, 2, tzinfo=UTC)
"""When a slice begins in world time: a Monday of the trace's own weeks."""
STRETCHES_H: Final = (3, 6, 12, 24, 48, 96, 240, 720)
GPUS_PER_HOST: Final = 8


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of the fleet and the switches above it, as labels."""

    name: str
    region: str
    site: str
    pod: str
    rack: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the trace.

    Attributes:
        arrival: world time of submission.
        run_s: how long it ran, whole seconds.
    """

    name: str
    tenant: str
    arrival: datetime
    run_s: int
    gpu_count: int

    @property
    def gpu_ms(self) -> int:
        return self.gpu_count * self.run_s * 1_000

    @property
    def shape(self) -> tuple[int, int]:
        """(replicas, GPUs each): whole hosts for what does not fit one."""
        if self.gpu_count <= GPUS_PER_HOST:
            return 1, self.gpu_count
        for each in range(GPUS_PER_HOST, 0, -1):
            if self.gpu_count % each == 0:
                return self.gpu_count // each, each
        raise AssertionError("every count divides by one")

    @property
    def project(self) -> str:
        return "training" if self.gpu_count >= 4 else "research"


def fleet(hosts: int) -> list[Host]:
    """The first `hosts` machines, rack by rack, so that racks are whole.

    Raises:
        ValueError: more than there are.
    """
    rows = list(csv.DictReader(io.StringIO(_text("lingjun-topology.csv"))))
    if hosts > len(rows):
        raise ValueError(f"the Lingjun topology has {len(rows)} hosts; ask for at most that many, not {hosts}")
    rows.sort(key=lambda row: (row["dsw"], row["psw"], row["asw"], row["host"]))
    return [
        Host(f"h-{row['host']}", "lingjun", row["dsw"].lower(), row["psw"].lower(), row["asw"].lower())
        for row in rows[:hosts]
    ]


def jobs(count: int | None) -> list[Job]:
    """At least `count` jobs (exactly, where the stretches allow) of all tenants by arrival; None: the whole trace."""
    by_tenant: defaultdict[str, list[tuple[datetime, int, int]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(_text("philly-jobs.csv.gz"))):
        submitted = datetime.fromisoformat(row["submitted_at"]).replace(tzinfo=UTC)
        by_tenant[row["virtual_cluster"]].append((submitted, int(row["duration_s"]), int(row["gpu_count"])))
    if count is None or count > 40_000:
        first = min(rows[0][0] for rows in by_tenant.values())
        return _named({tenant: (first, rows) for tenant, rows in by_tenant.items()})
    for hours in STRETCHES_H:
        stretches = {tenant: busiest(rows, timedelta(hours=hours)) for tenant, rows in by_tenant.items()}
        if sum(map(len, stretches.values())) >= count or hours == STRETCHES_H[-1]:
            break
    cap = _cap([len(rows) for rows in stretches.values()], count)
    thinned = {tenant: _spread(rows, cap) for tenant, rows in stretches.items()}
    return _named({tenant: (rows[0][0], rows) for tenant, rows in thinned.items()})


def busiest(rows: Sequence[tuple[datetime, int, int]], width: timedelta) -> list[tuple[datetime, int, int]]:
    """The window of `width` with the most rows (sorted by time); the earliest of equals."""
    best, begin = (0, 0), 0
    for end, (moment, _, _) in enumerate(rows):
        while moment - rows[begin][0] > width:
            begin += 1
        if end - begin + 1 > best[0]:
            best = (end - begin + 1, begin)
    return list(rows[best[1] : best[1] + best[0]])


def _cap(sizes: Sequence[int], count: int) -> int:
    """The smallest number of jobs per tenant with which all together give `count`."""
    low, high = 1, max(sizes)
    while low < high:
        middle = (low + high) // 2
        if sum(min(size, middle) for size in sizes) >= count:
            high = middle
        else:
            low = middle + 1
    return low


def _spread(rows: list[tuple[datetime, int, int]], keep: int) -> list[tuple[datetime, int, int]]:
    """`keep` of the rows, evenly over the stretch."""
    if len(rows) <= keep:
        return rows
    return [rows[index * len(rows) // keep] for index in range(keep)]


def _named(tenants: dict[str, tuple[datetime, list[tuple[datetime, int, int]]]]) -> list[Job]:
    found = [
        Job(f"job-{tenant}-{number:05d}", f"vc-{tenant}", WORLD_EPOCH + (moment - first), run_s, gpus)
        for tenant, (first, rows) in tenants.items()
        for number, (moment, run_s, gpus) in enumerate(rows)
    ]
    found.sort(key=lambda job: (job.arrival, job.name))
    assert all(before.arrival <= after.arrival for before, after in pairwise(found))
    return found


def _text(name: str) -> str:
    raw = files("gpuaas.cli").joinpath("data", name).read_bytes()
    return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
