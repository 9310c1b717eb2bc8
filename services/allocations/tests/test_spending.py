"""Billing's ladder is obeyed: nothing new starts when blocked, nothing goes on past the grace, open is as before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from allocations_world import World, world
from gpuaas.allocations.domain.queue import Line, Waiting, plan
from gpuaas.allocations.domain.spending import Levels, refusal
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.billing import SpendingLevel, SpendingLevelChanged
from small_fleet import fleet, gpus

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)


def said(
    level: SpendingLevel, project_id: str | None = None, tenant_id: str = "acme", grace: datetime | None = None
) -> SpendingLevelChanged:
    return SpendingLevelChanged(
        scope_id=project_id or tenant_id,
        tenant_id=tenant_id,
        project_id=project_id,
        level=level,
        cause="prepaid",
        grace_until=grace,
    )


def test_the_newest_word_counts_and_the_strictest_scope() -> None:
    levels = Levels().after(said("warned")).after(said("blocked", "research"))
    assert levels.bars("acme", "research") is not None
    assert levels.bars("acme", "other") is None
    assert levels.bars("rival", "research") is None
    assert levels.after(said("open", "research")).bars("acme", "research") is None
    assert levels.after(said("blocked")).bars("acme", "other") is not None


def test_what_runs_goes_on_until_the_grace_is_over() -> None:
    levels = Levels().after(said("stopping", grace=NOON))
    assert levels.ends("acme", "any", NOON - timedelta(microseconds=1)) is None
    assert levels.ends("acme", "any", NOON) is not None
    assert Levels().after(said("blocked")).ends("acme", "any", NOON) is None


def test_the_refusal_says_whose_spending_it_is() -> None:
    assert "project research is blocked (prepaid)" in refusal(said("blocked", "research"))


def test_who_is_barred_keeps_the_place_and_holds_nobody_up() -> None:
    line = Line()
    for number, tenant in enumerate(("acme", "rival", "acme", "rival")):
        line.join(Waiting(f"a{number}", tenant, "p", gpus(8), 0, number))
    decided = plan("main", fleet(4), line, {}, barred=lambda waiting: waiting.tenant_id == "acme")
    assert [grant.allocation_id for grant in decided.grants] == ["a1", "a3"]
    assert (decided.kept, decided.refusals) == ({}, ())


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    async with fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings, world(settings) as opened:
        yield opened


async def _told(here: World, event: SpendingLevelChanged) -> None:
    position = await tell(here.service.log, event, tenant_id=event.tenant_id, entity_id=event.scope_id)
    purse = next(reader for reader in here.service._readers if reader.name == "purse")
    await purse.reached(position, 5)


async def test_the_whole_ladder(here: World) -> None:
    await here.machines(2)
    running = await here.ask(command=["sleep", "infinity"])
    theirs = await here.ask(tenant_id="rival", command=["sleep", "infinity"])
    await here.until("active", running)
    await here.until("active", theirs, tenant_id="rival")
    waiting = await here.ask()
    await here.until("queued", waiting)
    await _told(here, said("blocked"))
    assert await here.ask(status=409) == "urn:gpuaas:rejected"
    await here.release(theirs, tenant_id="rival")
    await here.until("released", theirs, tenant_id="rival")
    after = await here.ask(tenant_id="rival", command=["sleep", "infinity"])
    await here.until("active", after, tenant_id="rival")
    assert (await here.one(waiting))["state"] == "queued"
    assert (await here.one(running))["state"] == "active"
    await _told(here, said("stopping", grace=datetime.now(UTC)))
    assert (await here.until("released", running))["end_reason"] == "spending-stopped"
    assert (await here.until("released", waiting))["end_reason"] == "cancelled"
    path = f"/v1/tenants/acme/projects/research/allocations/{running}/why"
    steps = (await here.get(path, await here.as_member("acme")))["history"]
    assert any("spending-stopped" in step["what"] for step in steps)
    await _told(here, said("open"))
    await here.until("active", await here.ask(command=["sleep", "infinity"]))
    assert (await here.one(after, "rival"))["state"] == "active"
