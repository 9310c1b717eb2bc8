"""Shares of GPUs: never more than there is, and exactly FGD's choice."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from gpuaas.allocations.domain.allocation import ALLOCATION
from gpuaas.allocations.domain.book import Book
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.placement import NoPlacement, Placement, place
from gpuaas.allocations.domain.pool import POOL, GrantClaim
from gpuaas.allocations.domain.shape import Shape
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.contracts.allocations import Member
from small_fleet import fleet, give_back, grant, machine, member, placed, told, withdraw
from test_allocation import ASK


def share(milli: int, replicas: int = 1) -> Shape:
    return Shape("h100", replicas, 1, share_milli=milli)


def part(index: int, node_id: str, device: int, milli: int) -> Member:
    return Member(member=index, node_id=node_id, device_ids=(f"{node_id}-g{device}",), share_milli=milli)


def given(pool: Pool, name: str, shape: Shape, policy: Policy = "least-fragments-v1") -> Pool:
    found = place(pool.book, shape, pool.events, policy)
    assert isinstance(found, Placement), found
    return told(pool, GrantClaim("main", name, "acme", "research", "h100", found.members, found.receipt))


def test_shares_fill_one_gpu_before_they_open_another() -> None:
    pool = fleet(2)
    for name in ("a", "b", "c", "d"):
        pool = given(pool, name, share(250))
    assert pool.book.held == [1, 0]
    assert given(pool, "e", share(250)).book.held == [0b11, 0]
    assert told(pool, *(give_back(name) for name in "abcd")).book.held == [0, 0]


def test_a_gpu_is_not_given_for_more_than_it_is() -> None:
    pool = told(fleet(1), grant("a", part(0, "n0", 0, 600)))
    with pytest.raises(Rejected, match="no 500/1000 free"):
        POOL.decide(grant("b", part(0, "n0", 0, 500)), pool)
    with pytest.raises(Rejected, match="no 300/1000 free"):
        POOL.decide(grant("b", part(0, "n0", 0, 300), part(1, "n0", 0, 300)), pool)
    with pytest.raises(Rejected, match="held already"):
        POOL.decide(grant("b", member(0, "n0", [0])), pool)
    with pytest.raises(Rejected, match="free"):
        POOL.decide(grant("b", part(0, "n0", 1, 300)), told(pool, grant("c", member(0, "n0", [1]))))
    with pytest.raises(Rejected, match="one GPU for each replica"):
        POOL.decide(grant("b", part(0, "n0", 1, 300), part(1, "n0", 1, 200)), pool)


def test_the_same_share_again_says_nothing() -> None:
    claim = grant("a", part(0, "n0", 0, 600), part(1, "n0", 1, 600))
    assert POOL.decide(claim, told(fleet(1), claim)) == []


def test_a_closed_machine_offers_no_parts_until_it_opens() -> None:
    pool = told(fleet(1, gpus=1), grant("a", part(0, "n0", 0, 400)), withdraw("n0"))
    assert isinstance(place(pool.book, share(100), 0), NoPlacement)
    pool = told(pool, machine(0, gpus=1))
    assert placed(pool, share(600)).members[0].share_milli == 600
    assert isinstance(place(pool.book, share(601), 0), NoPlacement)


def test_what_no_fleet_of_this_size_could_hold_is_told_with_the_most_that_it_could() -> None:
    found = place(fleet(1, gpus=2).book, share(400, replicas=5), 0)
    assert isinstance(found, NoPlacement)
    assert (found.reason, "4" in found.detail) == ("never-satisfiable", True)
    waiting = place(told(fleet(1, gpus=1), grant("a", part(0, "n0", 0, 700))).book, share(400), 0)
    assert isinstance(waiting, NoPlacement)
    assert waiting.reason == "insufficient-capacity"


@pytest.mark.parametrize(
    "shape", [Shape("h100", 1, 2, share_milli=500), Shape("h100", 2, 1, "rack", share_milli=500), share(0), share(1001)]
)
def test_a_share_that_makes_no_sense_is_refused(shape: Shape) -> None:
    with pytest.raises(Invalid):
        ALLOCATION.decide(replace(ASK, shape=shape), ALLOCATION.initial)


def _fragments(free: list[int], classes: Counter[int]) -> Fraction:
    """FGD's definition word for word: free GPU thousandths of one machine, classes of demand by thousandths wanted."""
    total = Fraction(0)
    for wanted, count in classes.items():
        fits = max(free, default=0) >= wanted if wanted < 1000 else sum(f == 1000 for f in free) >= wanted // 1000
        total += count * sum(f for f in free if not fits or f < min(wanted, 1000))
    return total


