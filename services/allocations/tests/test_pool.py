"""The pool against a naive one: no GPU twice, none lost, and every version stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.placement import NoPlacement, Placement, place
from gpuaas.allocations.domain.pool import POOL, GrantClaim, PoolCommand, Settle
from gpuaas.allocations.domain.room import members as bits_in
from gpuaas.allocations.domain.shape import LEVELS, Shape
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.contracts.allocations import ClaimGranted, ClaimReturned, PoolCapacityAdded
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule
from naive_pool import NaivePool
from small_fleet import fleet, give_back, gpus, grant, holding, machine, member, told, withdraw


def test_a_free_gpu_is_granted_and_comes_back() -> None:
    pool = told(fleet(2), grant("a", member(0, "n0", [0, 1])))
    assert pool.book.held == [0b11, 0]
    assert told(pool, give_back("a")).book.held == [0, 0]


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        (grant("b", member(0, "n0", [1])), "held already"),
        (grant("b", member(0, "n1", [0]), member(1, "n1", [0])), "held already"),
        (grant("b", member(0, "n9", [0])), "not part of pool"),
        (grant("b", member(0, "n1", [8])), "does not have"),
        (grant("b", member(0, "n1", [0]), model="a100"), "not of a100"),
        (grant("b", member(0, "n2", [0])), "withdrawn: a hold"),
        (grant("a", member(0, "n1", [0])), "already holds 2 GPUs"),
    ],
)
def test_a_claim_on_gpus_that_cannot_be_had_is_refused(claim: GrantClaim, why: str) -> None:
    pool = told(fleet(3), grant("a", member(0, "n0", [0, 1])), withdraw("n2"))
    with pytest.raises(Rejected, match=why):
        POOL.decide(claim, pool)


def test_the_same_grant_again_says_nothing() -> None:
    claim = grant("a", member(0, "n0", [0, 1]))
    pool = told(fleet(1), claim)
    assert POOL.decide(claim, pool) == []
    assert POOL.decide(claim, told(pool, withdraw("n0"))) == []


def test_returning_what_is_not_held_says_nothing() -> None:
    assert POOL.decide(give_back("nobody"), fleet(1)) == []


def test_a_cycle_returns_before_it_grants() -> None:
    pool = told(fleet(1, gpus=2), grant("a", member(0, "n0", [0, 1])))
    cycle = Settle(returns=(give_back("a"),), grants=(grant("b", member(0, "n0", [1])),))
    assert [type(event) for event in POOL.decide(cycle, pool)] == [ClaimReturned, ClaimGranted]


def test_a_cycle_with_one_bad_grant_is_refused_whole() -> None:
    cycle = Settle(returns=(), grants=(grant("a", member(0, "n0", [0])), grant("b", member(0, "n0", [0]))))
    with pytest.raises(Rejected, match="no claim for b"):
        POOL.decide(cycle, fleet(1))


def test_a_cycle_has_a_limit() -> None:
    with pytest.raises(Invalid, match="at most"):
        POOL.decide(Settle(returns=(give_back("a"),) * 501, grants=()), fleet(1))


def test_a_machine_that_is_offered_again_takes_claims_again() -> None:
    pool = told(fleet(1), grant("a", member(0, "n0", [0])), withdraw("n0"))
    assert isinstance(place(pool.book, gpus(1), 0), NoPlacement)
    pool = told(pool, machine(0))
    assert pool.book.models["h100"].free.total == 7
    assert POOL.decide(machine(0), pool) == []


def test_a_gpu_taken_out_of_its_machine_is_no_longer_placed_on_and_its_claim_stays() -> None:
    pool = told(fleet(1, gpus=4), grant("a", member(0, "n0", [3])))
    pool = told(pool, machine(0, gpus=2))
    assert pool.book.models["h100"].free.total == 2
    with pytest.raises(Rejected, match="does not have"):
        POOL.decide(grant("b", member(0, "n0", [2])), pool)
    pool = told(pool, give_back("a"))
    assert pool.book.models["h100"].free.total == 2
    with pytest.raises(Rejected, match="not offered"):
        POOL.decide(grant("b", member(0, "n0", [3])), pool)


def test_one_gpu_does_not_stand_in_two_machines() -> None:
    moved = PoolCapacityAdded(
        pool_id="main", node_id="n5", gpu_model="h100", device_ids=("n0-g0",), topology=machine(5).topology
    )
    offer = machine(5, gpus=1)
    with pytest.raises(Rejected, match="listed on machine n0"):
        POOL.decide(replace(offer, device_ids=moved.device_ids), fleet(1))


def test_a_machine_nobody_knows_cannot_be_withdrawn() -> None:
    with pytest.raises(Rejected, match="not part of pool"):
        POOL.decide(withdraw("n7"), fleet(1))


def test_an_older_version_is_still_itself_after_newer_ones_were_made() -> None:
    first = fleet(2)
    second = holding(first, "a", gpus(8))
    third = holding(second, "b", gpus(8))
    assert first.book.models["h100"].free.total == 16
    other = holding(first, "c", gpus(4, 2))
    assert third.book.models["h100"].free.total == 0
    assert set(other.book.claims) == {"c"}
    assert set(second.book.claims) == {"a"}


def test_two_folds_from_the_beginning_share_nothing() -> None:
    one, two = fleet(1), fleet(2)
    assert (len(one.book.nodes), len(two.book.nodes), len(POOL.initial.book.nodes)) == (1, 2, 0)


Shapes = st.builds(
    Shape,
    gpu_model=st.sampled_from(["h100", "h100", "a100", None]),
    replicas=st.sampled_from([1, 1, 1, 2, 3, 8]),
    gpus_per_replica=st.sampled_from([1, 2, 4, 8]),
    topology_level=st.sampled_from([None, *LEVELS]),
    topology_mode=st.just("required"),
)


class PoolMachine(RuleBasedStateMachine):
    """Any order of offers, withdrawals, claims and returns, on any version made so far."""

    versions = Bundle("versions")

    @initialize(target=versions)
    def empty(self) -> tuple[Pool, NaivePool]:
        self.allocations = 0
        return (POOL.initial, NaivePool())

    def _say(self, at: tuple[Pool, NaivePool], command: PoolCommand) -> tuple[Pool, NaivePool]:
        pool, naive = at
        for event in POOL.decide(command, pool):
            pool, naive = POOL.evolve(pool, event), naive.after(event)
        same(pool, naive)
        return pool, naive

    @rule(target=versions, at=versions, number=st.integers(0, 11), count=st.sampled_from([2, 4, 8]))
    def offer(self, at: tuple[Pool, NaivePool], number: int, count: int) -> tuple[Pool, NaivePool]:
        return self._say(at, machine(number, gpus=count, model="a100" if number % 4 == 3 else "h100"))

    @rule(target=versions, at=versions, number=st.integers(0, 11))
    def close(self, at: tuple[Pool, NaivePool], number: int) -> object:
        if f"n{number}" not in at[1].offered:
            with pytest.raises(Rejected):
                POOL.decide(withdraw(f"n{number}"), at[0])
            return multiple()
        return self._say(at, withdraw(f"n{number}"))

    @rule(target=versions, at=versions, shape=Shapes)
    def claim(self, at: tuple[Pool, NaivePool], shape: Shape) -> object:
        pool, naive = at
        found = place(pool.book, shape, pool.events)
        if isinstance(found, NoPlacement):
            assert not fits(naive, shape), found
            return multiple()
        gang_is_whole(found, shape, naive)
        self.allocations += 1
        name = f"a{self.allocations}"
        claim = GrantClaim("main", name, "acme", "research", found.gpu_model, found.members, found.receipt)
        return self._say(at, claim)

    @rule(at=versions, node=st.integers(0, 11), devices=st.sets(st.integers(0, 8), min_size=1, max_size=3))
    def claim_blindly(self, at: tuple[Pool, NaivePool], node: int, devices: set[int]) -> None:
        pool, naive = at
        wanted = {f"n{node}-g{device}" for device in devices}
        could = f"n{node}" in naive.offered and wanted <= naive.free(f"n{node}")
        claim = grant("blind", member(0, f"n{node}", sorted(devices)), model=naive.model.get(f"n{node}", "h100"))
        if could:
            assert len(POOL.decide(claim, pool)) == 1
        else:
            with pytest.raises(Rejected):
                POOL.decide(claim, pool)

    @rule(target=versions, at=versions, which=st.integers(0, 50))
    def bring_back(self, at: tuple[Pool, NaivePool], which: int) -> object:
        standing = sorted(set(at[1].holder.values()))
        if not standing:
            return multiple()
        return self._say(at, give_back(standing[which % len(standing)]))

    @rule(target=versions, at=versions)
    def look_at_an_old_one(self, at: tuple[Pool, NaivePool]) -> tuple[Pool, NaivePool]:
        same(*at)
        return at


def same(pool: Pool, naive: NaivePool) -> None:
    """The pool and its indexes say what the naive pool says."""
    book = pool.book
    assert set(book.number) == set(naive.offered)
    held = {
        (book.nodes[number].node_id, book.nodes[number].devices[bit]): name
        for name, claim in book.claims.items()
        for number, mask in claim.holdings
        for bit in bits_in(mask)
    }
    assert held == naive.holder
    for model, rooms in book.models.items():
        open_nodes = naive.open_nodes(model)
        counts = [len(naive.free(node)) for node in open_nodes]
        assert rooms.free.node_count == len(open_nodes)
        assert rooms.free.total == sum(counts)
        for size in (1, 2, 4, 8):
            assert rooms.free.replicas(size) == sum(count // size for count in counts)
            by_rack: dict[tuple[str, str], int] = {}
            for node in open_nodes:
                by_rack[naive.rack[node]] = by_rack.get(naive.rack[node], 0) + len(naive.free(node)) // size
            assert rooms.free.roomiest("rack", size) == max(by_rack.values(), default=0)


def fits(naive: NaivePool, shape: Shape) -> bool:
    """Whether the shape fits, by looking everywhere."""
    keys: dict[str | None, Callable[[str], object]] = {
        None: lambda node: None,
        "site": lambda node: None,
        "pod": lambda node: naive.rack[node][0],
        "rack": lambda node: naive.rack[node],
    }
    for model in {shape.gpu_model} if shape.gpu_model else set(naive.model.values()):
        room: dict[object, int] = {}
        for node in naive.open_nodes(model):
            place_of = keys[shape.topology_level](node)
            room[place_of] = room.get(place_of, 0) + len(naive.free(node)) // shape.gpus_per_replica
        if max(room.values(), default=0) >= shape.replicas:
            return True
    return False


def gang_is_whole(found: Placement, shape: Shape, naive: NaivePool) -> None:
    """Every replica is there, with its GPUs, on one node, in one domain; the receipt adds up."""
    assert [m.member for m in found.members] == list(range(shape.replicas))
    assert all(len(m.device_ids) == shape.gpus_per_replica for m in found.members)
    assert all(set(m.device_ids) <= naive.free(m.node_id) for m in found.members)
    assert {naive.model[m.node_id] for m in found.members} == {found.gpu_model}
    if shape.topology_level == "rack":
        assert len({naive.rack[m.node_id] for m in found.members}) == 1
    if shape.topology_level == "pod":
        assert len({naive.rack[m.node_id][0] for m in found.members}) == 1
    receipt = found.receipt
    left_out = sum(exclusion.nodes for exclusion in receipt.exclusions)
    assert receipt.nodes_considered == len(naive.offered)
    assert receipt.nodes_considered - left_out >= len({m.node_id for m in found.members})
    assert receipt.runner_up_node_id not in {m.node_id for m in found.members}


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
