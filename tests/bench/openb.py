"""How full a pool gets before small leftovers are of no use: the whole-GPU part of a production trace. One law: what
cannot be compared with the published figures does not stand beside them.

The trace is Alibaba's cluster-trace-gpu-v2023 ("openb"): 1,213 GPU nodes with 6,212 GPUs, 8,152 tasks. More than a
third of its tasks share a GPU and all of them ask for CPU and memory, neither of which this engine knows. So only the
tasks that ask for whole GPUs are played, none naming a model, with no CPU and memory to run out of: another, easier
workload than that of the published scores (FGD 95.23 %). Method otherwise as there: tasks are drawn with replacement
until they ask for 1.3 × the capacity, arrive one by one, nobody leaves, who does not fit is turned away; what counts is
the share of GPUs allocated when 100 % of the capacity has been asked for. Ten seeds, the mean.

The files carry no licence that lets them be kept here: GPUAAS_OPENB_DIR names a folder with `openb-nodes.csv` and
`openb-pods-default.csv`.
"""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Final

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.placement import Placement, Policy, place
from gpuaas.allocations.domain.pool import POOL, GrantClaim, checked
from gpuaas.allocations.domain.shape import Shape
from gpuaas.common.testing.stack import TestStack

from tests.bench.placement import MODEL, machine
from tests.bench.rows import Row, beside

FOLDER_VARIABLE: Final = "GPUAAS_OPENB_DIR"
SEEDS: Final = range(10)
WORKLOAD: Final = 1.3
WHOLE: Final = "1000"
"""`gpu_milli` of a task that shares with nobody."""


async def placement_quality(_: TestStack) -> list[Row]:
    """Mean share of GPUs allocated at 100 % demand; every policy beside best fit."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        print(f"  placement_quality is left out: {FOLDER_VARIABLE} names no folder with the openb trace")
        return []
    nodes = [int(row["gpu"]) for row in _rows(Path(folder) / "openb-nodes.csv")]
    tasks = [
        int(row["num_gpu"])
        for row in _rows(Path(folder) / "openb-pods-default.csv")
        if int(row["num_gpu"]) and row["gpu_milli"] == WHOLE
    ]
    policies: tuple[Policy, ...] = ("best-fit-v1", "least-fragments-v1", "spread-v1")
    best_fit, *others = (mean(_allocated(nodes, tasks, policy, seed) for seed in SEEDS) for policy in policies)
    return [
        beside(f"openb, whole-GPU tasks only (not the published mix), {policy}", share * 100, "%", best_fit * 100)
        for policy, share in zip(policies[1:], others, strict=True)
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _allocated(nodes: Sequence[int], tasks: Sequence[int], policy: Policy, seed: int) -> float:
    """Share of all GPUs that are held when as many have been asked for as there are."""
    capacity = sum(nodes)
    pool: Pool = POOL.initial
    for number, gpus in enumerate(nodes):
        pool = POOL.fold(POOL.decide(machine(number, gpus), pool), pool)
    asked = allocated = 0
    for number, gpus in enumerate(_workload(tasks, WORKLOAD * capacity, seed)):
        asked += gpus
        found = place(pool.book, Shape(MODEL, 1, gpus), pool.events, policy)
        if isinstance(found, Placement):
            grant = GrantClaim("main", f"t{number}", "acme", "ml", MODEL, found.members, found.receipt)
            pool = pool.granted(checked(pool.book, grant))
            allocated += gpus
        if asked >= capacity:
            break
    return allocated / capacity


def _workload(tasks: Sequence[int], gpus: float, seed: int) -> list[int]:
    dice = random.Random(seed)
    drawn: list[int] = []
    while (sum(drawn[-1:]) and gpus > 0) or not drawn:
        drawn.append(dice.choice(tasks))
        gpus -= drawn[-1]
    return drawn
