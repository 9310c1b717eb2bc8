"""What uses none of its GPUs is told so and taken back; use calls that off, and what was not seen is never idle."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from allocations_world import World, world
from gpuaas.allocations.adapters.gauges import Listening, Slots, TelemetryGauges
from gpuaas.allocations.adapters.sim import SimRuntime
from gpuaas.allocations.domain.idleness import COVERS, IDLENESS, EndIdle, Limits, NoticeIdle, Sample, Streak, verdict
from gpuaas.allocations.domain.idleness import limits_of as limits
from gpuaas.allocations.domain.rules import Rules
from gpuaas.allocations.ports import Run
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import FixedClock, Pace
from gpuaas.common.errors import Rejected
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.testing.running import eventually, fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import AllocationIdleNoticed
from small_fleet import member

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOME = "/v1/tenants/acme/projects/research"
HOUR_THEN_TEN = Limits(60 * MINUTE, 10 * MINUTE)


def streak(*percents: int, every: timedelta = MINUTE) -> Streak:
    found = Streak()
    for number, percent in enumerate(percents):
        found = found.after(Sample(NOON + number * every, percent))
    return found


def noticed(at: datetime = NOON) -> AllocationIdleNoticed:
    return AllocationIdleNoticed(
        allocation_id="a",
        tenant_id="acme",
        project_id="research",
        pool_id="main",
        idle_since=at - 60 * MINUTE,
        noticed_at=at,
        reclaim_at=at + 10 * MINUTE,
        idle_after_s=3_600,
        samples=61,
        below_percent=5,
        source="telemetry",
    )


def test_a_streak_is_time_without_use_and_without_a_gap() -> None:
    assert streak(0, 4, 0) == Streak(NOON, NOON + 2 * MINUTE, 3)
    assert streak(0, 5, 0).since == NOON + 2 * MINUTE
    assert streak(0, 0, every=COVERS).since == NOON
    assert streak(0, 0, every=COVERS + MINUTE).since == NOON + COVERS + MINUTE
    late = streak(0, 0)
    assert late.after(Sample(NOON, 100)) == late


@pytest.mark.parametrize(
    ("idle_minutes", "standing", "seen_ago", "asked", "expected"),
    [
        (59, None, MINUTE, HOUR_THEN_TEN, "nothing"),
        (60, None, MINUTE, HOUR_THEN_TEN, "notice"),
        (60, None, COVERS + MINUTE, HOUR_THEN_TEN, "nothing"),
        (60, None, MINUTE, None, "nothing"),
        (69, noticed(NOON + 60 * MINUTE), MINUTE, HOUR_THEN_TEN, "nothing"),
        (70, noticed(NOON + 60 * MINUTE), MINUTE, HOUR_THEN_TEN, "take-back"),
        (70, noticed(NOON + 60 * MINUTE), COVERS + MINUTE, HOUR_THEN_TEN, "not-sampled"),
        (70, noticed(NOON + 60 * MINUTE), MINUTE, None, "not-asked-for"),
    ],
)
def test_what_follows_from_samples(
    idle_minutes: int, standing: AllocationIdleNoticed | None, seen_ago: timedelta, asked: Limits | None, expected: str
) -> None:
    idle = streak(*[0] * (idle_minutes + 1))
    assert idle.last is not None
    assert verdict(idle, asked, standing, idle.last + seen_ago) == expected


def test_use_during_the_grace_calls_it_off() -> None:
    used = streak(*[0] * 61, 90)
    assert verdict(used, HOUR_THEN_TEN, noticed(NOON + 60 * MINUTE), NOON + 61 * MINUTE) == "active-again"


def test_the_allocations_own_word_counts_before_its_pools() -> None:
    rules = Rules(idle_after=60 * MINUTE)
    assert limits(None, rules) == HOUR_THEN_TEN
    assert limits(0, rules) is None
    assert limits(120, rules) == Limits(2 * MINUTE, 10 * MINUTE)
    assert limits(None, Rules()) is None


def test_a_notice_stands_until_it_is_ended_and_is_not_given_twice() -> None:
    assert IDLENESS.decide(NoticeIdle(noticed()), None) == [noticed()]
    assert IDLENESS.decide(NoticeIdle(noticed(NOON + MINUTE)), noticed()) == []
    (over,) = IDLENESS.decide(EndIdle("a", NOON + MINUTE, "active-again"), noticed())
    assert IDLENESS.evolve(noticed(), over) is None
    assert IDLENESS.decide(EndIdle("a", NOON, "active-again"), None) == []
    with pytest.raises(Rejected):
        IDLENESS.decide(EndIdle("a", NOON - MINUTE, "active-again"), noticed())


async def test_a_simulated_workload_is_idle_when_it_says_so() -> None:
    sim = SimRuntime(FixedClock(NOON))
    run = Run("a", "sim", ("idle", "600", "120", "300"), ())
    found = sim.samples(run, NOON, NOON, NOON + 6 * MINUTE)
    assert [each.percent for each in found] == [100, 0, 0, 0, 100, 100]
    assert sim.samples(run, NOON, NOON + 6 * MINUTE, NOON + 6 * MINUTE) == []
    assert len(sim.samples(run, NOON - timedelta(days=90), NOON - timedelta(days=90), NOON)) == 1_441


def sample_of(node_id: str, *percents: int) -> bytes:
    reading = {"memory_used_mib": 0, "memory_total_mib": 1, "temperature_c": 30, "power_w": 70}
    gpus = [{"slot": slot, "gpu_percent": percent, **reading} for slot, percent in enumerate(percents)]
    told = {"node_id": node_id, "sampled_at": "2026-08-05T12:00:00Z", "source": "nvml", "gpus": gpus}
    return json.dumps(told).encode()


def test_a_gang_is_seen_only_where_every_gpu_of_it_is() -> None:
    clock, slots = FixedClock(NOON), Slots(MemoryLog())
    slots.of = {f"n{number}": {f"n{number}-g{slot}": slot for slot in range(8)} for number in (0, 1)}
    gauges = TelemetryGauges(slots, clock)
    run = Run("a", "i", (), (member(0, "n0", [0, 1]), member(1, "n1", [7])))

    def seen() -> list[tuple[datetime, int]]:
        return [(each.at, each.percent) for each in gauges.samples(run, NOON, NOON - MINUTE, clock.now())]

    assert gauges.take("n0", sample_of("n0", 3, 40, 99))
    assert seen() == []
    clock.advance(MINUTE)
    assert gauges.take("n1", sample_of("n1", *[0] * 7, 20))
    assert seen() == [(NOON + MINUTE, 40)]
    clock.advance(COVERS)
    assert gauges.take("n1", sample_of("n1", *[0] * 8))
    assert seen() == [(NOON + MINUTE, 40)], "the other machine was not seen for too long"
    assert gauges.take("n0", sample_of("n0", 0))
    assert seen() == [(NOON + MINUTE, 40)], "a GPU that is not in the sample was not seen"
    assert not gauges.take("n0", sample_of("n1", 0, 0))
    assert not gauges.take("n0", b"{}")
    assert not gauges.take("n0", b"\xff" * 40_000)


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    pace = {"profile": "demo", "clock_pace": Pace(time.time(), NOON, 1).encode()}
    async with (
        fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings,
        world(settings.model_copy(update=pace)) as opened,
    ):
        yield opened


async def test_the_stream_is_listened_to(here: World) -> None:
    slots = Slots(here.service.log)
    slots.of = {"n0": {"n0-g0": 0}}
    gauges = TelemetryGauges(slots, here.service.clock)
    listening = asyncio.create_task(Listening(gauges, here.service.broker).listen())
    run = Run("a", "i", (), (member(0, "n0", [0]),))

    async def heard() -> bool:
        # Again and again: what is said before somebody listens is not heard.
        await here.service.broker.connection.publish("telemetry.nodes.n0.utilisation", sample_of("n0", 37))
        found = gauges.samples(run, NOON, NOON - MINUTE, here.service.clock.now())
        return any(each.percent == 37 for each in found)

    await eventually(heard, 60)
    listening.cancel()


async def test_what_stays_idle_is_taken_back_after_notice_and_what_is_used_again_is_not(here: World) -> None:
    await here.machines(3)
    rules = {"idle_after_s": 3_600, "idle_grace_s": 900, "reason": "for a test"}
    answer = await here.client.post("/v1/pools/main/queue-rules", json=rules, headers=here.operator)
    assert answer.status_code == 202, answer.text
    idle = await here.ask(command=["idle", "86400"], lease_s=86_400)
    again = await here.ask(command=["idle", "7800", "0", "4200"], lease_s=86_400)
    spared = await here.ask(command=["idle", "14400"], lease_s=86_400, idle_after_s=0)
    await here.until("active", idle, again, spared)
    here.pace(1_000)
    ended = await here.until("released", idle, again, spared, within_s=90)
    me = await here.as_member("acme")
    assert (ended["end_reason"], (await here.one(again))["end_reason"]) == ("completed", "completed")
    taken = await here.one(idle)
    assert taken["end_reason"] == "idle"
    ran = datetime.fromisoformat(taken["ended_at"]) - datetime.fromisoformat(taken["started_at"])
    assert ran >= timedelta(seconds=4_500)
    found: list[Any] = (await here.get(f"{HOME}/idle-findings", me))["items"]
    came_of = {each["allocation_id"]: each["outcome"] for each in found}
    assert came_of == {idle: "taken-back", again: "active-again"}
    first = (await here.get("/v1/pools/main/idle-findings", limit=1))["items"]
    assert first == found[:1]
    theirs = await here.get("/v1/tenants/kyoto/projects/research/idle-findings", await here.as_member("kyoto"))
    assert theirs["items"] == []
    why = await here.get(f"{HOME}/allocations/{idle}/why", me)
    told = " ".join(step["what"] for step in why["history"])
    assert "none of its GPUs has been used since" in told
    assert "release asked for (operator, idle)" in told
    assert "not taken back for idleness: active-again" in " ".join(
        step["what"] for step in (await here.get(f"{HOME}/allocations/{again}/why", me))["history"]
    )

    async def returned() -> bool:
        return not (await here.pool()).book.claims

    await eventually(returned)
    shown = await here.get("/v1/pools/main/queue-rules")
    assert (shown["idle_after_s"], shown["idle_grace_s"]) == (3_600, 900)
