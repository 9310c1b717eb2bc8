"""Work that runs across a period's end. One law tested: its parts add up, to the millisecond, however it is cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from billing_world import AUGUST, HOUR, OCTOBER, SEPTEMBER, World, released, settings_on, started, world_on
from gpuaas.billing.domain.metering import Interval, Span
from gpuaas.billing.domain.usage import USAGE, CutUsage, MeterUsage
from gpuaas.common.errors import Rejected
from gpuaas.common.projections import digest
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import LogAddress
from gpuaas.contracts.billing import UsageDiscrepancyFound, UsageMetered
from hypothesis import given
from hypothesis import strategies as st

BEGUN = started("acme", "a-1", AUGUST, gpus=2, share_milli=333)
US = timedelta(microseconds=1)


def ended(at: datetime) -> MeterUsage:
    return MeterUsage(BEGUN, released(BEGUN, at), Span(Interval.between(AUGUST, at), 2, "e-1", "e-2", 333))


def said(*orders: CutUsage | MeterUsage) -> list[Any]:
    state, events = USAGE.initial, []
    for order in orders:
        for event in USAGE.decide(order, state):
            events.append(event)
            state = USAGE.evolve(state, event)
    return events


@given(st.lists(st.integers(0, 10**10), max_size=5), st.integers(0, 10**10))
def test_however_it_is_cut_the_parts_touch_and_add_up_to_the_whole(cuts: list[int], length: int) -> None:
    end = AUGUST + length * US
    orders = [CutUsage(BEGUN, "e-1", min(AUGUST + cut * US, end)) for cut in cuts]
    parts = said(*orders, ended(end))
    (whole,) = said(ended(end))
    exact = [part.gpu_us if part.gpu_us is not None else part.gpu_ms * 1_000 for part in parts]
    assert sum(exact) == (whole.gpu_us if whole.gpu_us is not None else whole.gpu_ms * 1_000)
    assert [part.started_at for part in parts[1:]] == [part.ended_at for part in parts[:-1]]
    assert len({part.usage_id for part in parts}) == len(parts)
    assert [bool(part.interim) for part in parts[:-1]] == [True] * (len(parts) - 1)


def test_a_cut_is_made_once_and_never_behind_the_end() -> None:
    cut = CutUsage(BEGUN, "e-1", SEPTEMBER)
    assert len(said(cut, cut)) == 1
    assert len(said(cut, ended(OCTOBER), CutUsage(BEGUN, "e-1", OCTOBER + HOUR))) == 2
    assert len(said(cut, ended(OCTOBER), ended(OCTOBER))) == 2
    assert said(ended(SEPTEMBER), cut)[0].interim is None
    with pytest.raises(Rejected, match="a record never changes"):
        said(cut, ended(OCTOBER), ended(OCTOBER + HOUR))


def test_an_end_told_late_and_before_the_cut_is_named_and_changes_no_record() -> None:
    cut = CutUsage(BEGUN, "e-1", SEPTEMBER)
    interim, found = said(cut, ended(SEPTEMBER - HOUR), ended(SEPTEMBER - HOUR))
    assert isinstance(interim, UsageMetered)
    assert isinstance(found, UsageDiscrepancyFound)
    assert (found.found_from, found.found_until) == (SEPTEMBER - HOUR, SEPTEMBER)
    assert found.gpu_ms == 2 * 3_600_000 * 333 // 1_000
    assert len(said(cut, ended(SEPTEMBER))) == 1


@pytest.fixture
async def world(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(settings_on(log_address.url, database_dsn, tmp_path)) as made:
        yield made


async def test_what_runs_across_a_month_is_billed_for_its_part_of_each(world: World) -> None:
    """The months are those of Berlin, whose summer time ends on 25 October 2026 at 01:00 UTC."""
    berlin = timezone(timedelta(hours=1)), timezone(timedelta(hours=2))
    october = datetime(2026, 10, 1, tzinfo=berlin[1])
    november = datetime(2026, 11, 1, tzinfo=berlin[0])
    assert november - october == timedelta(hours=31 * 24 + 1)
    await world.tenant("acme")
    await world.publish("2.00", start=AUGUST)
    begun = started("acme", "a-1", october - HOUR, gpus=1)
    world.position = await tell(world.service.log, begun, tenant_id="acme", entity_id="a-1")
    await world.bill(october - 30 * 24 * HOUR, october)
    await world.bill(october, november)
    charges = await world.get("/v1/tenants/acme/charges")
    assert charges["unbilled"]["total"] == "0.00"
    await world.bill(october, november)
    end = released(begun, november + HOUR)
    world.position = await tell(world.service.log, end, tenant_id="acme", entity_id="a-1")
    await world.bill(november, november + 30 * 24 * HOUR)
    invoices = await world.invoices("acme")
    assert [each["total"] for each in invoices] == ["2.00", f"{2 * (31 * 24 + 1)}.00", "2.00"]
    assert (await world.get("/v1/conservation"))["differences"] == []
    for view in world.service._projectors.values():
        before = await digest(world.service.database, view.projection)
        await view.rebuild()
        assert await digest(world.service.database, view.projection) == before


async def test_an_end_before_the_cut_is_listed_for_the_tenant(world: World) -> None:
    await world.tenant("acme")
    await world.publish("2.00")
    begun = started("acme", "a-1", SEPTEMBER - 3 * HOUR)
    world.position = await tell(world.service.log, begun, tenant_id="acme", entity_id="a-1")
    await world.bill()
    end = released(begun, SEPTEMBER - HOUR)
    world.position = await tell(world.service.log, end, tenant_id="acme", entity_id="a-1")

    async def listed() -> list[Any]:
        items: list[Any] = (await world.get("/v1/tenants/acme/usage-discrepancies"))["items"]
        return items

    await eventually(listed)
    (found,) = await listed()
    assert (found["kind"], found["gpu_ms"]) == ("ended-before-cut", str(8 * 3_600_000))
