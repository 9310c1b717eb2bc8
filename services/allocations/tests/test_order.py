"""Strict order of arrival, and past use that fades."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.decay import PastUse
from gpuaas.allocations.domain.fair import plan_with_quotas
from gpuaas.allocations.domain.pool import GrantClaim
from gpuaas.allocations.domain.queue import Line, Plan, Waiting, plan
from gpuaas.allocations.domain.quota import Scope
from gpuaas.allocations.domain.shape import Shape
from gpuaas.contracts.allocations import QuotaSet
from hypothesis import given
from hypothesis import strategies as st
from small_fleet import RECEIPT, fleet, gpus, machine, member, told

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def line(*asks: tuple[str, Shape]) -> Line:
    made = Line()
    for number, (tenant, shape) in enumerate(asks):
        made.join(Waiting(f"a{number}", tenant, "research", shape, 0, number))
    return made


def quotas(**nominal: int) -> dict[Scope, QuotaSet]:
    return {
        (tenant, "h100", None): QuotaSet(
            tenant_id=tenant, pool_id="main", gpu_model="h100", nominal_gpus=gpus, weight=1, reason="for a test"
        )
        for tenant, gpus in nominal.items()
    }


def names(cycle: Plan) -> list[str]:
    return [grant.allocation_id for grant in cycle.grants]


def busy(pool: Pool) -> Pool:
    """One GPU of n0 and two of n1 are held."""
    held = (member(0, "n0", [0]), member(1, "n1", [0, 1]))
    return told(pool, GrantClaim("main", "x", "third", "research", "h100", held, RECEIPT))


def test_in_strict_order_nobody_passes_the_head_and_another_model_is_not_held_up() -> None:
    pool = told(busy(fleet(3)), machine(3, model="a100"))
    waiting = line(("acme", gpus(8, 2)), ("acme", gpus(1)), ("acme", Shape("a100", 1, 8)))
    assert names(plan("main", pool, waiting, {})) == ["a1", "a2"]
    strict = plan("main", pool, waiting, {}, strict=True)
    assert names(strict) == ["a2"]
    assert sorted(each.reason for each in strict.obstacles.values()) == [
        "behind-higher-priority",
        "insufficient-capacity",
    ]


def test_in_strict_order_who_borrows_does_not_pass_an_entitled_head() -> None:
    pool, set_ = busy(fleet(3)), quotas(acme=16)
    waiting = line(("acme", gpus(8, 2)), ("rival", gpus(1)))
    assert names(plan_with_quotas("main", pool, waiting, {}, set_)) == ["a1"]
    assert names(plan_with_quotas("main", pool, waiting, {}, set_, strict=True)) == []


def test_past_use_is_half_as_much_after_one_half_life() -> None:
    past = PastUse(half_life=DAY)
    past.granted("a", "acme", "h100", 8_000, NOON)
    assert dict(past.at(NOON)) == {("acme", "h100"): 0.0}
    assert dict(past.at(NOON + DAY))["acme", "h100"] == pytest.approx(4_000)
    past.returned("a", NOON + DAY)
    assert dict(past.at(NOON + 2 * DAY))["acme", "h100"] == pytest.approx(2_000)
    past.returned("a", NOON + 3 * DAY)
    past.fading(timedelta(0), NOON + 3 * DAY)
    assert dict(past.at(NOON + 4 * DAY)) == {}


@given(
    steps=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 64)), min_size=1, max_size=20),
    looks=st.lists(st.integers(0, 200_000), max_size=5),
)
def test_an_average_lies_between_nothing_and_the_most_that_was_held_and_asking_changes_nothing(
    steps: list[tuple[int, int]], looks: list[int]
) -> None:
    past, twin, now = PastUse(half_life=DAY), PastUse(half_life=DAY), NOON
    for number, (after_s, count) in enumerate(steps):
        now += timedelta(seconds=after_s)
        for each in (past, twin):
            each.granted(f"a{number}", "acme", "h100", 1_000 * count, now)
        for look in looks:
            dict(past.at(NOON + timedelta(seconds=look)))
    held = 1_000 * sum(count for _, count in steps)
    average = dict(past.at(now + DAY))["acme", "h100"]
    assert 0 <= average <= held
    assert average == dict(twin.at(now + DAY))["acme", "h100"]


def test_who_borrowed_much_lately_goes_behind_who_borrowed_little_until_it_has_faded() -> None:
    asks = [("acme", gpus(1))] * 8 + [("rival", gpus(1))] * 8
    set_ = quotas(acme=0, rival=0)

    def granted(lately: dict[tuple[str, str], float]) -> Counter[str]:
        cycle = plan_with_quotas("main", fleet(1), line(*asks), {}, set_, lately=lately)
        return Counter(grant.tenant_id for grant in cycle.grants)

    assert granted({}) == {"acme": 4, "rival": 4}
    assert granted({("acme", "h100"): 4_000.0}) == {"acme": 2, "rival": 6}
    assert granted({("acme", "h100"): 80_000.0}) == {"rival": 8}


def test_use_within_the_quota_does_not_count() -> None:
    asks = [("acme", gpus(1))] * 4 + [("rival", gpus(1))] * 4
    cycle = plan_with_quotas(
        "main", fleet(1, gpus=4), line(*asks), {}, quotas(acme=0, rival=0), lately={("acme", "h100"): 0.0}
    )
    entitled = quotas(acme=8, rival=0)
    mine = plan_with_quotas("main", fleet(1, gpus=4), line(*asks), {}, entitled, lately={("acme", "h100"): 8_000.0})
    assert Counter(grant.tenant_id for grant in cycle.grants) == {"acme": 2, "rival": 2}
    assert Counter(grant.tenant_id for grant in mine.grants) == {"acme": 4}
