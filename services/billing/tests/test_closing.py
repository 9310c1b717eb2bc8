"""A tenant that is closed in the middle of a period. One law tested: its books end, and nothing it used is lost."""

from __future__ import annotations

import pytest
from billing_world import AUGUST, HOUR, SEPTEMBER, released, settings_on, spelled, started, world_on
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.iam import TenantClosed


async def test_a_tenant_closed_mid_period_is_billed_to_its_end_and_its_books_take_nothing_new(
    stack: TestStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("closing")
    async with (
        stack.fresh_log() as log,
        stack.fresh_database() as dsn,
        world_on(settings_on(log.url, dsn, directory)) as world,
    ):
        home = "/v1/tenants/acme"
        await world.tenant("acme")
        await world.publish("2.00")
        await world.used("acme", "a-1", AUGUST, AUGUST + HOUR, gpus=1)
        begun = started("acme", "a-2", AUGUST + HOUR, gpus=1)
        world.position = await tell(world.service.log, begun, tenant_id="acme", entity_id="a-2")
        assert (await world.get(f"{home}/closing"))["closed_at"] is None
        closed = TenantClosed(tenant_id="acme", reason="contract ended")
        world.position = await tell(world.service.log, closed, tenant_id="acme", entity_id="acme")

        async def metered() -> bool:
            return bool((await world.get(f"{home}/closing"))["unbilled"] == "2.00")

        await eventually(metered, 60)
        told = await world.get(f"{home}/closing")
        assert told["left_to_do"][0].startswith("something still runs")
        assert told["done"] is False
        credit = {"amount": "5.00", "reference": "late"}
        budget = {"budget_id": "b", "amount": "5.00", "thresholds": [{"percent": 100}]}
        agreed = {"effective_from": spelled(AUGUST), "reason": "late", "rules": [{"amount": "0.10"}]}
        for path, body in (("credits", credit), ("budgets", budget), ("price-agreements", agreed)):
            assert "was closed at" in (await world.post(f"{home}/{path}", body, 409))["detail"], path

        # What ended after the closing was used all the same.
        ended = released(begun, AUGUST + 3 * HOUR)
        world.position = await tell(world.service.log, ended, tenant_id="acme", entity_id="a-2")
        run = await world.bill(AUGUST, SEPTEMBER)
        assert run["total_by_currency"] == {"EUR": "6.00"}
        told = await world.get(f"{home}/closing")
        assert (told["running"], told["unbilled"], told["owed"]) == ("0.00", "0.00", "6.00")
        (invoice,) = await world.invoices("acme")
        assert told["last_invoice"] == invoice["number"]
        paid = {"amount": "6.00", "reference": "bank 1"}
        await world.post(f"{home}/invoices/{invoice['invoice_id']}/payments", paid, 201)

        async def over() -> bool:
            world.position = max(world.position, await world.service.log.last_position())
            return bool((await world.get(f"{home}/closing"))["done"])

        await eventually(over, 60)
        assert (await world.get(f"{home}/closing"))["left_to_do"] == []
