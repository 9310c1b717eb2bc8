"""A drained machine is emptied as ordered: told at once, stopped at the deadline, others left alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from allocations_world import World, world
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import Pace
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually, fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.nodes import DrainMode, NodeDrainCancelled, NodeDrainOrdered

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    pace = {"profile": "demo", "clock_pace": Pace(time.time(), NOON, 1).encode()}
    async with (
        fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings,
        world(settings.model_copy(update=pace)) as opened,
    ):
        yield opened


async def _ordered(here: World, node_id: str, mode: DrainMode, deadline: datetime | None) -> None:
    order = NodeDrainOrdered(
        node_id=node_id, mode=mode, notice_s=0, deadline=deadline, reason="new firmware", ordered_at=NOON
    )
    await tell(here.service.log, order, entity_id=node_id)


async def test_tenants_are_told_and_what_stands_at_the_deadline_is_stopped(here: World) -> None:
    await here.machines(2)
    both = [await here.ask(command=["sleep", "infinity"], lease_s=10**6) for _ in range(2)]
    await here.until("active", *both)
    on = {(await here.one(name))["members"][0]["node_id"]: name for name in both}
    await _ordered(here, "n0", "notice-then-stop", NOON + timedelta(hours=5))
    await eventually(lambda: _said(here, on["n0"], "notified"))
    assert (await here.one(on["n0"]))["state"] == "active"
    here.pace(20_000)
    found = await here.until("released", on["n0"])
    assert found["end_reason"] == "operator"
    assert datetime.fromisoformat(found["ended_at"]) >= NOON + timedelta(hours=5)
    assert await here.said_of(on["n0"]) == [
        "requested",
        "placed",
        "started",
        "notified",
        "release-requested",
        "released",
    ]
    path = f"/v1/tenants/acme/projects/research/allocations/{on['n0']}/why"
    steps = (await here.get(path, await here.as_member("acme")))["history"]
    assert any("machine n0 is drained: new firmware" in step["what"] for step in steps)
    assert await here.said_of(on["n1"]) == ["requested", "placed", "started"]


async def test_now_stops_at_once_and_let_finish_and_what_is_called_off_stop_nothing(here: World) -> None:
    await here.machines(3)
    three = [await here.ask(command=["sleep", "infinity"]) for _ in range(3)]
    await here.until("active", *three)
    on = {(await here.one(name))["members"][0]["node_id"]: name for name in three}
    await _ordered(here, "n0", "let-finish", None)
    await _ordered(here, "n1", "notice-then-stop", NOON + timedelta(seconds=30))
    called_off = NodeDrainCancelled(node_id="n1", reason="not needed")
    await tell(here.service.log, called_off, entity_id="n1")
    await _ordered(here, "n2", "now", NOON)
    await here.until("released", on["n2"])
    here.pace(600)
    await eventually(lambda: _later(here))
    assert [(await here.one(on[node]))["state"] for node in ("n0", "n1")] == ["active", "active"]


async def _said(here: World, name: str, what: str) -> bool:
    return what in await here.said_of(name)


async def _later(here: World) -> bool:
    return here.service.clock.now() >= NOON + timedelta(minutes=10)
