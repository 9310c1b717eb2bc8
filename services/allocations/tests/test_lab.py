"""The policy lab: the engine's own decisions lived through again, in thought."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from allocations_world import World, world
from gpuaas.allocations.domain.lab import Job, Standing, Way, live_through
from gpuaas.allocations.domain.preemption import Running
from gpuaas.allocations.domain.queue import Waiting
from gpuaas.allocations.domain.quota import Scope
from gpuaas.allocations.domain.rules import Rules
from gpuaas.allocations.domain.shape import Shape
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import Pace
from gpuaas.common.testing.running import fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import PoolCapacityAdded, QuotaSet, Topology
from small_fleet import fleet, gpus, grant, member, told

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def job(
    name: str, at: float, runs: float, shape: Shape, tenant: str = "acme", priority: int = 0, soft: bool | None = None
) -> Job:
    waiting = Waiting(
        allocation_id=name,
        tenant_id=tenant,
        project_id="research",
        shape=shape,
        priority=priority,
        arrival=int(at * 1_000),
        preemptible=soft,
    )
    return Job(waiting, NOON + minutes(at), minutes(runs))


def entitled(tenant: str, gpus: int) -> dict[Scope, QuotaSet]:
    said = QuotaSet(
        tenant_id=tenant, pool_id="main", gpu_model="h100", nominal_gpus=gpus, weight=1, reason="for a test"
    )
    return {(tenant, "h100", None): said}


def test_who_waits_starts_when_the_one_before_it_ends_and_the_pool_is_as_it_was() -> None:
    pool = fleet(1)
    found = live_through("main", pool, [job("a", 0, 30, gpus(8)), job("b", 10, 5, gpus(8))], Way())
    assert found.waits == {"a": minutes(0), "b": minutes(20)}
    assert (found.mean_wait_s, found.wait_s(0.95), found.left) == (600.0, 1_200.0, 0)
    assert pool.book.claims == {}


def test_strict_order_makes_the_small_wait_for_the_large() -> None:
    busy = [job("a", 0, 30, gpus(6)), job("b", 0.5, 60, gpus(7))]
    jobs = [*busy, job("large", 1, 5, gpus(8, 2)), job("small", 2, 5, gpus(1))]
    free = live_through("main", fleet(3), jobs, Way())
    strict = live_through("main", fleet(3), jobs, Way(rules=Rules("strict-fifo")))
    assert (free.waits["small"], free.waits["large"]) == (minutes(0), minutes(29))
    assert (strict.waits["small"], strict.waits["large"]) == (minutes(28), minutes(29))


def test_what_is_reclaimed_keeps_its_place_begins_anew_and_counts() -> None:
    jobs = [job("lent", 0, 60, gpus(8), tenant="rival"), job("mine", 20, 10, gpus(8))]
    found = live_through("main", fleet(1), jobs, Way(quotas=entitled("acme", 8)))
    assert found.waits == {"mine": minutes(0), "lent": minutes(30)}
    assert (found.preemptions, found.lost_gpu_ms) == (1, 8 * 20 * 60_000)
    assert found.borrowed_gpu_ms == 8 * (20 + 60) * 60_000
    kept = live_through("main", fleet(1), jobs, Way(rules=Rules(preemption="off"), quotas=entitled("acme", 8)))
    assert (kept.preemptions, kept.waits["mine"]) == (0, minutes(40))


def test_the_least_run_is_waited_out_in_thought_too() -> None:
    jobs = [job("soft", 0, 60, gpus(8), soft=True), job("urgent", 5, 5, gpus(8), priority=9)]
    found = live_through("main", fleet(1), jobs, Way(rules=Rules(min_run=minutes(15))))
    assert found.waits["urgent"] == minutes(10)


def test_machines_that_come_and_claims_that_stand_are_part_of_the_stretch() -> None:
    pool = told(fleet(1), grant("old", member(0, "n0", range(8))))
    standing = {"old": Standing(Running(0, None, NOON - minutes(60)), NOON + minutes(30))}
    more = PoolCapacityAdded(
        pool_id="main",
        node_id="n9",
        gpu_model="h100",
        device_ids=tuple(f"n9-g{slot}" for slot in range(8)),
        topology=Topology(region="eu", site="s0", pod="p0", rack="r9"),
    )
    jobs = [job("a", 0, 60, gpus(8)), job("b", 0.5, 60, gpus(8))]
    found = live_through("main", pool, jobs, Way(), standing=standing, changes=[(NOON + minutes(10), more)])
    assert found.waits == {"a": minutes(10), "b": minutes(29.5)}


def test_what_can_never_be_served_and_what_is_left_are_told() -> None:
    jobs = [job("absurd", 0, 1, gpus(16)), job("a", 0, 60, gpus(8)), job("b", 1, 60, gpus(8))]
    found = live_through("main", fleet(1), jobs, Way(), until=NOON + minutes(30))
    assert (found.refused, found.left, found.waits) == (["absurd"], 2, {})


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    async with fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings:
        pace = Pace(time.time(), NOON, 1).encode()
        async with world(settings.model_copy(update={"profile": "demo", "clock_pace": pace})) as opened:
            yield opened


async def test_a_stretch_by_door(here: World) -> None:
    await here.machines(1)
    names = [await here.ask(command=["sleep", "100000"]) for _ in range(3)]
    await here.until("active", names[0])
    here.pace(40_000.0)
    await here.until("released", *names)
    last = await here.service.log.last_position()
    path = "/v1/pools/main/policy-labs"
    answer = await here.client.post(path, json={"discipline": "strict-fifo"}, headers=here.operator)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["requests"], found["really"]["served"], found["in_force"]["served"]) == (3, 3, 3)
    assert 0 < found["in_force"]["mean_wait_s"] <= found["really"]["mean_wait_s"]
    assert found["other"]["mean_wait_s"] == found["in_force"]["mean_wait_s"]
    assert await here.service.log.last_position() == last
    part = await here.client.post(path, json={"after": found["until"]}, headers=here.operator)
    assert part.json()["requests"] == 0
    assert (await here.client.post("/v1/pools/none/policy-labs", json={}, headers=here.operator)).status_code == 404
    assert (await here.client.post(path, json={}, headers=await here.as_member("acme"))).status_code == 403
