"""How full a pool gets before its leftovers are of no use, on a production trace. One law: what today's engine cannot
do counts against it, and what it is spared is said.

The trace is Alibaba's cluster-trace-gpu-v2023 ("openb"): 1,213 GPU nodes with 6,212 GPUs, 8,152 tasks. The method is
that of the published scores: tasks are drawn with replacement until they ask for 1.3 × the capacity and arrive one by
one, nobody leaves, who does not fit is turned away; what counts is the share of all GPUs that is allocated when the
tasks so far have asked for 100 % of them. Ten seeds, the mean. More than a third of the tasks want a part of a GPU:
this engine gives them a whole one, and only the part they asked for is counted. Tasks without a GPU are left out, and
no node runs out of CPU or memory, because the engine knows neither: that flatters it.

The files carry no licence that lets them be kept here: GPUAAS_OPENB_DIR names a folder with `openb-nodes.csv` and
`openb-pods-default.csv`.
"""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Final

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.placement import LEAST_FRAGMENTS, Placement, Policy, place
from gpuaas.allocations.domain.pool import POOL, GrantClaim, checked
from gpuaas.allocations.domain.shape import Shape
from gpuaas.common.testing.stack import TestStack

from tests.bench.placement import MODEL, machine
from tests.bench.rows import Row, at_least

FOLDER_VARIABLE: Final = "GPUAAS_OPENB_DIR"
BEST_FIT: Final[Policy] = "best-fit-v1"
SEEDS: Final = range(10)
WORKLOAD: Final = 1.3
WANTED: Final = 95.3
Task = tuple[int, int]
"""GPUs, and how many thousandths of each."""


async def placement_quality(_: TestStack) -> list[Row]:
    """Mean share of GPUs allocated at 100 % demand, beside best fit."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        print(f"  placement_quality is left out: {FOLDER_VARIABLE} names no folder with the openb trace")
        return []
    nodes = [int(row["gpu"]) for row in _rows(Path(folder) / "openb-nodes.csv")]
    tasks = [
        (int(row["num_gpu"]), int(row["gpu_milli"]))
        for row in _rows(Path(folder) / "openb-pods-default.csv")
        if int(row["num_gpu"])
    ]
    ours, best_fit = (
        100 * mean(_allocated(nodes, tasks, policy, seed) for seed in SEEDS) for policy in (LEAST_FRAGMENTS, BEST_FIT)
    )
    name = "openb trace, a shared GPU is given whole, no CPU or memory"
    return [at_least(name, ours, "% of GPUs", WANTED, best_fit)]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _allocated(nodes: Sequence[int], tasks: Sequence[Task], policy: Policy, seed: int) -> float:
    """Share of all GPUs that tasks hold and asked for, when as much has been asked for as there is."""
    capacity = 1_000 * sum(nodes)
    pool: Pool = POOL.initial
    for number, gpus in enumerate(nodes):
        pool = POOL.fold(POOL.decide(machine(number, gpus), pool), pool)
    asked = allocated = 0
    for number, (gpus, milli) in enumerate(_workload(tasks, WORKLOAD * capacity, seed)):
        asked += gpus * milli
        found = place(pool.book, Shape(MODEL, 1, gpus), pool.events, policy)
        if isinstance(found, Placement):
            grant = GrantClaim("main", f"t{number}", "acme", "ml", MODEL, found.members, found.receipt)
            pool = pool.granted(checked(pool.book, grant))
            allocated += gpus * milli
        if asked >= capacity:
            break
    return allocated / capacity


def _workload(tasks: Sequence[Task], milli: float, seed: int) -> Iterator[Task]:
    """Tasks drawn until they ask for this much."""
    dice = random.Random(seed)
    while milli > 0:
        task = dice.choice(tasks)
        milli -= task[0] * task[1]
        yield task
