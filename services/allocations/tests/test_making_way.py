"""Running work that makes way, on real servers: ended for its reason, paid for as it ran, and the gainer starts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from allocations_world import World, world
from gpuaas.allocations.reactions import ALLOCATION, POOL
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import Pace
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.projections import decoded
from gpuaas.common.testing.running import fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import AllocationReleased, PreemptionOrdered

FOREVER = ["sleep", "infinity"]


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[AllocationsSettings]:
    async with fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings:
        pace = Pace(time.time(), datetime.fromisoformat("2026-08-05T12:00:00+00:00"), 1).encode()
        yield settings.model_copy(update={"profile": "demo", "clock_pace": pace})


@pytest.fixture
async def here(settings: AllocationsSettings) -> AsyncIterator[World]:
    async with world(settings) as running_world:
        yield running_world


async def entitle(here: World, tenant_id: str, gpus: int) -> None:
    body = {"tenant_id": tenant_id, "gpu_model": "h100", "nominal_gpus": gpus, "reason": "a contract"}
    answer = await here.client.post("/v1/pools/main/quotas", json=body, headers=here.operator)
    assert answer.status_code == 202, answer.text
    await known(here, answer.json()["position"])


async def rules(here: World, **body: Any) -> None:
    body = {"reason": "for a test", **body}
    answer = await here.client.post("/v1/pools/main/queue-rules", json=body, headers=here.operator)
    assert answer.status_code == 202, answer.text
    await known(here, answer.json()["position"])


async def known(here: World, position: int) -> None:
    """Until the scheduler goes by what stood in the log at that position."""
    readers = {reader.name: reader for reader in here.service._readers}
    await readers["entitlements"].reached(position, 5)


async def test_what_was_lent_is_taken_back_and_its_tenant_is_told_why(here: World) -> None:
    await here.machines(2)
    await entitle(here, "acme", 8)
    old = await here.ask("rival", command=FOREVER)
    await here.until("active", old, tenant_id="rival")
    young = await here.ask("rival", command=FOREVER)
    await here.until("active", young, tenant_id="rival")
    mine = await here.ask("acme", command=FOREVER)
    await here.until("active", mine)
    ended = await here.until("released", young, tenant_id="rival")
    assert (ended["end_reason"], ended["exit_code"]) == ("quota-reclaimed", 143)
    assert await here.said_of(young, "rival") == ["requested", "placed", "started", "preempted", "released"]
    assert (await here.one(old, "rival"))["state"] == "active"
    path = f"/v1/tenants/rival/projects/research/allocations/{young}/why"
    told = await here.get(path, await here.as_member("rival"))
    assert "quota-reclaimed" in told["why"]
    assert not any("acme" in str(step) for step in told["history"])
    history = decoded(ALLOCATION.vocabulary, await here.service.log.history(ALLOCATION.subject("rival", young)))
    released = history[-1].event
    assert isinstance(released, AllocationReleased)
    assert (released.end_reason, released.because, released.gpu_count) == ("operator", "quota-reclaimed", 8)
    orders = [
        fact.event
        for fact in decoded(POOL.vocabulary, await here.service.log.history(POOL.subject(PLATFORM, "main")))
        if isinstance(fact.event, PreemptionOrdered)
    ]
    assert [(order.allocation_id, order.victims[0].allocation_id) for order in orders] == [(mine, young)]
    late = await here.ask("rival", command=FOREVER)
    assert (await here.until("queued", late, tenant_id="rival"))["pending_reason"] == "insufficient-capacity"


async def test_higher_priority_waits_out_the_least_run_and_then_takes_what_may_be_ended(here: World) -> None:
    await here.machines(1)
    await rules(here, min_run_s=600)
    soft = await here.ask("rival", command=FOREVER, preemptible=True)
    started = datetime.fromisoformat((await here.until("active", soft, tenant_id="rival"))["started_at"])
    urgent = await here.ask("acme", priority=9, command=FOREVER)
    await here.until("queued", urgent)
    here.pace(2_000.0)
    await here.until("active", urgent)
    ended = await here.until("released", soft, tenant_id="rival")
    assert ended["end_reason"] == "preempted"
    assert datetime.fromisoformat(ended["ended_at"]) - started >= timedelta(seconds=600)


async def test_who_never_gives_way_waits_for_its_own_quota(here: World) -> None:
    await here.machines(2)
    await entitle(here, "acme", 8)
    firm = await here.ask("acme", command=FOREVER, preemptible=False)
    await here.until("active", firm)
    more = await here.ask("acme", command=FOREVER, preemptible=False)
    assert (await here.until("queued", more))["pending_reason"] == "quota-exhausted"
    lent = await here.ask("acme", command=FOREVER)
    await here.until("active", lent)


async def test_rules_by_door(here: World) -> None:
    found = await here.get("/v1/pools/main/queue-rules")
    assert (found["discipline"], found["preemption"], found["reason"]) == ("best-effort", "reclaim-and-priority", None)
    member = await here.as_member("acme")
    path, body = "/v1/pools/main/queue-rules", {"discipline": "strict-fifo", "reason": "an audit"}
    assert (await here.client.post(path, json=body, headers=member)).status_code == 403
    assert (await here.client.get(path, headers=member)).status_code == 403
    for wrong in ({"min_run_s": -1}, {"discipline": "chaos"}, {"half_life_s": 10**9}):
        answer = await here.client.post(path, json=body | wrong, headers=here.operator)
        assert answer.status_code == 422, answer.text
    await rules(here, discipline="strict-fifo", preemption="off", min_run_s=60, half_life_s=3_600)
    found = await here.get(path)
    assert (found["discipline"], found["preemption"], found["min_run_s"]) == ("strict-fifo", "off", 60)
    assert (found["half_life_s"], found["reason"]) == (3_600, "for a test")
