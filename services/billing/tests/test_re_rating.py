"""A past period under other prices. One law: nothing is written, and both sides are for the same usage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from billing_world import AUGUST, HOUR, MODEL, SEPTEMBER, World, settings_on, spelled, world_on
from gpuaas.billing.domain.re_rating import OtherPrices, book_of, differences
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.testing.stack import LogAddress


def test_what_stands_on_one_side_only_is_a_whole_difference() -> None:
    before = [("vision", MODEL, 10_000, Decimal("1.00")), ("vision", MODEL, 5_000, Decimal("0.50"))]
    after = [("speech", MODEL, 7_000, Decimal("2.00"))]
    speech, vision = differences(before, after, "EUR")
    assert (speech.before, speech.after, speech.difference) == (Decimal("0.00"), Decimal("2.00"), Decimal("2.00"))
    assert (vision.before_gpu_ms, vision.gpu_ms, vision.difference) == (15, 0, Decimal("-1.50"))


def test_the_other_book_obeys_the_rules_of_real_ones() -> None:
    prices = ((MODEL, Decimal(1)),)
    with pytest.raises(Rejected, match="overlap"):
        book_of("EUR", [OtherPrices(AUGUST, SEPTEMBER, prices), OtherPrices(AUGUST + HOUR, None, prices)])
    with pytest.raises(Invalid, match="zero or more"):
        book_of("EUR", [OtherPrices(AUGUST, None, ((MODEL, Decimal(-1)),))])
    with pytest.raises(Invalid, match="currency"):
        book_of("XXX", [OtherPrices(AUGUST, None, prices)])


@pytest.fixture
async def world(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(settings_on(log_address.url, database_dsn, tmp_path)) as made:
        yield made


def question(amount: str, **more: Any) -> dict[str, Any]:
    versions = [{"prices": [{"gpu_model": MODEL, "amount": amount}]}]
    return {"period_start": spelled(AUGUST), "period_end": spelled(SEPTEMBER), "versions": versions, **more}


async def test_a_billed_period_is_compared_with_its_invoices_on_the_usage_they_hold(world: World) -> None:
    for tenant, currency in (("acme", "EUR"), ("beta", "EUR"), ("kyoto", "JPY")):
        await world.tenant(tenant, currency)
        await world.used(tenant, f"{tenant}-1", AUGUST + HOUR, AUGUST + 2 * HOUR, gpus=1)
        await world.used(tenant, f"{tenant}-2", AUGUST + 3 * HOUR, AUGUST + 4 * HOUR, gpus=2, project="speech")
    await world.publish("1")
    await world.publish("2", AUGUST + 3 * HOUR)
    await world.publish("100", currency="JPY")
    unbilled = await world.post("/v1/tenants/acme/re-ratings", question("1"), 200)
    await world.bill()
    # Metered after the run: on no invoice, so on neither side.
    await world.used("acme", "late", AUGUST, AUGUST + timedelta(hours=9))
    end = await world.service.log.last_position()
    told = await world.post("/v1/tenants/acme/re-ratings", question("3"), 200)
    assert (told["against"], told["before"], told["after"], told["difference"]) == ("invoices", "5.00", "9.00", "4.00")
    assert [(each["project_id"], each["difference"]) for each in told["lines"]] == [
        ("speech", "2.00"),
        ("vision", "2.00"),
    ]
    assert all(each["gpu_ms"] == each["before_gpu_ms"] for each in told["lines"])
    assert (unbilled["against"], unbilled["before"], unbilled["difference"]) == ("list-prices", "5.00", "-2.00")
    page = await world.post("/v1/re-ratings?limit=1", question("3", currency="EUR"), 200)
    assert [each["tenant_id"] for each in page["items"]] == ["acme"]
    rest = await world.post(f"/v1/re-ratings?cursor={page['next_cursor']}", question("3", currency="EUR"), 200)
    assert ([each["tenant_id"] for each in rest["items"]], rest["next_cursor"]) == (["beta"], None)
    gap = question("3")
    gap["versions"][0]["effective_from"] = spelled(AUGUST + 2 * HOUR)
    assert "do not cover" in (await world.post("/v1/tenants/acme/re-ratings", gap, 409))["detail"]
    written = [await world.service.log.at(position) for position in range(end + 1, world.position + 1)]
    assert {each.type for each in written if each} <= {"gpuaas.billing.usage-metered.v1"}
    rival = await world.identities.principal(["*.*.*"], "rival")
    path = "/v1/tenants/acme/re-ratings"
    assert (await world.client.post(path, json=question("3"), headers=rival)).status_code == 404
