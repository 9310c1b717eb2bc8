"""What ends badly is asked for again as its request says: bounded, at its old place, each end metered once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from allocations_world import World, world
from gpuaas.allocations.adapters.losses import Loss, struck
from gpuaas.allocations.adapters.sim import SimRuntime
from gpuaas.allocations.adapters.starting import begun
from gpuaas.allocations.domain.allocation import ALLOCATION, Released
from gpuaas.allocations.domain.asking import requested
from gpuaas.allocations.domain.orders import (
    AllocationCommand,
    EndAllocation,
    PreemptAllocation,
    ReleaseAllocation,
    RequestAllocation,
    RetryAllocation,
)
from gpuaas.allocations.domain.retrying import EVERY_CAUSE, policy_of, retry_of
from gpuaas.allocations.ports import Run
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import Pace, WallClock
from gpuaas.common.errors import Invalid, Rejected, Unavailable
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually, fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import AllocationReleased, EndCause, EndReason
from gpuaas.contracts.nodes import NodeHeartbeatLost, NodeHeartbeatRestored
from hypothesis import given
from hypothesis import strategies as st
from small_fleet import fleet, gpus, holding
from test_allocation import ASK, NOON, PLACE, PREEMPT, QUEUE, START, after, said

RETRIED = replace(ASK, retry=policy_of(3, 60, EVERY_CAUSE))


def ended(reason: EndReason, because: EndCause | None = None, ran_s: int = 60) -> AllocationReleased:
    return AllocationReleased(
        allocation_id="a1",
        tenant_id="acme",
        project_id="research",
        pool_id="main",
        gpu_model="h100",
        gpu_count=4,
        started_at=NOON,
        ended_at=NOON + timedelta(seconds=ran_s),
        end_reason=reason,
        because=because,
        exit_code=1 if reason == "failed" else None,
    )


def test_the_wait_doubles_and_the_last_attempt_is_the_last() -> None:
    starts, request = [], requested(RETRIED)
    while (retry := retry_of(request, ended("failed"))) is not None:
        assert retry.not_before is not None
        starts.append((retry.attempt, (retry.not_before - NOON).total_seconds()))
        request = request.model_copy(update={"attempt": retry.attempt})
    assert starts == [(2, 120), (3, 180)]


@pytest.mark.parametrize(
    ("reason", "because", "again"),
    [
        ("completed", None, False),
        ("tenant-request", None, False),
        ("lease-expired", None, False),
        ("operator", None, False),
        ("operator", "spending-stopped", False),
        ("operator", "preempted", True),
        ("operator", "quota-reclaimed", True),
        ("runtime-lost", "node-lost", True),
        ("runtime-lost", None, True),
        ("failed", None, True),
    ],
)
def test_only_an_end_that_nobody_of_the_tenant_wanted_is_tried_again(
    reason: EndReason, because: EndCause | None, again: bool
) -> None:
    assert (retry_of(requested(RETRIED), ended(reason, because)) is not None) == again
    assert retry_of(requested(ASK), ended(reason, because)) is None


def test_a_preemption_costs_no_attempt_and_no_wait() -> None:
    retry = retry_of(requested(replace(RETRIED, attempt=3)), ended("operator", "preempted"))
    assert retry is not None
    assert (retry.attempt, retry.not_before) == (3, None)


def test_an_end_that_the_policy_does_not_name_is_the_end() -> None:
    only = requested(replace(ASK, retry=policy_of(3, 0, ("node-lost",))))
    assert retry_of(only, ended("failed")) is None
    assert retry_of(only, ended("runtime-lost", "node-lost")) is not None


@given(ceiling_s=st.integers(1, 500), ran_s=st.lists(st.integers(1, 200), max_size=9))
def test_all_attempts_together_stay_below_the_ceiling(ceiling_s: int, ran_s: list[int]) -> None:
    ceiling, used = ceiling_s * 4_000, 0
    ask: RequestAllocation = replace(ASK, retry=policy_of(10, 0, EVERY_CAUSE), gpu_ms_max=ceiling)
    for ran in ran_s:
        request = requested(ask)
        ran = min(ran, request.lease_s)
        used += ran * 4_000
        retry = retry_of(request, ended("failed", ran_s=ran))
        assert used <= ceiling
        if retry is None:
            return
        ask = replace(ask, attempt=retry.attempt, gpu_ms_max=retry.gpu_ms_max)


def test_a_policy_without_bounds_is_refused() -> None:
    for wrong in ((0, 0, EVERY_CAUSE), (11, 0, EVERY_CAUSE), (2, -1, EVERY_CAUSE), (2, 0, ())):
        with pytest.raises(Invalid, match="retry"):
            policy_of(*wrong)


def test_an_end_is_tried_again_once_and_what_goes_on_for_it_is_named_to_who_releases_it() -> None:
    retry = RetryAllocation("a2", "failed", 2, 3, None, "again")
    before: list[AllocationCommand] = [RETRIED, PLACE, START, EndAllocation(NOON, "exited", 1), retry]
    assert isinstance(after(*before), Released)
    assert ALLOCATION.decide(retry, after(*before)) == []
    with pytest.raises(Rejected, match="cannot be retried"):
        ALLOCATION.decide(replace(retry, retry_allocation_id="a3"), after(*before))
    with pytest.raises(Rejected, match="it goes on as a2"):
        ALLOCATION.decide(ReleaseAllocation("tenant-request", NOON), after(*before))
    with pytest.raises(Rejected, match="cannot be retried"):
        ALLOCATION.decide(retry, after(RETRIED, QUEUE))


def test_who_releases_what_is_being_preempted_does_not_get_it_back() -> None:
    release = ReleaseAllocation("tenant-request", NOON)
    stop = EndAllocation(NOON + timedelta(seconds=60), "stopped", 143)
    end = said([RETRIED, PLACE, START, PREEMPT, release], stop)
    assert isinstance(end, AllocationReleased)
    assert (end.end_reason, end.because) == ("tenant-request", None)
    end = said([RETRIED, PLACE, START, PREEMPT], stop)
    assert isinstance(end, AllocationReleased)
    assert retry_of(requested(RETRIED), end) is not None
    assert ALLOCATION.decide(PreemptAllocation("preempted", 0), after(RETRIED, PLACE, START, PREEMPT)) == []


class Broken(SimRuntime):
    """A runtime that does not answer so many times, or refuses."""

    def __init__(self, silent: int, refuses: bool = False) -> None:
        super().__init__(WallClock())
        self.silent, self.refuses, self.asked = silent, refuses, 0

    async def start(self, run: Run) -> datetime:
        self.asked += 1
        if self.refuses:
            raise Rejected("there is no such image")
        if self.asked <= self.silent:
            raise Unavailable("no answer")
        return await super().start(run)


async def test_a_runtime_that_does_not_answer_is_asked_a_bounded_number_of_times() -> None:
    run = Run("a1", "sim", (), PLACE.members)
    assert isinstance(await begun(Broken(2), run, wait_s=0), datetime)
    silent = Broken(99)
    assert await begun(silent, run, tries_max=4, wait_s=0) == "the runtime could not start it in 4 tries: no answer"
    assert silent.asked == 4
    refusing = Broken(0, refuses=True)
    assert "no such image" in str(await begun(refusing, run, wait_s=0))
    assert refusing.asked == 1


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    pace = {"profile": "demo", "clock_pace": Pace(time.time(), datetime(2026, 8, 5, 12, tzinfo=UTC), 1).encode()}
    async with (
        fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings,
        world(settings.model_copy(update=pace)) as opened,
    ):
        yield opened


async def _followed(here: World, name: str) -> list[dict[str, Any]]:
    """An allocation and those that went on for it, until one is not tried again."""
    chain = [await here.until("released", name)]
    while chain[-1]["retried_as"]:
        chain.append(await here.until("released", chain[-1]["retried_as"]))
    return chain


async def test_a_failed_workload_runs_again_as_often_as_it_may(here: World) -> None:
    await here.machines(1)
    name = await here.ask(command=["nope"], retry={"attempts_max": 3, "backoff_s": 1, "causes": ["failed"]})

    async def third() -> bool:
        here.position = await here.service.log.last_position()
        found = (await here.one(name))["retried_as"]
        return bool(found and (await here.one(found))["retried_as"])

    await eventually(third, within_s=40)
    chain = await _followed(here, name)
    assert [(each["attempt"], each["end_reason"], each["retry_of"]) for each in chain] == [
        (1, "failed", None),
        (2, "failed", chain[0]["allocation_id"]),
        (3, "failed", chain[1]["allocation_id"]),
    ]
    times = [(datetime.fromisoformat(each["started_at"]), datetime.fromisoformat(each["ended_at"])) for each in chain]
    assert times[1][0] - times[0][1] >= timedelta(seconds=1)
    assert times[2][0] - times[1][1] >= timedelta(seconds=2)
    path = f"/v1/tenants/acme/projects/research/allocations/{name}/why"
    told = await here.get(path, await here.as_member("acme"))
    assert f"asked for again as {chain[1]['allocation_id']} (failed)" in told["history"][-1]["what"]
    assert not (await here.pool()).book.claims


async def test_a_lost_machine_ends_what_stood_there_and_it_waits_at_its_old_place(here: World) -> None:
    await here.machines(1)
    retry = {"backoff_s": 0, "causes": ["node-lost"]}
    lost = await here.ask(command=["sleep", "infinity"], retry=retry, lease_s=10**6)
    await here.until("active", lost)
    behind = await here.ask(command=["sleep", "infinity"])
    await here.until("queued", behind)
    seen = datetime.fromisoformat((await here.one(lost))["started_at"]) + timedelta(seconds=5)
    silent = NodeHeartbeatLost(node_id="n0", last_seen_at=seen)
    await tell(here.service.log, silent, entity_id="n0")
    await eventually(lambda: _withdrawn(here))
    assert (await here.one(lost))["state"] == "active"
    here.pace(600)
    end = await here.until("released", lost)
    assert (end["end_reason"], datetime.fromisoformat(end["ended_at"])) == ("node-lost", seen)
    assert "machine n0 is lost" in end["end_detail"]
    await eventually(lambda: _retried(here, lost))
    again = (await here.one(lost))["retried_as"]
    await here.until("queued", again)
    line = (await here.get("/v1/pools/main/queue"))["items"]
    assert [each["allocation_id"] for each in line] == [again, behind]
    await tell(here.service.log, NodeHeartbeatRestored(node_id="n0", seen_at=seen), entity_id="n0")
    await here.until("active", again)
    assert (await here.one(behind))["state"] == "queued"


def test_only_claims_on_the_lost_machine_are_struck() -> None:
    pool = holding(holding(fleet(2), "a", gpus(8)), "b", gpus(8))
    (home,) = {pool.book.nodes[number].node_id for number, _ in pool.book.claims["a"].holdings}
    loss = Loss("e1", home, NOON, False, "silent")
    assert [(claim.allocation_id, each) for claim, each in struck(pool, [loss])] == [("a", loss)]
    assert struck(pool, [replace(loss, node_id="elsewhere")]) == []


async def _withdrawn(here: World) -> bool:
    pool = await here.pool()
    return pool.book.nodes[pool.book.number["n0"]].withdrawn is not None


async def _retried(here: World, name: str) -> bool:
    here.position = await here.service.log.last_position()
    return (await here.one(name))["retried_as"] is not None
