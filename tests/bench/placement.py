"""Placement in a busy pool: how long a decision takes, how many a second. One law: what is counted was decided by the
pool and folded, so the next decision stands on it.

The fleet: equal nodes of 8 GPUs, 16 to a rack, 8 racks to a pod. The demand: shapes drawn from the Philly trace, each
job as often as it wants GPUs (as the trace is, 93 % ask for one GPU and 0.4 % for a gang, which is too easy); a gang
wants one rack or one pod, or would like to. The pool is held at 80 %: claims picked at random go back first. There is
no quota in the engine yet, so none in the figure.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from typing import Final

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.placement import Placement, place
from gpuaas.allocations.domain.pool import POOL, AddCapacity, GrantClaim, PoolCommand, ReturnClaim, Settle
from gpuaas.allocations.domain.queue import Kept, Line, Waiting, plan
from gpuaas.allocations.domain.shape import Level, Shape
from gpuaas.allocations.reactions import POOL as POOLS
from gpuaas.cli.demo import trace
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.ids import new_id
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import Topology, TopologyMode

from tests.bench.on_the_log import fresh_log
from tests.bench.rows import Row, at_least, beside, no_more, percentile, rates_in_turn

GPUS: Final = 8
NODES_PER_RACK: Final = 16
RACKS_PER_POD: Final = 8
FULL: Final = 0.8
FEW_NODES, MANY_NODES = 1_000, 10_000
DECISIONS_PER_BLOCK: Final = 1_000
BLOCKS: Final = 7
DRAWN: Final = 50_000
CLAIMS_PER_CYCLE: Final = 100
CYCLES: Final = 15
WISHES: Final[tuple[tuple[Level, TopologyMode], ...]] = (
    ("rack", "required"),
    ("rack", "preferred"),
    ("pod", "required"),
)
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
def demand() -> tuple[Shape, ...]:
    """What is asked for, in order; gangs with a wish for one rack or pod in turn."""
    jobs = trace.jobs(None)
    drawn = random.Random(7).choices(jobs, weights=[job.gpu_count for job in jobs], k=DRAWN)
    shapes: list[Shape] = []
    for number, job in enumerate(drawn):
        replicas, each = job.shape
        if replicas == 1:
            shapes.append(Shape(MODEL, 1, each))
        elif replicas > NODES_PER_RACK:
            shapes.append(Shape(MODEL, replicas, each, "pod", "preferred"))
        else:
            level, mode = WISHES[number % len(WISHES)]
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
        shapes = demand()
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
    free: list[int]
    held: list[list[tuple[int, int]]]
    held_gpus: int
    dice: random.Random = field(default_factory=lambda: random.Random(8))
    asked: int = 0

    @classmethod
    def of(cls, busy: Busy) -> PlainScan:
        """The same pool as it stands."""
        book = busy.pool.book
        return cls(
            nodes=busy.nodes,
            free=[GPUS - held.bit_count() for held in book.held],
            held=[[(node, mask.bit_count()) for node, mask in claim.holdings] for claim in book.claims.values()],
            held_gpus=busy.held_gpus,
        )

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
        shapes = demand()
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
    few, many = Busy(FEW_NODES), Busy(MANY_NODES)
    works = (few.block, PlainScan.of(few).block, many.block, PlainScan.of(many).block)
    few_rate, few_scan, many_rate, many_scan = rates_in_turn(*works, blocks=BLOCKS)
    all_ms = [took * 1e3 for _, took in few.took_s]
    gangs_ms = [took * 1e3 for gang, took in few.took_s if gang]
    gangs, refused = len(gangs_ms) / len(all_ms), few.refused / len(all_ms)
    return [
        at_least("placement, 1,000 nodes, sustained", few_rate, "decisions/s", 500),
        beside("placement, 1,000 nodes, against a plain scan", few_rate, "decisions/s", few_scan),
        Row("placement, 1,000 nodes, p50", percentile(all_ms, 0.5), "ms"),
        no_more("placement, 1,000 nodes, p99", percentile(all_ms, 0.99), "ms", 20),
        no_more("placement, 1,000 nodes, gangs only, p99", percentile(gangs_ms, 0.99), "ms", 20),
        Row("placement, 1,000 nodes, decisions on gangs", gangs * 100, "%"),
        Row("placement, 1,000 nodes, decisions that refuse", refused * 100, "%"),
        no_more("placement, 10,000 nodes, p99", percentile([took * 1e3 for _, took in many.took_s], 0.99), "ms", 20),
        Row(
            "placement, cost with ten times the nodes",
            1e6 / many_rate,
            "µs",
            1e6 / few_rate,
            few_rate / many_rate,
            "< 10 × the cost with a tenth of them",
            few_rate / many_rate < 10,
        ),
        beside("placement, 10,000 nodes, against a plain scan", many_rate, "decisions/s", many_scan),
    ]


@dataclass(slots=True)
class Scheduling:
    """A waiting line and the pool on a log: what one scheduler does in a cycle, without the service around it."""

    commands: Commands
    pool: Pool = POOL.initial
    line: Line = field(default_factory=Line)
    kept: Mapping[str, Kept] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(8))
    held: dict[str, int] = field(default_factory=dict)
    asked: int = 0

    async def order(self, command: PoolCommand) -> None:
        """Let the pool decide; it is in the log when this returns."""
        cause = Cause(id=new_id(), actor="allocations", actor_kind="service")
        self.pool = (await self.commands.execute(POOLS, PLATFORM, "main", command, cause)).state

    def arrive(self, count: int) -> None:
        """The next jobs stand in line."""
        shapes = demand()
        for number in range(self.asked, self.asked + count):
            self.line.join(Waiting(f"w{number}", "acme", "ml", shapes[number % len(shapes)], 0, number))
        self.asked += count

    async def cycle(self, returns: int) -> int:
        """Return claims picked at random, plan, settle; how many were granted."""
        going = self.dice.sample(list(self.held), returns)
        after = self.pool
        for name in going:
            after = after.returned(name)
            del self.held[name]
        decided = plan("main", after, self.line, self.kept)
        self.kept = decided.kept
        await self.order(Settle(tuple(ReturnClaim("main", name, "completed") for name in going), decided.grants))
        for grant in decided.grants:
            waiting = self.line.leave(grant.allocation_id)
            assert waiting is not None
            self.held[grant.allocation_id] = waiting.shape.gpu_count
        return len(decided.grants)


async def placement_cycles(stack: TestStack) -> list[Row]:
    """Cycles of the scheduler, from the waiting line to durable claims: plan, then one atomic append."""
    async with fresh_log(stack) as log:
        work = Scheduling(Commands(log, WallClock(), "allocations", "dev"))
        for number in range(FEW_NODES):
            await work.order(machine(number))
        while sum(work.held.values()) < FULL * GPUS * FEW_NODES:
            work.arrive(CLAIMS_PER_CYCLE)
            await work.cycle(returns=0)
        rates: list[float] = []
        for _ in range(CYCLES):
            work.arrive(CLAIMS_PER_CYCLE)
            began = time.perf_counter()
            granted = await work.cycle(returns=CLAIMS_PER_CYCLE)
            rates.append(granted / (time.perf_counter() - began))
    return [at_least("placement, waiting line to durable claims", median(rates), "claims/s", 500)]
