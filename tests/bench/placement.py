"""Placement in a busy pool: how long a decision takes, how many a second. One law: what is counted was decided by the
pool and folded, so the next decision stands on it.

The fleet: equal nodes of 8 GPUs, 16 to a rack, 8 racks to a pod. The demand: shapes drawn from the Philly trace; a gang
wants one rack or one pod, or would like to. The pool is held at 80 %: claims picked at random go back first. There is
no quota in the engine yet, so none in the figure.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from typing import Final

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.placement import Placement, place
from gpuaas.allocations.domain.pool import POOL, AddCapacity, GrantClaim, PoolCommand, ReturnClaim, Settle
from gpuaas.allocations.domain.queue import Line, Waiting, plan
from gpuaas.allocations.domain.shape import Shape
from gpuaas.allocations.reactions import POOL as POOLS
from gpuaas.cli.demo import trace
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.ids import new_id
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import Topology

from tests.bench.on_the_log import fresh_log
from tests.bench.rows import Row, at_least, beside, no_more, percentile

GPUS: Final = 8
NODES_PER_RACK: Final = 16
RACKS_PER_POD: Final = 8
FULL: Final = 0.8
FEW_NODES, MANY_NODES = 1_000, 10_000
DECISIONS_PER_BLOCK: Final = 1_000
BLOCKS: Final = 7
CYCLE: Final = 200
CYCLES: Final = 15
MODEL: Final = "h100"


def machine(number: int, gpus: int = GPUS) -> AddCapacity:
    """The `number`-th node of the fleet."""
    rack = number // NODES_PER_RACK
    return AddCapacity(
        pool_id="main",
        node_id=f"n{number}",
        gpu_model=MODEL,
        device_ids=tuple(f"n{number}-g{slot}" for slot in range(gpus)),
        topology=Topology(region="eu", site="s0", pod=f"p{rack // RACKS_PER_POD}", rack=f"r{rack}"),
    )


@cache
def trace_shapes() -> tuple[Shape, ...]:
    """What the trace's jobs asked for, in the order they came; gangs with a wish for one rack or pod in turn."""
    shapes: list[Shape] = []
    for number, job in enumerate(trace.jobs(None)):
        replicas, each = job.shape
        if replicas == 1:
            shapes.append(Shape(MODEL, 1, each))
        elif replicas > NODES_PER_RACK:
            shapes.append(Shape(MODEL, replicas, each, "pod", "preferred"))
        else:
            level, mode = (("rack", "required"), ("rack", "preferred"), ("pod", "required"))[number % 3]
            shapes.append(Shape(MODEL, replicas, each, level, mode))
    return tuple(shapes)


