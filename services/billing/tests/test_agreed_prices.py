"""Contracts, campaigns and hours of the week on real servers. One law: an outsider computes every line again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from billing_world import AUGUST, HOUR, MODEL, SEPTEMBER, World, released, settings_on, spelled, started, world_on
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import AllocationRequested, Workload
from gpuaas.verify.fields import Fields
from gpuaas.verify.invoices import Account, check_content, check_lines, check_run, check_total, check_usage
from gpuaas.verify.leaves import ProvedEvent
from gpuaas.verify.refusals import Refuted

pytestmark = pytest.mark.asyncio(loop_scope="module")
NIGHT = {"band_id": "night", "begins": "22:00", "ends": "06:00", "amount": "1.00"}
CONTRACT = "/v1/tenants/acme/price-agreements"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """August of two tenants: list with nights, a contract, a campaign for all with a label, all billed."""
    directory = tmp_path_factory.mktemp("billing")
    async with (
        stack.fresh_log() as log,
        stack.fresh_database() as dsn,
        world_on(settings_on(log.url, dsn, directory)) as world,
    ):
        for tenant in ("acme", "bolt"):
            await world.tenant(tenant)
        prices = [{"gpu_model": MODEL, "amount": "2.00", "bands": [NIGHT]}]
        await world.publish("0", time_zone="Europe/Berlin", prices=prices)
        contract = {"agreement_id": "acme-2026", "effective_from": spelled(AUGUST), "reason": "Contract 4711"}
        await world.post(CONTRACT, contract | {"rules": [{"percent_off": "25"}]}, 201)
        campaign = {"agreement_id": "trial", "currency": "EUR", "effective_from": spelled(AUGUST + 30 * HOUR)}
        rules = [{"label_name": "team", "label_value": "new", "percent_off": "50"}]
        await world.post("/v1/price-campaigns", campaign | {"rules": rules, "reason": "Trial"}, 201)
        await asked_for(world, "acme", "a-1", AUGUST + 20 * HOUR, AUGUST + 40 * HOUR, team="new")
        await asked_for(world, "bolt", "b-1", AUGUST + 20 * HOUR, AUGUST + 40 * HOUR, team="old")
        await world.bill()
        yield world


async def asked_for(world: World, tenant: str, name: str, start: datetime, end: datetime, **labels: str) -> None:
    """One GPU from start to end, with labels."""
    wish = AllocationRequested(
        allocation_id=name,
        tenant_id=tenant,
        project_id="vision",
        pool_id="h100-fra",
        replicas=1,
        gpus_per_replica=1,
        priority=0,
        lease_s=3_600,
        workload=Workload(image="i", command=()),
        labels=labels,
    )
    begun = started(tenant, name, start, 1)
    world.position = await tell(world.service.log, wish, begun, released(begun, end), tenant_id=tenant, entity_id=name)


async def account_of(world: World, tenant: str, invoice: dict[str, Any]) -> Account:
    """All that the log has about an invoice, as a verifier sees it: read from the bytes of the events."""
    events: list[ProvedEvent] = []
    for position in range(1, await world.service.log.last_position() + 1):
        recorded = await world.service.log.at(position)
        assert recorded is not None
        envelope = recorded.envelope()
        _, service, entity, _, entity_id = recorded.subject.split(".")
        data = Fields(msgspec.json.decode(bytes(envelope.data)), f"event {position}")
        events.append(ProvedEvent(position, 0, envelope.id, recorded.type, service, entity, entity_id, data))

    def of(kind: str, whose: str = "tenant_id") -> list[ProvedEvent]:
        named = [each for each in events if each.type == f"gpuaas.{kind}.v1"]
        return [each for each in named if each.data.raw.get(whose, tenant) in (tenant, "platform")]

    usages = {each.data.text("usage_id"): each for each in of("billing.usage-metered")}
    final = next(
        each for each in of("billing.invoice-finalized") if each.data.text("invoice_id") == invoice["invoice_id"]
    )
    return Account(
        tenant_id=tenant,
        invoice=final,
        run=next(
            each for each in of("billing.billing-run-started") if each.data.text("run_id") == final.data.text("run_id")
        ),
        usages=usages,
        facts={
            each.event_id: each for kind in ("started", "released") for each in of(f"allocations.allocation-{kind}")
        },
        price_books={
            (each.data.text("price_book_id"), each.data.integer("version")): each
            for each in of("billing.price-book-published")
        },
        parts={},
        agreements=of("billing.price-agreement-made"),
        agreement_ends=of("billing.price-agreement-ended"),
    )


async def test_each_line_says_its_list_price_and_what_was_applied_to_it_and_why(world: World) -> None:
    (invoice,) = await world.invoices("acme")
    told = {line["price_key"]: line for line in invoice["lines"]}
    # From 22:00 on the 1st to 18:00 on the 2nd in Berlin; the campaign begins at 08:00 there.
    assert {
        key: (line["unit_price"], line["amount"], int(line["gpu_ms"]) // 3_600_000) for key, line in told.items()
    } == {
        "band:night contract:acme-2026/1": ("0.75", "6.00", 8),
        "contract:acme-2026/1": ("1.5", "3.00", 2),
        "contract:acme-2026/1 campaign:trial/1": ("0.75", "7.50", 10),
    }
    assert {line["list_price"] for line in told.values()} == {"2.00"}
    last = told["contract:acme-2026/1 campaign:trial/1"]["applied"]
    assert [(step["step"], step["price"], step["reason"]) for step in last] == [
        ("contract", "1.5", "Contract 4711"),
        ("campaign", "0.75", "Trial"),
    ]


async def test_who_has_no_contract_and_not_the_label_pays_the_list(world: World) -> None:
    (invoice,) = await world.invoices("bolt")
    assert {line.get("price_key"): line["amount"] for line in invoice["lines"]} == {None: "24.00", "band:night": "8.00"}


@pytest.mark.parametrize("tenant", ["acme", "bolt"])
async def test_a_verifier_that_knows_only_events_computes_every_line_again(world: World, tenant: str) -> None:
    (invoice,) = await world.invoices(tenant)
    account = await account_of(world, tenant, invoice)
    check_content(account)
    check_run(account)
    check_usage(account)
    assert check_lines(account) == len(invoice["lines"])
    check_total(account)


async def test_a_verifier_that_is_not_shown_the_contract_refuses(world: World) -> None:
    (invoice,) = await world.invoices("acme")
    account = await account_of(world, "acme", invoice)
    with pytest.raises(Refuted):
        check_lines(replace(account, agreements=[]))


async def test_an_estimate_and_charges_use_the_contract_too(world: World) -> None:
    asked = {"gpu_model": MODEL, "gpu_count": 2, "seconds": 3_600, "starts_at": spelled(SEPTEMBER + 10 * HOUR)}
    told = await world.post("/v1/tenants/acme/estimates", asked | {"labels": {"team": "new"}}, 200)
    assert (told["total"], told["lines"][0]["price_key"]) == ("1.50", "contract:acme-2026/1 campaign:trial/1")
    assert (await world.post("/v1/tenants/bolt/estimates", asked, 200))["total"] == "4.00"


async def test_other_list_prices_leave_the_contract_as_it_is(world: World) -> None:
    other: dict[str, Any] = {"period_start": spelled(AUGUST), "period_end": spelled(SEPTEMBER)}
    other |= {"versions": [{"prices": [{"gpu_model": MODEL, "amount": "4.00"}]}]}
    told = await world.post("/v1/tenants/acme/re-ratings", other, 200)
    # Ten hours at 3.00, ten at 1.50: without bands, the list is 4.00 all the time.
    assert (told["before"], told["after"]) == ("16.50", "45.00")


async def test_a_tenant_reads_its_agreements_and_the_campaigns_for_all_page_by_page(world: World) -> None:
    mine = await world.identities.member("acme", None, "billing.price-agreement.read")
    first = await world.get(CONTRACT, mine, limit=1)
    second = await world.get(CONTRACT, mine, limit=1, cursor=first["next_cursor"])
    assert [each["agreement_id"] for page in (first, second) for each in page["items"]] == ["acme-2026", "trial"]
    others = await world.get("/v1/tenants/bolt/price-agreements")
    assert [each["agreement_id"] for each in others["items"]] == ["trial"]


async def test_billed_time_keeps_its_agreements_and_new_ones_begin_behind_it(world: World) -> None:
    late = {"effective_from": spelled(AUGUST + HOUR), "reason": "late", "rules": [{"amount": "0.10"}]}
    assert "already billed" in (await world.post(CONTRACT, late, 409))["detail"]
    end = {"ends_at": spelled(AUGUST + HOUR), "reason": "never was"}
    assert "already billed" in (await world.post(f"{CONTRACT}/acme-2026/end", end, 409))["detail"]
    assert "no agreement nothing" in (await world.post(f"{CONTRACT}/nothing/end", end, 404))["detail"]
    empty = late | {"effective_from": spelled(SEPTEMBER), "rules": [{}]}
    assert "either an amount or a percentage" in (await world.post(CONTRACT, empty, 422))["detail"]


async def test_a_contract_that_is_ended_is_cut_there_and_late_usage_of_billed_time_keeps_it(world: World) -> None:
    ends = SEPTEMBER + 12 * HOUR
    await world.post(f"{CONTRACT}/acme-2026/end", {"ends_at": spelled(ends), "reason": "replaced"}, 201)
    await asked_for(world, "acme", "a-2", ends - HOUR, ends + HOUR)
    await asked_for(world, "acme", "a-3", AUGUST + 10 * HOUR, AUGUST + 11 * HOUR, team="new")
    again = await world.bill()
    assert again["total_by_currency"] == {"EUR": "1.50"}
    charges = await world.get("/v1/tenants/acme/charges")
    assert {line["price_key"]: line["amount"] for line in charges["unbilled"]["lines"]} == {
        None: "2.00",
        "contract:acme-2026/1": "1.50",
    }
    shown = (await world.get(CONTRACT))["items"][0]
    assert (shown["ends_at"][:13], shown["end_reason"]) == (spelled(ends)[:13], "replaced")
