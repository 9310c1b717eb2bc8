"""Small fleets and requests for tests. One law: everything is said through the pool's own events."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.placement import Placement, place
from gpuaas.allocations.domain.pool import POOL, AddCapacity, GrantClaim, ReturnClaim, WithdrawCapacity
from gpuaas.allocations.domain.shape import Shape
from gpuaas.contracts.allocations import Member, Receipt, Topology

RECEIPT = Receipt(pool_version=0, policy="test", nodes_considered=0, exclusions=(), score="0")


def told(pool: Pool, *commands: object) -> Pool:
    """The pool after it has decided on the commands one by one."""
    for command in commands:
        pool = POOL.fold(POOL.decide(command, pool), pool)  # type: ignore[arg-type]
    return pool


def machine(number: int, gpus: int = 8, model: str = "h100", per_rack: int = 4, racks_per_pod: int = 2) -> AddCapacity:
    """Machine `n<number>` with GPUs `n<number>-g0…`; racks fill up in order."""
    rack = number // per_rack
    return AddCapacity(
        pool_id="main",
        node_id=f"n{number}",
        gpu_model=model,
        device_ids=tuple(f"n{number}-g{i}" for i in range(gpus)),
        topology=Topology(region="eu", site="s0", pod=f"p{rack // racks_per_pod}", rack=f"r{rack}"),
    )


def fleet(nodes: int, gpus: int = 8, model: str = "h100", per_rack: int = 4) -> Pool:
    """A pool of equal machines."""
    return told(POOL.initial, *(machine(number, gpus, model, per_rack) for number in range(nodes)))


def member(index: int, node_id: str, devices: Sequence[int]) -> Member:
    return Member(member=index, node_id=node_id, device_ids=tuple(f"{node_id}-g{device}" for device in devices))


def grant(allocation_id: str, *members: Member, model: str = "h100") -> GrantClaim:
    return GrantClaim("main", allocation_id, "acme", "research", model, members, RECEIPT)


def give_back(allocation_id: str) -> ReturnClaim:
    return ReturnClaim("main", allocation_id, "completed")


def withdraw(node_id: str) -> WithdrawCapacity:
    return WithdrawCapacity("main", node_id, "a hold")


def placed(pool: Pool, shape: Shape) -> Placement:
    """Where `shape` goes; fails where it goes nowhere."""
    found = place(pool.book, shape, pool.events)
    assert isinstance(found, Placement), found
    return found


def holding(pool: Pool, allocation_id: str, shape: Shape) -> Pool:
    """The pool after `shape` was placed and granted."""
    found = placed(pool, shape)
    claim = GrantClaim("main", allocation_id, "acme", "research", found.gpu_model, found.members, found.receipt)
    return told(pool, claim)


def gpus(count: int, replicas: int = 1, **more: object) -> Shape:
    return Shape(gpu_model="h100", replicas=replicas, gpus_per_replica=count, **more)  # type: ignore[arg-type]
