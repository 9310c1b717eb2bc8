"""A clock that is set back and forward: nothing ends twice, nothing is held past its end, no interval is negative.

Also the times at which a burn-in closes its machine, which come from nodes' clock and not from ours.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from allocations_world import World, world
from gpuaas.allocations.domain.idleness import Limits, Sample, Streak, verdict
from gpuaas.allocations.domain.outlook import Outlook
from gpuaas.allocations.domain.queue import Line, Waiting, plan
from gpuaas.allocations.reactions import ALLOCATION
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import Pace, PacedClock
from gpuaas.common.projections import decoded
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually, fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import AllocationReleased
from gpuaas.contracts.nodes import (
    BurnInTrial,
    Device,
    NodeBecameAvailable,
    NodeBurnInStarted,
    NodeDrainOrdered,
    Topology,
)
from small_fleet import fleet, gpus

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    pace = {"profile": "demo", "clock_pace": Pace(time.time(), NOON, 1).encode()}
    async with (
        fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings,
        world(settings.model_copy(update=pace)) as opened,
    ):
        yield opened


def step(here: World, by: timedelta) -> None:
    """The clock is set, as somebody sets a clock: from one reading to the next it shows another time."""
    clock = here.service.clock
    assert isinstance(clock, PacedClock)
    clock.change(Pace(time.time(), clock.now() + by, 1))


async def ends_of(here: World, name: str) -> list[AllocationReleased]:
    """How an allocation ended; more than one would be an error."""
    history = await here.service.log.history(ALLOCATION.subject("acme", name))
    events = [fact.event for fact in decoded(ALLOCATION.vocabulary, history)]
    return [event for event in events if isinstance(event, AllocationReleased)]


async def test_leases_starts_and_drains_under_a_clock_that_steps(here: World) -> None:
    await here.machines(3)
    leased = await here.ask(command=["sleep", "infinity"], lease_s=7_200)
    short = await here.ask(command=["sleep", "1800"], lease_s=86_400)
    drained = await here.ask(command=["sleep", "infinity"], lease_s=86_400)
    later = await here.ask(
        gpus_per_replica=4,
        command=["sleep", "600"],
        lease_s=1_200,
        start_at=(here.service.clock.now() + 4 * HOUR).isoformat(),
    )
    await here.until("active", leased, short, drained)
    await here.until("queued", later)
    on = (await here.one(drained))["members"][0]["node_id"]
    order = NodeDrainOrdered(
        node_id=on,
        mode="notice-then-stop",
        notice_s=0,
        deadline=here.service.clock.now() + 5 * HOUR,
        reason="new firmware",
        ordered_at=here.service.clock.now(),
    )
    await tell(here.service.log, order, entity_id=on)
    await eventually(lambda: _said(here, drained, "notified"))
    started = {name: (await here.one(name))["started_at"] for name in (leased, short, drained)}

    step(here, -6 * HOUR)
    given_back = await here.ask(gpus_per_replica=1, command=["sleep", "infinity"])  # waits: everything is held
    await here.until("queued", given_back)
    assert [(await here.one(name))["state"] for name in (leased, short, drained)] == ["active"] * 3

    step(here, 20 * HOUR)
    await here.until("released", leased, short, drained, within_s=60)
    await here.until("active", later, given_back, within_s=60)
    step(here, -3 * HOUR)
    await here.release(given_back)
    await here.until("released", given_back)
    step(here, 5 * HOUR)
    await here.until("released", later, within_s=60)

    for name in (leased, short, drained, later, given_back):
        (end,) = await ends_of(here, name)
        assert end.started_at is not None
        assert end.started_at <= end.ended_at, f"{name} ran for a negative time"
    lease_end = (await ends_of(here, leased))[0]
    assert lease_end.ended_at == datetime.fromisoformat(started[leased]) + timedelta(seconds=7_200)
    natural = (await ends_of(here, short))[0]
    assert natural.ended_at == datetime.fromisoformat(started[short]) + timedelta(seconds=1_800)
    assert (await here.one(drained))["end_reason"] == "operator"
    once = ["requested", "placed", "started", "released"]
    assert [said for said in await here.said_of(short) if said in once] == once

    async def all_back() -> bool:
        return not (await here.pool()).book.claims

    await eventually(all_back)


async def _said(here: World, name: str, what: str) -> bool:
    return what in await here.said_of(name)


def test_a_start_that_was_due_is_due_again_after_the_clock_went_back_and_nobody_is_refused() -> None:
    line = Line()
    line.join(Waiting("a", "acme", "research", gpus(8), 0, 1, lease_s=3_600, start_at=NOON))
    before, due = Outlook(NOON - HOUR), Outlook(NOON + HOUR)
    for outlook, grants in ((before, 0), (due, 1), (before, 0), (due, 1)):
        decided = plan("main", fleet(1), line, {}, outlook=outlook)
        assert (len(decided.grants), len(decided.refusals)) == (grants, 0)


def test_idle_time_is_not_made_by_setting_the_clock() -> None:
    limits = Limits(HOUR, timedelta(minutes=10))
    seen = Streak().after(Sample(NOON, 0))
    forward = seen.after(Sample(NOON + 5 * HOUR, 0))
    assert verdict(forward, limits, None, NOON + 5 * HOUR) == "nothing"
    back = seen.after(Sample(NOON - 5 * HOUR, 0))
    assert back == seen
    assert verdict(back, limits, None, NOON - 5 * HOUR) == "nothing"


async def test_a_burn_in_closes_its_machine_on_the_calendar_and_opens_it_early_or_late(here: World) -> None:
    await here.machines(1)
    begins = here.service.clock.now()
    burn = NodeBurnInStarted(
        node_id="n0",
        plan="standard",
        policy_version="1",
        occasion="repaired",
        steps=(BurnInTrial(step="gpu-memory", expected_s=600), BurnInTrial(step="gpu-compute", expected_s=3_000)),
        started_at=begins,
    )
    await tell(here.service.log, burn, entity_id="n0")

    async def closed() -> bool:
        return bool((await here.pool()).calendar.closures)

    await eventually(closed)
    ((_, closure),) = (await here.pool()).calendar.closures.items()
    assert (closure.cause, closure.starts_at, closure.ends_at - begins) == ("burn-in", begins, HOUR)
    waits = await here.ask(lease_s=600)
    told = await here.until("queued", waits)
    assert told["state"] == "queued"
    span: dict[str, Any] = {"from": begins.isoformat(), "until": (begins + 2 * HOUR).isoformat()}
    calendar = await here.get("/v1/pools/main/calendar", **span)
    assert [(item["closed_gpus"], item["free_gpus"]) for item in calendar["items"]] == [(8, 0), (0, 8)]
    back = NodeBecameAvailable(
        node_id="n0",
        pool_id="main",
        gpu_model="h100",
        devices=tuple(
            Device(device_id=f"n0-g{slot}", serial=f"0-{slot}", slot=slot, memory_mib=81_559) for slot in range(8)
        ),
        topology=Topology(region="eu", site="s0", pod="p0", rack="r0"),
    )
    await tell(here.service.log, back, entity_id="n0")
    await here.until("active", waits)
    assert not (await here.pool()).calendar.closures
