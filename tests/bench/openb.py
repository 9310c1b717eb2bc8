"""How full a pool gets before its leftovers are of no use, on a production trace. One law: the engine's own decisions,
and what is told to it from outside is said.

The trace is Alibaba's cluster-trace-gpu-v2023 ("openb"): 1,213 GPU nodes with 6,212 GPUs, 8,152 tasks. The method is
that of the published scores (FGD, USENIX ATC '23): tasks are drawn with replacement and arrive one by one, nobody
leaves, who does not fit is turned away; what counts is the GPU thousandths that are allocated, as a share of all, when
the tasks so far have asked for 100 % of them. Ten seeds, the mean. Shares, model constraints, CPU and memory are those
of the trace. The engine knows no CPU and memory: nodes that lack them (or are of another model) are handed to it as
kept for others, so it never uses them, but its choice does not foresee what they will lack; one row leaves CPU and
memory out to tell the two apart. Tasks without a GPU are put where
no GPU is free, then where least CPU is left. Typical demand is known beforehand, as in the paper: the trace's tasks are
granted and returned once before the run. Published: Random 86.30, BestFit 92.86, FGD 95.23.

The files carry no licence that lets them be kept here: GPUAAS_OPENB_DIR names a folder with `openb-nodes.csv` and
`openb-pods-default.csv`.
"""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Final

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.placement import Placement, place
from gpuaas.allocations.domain.pool import POOL, GrantClaim, checked
from gpuaas.allocations.domain.shape import Shape
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.common.testing.stack import TestStack

from tests.bench.placement import MODEL, machine
from tests.bench.rows import Row, at_least

FOLDER_VARIABLE: Final = "GPUAAS_OPENB_DIR"
SEEDS: Final = range(10)
WANTED: Final = 95.3
POLICIES: Final[tuple[Policy, ...]] = ("least-fragments-v1", "best-fit-v1", "random-v1")
PUBLISHED: Final = {"best-fit-v1": 92.86, "random-v1": 86.30}


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the trace."""

    gpus: int
    cpu: int
    memory: int
    model: str


@dataclass(frozen=True, slots=True)
class Task:
    """What a task wants; `models`: any of these, empty: any."""

    gpus: int
    milli: int
    cpu: int
    memory: int
    models: frozenset[str]

    @property
    def shape(self) -> Shape:
        return Shape(MODEL, 1, self.gpus, share_milli=self.milli if self.gpus == 1 else 1_000)


async def placement_quality(_: TestStack) -> list[Row]:
    """Mean share of GPUs allocated at 100 % demand by three policies of the same engine."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        print(f"  placement_quality is left out: {FOLDER_VARIABLE} names no folder with the openb trace")
        return []
    runs = [(folder, policy, seed, True) for policy in POLICIES for seed in SEEDS]
    runs += [(folder, POLICIES[0], seed, False) for seed in SEEDS]
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        scores = list(workers.map(_score, runs))
    found: dict[tuple[Policy, bool], list[float]] = {}
    for (_folder, ran, _seed, whole), score in zip(runs, scores, strict=True):
        found.setdefault((ran, whole), []).append(100 * score)
    ours, *others = POLICIES
    rows = [
        at_least("openb trace, least fragments", mean(found[ours, True]), "% of GPUs", WANTED, 95.23),
        Row("openb trace, least fragments, CPU and memory left out", mean(found[ours, False]), "% of GPUs"),
    ]
    for policy in others:
        name = f"openb trace, {policy.removesuffix('-v1')} beside its published score"
        rows.append(Row(name, mean(found[policy, True]), "% of GPUs", PUBLISHED[policy]))
    return rows


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read(folder: Path) -> tuple[list[Node], list[Task]]:
    """The trace's machines and tasks."""
    nodes = [
        Node(int(row["gpu"]), int(row["cpu_milli"]), int(row["memory_mib"]), row["model"])
        for row in _rows(folder / "openb-nodes.csv")
    ]
    tasks = [
        Task(
            int(row["num_gpu"]),
            int(row["gpu_milli"] or 0),
            int(row["cpu_milli"]),
            int(row["memory_mib"]),
            frozenset(row["gpu_spec"].split("|")) - {""},
        )
        for row in _rows(folder / "openb-pods-default.csv")
    ]
    return nodes, tasks


def _score(run: tuple[str, Policy, int, bool]) -> float:
    """Share of all GPUs that is allocated when as much has been asked for as there is."""
    folder, policy, seed, whole = run
    nodes, tasks = read(Path(folder))
    if not whole:
        tasks = [replace(task, cpu=0, memory=0) for task in tasks]
    cluster = Cluster(nodes, tasks, policy)
    capacity = 1_000 * sum(node.gpus for node in nodes)
    dice = random.Random(seed)
    asked = allocated = number = 0
    while asked < capacity:
        task = dice.choice(tasks)
        asked += task.gpus * task.milli
        number += 1
        if cluster.take(f"t{number}", task):
            allocated += task.gpus * task.milli
    return allocated / capacity


class Cluster:
    """The pool with what the engine does not know of its machines."""

    def __init__(self, nodes: Sequence[Node], tasks: Sequence[Task], policy: Policy) -> None:
        self._policy = policy
        self._cpu = [node.cpu for node in nodes]
        self._memory = [node.memory for node in nodes]
        self._of_model: dict[str, int] = {}
        pool: Pool = POOL.initial
        for number, node in enumerate(nodes):
            pool = POOL.fold(POOL.decide(machine(number, node.gpus), pool), pool)
            self._of_model[node.model] = self._of_model.get(node.model, 0) | 1 << number
        self._pool = pool
        for task in tasks:
            if task.gpus:
                self._grant("typical", task, {})
                self._pool = self._pool.returned("typical")

    def take(self, name: str, task: Task) -> bool:
        """Place a task if it fits; whether it did."""
        short = 0
        for number, (cpu, memory) in enumerate(zip(self._cpu, self._memory, strict=True)):
            if cpu < task.cpu or memory < task.memory:
                short |= 1 << number
        if task.models:
            short |= ~sum(self._of_model.get(model, 0) for model in task.models)
        node = self._grant(name, task, {MODEL: short}) if task.gpus else self._without_gpu(short)
        if node is None:
            return False
        self._cpu[node] -= task.cpu
        self._memory[node] -= task.memory
        return True

    def _grant(self, name: str, task: Task, kept: dict[str, int]) -> int | None:
        pool = self._pool
        found = place(pool.book, task.shape, pool.events, self._policy, kept)
        if not isinstance(found, Placement):
            return None
        grant = GrantClaim("main", name, "acme", "ml", MODEL, found.members, found.receipt)
        claim = checked(pool.book, grant)
        self._pool = pool.granted(claim)
        return claim.holdings[0][0]

    def _without_gpu(self, short: int) -> int | None:
        book = self._pool.book
        able = [number for number in range(len(self._cpu)) if not short >> number & 1]
        return min(able, key=lambda number: (book.free_mask(number).bit_count(), self._cpu[number]), default=None)
