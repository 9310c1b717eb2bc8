"""Prepaid on real servers, in a world whose time we set. One law: nobody spends much that is not covered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from billing_world import AUGUST, HOUR, SEPTEMBER, World, released, settings_on, started, world_on
from gpuaas.billing.settings import BillingSettings
from gpuaas.common.clock import Clock, FixedClock
from gpuaas.common.projections import digest
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import LogAddress
from gpuaas.contracts.allocations import AllocationRequested, AllocationStarted

RENEWAL = timedelta(minutes=5)
TIME = FixedClock(AUGUST)
PRICE = Decimal("2.50")
BURN = 8 * PRICE
"""EUR an hour for one machine."""


class TimedSettings(BillingSettings):
    """Time stands where the test puts it."""

    def clock(self) -> Clock:
        return TIME


@pytest.fixture
def settings(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> TimedSettings:
    TIME.advance(AUGUST - TIME.now())
    return TimedSettings(**settings_on(log_address.url, database_dsn, tmp_path).model_dump())


@pytest.fixture
async def world(settings: TimedSettings) -> AsyncIterator[World]:
    async with world_on(settings) as made:
        await ready(made)
        yield made


async def ready(world: World) -> None:
    await world.tenant("acme")
    await world.publish(str(PRICE))


async def grant(world: World, amount: str, **more: Any) -> str:
    body = {"amount": amount, "reference": "order 1", **more}
    return str((await world.post("/v1/tenants/acme/credits", body, 201))["id"])


async def start(world: World, allocation: str, at: datetime, gpus: int = 8) -> AllocationStarted:
    begun = started("acme", allocation, at, gpus)
    world.position = await tell(world.service.log, begun, tenant_id="acme", entity_id=allocation)
    return begun


async def level(world: World) -> dict[str, Any]:
    """What was said last of the tenant's credit."""
    world.position = await world.service.log.last_position()
    items = (await world.get("/v1/tenants/acme/spending"))["items"]
    found = [each for each in items if each["scope_id"] == "acme"]
    return dict(found[0]) if found else {"level": "open"}


async def held_at(world: World, moment: datetime) -> dict[str, Any]:
    """The hold once it was computed at `moment` or later."""
    seen: dict[str, Any] = {}

    async def renewed() -> bool:
        nonlocal seen
        world.position = await world.service.log.last_position()
        seen = (await world.get("/v1/tenants/acme/credits")) or {}
        hold = seen["hold"]
        return hold is not None and datetime.fromisoformat(hold["as_of"]) >= moment

    await eventually(renewed)
    # Its parts are read one after the other: asked again, all of them are as new as the hold at least.
    seen = await world.get("/v1/tenants/acme/credits")
    return seen


async def test_credit_is_held_when_something_starts_and_renewed_while_it_runs(world: World) -> None:
    await grant(world, "100.00")
    await start(world, "a-1", TIME.now())
    first = await held_at(world, TIME.now())
    # 8 GPUs at 2.50 for the five minutes ahead, rounded up.
    assert (first["held"], first["free"], first["hold"]["burn_per_hour"]) == ("1.67", "98.33", "20.00")
    TIME.advance(RENEWAL)
    assert (await held_at(world, TIME.now()))["held"] == "3.34"
    TIME.advance(3 * HOUR)
    assert (await held_at(world, TIME.now()))["held"] == "63.34"


async def test_an_invoice_is_paid_with_credit_and_the_ledger_agrees(world: World) -> None:
    grant_id = await grant(world, "100.00")
    await world.used("acme", "a-1", AUGUST, AUGUST + 3 * HOUR)

    async def metered() -> bool:
        return bool((await world.get("/v1/tenants/acme/usage"))["items"])

    # A look that is taken before the usage is metered holds nothing for it until the next one.
    await eventually(metered)
    TIME.advance(SEPTEMBER - AUGUST)
    assert (await held_at(world, TIME.now()))["held"] == "60.00"
    await world.bill()

    async def applied() -> bool:
        world.position = await world.service.log.last_position()
        (found,) = (await world.get("/v1/tenants/acme/credits"))["grants"]
        return bool(found["grant_id"] == grant_id and found["applied"] == "60.00")

    await eventually(applied)

    async def booked() -> bool:
        world.position = await world.service.log.last_position()
        items = (await world.get("/v1/tenants/acme/ledger/balances"))["items"]
        balances = {each["account"]: each["balance"] for each in items}
        return balances == {
            "cash:prepaid": "100.00",
            "prepaid:acme": "-40.00",
            "receivable:acme": "0.00",
            "revenue:gpu": "-60.00",
        }

    await eventually(booked)
    before = await world.get("/v1/tenants/acme/credits", at=(TIME.now() - HOUR).isoformat())
    assert (before["free"], before["held"]) == ("100.00", "0")
    moves = await world.get("/v1/tenants/acme/credit-movements", limit=2)
    assert [each["kind"] for each in moves["items"]] == ["applied", "held"]
    rest = await world.get("/v1/tenants/acme/credit-movements", limit=2, cursor=moves["next_cursor"])
    assert [each["kind"] for each in rest["items"]] == ["granted"]


