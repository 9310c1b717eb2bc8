"""Fifteen tenants share a pool for three months: waits, fairness, borrowing, preemptions. One law: the trace is whole.

Microsoft's Philly trace of 2017 (CC BY 4.0; beside the demo, with its licence): 82,247 jobs of 15 virtual clusters,
here tenants. A tenant's observed peak is the most GPUs that it would hold at once if nothing ever waited; its quota is
0.6 of that. The pool is made of machines of 8 GPUs. *Roomy*: as many as all quotas together need. *Tight*: 0.6 of the
peak of all tenants together, and the quotas cut down in proportion, so that all can still be honoured at once. Jobs run
as long as in the trace; one that is reclaimed stands in line again with its place and begins anew. Beside it the same
pool by the line alone, best effort and in strict order.

Fairness is Jain's index over tenants of their mean bounded slowdown, (wait + run) / max(run, 10 s): 1 is all alike.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import cache
from statistics import mean
from typing import Final, Literal

from gpuaas.allocations.domain.lab import Job, Lived, Way, live_through
from gpuaas.allocations.domain.pool import POOL
from gpuaas.allocations.domain.queue import Waiting
from gpuaas.allocations.domain.quota import Scope
from gpuaas.allocations.domain.rules import Rules
from gpuaas.allocations.domain.shape import Shape
from gpuaas.cli.demo import trace
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import QuotaSet

from tests.bench.placement import GPUS, MODEL, machine
from tests.bench.rows import Row

OF_PEAK: Final = 0.6
Size = Literal["roomy", "tight"]
Order = Literal["quotas", "line", "strict"]
RUNS: Final[tuple[tuple[Size, Order], ...]] = (
    ("tight", "quotas"),
    ("tight", "line"),
    ("tight", "strict"),
    ("roomy", "quotas"),
)


@cache
def jobs() -> list[Job]:
    """The whole trace."""
    made = []
    for number, job in enumerate(sorted(trace.jobs(None), key=lambda job: (job.arrival, job.name))):
        replicas, each = job.shape
        waiting = Waiting(job.name, job.tenant, job.project, Shape(MODEL, replicas, each), 0, number)
        made.append(Job(waiting, job.arrival, timedelta(seconds=max(job.run_s, 1))))
    return made


def peaks() -> tuple[Counter[str], int]:
    """The most GPUs that each tenant, and all together, would hold if nothing waited."""
    changes = []
    for job in jobs():
        gpus = job.waiting.shape.gpu_count
        changes.append((job.arrives_at, gpus, job.waiting.tenant_id))
        changes.append((job.arrives_at + job.runs, -gpus, job.waiting.tenant_id))
    now, most, most_of_all = Counter[str](), Counter[str](), 0
    for _, gpus, tenant in sorted(changes):
        now[tenant] += gpus
        most[tenant] = max(most[tenant], now[tenant])
        most_of_all = max(most_of_all, now.total())
    return most, most_of_all


def scene(size: Size) -> tuple[int, dict[str, int]]:
    """(machines, quota of each tenant)."""
    most, most_of_all = peaks()
    quotas = {tenant: OF_PEAK * gpus for tenant, gpus in most.items()}
    if size == "tight":
        part = OF_PEAK * most_of_all / sum(quotas.values())
        quotas = {tenant: part * gpus for tenant, gpus in quotas.items()}
    nominal = {tenant: int(gpus) for tenant, gpus in quotas.items()}
    return -(-sum(nominal.values()) // GPUS), nominal


def lived(run: tuple[Size, Order]) -> Lived:
    """The whole trace in one scene, in one order."""
    size, order = run
    machines, nominal = scene(size)
    pool = POOL.initial
    for number in range(machines):
        pool = POOL.fold(POOL.decide(machine(number), pool), pool)
    quotas: dict[Scope, QuotaSet] = {}
    if order == "quotas":
        for tenant, gpus in nominal.items():
            said = QuotaSet(
                tenant_id=tenant, pool_id="main", gpu_model=MODEL, nominal_gpus=gpus, weight=1, reason="bench"
            )
            quotas[tenant, MODEL, None] = said
    rules = Rules("strict-fifo" if order == "strict" else "best-effort")
    return live_through("main", pool, jobs(), Way(rules=rules, quotas=quotas))


def fairness(found: Lived) -> float:
    """Jain's index of the tenants' mean bounded slowdowns."""
    slow: defaultdict[str, list[float]] = defaultdict(list)
    for job in jobs():
        wait = found.waits.get(job.waiting.allocation_id)
        if wait is not None:
            run_s = job.runs.total_seconds()
            slow[job.waiting.tenant_id].append((wait.total_seconds() + run_s) / max(run_s, 10.0))
    means = [mean(each) for each in slow.values()]
    return sum(means) ** 2 / (len(means) * sum(each * each for each in means))


async def philly_quotas(_: TestStack) -> list[Row]:
    """The whole Philly trace with quotas of 0.6 × observed peak, and without them beside it."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        found = dict(zip(RUNS, workers.map(lived, RUNS), strict=True))
    rows: list[Row] = []
    line = found["tight", "line"]
    for (size, order), each in found.items():
        name, other = f"philly, {size} pool, {order}", line if size == "tight" else each
        assert not each.left
        rows += [
            _row(f"{name}: mean wait", each.mean_wait_s, "s", other.mean_wait_s),
            _row(f"{name}: wait p95", each.wait_s(0.95), "s", other.wait_s(0.95)),
            _row(f"{name}: Jain's index of slowdown", fairness(each), "of 1", fairness(other)),
            Row(f"{name}: free GPUs of no use to typical demand", 100 * each.fragments, "%"),
            Row(f"{name}: never satisfiable", len(each.refused), "jobs"),
        ]
        if order == "quotas":
            rows += [
                Row(f"{name}: borrowed", each.borrowed_gpu_ms / 3.6e6, "GPU-hours"),
                Row(f"{name}: preemptions", each.preemptions, "jobs"),
                Row(f"{name}: work lost by them", each.lost_gpu_ms / 3.6e6, "GPU-hours"),
            ]
    return rows


def _row(name: str, value: float, unit: str, beside: float) -> Row:
    return Row(name, value, unit, beside, value / beside if beside else None)