@dataclass(slots=True)
class Busy:
    """A pool at work: `step` returns what is too much, places, decides, folds."""

    nodes: int
    pool: Pool = POOL.initial
    dice: random.Random = field(default_factory=lambda: random.Random(8))
    held: list[tuple[str, int]] = field(default_factory=list)
    held_gpus: int = 0
    asked: int = 0
    refused: int = 0
    took_s: list[tuple[bool, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(self.nodes):
            self._decide(machine(number))
        while self.held_gpus < FULL * GPUS * self.nodes:
            self.step()
        self.took_s.clear()
        self.refused = 0

    def block(self, _: int) -> int:
        """Some steps; how many."""
        for _ in range(DECISIONS_PER_BLOCK):
            self.step()
        return DECISIONS_PER_BLOCK

    def step(self) -> None:
        """One decision on the next job of the trace."""
        for back in self.give_back():
            self._decide(back)
        shapes = trace_shapes()
        shape = shapes[self.asked % len(shapes)]
        self.asked += 1
        began = time.perf_counter()
        found = place(self.pool.book, shape, self.pool.events)
        if isinstance(found, Placement):
            name = f"a{self.asked}"
            self._decide(GrantClaim("main", name, "acme", "ml", found.gpu_model, found.members, found.receipt))
            self.held.append((name, shape.gpu_count))
            self.held_gpus += shape.gpu_count
        else:
            self.refused += 1
        self.took_s.append((shape.replicas > 1, time.perf_counter() - began))

    def give_back(self) -> list[ReturnClaim]:
        """Claims picked at random, until the pool is no more than `FULL`."""
        going: list[ReturnClaim] = []
        while self.held_gpus > FULL * GPUS * self.nodes:
            chosen = self.dice.randrange(len(self.held))
            self.held[chosen], self.held[-1] = self.held[-1], self.held[chosen]
            name, gpus = self.held.pop()
            self.held_gpus -= gpus
            going.append(ReturnClaim("main", name, "completed"))
        return going

    def _decide(self, command: PoolCommand) -> None:
        for event in POOL.decide(command, self.pool):
            self.pool = POOL.evolve(self.pool, event)


@dataclass(slots=True)
class PlainScan:
    """The baseline: the same demand by looking at every node for every replica, with nothing else done.

    Best fit; a wish for one rack or pod is met by the fullest that can take the gang. No model, no receipt, no events.
    """

    nodes: int
    dice: random.Random = field(default_factory=lambda: random.Random(8))
    free: list[int] = field(default_factory=list)
    held: list[list[tuple[int, int]]] = field(default_factory=list)
    held_gpus: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self.free = [GPUS] * self.nodes
        while self.held_gpus < FULL * GPUS * self.nodes:
            self.step()

    def block(self, _: int) -> int:
        """Some steps; how many."""
        for _ in range(DECISIONS_PER_BLOCK // 10):
            self.step()
        return DECISIONS_PER_BLOCK // 10

    def step(self) -> None:
        """One decision on the next job of the trace."""
        while self.held_gpus > FULL * GPUS * self.nodes:
            for node, size in self.held.pop(self.dice.randrange(len(self.held))):
                self.free[node] += size
                self.held_gpus -= size
        shapes = trace_shapes()
        shape = shapes[self.asked % len(shapes)]
        self.asked += 1
        among = self._among(shape)
        gang: list[tuple[int, int]] = []
        for _ in range(shape.replicas):
            size = shape.gpus_per_replica
            able = [(self.free[node], node) for node in among if self.free[node] >= size]
            if not able:
                break
            _, node = min(able)
            self.free[node] -= size
            self.held_gpus += size
            gang.append((node, size))
        self.held.append(gang)

    def _among(self, shape: Shape) -> Sequence[int]:
        if shape.topology_level is None:
            return range(self.nodes)
        width = NODES_PER_RACK * (RACKS_PER_POD if shape.topology_level == "pod" else 1)
        room: dict[int, int] = {}
        for node in range(self.nodes):
            domain = node // width
            room[domain] = room.get(domain, 0) + self.free[node] // shape.gpus_per_replica
        able = [(replicas, domain) for domain, replicas in room.items() if replicas >= shape.replicas]
        domain = min(able)[1] if able else 0
        return range(domain * width, min(self.nodes, (domain + 1) * width))


async def placement_decisions(_: TestStack) -> list[Row]:
    """Decisions with 1,000 and with 10,000 nodes in turn, and a plain scan beside them."""
    few, many, scan = Busy(FEW_NODES), Busy(MANY_NODES), PlainScan(FEW_NODES)
    seconds: dict[str, list[float]] = {"few": [], "many": [], "scan": []}
    for block in range(BLOCKS):
        for name, work in (("few", few.block), ("many", many.block), ("scan", scan.block)):
            began = time.perf_counter()
            count = work(block)
            seconds[name].append((time.perf_counter() - began) / count)
    few_s, many_s, scan_s = (median(each) for each in seconds.values())
    all_ms = [took * 1e3 for _, took in few.took_s]
    gangs_ms = [took * 1e3 for gang, took in few.took_s if gang]
    refused = few.refused / len(few.took_s)
    return [
        at_least("placement, 1,000 nodes, sustained", 1 / few_s, "decisions/s", 500),
        beside("placement, 1,000 nodes, against a plain scan", 1 / few_s, "decisions/s", 1 / scan_s),
        Row("placement, 1,000 nodes, p50", percentile(all_ms, 0.5), "ms"),
        no_more("placement, 1,000 nodes, p99", percentile(all_ms, 0.99), "ms", 20),
        no_more("placement, 1,000 nodes, gangs only, p99", percentile(gangs_ms, 0.99), "ms", 20),
        Row("placement, 1,000 nodes, decisions that refuse", refused * 100, "%"),
        no_more("placement, 10,000 nodes, p99", percentile([took * 1e3 for _, took in many.took_s], 0.99), "ms", 20),
        Row(
            "placement, cost with ten times the nodes",
            many_s * 1e6,
            "µs",
            few_s * 1e6,
            many_s / few_s,
            "< 10 × the cost with a tenth of them",
            many_s / few_s < 10,
        ),
    ]


async def placement_cycles(stack: TestStack) -> list[Row]:
    """Cycles of the scheduler, from the waiting line to durable claims: plan, then one atomic append."""
    async with fresh_log(stack) as log:
        commands = Commands(log, WallClock(), "allocations", "dev")

        async def order(command: PoolCommand) -> Pool:
            cause = Cause(id=new_id(), actor="allocations", actor_kind="service")
            return (await commands.execute(POOLS, PLATFORM, "main", command, cause)).state

        for number in range(FEW_NODES):
            pool = await order(machine(number))
        busy, line, arrivals = Busy(0), Line(), 0
        busy.nodes = FEW_NODES
        shapes = trace_shapes()
        granted: list[float] = []
        for cycle in range(CYCLES + FEW_NODES * GPUS // CYCLE):
            while len(line) < CYCLE:
                shape = shapes[arrivals % len(shapes)]
                arrivals += 1
                line.join(Waiting(f"w{arrivals}", "acme", "ml", shape, 0, arrivals))
            returns = tuple(busy.give_back())
            steady = busy.held_gpus >= FULL * GPUS * FEW_NODES * 0.9
            began = time.perf_counter()
            after = pool
            for back in returns:
                after = after.returned(back.allocation_id)
            decided = plan("main", after, line, {})
            pool = await order(Settle(returns, decided.grants))
            took = time.perf_counter() - began
            for grant in decided.grants:
                line.leave(grant.allocation_id)
                size = sum(len(member.device_ids) for member in grant.members)
                busy.held.append((grant.allocation_id, size))
                busy.held_gpus += size
            if steady and decided.grants:
                granted.append(len(decided.grants) / took)
            if len(granted) == CYCLES:
                break
            assert cycle < FEW_NODES * GPUS // CYCLE + CYCLES - 1 or granted
    return [at_least("placement, line to durable claims", median(granted), "claims/s", 500)]