async def test_what_is_left_of_a_grant_lapses_at_its_end_and_is_booked(world: World) -> None:
    await grant(world, "100.00", expires_at=(AUGUST + HOUR).isoformat())
    TIME.advance(2 * HOUR)

    async def booked() -> bool:
        world.position = await world.service.log.last_position()
        items = (await world.get("/v1/tenants/acme/ledger/balances"))["items"]
        return ("revenue:breakage", "-100.00") in [(each["account"], each["balance"]) for each in items]

    await eventually(booked)
    assert (await level(world))["level"] == "blocked"


async def test_a_budget_of_a_project_blocks_it_and_a_label_counts_alone(world: World) -> None:
    asked = AllocationRequested(
        allocation_id="a-1",
        tenant_id="acme",
        project_id="vision",
        pool_id="h100-fra",
        replicas=1,
        gpus_per_replica=8,
        priority=0,
        lease_s=3_600,
        workload={"image": "train", "command": ()},
        labels={"team": "structures"},
    )
    begun = started("acme", "a-1", AUGUST)
    ended = released(begun, AUGUST + HOUR)
    await tell(world.service.log, asked, begun, ended, tenant_id="acme", entity_id="a-1")
    await world.used("acme", "a-2", AUGUST, AUGUST + HOUR)
    TIME.advance(2 * HOUR)
    thresholds = [{"percent": 50}, {"percent": 100, "of": "forecast"}]
    body = {"budget_id": "folding", "project_id": "vision", "amount": "30.00", "thresholds": thresholds}
    await world.post("/v1/tenants/acme/budgets", {**body, "action": "block"}, 201)
    label = {"label_name": "team", "label_value": "structures"}
    await world.post("/v1/tenants/acme/budgets", {**body, "budget_id": "team", "project_id": None, **label}, 201)

    async def crossed() -> bool:
        world.position = await world.service.log.last_position()
        items = (await world.get("/v1/tenants/acme/budget-crossings"))["items"]
        found = {(each["budget_id"], each["percent"], each["spent"]) for each in items}
        return found == {("folding", 50, "40.00"), ("folding", 100, "40.00"), ("team", 50, "20.00")}

    await eventually(crossed)
    (blocked,) = (await world.get("/v1/tenants/acme/spending"))["items"]
    assert (blocked["scope_id"], blocked["project_id"], blocked["level"]) == ("folding", "vision", "blocked")
    shown = {each["budget_id"]: each for each in (await world.get("/v1/tenants/acme/budgets"))["items"]}
    assert (shown["folding"]["spent"], shown["team"]["spent"]) == ("40.00", "20.00")
    await world.post("/v1/tenants/acme/budgets/team/withdraw", {"reason": "over"}, 200)
    assert len((await world.get("/v1/tenants/acme/budgets"))["items"]) == 1


@pytest.mark.parametrize("outage", [timedelta(0), timedelta(minutes=4), timedelta(minutes=9)])
async def test_overdraft_stays_below_burn_times_renewal_though_billing_is_away(
    settings: TimedSettings, outage: timedelta
) -> None:
    """The neighbour that runs the work obeys what stands on the log, and nothing else, as it does for real."""
    async with world_on(settings) as world:
        await ready(world)
        await grant(world, "20.00")
        begun = await start(world, "a-1", AUGUST)
        await held_at(world, AUGUST)
        while (said := await level(world))["level"] != "stopping":
            TIME.advance(RENEWAL)
            await held_at(world, TIME.now())
            assert TIME.now() < AUGUST + 2 * HOUR
    stops = datetime.fromisoformat(said["grace_until"])
    assert stops > TIME.now() + outage
    TIME.advance(outage)
    async with world_on(settings) as world:
        world.position = await world.service.log.last_position()
        await tell(world.service.log, released(begun, stops), tenant_id="acme", entity_id="a-1")
        TIME.advance(stops - TIME.now() + RENEWAL)
        await held_at(world, stops)
        charges = await world.get("/v1/tenants/acme/charges")
        overdraft = max(Decimal(0), Decimal(charges["total"]) - Decimal("20.00"))
        print(f"overdraft after an outage of {outage}: {overdraft} EUR, bound {BURN * 5 / 60:.2f} EUR")
        assert overdraft <= BURN * 5 / 60
        for view in world.service._projectors.values():
            before = await digest(world.service.database, view.projection)
            await view.rebuild()
            assert await digest(world.service.database, view.projection) == before


async def test_a_tenant_without_prices_does_not_keep_others_from_being_looked_at(world: World) -> None:
    await world.tenant("aaa", "JPY")
    await world.post("/v1/tenants/aaa/credits", {"amount": "100", "reference": "order 1"}, 201)
    await grant(world, "100.00")
    await start(world, "a-1", TIME.now())
    await held_at(world, TIME.now())
    TIME.advance(RENEWAL)
    assert (await held_at(world, TIME.now()))["held"] == "3.34"
