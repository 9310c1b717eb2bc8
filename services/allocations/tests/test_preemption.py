"""Who makes way: by rank alone, for least lost work, whole or not at all, and never in a circle."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.kept import read, written
from gpuaas.allocations.domain.placement import Placement, place
from gpuaas.allocations.domain.pool import POOL, GrantClaim, checked
from gpuaas.allocations.domain.preemption import Decided, Running, lost_ms, make_way, within_quota
from gpuaas.allocations.domain.queue import Kept, Waiting
from gpuaas.allocations.domain.quota import Scope
from gpuaas.allocations.domain.rules import Rules
from gpuaas.allocations.domain.shape import Shape
from gpuaas.common.errors import Rejected
from gpuaas.contracts.allocations import PreemptionOrdered, QuotaSet
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import RECEIPT, fleet, give_back, gpus, member, told

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
Quotas = Mapping[Scope, QuotaSet]


def minutes(count: float) -> datetime:
    return NOON + timedelta(minutes=count)


def quota(tenant: str, nominal: int, project: str | None = None) -> tuple[Scope, QuotaSet]:
    said = QuotaSet(
        tenant_id=tenant,
        pool_id="main",
        project_id=project,
        gpu_model="h100",
        nominal_gpus=nominal,
        weight=1,
        reason="for a test",
    )
    return (tenant, "h100", project), said


def held(pool: Pool, name: str, node: int, *devices: int, tenant: str = "rival", share: int | None = None) -> Pool:
    members = (member(0, f"n{node}", devices),)
    if share is not None:
        members = (members[0].model_copy(update={"share_milli": share}),)
    return told(pool, GrantClaim("main", name, tenant, "research", "h100", members, RECEIPT))


def head(shape: Shape, tenant: str = "acme", priority: int = 0) -> Waiting:
    return Waiting("head", tenant, "research", shape, priority, 1)


def way(
    pool: Pool,
    waiting: Waiting,
    running: Mapping[str, Running],
    quotas: Quotas | None = None,
    rules: Rules | None = None,
    ending: tuple[str, ...] = (),
    kept: Mapping[str, Kept] | None = None,
    promised: Mapping[int, int] | None = None,
) -> Decided:
    how = (rules or Rules(), minutes(60), kept or {}, "least-fragments-v1", promised)
    return make_way("main", pool, waiting, "h100", quotas or {}, running, ending, *how)  # type: ignore[arg-type]


def victims(decided: Decided) -> list[str]:
    return [] if decided.order is None else sorted(victim.allocation_id for victim in decided.order.victims)


def lends(started: float, priority: int = 0, preemptible: bool | None = None) -> Running:
    return Running(priority, preemptible, minutes(started))


def test_what_is_lent_comes_back_to_who_is_entitled_and_the_youngest_work_goes() -> None:
    pool = held(held(fleet(2), "old", 0, *range(8)), "young", 1, *range(8))
    running = {"old": lends(0), "young": lends(50)}
    decided = way(pool, head(gpus(8)), running, dict([quota("acme", 8)]))
    assert decided.order is not None
    assert (victims(decided), decided.order.cause, decided.order.node_ids) == (["young"], "quota-reclaimed", ("n1",))
    assert decided.order.victims[0].lost_gpu_ms == 8 * 10 * 60_000


def test_work_within_its_quota_is_never_ended_whatever_its_priority() -> None:
    pool = held(fleet(1), "theirs", 0, *range(8))
    quotas = dict([quota("acme", 8), quota("rival", 8)])
    assert way(pool, head(gpus(8), priority=9), {"theirs": lends(0, preemptible=True)}, quotas).order is None


def test_who_is_not_entitled_reclaims_nothing() -> None:
    pool = held(fleet(1), "theirs", 0, *range(8))
    assert way(pool, head(gpus(8)), {"theirs": lends(0)}, dict([quota("acme", 4)])).order is None


def test_higher_priority_ends_only_what_said_that_it_may_be() -> None:
    pool = held(held(fleet(2), "firm", 0, *range(8)), "soft", 1, *range(8))
    running = {"firm": lends(59), "soft": lends(0, preemptible=True)}
    assert victims(way(pool, head(gpus(8), priority=1), running)) == ["soft"]
    assert way(pool, head(gpus(8), priority=0), running).order is None
    assert way(pool, head(gpus(8), priority=1), running, rules=Rules(preemption="reclaim")).order is None


def test_nothing_is_ended_before_it_has_run_its_time_and_the_scheduler_knows_when_to_look_again() -> None:
    pool = held(fleet(1), "soft", 0, *range(8))
    running = {"soft": lends(50, preemptible=True)}
    rules = Rules(min_run=timedelta(minutes=15))
    decided = way(pool, head(gpus(8), priority=1), running, rules=rules)
    assert (decided.order, decided.again_at) == (None, minutes(65))
    assert way(pool, head(gpus(8), priority=1), running, rules=Rules(min_run=timedelta(minutes=10))).order is not None


def test_a_gang_that_would_still_not_fit_ends_nobody() -> None:
    pool = held(held(fleet(2), "soft", 0, *range(8)), "firm", 1, *range(8))
    running = {"soft": lends(0, preemptible=True), "firm": lends(0)}
    assert way(pool, head(gpus(8, 2), priority=1), running).order is None


def test_what_is_on_its_way_out_counts_as_free() -> None:
    pool = held(held(fleet(2), "leaving", 0, *range(8)), "soft", 1, *range(8))
    running = {"leaving": lends(0), "soft": lends(0, preemptible=True)}
    assert way(pool, head(gpus(8), priority=1), running, ending=("leaving",)).order is None


def test_an_order_binds_the_pool_until_those_who_make_way_have_gone() -> None:
    pool = held(fleet(1), "soft", 0, *range(8))
    running = {"soft": lends(0, preemptible=True)}
    order = way(pool, head(gpus(8), priority=1), running).order
    assert order is not None
    after = told(pool, order)
    assert after.book.promises["head"].victims == {"soft"}
    assert read(written(after)).book.promises == after.book.promises
    assert way(after, head(gpus(8), priority=1), running).order is None
    with pytest.raises(Rejected, match="decide again"):
        POOL.decide(order, after)
    assert told(after, give_back("soft")).book.promises == {}
    assert pool.book.promises == {}


def test_a_shared_gpu_is_freed_by_ending_all_who_share_it() -> None:
    pool = fleet(1, gpus=1)
    pool = held(held(pool, "half", 0, 0, share=500), "third", 0, 0, share=300)
    running = {"half": lends(0, preemptible=True), "third": lends(30, preemptible=True)}
    assert victims(way(pool, head(gpus(1), priority=1), running)) == ["half", "third"]
    assert victims(way(pool, head(Shape("h100", 1, 1, share_milli=400), priority=1), running)) == ["third"]
    assert way(pool, head(gpus(1), priority=1), {"half": lends(0, preemptible=True)}).order is None


def test_what_is_kept_for_another_head_is_not_freed_for_this_one() -> None:
    pool = held(held(fleet(2), "a", 0, *range(8)), "b", 1, *range(8))
    running = {"a": lends(59, preemptible=True), "b": lends(0, preemptible=True)}
    kept = {"h100": Kept("somebody", 0b01)}
    assert victims(way(pool, head(gpus(8), priority=1), running, kept=kept)) == ["b"]


def test_nobody_is_ended_for_gpus_that_are_promised_to_others() -> None:
    pool = held(held(fleet(2), "a", 0, *range(8)), "b", 1, *range(8))
    running = {"a": lends(59, preemptible=True), "b": lends(0, preemptible=True)}
    assert victims(way(pool, head(gpus(8), priority=1), running, promised={0: 0b1})) == ["b"]
    assert way(pool, head(gpus(8), priority=1), running, promised={0: 0b1, 1: 0b10}).order is None
    assert victims(way(pool, head(gpus(7), priority=1), running, promised={0: 0b1, 1: 0b10})) == ["a"]


def test_what_stands_in_its_own_reservation_is_not_ended() -> None:
    whole = (member(0, "n0", range(8)),)
    grant = GrantClaim("main", "booked", "rival", "research", "h100", whole, RECEIPT, reservation_id="r1")
    pool = fleet(1)
    pool = pool.granted(replace(checked(pool.book, grant), reservation_id="r1"))
    assert way(pool, head(gpus(8), priority=1), {"booked": lends(0, preemptible=True)}).order is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 8))
def test_for_one_replica_no_set_of_victims_would_lose_less(seed: int, size: int) -> None:
    dice = random.Random(seed)
    pool, running = _crowded(dice, nodes=2)
    decided = way(pool, head(gpus(size), priority=5), running)
    soft = [name for name, work in running.items() if work.preemptible]
    costs = {name: lost_ms(pool.book.claims[name], running[name], minutes(60)) for name in soft}
    best = min(
        (
            sum(costs[name] for name in some)
            for count in range(len(soft) + 1)
            for some in combinations(soft, count)
            if _fits(pool, some, gpus(size))
        ),
        default=None,
    )
    if decided.order is not None:
        assert sum(costs[name] for name in victims(decided)) == best
    else:
        assert best is None or best == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), replicas=st.integers(2, 4), size=st.sampled_from([2, 4, 8]))
def test_for_a_gang_nobody_is_ended_whom_it_could_spare(seed: int, replicas: int, size: int) -> None:
    pool, running = _crowded(random.Random(seed), nodes=4)
    decided = way(pool, head(gpus(size, replicas), priority=5), running)
    if decided.order is None:
        return
    ended = victims(decided)
    assert _fits(pool, ended, gpus(size, replicas))
    assert not any(_fits(pool, [n for n in ended if n != spared], gpus(size, replicas)) for spared in ended)
    assert all(running[name].preemptible for name in ended)


def _fits(pool: Pool, gone: object, shape: Shape) -> bool:
    for name in gone:  # type: ignore[attr-defined]
        pool = pool.returned(name)
    return isinstance(place(pool.book, shape, 0), Placement)


def _crowded(dice: random.Random, nodes: int) -> tuple[Pool, dict[str, Running]]:
    pool, running = fleet(nodes), dict[str, Running]()
    for number in range(nodes * 4):
        shape = gpus(dice.choice([1, 2, 3, 4]))
        found = place(pool.book, shape, pool.events, "random-v1")
        if isinstance(found, Placement):
            name = f"a{number}"
            pool = told(pool, GrantClaim("main", name, "rival", "research", "h100", found.members, RECEIPT))
            running[name] = Running(0, dice.random() < 0.7, minutes(dice.randrange(59)))
    return pool, running


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_no_chain_of_preemptions_closes_and_no_work_within_quota_is_ended(seed: int) -> None:
    """Tenants ask, run, end and are ended as they come; who gained never falls to whom it ended, however often."""
    dice = random.Random(seed)
    quotas = dict([quota("acme", 8), quota("rival", 6), quota("acme", 3, "research")])
    pool, running, rank = fleet(3), dict[str, Running](), dict[str, tuple[bool, int]]()
    for number in range(60):
        name, tenant = f"a{number}", dice.choice(["acme", "rival", "third"])
        ask = Waiting(name, tenant, "research", gpus(dice.choice([1, 2, 4, 8])), dice.choice([0, 5, 9]), number)
        work = Running(ask.priority, dice.choice([True, None]), minutes(number * 0.5))
        if not isinstance(place(pool.book, ask.shape, 0), Placement):
            decided = way(pool, ask, running, quotas)
            if decided.order is None:
                continue
            covered = within_quota(pool.book.claims.values(), "h100", quotas)
            gains = (decided.order.cause == "quota-reclaimed", ask.priority)
            for victim in victims(decided):
                assert victim not in covered
                assert (False, running[victim].priority) < gains
                assert rank.get(victim, (False, 0)) < gains, "one that gained by that rank was ended by no higher one"
            (said,) = POOL.decide(decided.order, pool)
            assert isinstance(said, PreemptionOrdered)
            pool = POOL.evolve(pool, said)
            for victim in victims(decided):
                pool = told(pool, give_back(victim))
                del running[victim]
            rank[name] = gains
        found = place(pool.book, ask.shape, 0)
        assert isinstance(found, Placement), "it was freed for the whole gang"
        pool = told(pool, GrantClaim("main", name, tenant, "research", "h100", found.members, RECEIPT))
        running[name] = work
        if dice.random() < 0.3:
            gone = dice.choice(sorted(running))
            pool = told(pool, give_back(gone))
            del running[gone]
