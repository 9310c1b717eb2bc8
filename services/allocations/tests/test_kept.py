"""A pool that was written down and read back decides as before."""

from __future__ import annotations

import random

import pytest
from gpuaas.allocations.domain.capacity import EMPTY_POOL, Pool
from gpuaas.allocations.domain.kept import read, written
from gpuaas.allocations.domain.placement import Placement, place
from gpuaas.allocations.domain.pool import GrantClaim
from gpuaas.allocations.domain.shape import Shape
from small_fleet import fleet, give_back, gpus, machine, told, withdraw

SHAPES = [
    gpus(1),
    gpus(2),
    gpus(8),
    Shape("h100", 2, 4, "rack", "required"),
    Shape("h100", 4, 2, "pod", "preferred"),
    Shape("h100", 1, 1, share_milli=300),
    Shape(None, 3, 1, share_milli=450),
]


def _step(pool: Pool, number: int, dice: random.Random, held: list[str]) -> Pool:
    if held and dice.random() < 0.4:
        return told(pool, give_back(held.pop(dice.randrange(len(held)))))
    if dice.random() < 0.05:
        return told(pool, withdraw(f"n{dice.randrange(12)}"))
    if dice.random() < 0.05:
        return told(pool, machine(dice.randrange(12), per_rack=dice.choice([3, 4])))
    found = place(pool.book, dice.choice(SHAPES), pool.events)
    if not isinstance(found, Placement):
        return pool
    held.append(f"a{number}")
    return told(pool, GrantClaim("main", f"a{number}", "t", "p", found.gpu_model, found.members, found.receipt))


@pytest.mark.parametrize("seed", range(6))
def test_what_is_read_back_goes_on_exactly_as_what_was_written(seed: int) -> None:
    dice, held = random.Random(seed), list[str]()
    pool = fleet(12)
    for number in range(120):
        pool = _step(pool, number, dice, held)
    twin, content = read(written(pool)), written(pool)
    assert written(twin) == content
    state = dice.getstate()
    futures = []
    for each in (pool, twin):
        again, standing = random.Random(), list(held)
        again.setstate(state)
        future = each
        for number in range(120, 240):
            future = _step(future, number, again, standing)
        futures.append((written(future), [str(place(future.book, shape, 0)) for shape in SHAPES]))
    assert futures[0] == futures[1]


def test_writing_changes_nothing_and_an_older_version_writes_what_it_was() -> None:
    before = fleet(3)
    content = written(before)
    after = told(before, withdraw("n1"))
    assert written(after) != content
    assert written(before) == content
    assert written(read(written(EMPTY_POOL))) == written(EMPTY_POOL)
