"""Billing as a whole, on real servers: from a release on the log to an invoice, its booking and its proof."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785
from billing_world import (
    AUGUST,
    HOUR,
    MODEL,
    OCTOBER,
    SEPTEMBER,
    World,
    released,
    settings_on,
    spelled,
    started,
    world_on,
)
from gpuaas.billing.settings import BillingSettings
from gpuaas.common.envelope import Recorded
from gpuaas.common.money import rounded
from gpuaas.common.projections import digest
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import LogAddress


@pytest.fixture
def settings(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> BillingSettings:
    return settings_on(log_address.url, database_dsn, tmp_path)


@pytest.fixture
async def world(settings: BillingSettings) -> AsyncIterator[World]:
    async with world_on(settings) as made:
        yield made


async def everything(world: World) -> list[Recorded]:
    found = []
    for position in range(1, await world.service.log.last_position() + 1):
        recorded = await world.service.log.at(position)
        assert recorded is not None
        found.append(recorded)
    return found


async def said(world: World, name: str) -> list[dict[str, Any]]:
    """Data of every event of one kind, in log order."""
    return [
        msgspec.json.decode(recorded.envelope().data)
        for recorded in await everything(world)
        if recorded.type == f"gpuaas.billing.{name}.v1"
    ]


async def test_a_release_becomes_usage_a_line_an_invoice_and_a_booking(world: World) -> None:
    await world.tenant("acme")
    await world.publish("2.49")
    await world.used("acme", "a-1", AUGUST + HOUR, AUGUST + 3 * HOUR)
    await world.used("acme", "a-2", AUGUST + HOUR, AUGUST + HOUR + timedelta(milliseconds=1), gpus=1)
    a_third = {"gpus": 1, "share_milli": 333}
    await world.used("acme", "a-3", AUGUST + HOUR, AUGUST + HOUR + timedelta(milliseconds=1), **a_third)
    run = await world.bill()
    assert (run["status"], run["invoices"], run["total_by_currency"]) == ("completed", 1, {"EUR": "39.84"})
    (invoice,) = await world.invoices("acme")
    (line,) = invoice["lines"]
    gpu_ms = 16 * 3_600_000 + 1
    assert (line["gpu_ms"], line["amount"], line["usage_count"]) == (str(gpu_ms), "39.84", 3)
    gpu_us = gpu_ms * 1_000 + 333
    assert line["gpu_us"] == str(gpu_us)
    assert Decimal(line["amount"]) == rounded(Fraction(gpu_us) * Fraction("2.49") / 3_600_000_000, "EUR")
    assert line["usage_sha256"] == hashlib.sha256(b"a-1\na-2\na-3").hexdigest()
    assert (await world.get("/v1/conservation"))["differences"] == []
    assert (invoice["number"], invoice["total"]) == ("INV-2026-000001", "39.84")
    balances = {
        each["account"]: each["balance"] for each in (await world.get("/v1/tenants/acme/ledger/balances"))["items"]
    }
    assert balances == {"receivable:acme": "39.84", "revenue:gpu": "-39.84"}
    trial = await world.get("/v1/trial-balance")
    assert trial == {
        "balanced": True,
        "items": [{"currency": "EUR", "accounts": 2, "gained": "39.84", "lost": "-39.84", "difference": "0.00"}],
    }


async def test_the_invoices_digest_covers_what_is_logged(world: World) -> None:
    await world.tenant("acme")
    await world.publish("2.49")
    await world.used("acme", "a-1", AUGUST + HOUR, AUGUST + 3 * HOUR)
    await world.bill()
    (data,) = await said(world, "invoice-finalized")
    content = {name: value for name, value in data.items() if name != "content_sha256"}
    assert hashlib.sha256(rfc8785.dumps(content)).hexdigest() == data["content_sha256"]


async def test_usage_records_name_the_two_events_they_rest_on(world: World) -> None:
    await world.tenant("acme")
    await world.used("acme", "a-1", AUGUST + HOUR, AUGUST + 3 * HOUR)
    await eventually(lambda: said(world, "usage-metered"))
    (usage,) = await said(world, "usage-metered")
    by_id = {recorded.envelope().id: recorded for recorded in await everything(world)}
    assert by_id[usage["start_event_id"]].type == AllocationTypes.started
    assert by_id[usage["end_event_id"]].type == AllocationTypes.released
    metered = next(r.envelope() for r in by_id.values() if r.type == "gpuaas.billing.usage-metered.v1")
    assert metered.causationid == usage["end_event_id"]
    assert usage["gpu_ms"] == str(16 * 3_600_000)


class AllocationTypes:
    started = "gpuaas.allocations.allocation-started.v1"
    released = "gpuaas.allocations.allocation-released.v1"


async def test_an_allocation_that_never_started_costs_nothing(world: World) -> None:
    await world.tenant("acme")
    await world.publish("2.49")
    never = released(started("acme", "a-1", AUGUST), AUGUST + HOUR)
    data = never.model_dump(exclude={"started_at", "gpu_count"}) | {"gpu_count": 0, "end_reason": "cancelled"}
    await tell(world.service.log, type(never)(**data), tenant_id="acme", entity_id="a-1")
    run = await world.bill()
    assert run["invoices"] == 0
    assert await said(world, "usage-metered") == []


async def test_a_release_told_twice_is_metered_once(world: World) -> None:
    await world.tenant("acme")
    await world.publish("2.49")
    begun = started("acme", "a-1", AUGUST + HOUR)
    ended = released(begun, AUGUST + 2 * HOUR)
    await tell(world.service.log, begun, ended, tenant_id="acme", entity_id="a-1")
    await world.bill()
    assert len(await said(world, "usage-metered")) == 1


async def test_usage_across_periods_is_billed_in_each_for_its_part(world: World) -> None:
    await world.tenant("acme")
    await world.publish("1")
    await world.used("acme", "a-1", SEPTEMBER - HOUR, SEPTEMBER + 2 * HOUR, gpus=1)
    await world.bill(AUGUST, SEPTEMBER)
    await world.bill(SEPTEMBER, OCTOBER)
    august, september = await world.invoices("acme")
    assert [each["total"] for each in (august, september)] == ["1.00", "2.00"]
    assert [each["number"] for each in (august, september)] == ["INV-2026-000001", "INV-2026-000002"]
    assert august["lines"][0]["usage_sha256"] == september["lines"][0]["usage_sha256"]


async def test_usage_across_a_price_change_is_cut_there(world: World) -> None:
    await world.tenant("acme")
    await world.publish("1")
    await world.publish("3", AUGUST + 10 * HOUR)
    await world.used("acme", "a-1", AUGUST + 9 * HOUR, AUGUST + 12 * HOUR, gpus=1)
    await world.bill()
    (invoice,) = await world.invoices("acme")
    assert [(line["price_book_version"], line["amount"]) for line in invoice["lines"]] == [(1, "1.00"), (2, "6.00")]


async def test_late_usage_is_billed_by_running_its_period_again_for_the_difference_only(world: World) -> None:
    await world.tenant("acme")
    await world.tenant("kyoto", "JPY")
    await world.publish("0.3")
    await world.publish("100", currency="JPY")
    third = HOUR / 3
    await world.used("acme", "a-1", AUGUST, AUGUST + third * 0.5, gpus=1)
    await world.used("kyoto", "k-1", AUGUST, AUGUST + HOUR, gpus=1)
    first = await world.bill()
    await world.used("acme", "a-2", AUGUST, AUGUST + third * 0.5, gpus=1)
    unbilled = await world.get("/v1/tenants/acme/charges")
    assert [line["usage_count"] for line in unbilled["unbilled"]["lines"]] == [1]
    second = await world.bill()
    assert (first["invoices"], second["invoices"]) == (2, 1)
    assert int(second["since_position"]) == int(first["log_position"])
    # Half a third of an hour at 0.3 is 0.05 each; together 0.10: the second invoice brings the sum to the exact total.
    assert [each["total"] for each in await world.invoices("acme")] == ["0.05", "0.05"]
    third_run = await world.bill()
    assert third_run["invoices"] == 0
    assert (await world.get("/v1/tenants/acme/charges"))["unbilled"] == {"lines": [], "total": "0.00"}


async def test_split_runs_never_drift_from_the_exact_total(world: World) -> None:
    await world.tenant("acme")
    await world.publish("0.01")
    for number in range(4):
        # A quarter of a cent each: rounded alone they would never cost anything.
        await world.used("acme", f"a-{number}", AUGUST, AUGUST + HOUR / 4, gpus=1)
        await world.bill()
    invoices = await world.invoices("acme")
    assert [each["total"] for each in invoices] == ["0.00", "0.01", "0.00", "0.00"]
    transfers = await world.get("/v1/tenants/acme/ledger/transfers")
    assert [each["cause"] for each in transfers["items"]] == [invoices[1]["invoice_id"]]


async def test_a_run_says_what_cannot_be_billed_before_it_starts(world: World) -> None:
    await world.used("ghost", "a-1", AUGUST, AUGUST + HOUR)
    answer = await world.start_run(status=409)
    assert "ghost has usage but iam has not created such a tenant" in answer["detail"]
    await world.tenant("ghost", "JPY")
    answer = await world.start_run(status=409)
    assert "pays in JPY, which has no price book" in answer["detail"]
    await world.publish("3", AUGUST + HOUR / 2, "JPY")
    answer = await world.start_run(status=409)
    assert "usage a-1" in answer["detail"]
    assert "has no price for 1800000 ms" in answer["detail"]
    assert await said(world, "billing-run-started") == []


async def test_a_gap_in_the_prices_matters_only_where_something_was_used(world: World) -> None:
    await world.tenant("acme")
    await world.publish("1", effective_until=spelled(AUGUST + 5 * HOUR))
    await world.publish("1", AUGUST + 9 * HOUR)
    await world.used("acme", "a-1", AUGUST, AUGUST + 5 * HOUR, gpus=1)
    await world.used("acme", "a-2", AUGUST + 9 * HOUR, AUGUST + 10 * HOUR, gpus=1)
    assert (await world.bill())["total_by_currency"] == {"EUR": "6.00"}


async def test_a_period_that_crosses_a_billed_one_is_refused(world: World) -> None:
    await world.start_run(AUGUST, SEPTEMBER)
    answer = await world.start_run(AUGUST + HOUR, OCTOBER, status=409)
    assert "crosses that of run" in answer["detail"]
    assert (await world.start_run(SEPTEMBER, SEPTEMBER, status=422))["detail"].startswith(
        "a billing period has a length"
    )
    assert "cannot end" in (await world.start_run(OCTOBER, SEPTEMBER, status=422))["detail"]


async def test_prices_of_billed_time_cannot_change(world: World) -> None:
    await world.publish("1")
    await world.bill()
    body = {
        "currency": "EUR",
        "effective_from": spelled(AUGUST + HOUR),
        "prices": [{"gpu_model": MODEL, "amount": "2"}],
    }
    answer = await world.post("/v1/price-books", body, 409)
    assert "already billed" in answer["detail"]
    await world.publish("2", SEPTEMBER)


async def test_the_same_request_is_one_run(world: World) -> None:
    body = {"period_start": spelled(AUGUST), "period_end": spelled(SEPTEMBER)}
    first = await world.post("/v1/billing-runs", body, 202, **{"Idempotency-Key": "august"})
    again = await world.post("/v1/billing-runs", body, 202, **{"Idempotency-Key": "august"})
    assert (again["id"], again["position"], again["repeated"]) == (first["id"], first["position"], True)
    await world.done(first["id"])
    await world.bill(run_id="mine")
    answer = await world.start_run(run_id="mine", status=409)
    assert "has been started already" in answer["detail"]


async def test_an_estimate_is_cut_at_price_changes_and_binds_nobody(world: World) -> None:
    await world.tenant("acme")
    await world.publish("1")
    await world.publish("2", SEPTEMBER)
    order = {"gpu_model": MODEL, "gpu_count": 8, "seconds": 7_200, "starts_at": spelled(SEPTEMBER - HOUR)}
    answer = await world.post("/v1/tenants/acme/estimates", order, 200)
    assert (answer["currency"], answer["total"]) == ("EUR", "24.00")
    assert [line["amount"] for line in answer["lines"]] == ["8.00", "16.00"]
    wrongs: list[tuple[dict[str, object], int]] = [
        ({"gpu_count": 0}, 422),
        ({"seconds": -1}, 422),
        ({"gpu_model": "abacus"}, 409),
    ]
    for wrong, status in wrongs:
        await world.post("/v1/tenants/acme/estimates", order | wrong, status)
    await world.post("/v1/tenants/nobody/estimates", order, 404)


async def test_running_charges_count_what_is_held_right_now(world: World) -> None:
    await world.tenant("acme")
    await world.publish("1")
    now = world.service.clock.now()
    begun = started("acme", "a-1", max(now - 2 * HOUR, AUGUST), gpus=1)
    world.position = await tell(world.service.log, begun, tenant_id="acme", entity_id="a-1")
    charges = await world.get("/v1/tenants/acme/charges")
    assert charges["per_hour"]["total"] == "1.00"
    if now > AUGUST + 2 * HOUR:
        (line,) = charges["running"]["lines"]
        assert 2 * 3_600_000 <= int(line["gpu_ms"]) < 2 * 3_600_000 + 60_000
    assert charges["unbilled"]["lines"] == []


async def test_an_invoice_is_given_as_csv_too(world: World) -> None:
    await world.tenant("acme")
    await world.publish("2.49")
    await world.used("acme", "a-1", AUGUST + HOUR, AUGUST + 3 * HOUR)
    await world.bill()
    (invoice,) = await world.invoices("acme")
    path = f"/v1/tenants/acme/invoices/{invoice['invoice_id']}"
    by_query = await world.client.get(path, params={"format": "csv"}, headers=world.operator)
    by_accept = await world.client.get(path, headers=world.operator | {"Accept": "text/csv"})
    assert by_query.text == by_accept.text
    head, row = by_query.text.splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["amount"] == "39.84"
    assert by_query.headers["content-type"].startswith("text/csv")
    assert (await world.client.get(f"{path}x", headers=world.operator)).status_code == 404


async def test_a_tenant_sees_its_own_bills_only(world: World) -> None:
    for tenant in ("acme", "rival"):
        await world.tenant(tenant)
    await world.publish("1")
    await world.used("acme", "a-1", AUGUST, AUGUST + HOUR)
    await world.bill()
    (invoice,) = await world.invoices("acme")
    rival = await world.identities.principal(["*.*.*"], "rival")
    paths = ["usage", "charges", "invoices", f"invoices/{invoice['invoice_id']}", "ledger/balances", "ledger/transfers"]
    for path in paths:
        answer = await world.client.get(f"/v1/tenants/acme/{path}", headers=rival)
        assert answer.status_code == 404, path
    for path in ("price-books", "billing-runs", "trial-balance"):
        assert (await world.client.get(f"/v1/{path}", headers=rival)).status_code in (403, 404)
    assert (await world.get("/v1/tenants/rival/invoices", headers=rival))["items"] == []
    assert (
        await world.client.get(f"/v1/tenants/rival/invoices/{invoice['invoice_id']}", headers=rival)
    ).status_code == 404


async def test_lists_come_page_by_page(world: World) -> None:
    await world.tenant("acme")
    for number in range(5):
        await world.used("acme", f"a-{number}", AUGUST, AUGUST + HOUR, project="vision" if number % 2 else "speech")
    await eventually(lambda: _metered(world, 5))
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = await world.get("/v1/tenants/acme/usage", **query)
        seen += [each["usage_id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert sorted(seen) == [f"a-{number}" for number in range(5)]
    assert len(seen) == 5
    speaker = await world.identities.principal(["billing.usage.read"], "acme", "speech")
    world.position = world.identities.position
    speech = await world.get("/v1/tenants/acme/projects/speech/usage", headers=speaker)
    assert [each["project_id"] for each in speech["items"]] == ["speech"] * 3
    assert (await world.get("/v1/tenants/acme/usage", headers=speaker))["items"] == speech["items"]
    await world.get("/v1/tenants/acme/usage", status=422, limit=501)
    await world.get("/v1/tenants/acme/usage", status=422, cursor="nonsense")


async def _metered(world: World, count: int) -> bool:
    return len((await world.get("/v1/tenants/acme/usage"))["items"]) == count


async def test_every_read_model_is_byte_identical_after_a_rebuild(world: World) -> None:
    await a_busy_month(world)
    end = await world.service.log.last_position()
    for projector in world.service._projectors.values():
        await projector.reached(end, 10)
        before = await digest(world.service.database, projector.projection)
        await projector.rebuild()
        assert await digest(world.service.database, projector.projection) == before, projector.name


async def test_lines_are_the_invoice_is_the_receivable_and_every_prefix_balances(world: World) -> None:
    await a_busy_month(world)
    sums: dict[str, Decimal] = {}
    for transfer in await said(world, "ledger-transfer-posted"):
        for entry in transfer["entries"]:
            sums[transfer["currency"]] = sums.get(transfer["currency"], Decimal(0)) + Decimal(entry["amount"])
        assert set(sums.values()) == {Decimal(0)}
    invoices = await said(world, "invoice-finalized")
    assert len(invoices) == 4
    for tenant in ("acme", "kyoto", "oslo"):
        own = [each for each in invoices if each["tenant_id"] == tenant]
        lines = sum(Decimal(line["amount"]) for each in own for line in each["lines"])
        balances = (await world.get(f"/v1/tenants/{tenant}/ledger/balances"))["items"]
        owed = next(each for each in balances if each["account"] == f"receivable:{tenant}")
        assert lines == sum(Decimal(each["total"]) for each in own) == Decimal(owed["balance"])
    numbers = [each["number"] for each in await said(world, "invoice-number-assigned")]
    assert numbers == list(range(1, len(invoices) + 1))


async def a_busy_month(world: World) -> None:
    for tenant, currency in (("acme", "EUR"), ("kyoto", "JPY"), ("oslo", "EUR")):
        await world.tenant(tenant, currency)
        for number in range(4):
            begin = AUGUST + number * HOUR
            end = begin + timedelta(minutes=37, microseconds=number * 333)
            await world.used(tenant, f"{tenant}-{number}", begin, end, gpus=number + 1, project=f"p-{number % 2}")
    await world.publish("2.49")
    await world.publish("2.99", AUGUST + 2 * HOUR)
    await world.publish("412", currency="JPY")
    await world.bill()
    await world.used("acme", "late", AUGUST, AUGUST + HOUR)
    running = started("acme", "runs-on", AUGUST + 5 * HOUR)
    world.position = await tell(world.service.log, running, tenant_id="acme", entity_id="runs-on")
    await world.bill()