def _free(book: Book, node: int) -> list[int]:
    gpus = range(len(book.nodes[node].devices))
    return [
        1000 - book.used[node][g] if g in book.used[node] else 0 if book.held[node] >> g & 1 else 1000 for g in gpus
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_choice_is_the_least_growth_by_the_definition_over_every_gpu_of_every_machine(seed: int) -> None:
    dice = random.Random(seed)
    pool, classes = fleet(5, gpus=4), Counter[int]()
    held: list[str] = []
    for number in range(300):
        if held and dice.random() < 0.45:
            pool = told(pool, give_back(held.pop(dice.randrange(len(held)))))
        wanted = dice.choice([100, 250, 333, 500, 700, 1000, 2000])
        shape = share(wanted) if wanted < 1000 else Shape("h100", 1, wanted // 1000)
        found = place(pool.book, shape, pool.events)
        costs = []
        for node in range(5):
            free = _free(pool.book, node)
            before = _fragments(free, classes)
            if wanted >= 1000:
                whole = [g for g, f in enumerate(free) if f == 1000][: wanted // 1000]
                options = [[0 if g in whole else f for g, f in enumerate(free)]] if len(whole) * 1000 == wanted else []
            else:
                options = [
                    [f - wanted * (g == chosen) for g, f in enumerate(free)]
                    for chosen, left in enumerate(free)
                    if left >= wanted
                ]
            costs += [_fragments(option, classes) - before for option in options]
        if isinstance(found, NoPlacement):
            assert costs == []
            continue
        node = pool.book.number[found.members[0].node_id]
        before = _fragments(_free(pool.book, node), classes)
        pool = told(pool, GrantClaim("main", f"a{number}", "t", "p", "h100", found.members, found.receipt))
        held.append(f"a{number}")
        assert _fragments(_free(pool.book, node), classes) - before == min(costs)
        classes[wanted] += 1
        assert all(0 <= left <= 1000 for each in range(5) for left in _free(pool.book, each))


@pytest.mark.parametrize("policy", ["best-fit-v1", "spread-v1", "random-v1"])
def test_other_policies_place_what_fits(policy: Policy) -> None:
    pool = fleet(3, gpus=2)
    for number in range(12):
        pool = given(pool, f"a{number}", share(500), policy)
    assert isinstance(place(pool.book, share(1), 0, policy), NoPlacement)
    assert pool.book.held == [0b11] * 3


def test_who_takes_any_model_gets_the_one_of_which_most_is_free() -> None:
    pool = told(fleet(2, model="a100"), machine(2, model="b200"), machine(3, model="b200"))
    pool = told(pool, grant("a", member(0, "n0", range(8)), model="a100"))
    assert placed(pool, Shape(None, 1, 8)).gpu_model == "b200"
    pool = told(pool, *(grant(f"b{n}", member(0, f"n{n}", range(8)), model="b200") for n in (2, 3)))
    assert placed(pool, Shape(None, 1, 8)).gpu_model == "a100"


def test_a_random_draw_is_the_same_for_the_same_version() -> None:
    book = fleet(64).book
    draws = {version: place(book, Shape("h100", 1, 1), version, "random-v1") for version in range(16)}
    assert len({str(found) for found in draws.values()}) > 8
    assert place(book, Shape("h100", 1, 1), 3, "random-v1") == draws[3]
