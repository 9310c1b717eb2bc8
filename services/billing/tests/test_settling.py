"""What follows an invoice, on real servers. One law tested: the invoice stays, and the ledger says what is due."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from billing_world import AUGUST, HOUR, World, settings_on, world_on
from gpuaas.common.projections import digest
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import LogAddress

HOME = "/v1/tenants/acme"


@pytest.fixture
async def world(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(settings_on(log_address.url, database_dsn, tmp_path)) as made:
        yield made


async def an_invoice(world: World, tax: dict[str, Any] | None = None, credit: str = "") -> str:
    """29 GPU-hours at 2.49 on one line, 8 at 2.49 on another."""
    await world.tenant("acme")
    if tax:
        await world.post(f"{HOME}/tax-profile", tax, 201)
    if credit:
        await world.post(f"{HOME}/credits", {"amount": credit, "reference": "order 1"}, 201)
    await world.publish("2.49")
    await world.used("acme", "a-1", AUGUST, AUGUST + 29 * HOUR, gpus=1)
    await world.used("acme", "a-2", AUGUST, AUGUST + HOUR, project="speech")
    await world.bill()
    return str((await world.get(f"{HOME}/invoices"))["items"][0]["invoice_id"])


async def balances(world: World) -> dict[str, str]:
    world.position = await world.service.log.last_position()
    return {each["account"]: each["balance"] for each in (await world.get(f"{HOME}/ledger/balances"))["items"]}


async def comes_to(world: World, **expected: str) -> None:
    async def there() -> bool:
        found = await balances(world)
        return {name.replace(":", "_"): amount for name, amount in found.items()} == expected

    await eventually(there)


async def test_taxes_stand_on_the_invoice_the_ledger_and_the_settlement(world: World) -> None:
    invoice = await an_invoice(world, {"category": "S", "percent": "19", "payment_days": 14})
    told = await world.get(f"{HOME}/invoices/{invoice}/settlement")
    # 72.21 + 19.92 = 92.13; 19 % is 17.5047
    assert told["taxes"] == [{"category": "S", "percent": "19", "net": "92.13", "tax": "17.50"}]
    assert (told["net"], told["gross"], told["due"], told["status"]) == ("92.13", "109.63", "109.63", "open")
    assert told["due_at"] is not None
    await comes_to(world, receivable_acme="109.63", revenue_gpu="-92.13", tax_payable="-17.50")
    party = {"legal_name": "GPU Works", "street": "1 Way", "city": "Bonn", "postal_code": "53111", "country": "DE"}
    await world.post("/v1/invoice-seller", party | {"vat_id": "DE123456789"}, 201)
    await world.post(f"{HOME}/invoice-party", party, 201)
    path = f"{HOME}/invoices/{invoice}/document?format=ubl"
    ubl = (await world.client.get(path, headers=world.operator | world._fresh())).text
    for shown in (">17.50</cbc:TaxAmount>", ">109.63</cbc:PayableAmount>", f"<cbc:DueDate>{told['due_at'][:10]}"):
        assert shown in ubl
    assert (await world.get("/v1/conservation"))["differences"] == []


async def test_credit_notes_are_numbered_bounded_and_together_never_a_cent_off(world: World) -> None:
    invoice = await an_invoice(world, {"category": "S", "percent": "19"})
    path = f"{HOME}/invoices/{invoice}/credit-notes"
    for line, amount in (("l-1", "0.05"), ("l-1", "19.87"), ("l-2", "72.21")):
        await world.post(path, {"lines": [{"line_id": line, "amount": amount}], "detail": "node down"}, 201)
    refused = await world.post(path, {"lines": [{"line_id": "l-2", "amount": "0.01"}], "detail": "x"}, 409)
    assert "0.00 EUR left" in refused["detail"]
    unknown = await world.post(path, {"lines": [{"line_id": "l-9", "amount": "0.01"}], "detail": "x"}, 422)
    assert "no line l-9" in unknown["detail"]
    notes = (await world.get(f"{HOME}/credit-notes"))["items"]
    year = notes[0]["issued_at"][:4]
    assert [note["number"] for note in notes] == [f"CN-{year}-00000{number}" for number in (3, 2, 1)]
    assert notes[0]["invoice_id"] == invoice
    assert notes[0]["run_id"]
    told = await world.get(f"{HOME}/invoices/{invoice}/settlement")
    assert (told["credited"], told["due"], told["status"]) == ("109.63", "0.00", "paid")
    await comes_to(world, receivable_acme="0.00", revenue_gpu="0.00", tax_payable="0.00")


async def test_a_repeated_order_for_a_credit_note_is_one_note(world: World) -> None:
    invoice = await an_invoice(world)
    path = f"{HOME}/invoices/{invoice}/credit-notes"
    body = {"lines": [{"line_id": "l-1", "amount": "1.00"}], "detail": "goodwill", "reason": "goodwill"}
    first = await world.post(path, body, 201, **{"Idempotency-Key": "k-1"})
    again = await world.post(path, body, 201, **{"Idempotency-Key": "k-1"})
    assert (again["id"], again["position"], again["repeated"]) == (first["id"], first["position"], True)
    assert len((await world.get(f"{HOME}/credit-notes"))["items"]) == 1


async def test_payments_in_another_currency_keep_their_rate_and_never_pass_what_is_owed(world: World) -> None:
    invoice = await an_invoice(world)
    path = f"{HOME}/invoices/{invoice}/payments"
    paid = {"amount": "50.00", "currency": "USD", "rate": "0.9", "reference": "wire 1"}
    await world.post(path, paid, 201)
    refused = await world.post(path, {"amount": "47.14", "reference": "wire 2"}, 409)
    assert "47.13 EUR are owed" in refused["detail"]
    await world.post(path, {"amount": "47.13", "currency": "EUR", "rate": "1.1", "reference": "wire 2"}, 422)
    await world.post(path, {"amount": "47.13", "reference": "wire 2"}, 201)
    told = await world.get(f"{HOME}/invoices/{invoice}/settlement")
    assert (told["paid"], told["due"], told["status"]) == ("92.13", "0.00", "paid")
    await comes_to(world, receivable_acme="0.00", revenue_gpu="-92.13", cash_bank="92.13")
    void = await world.post(f"{HOME}/invoices/{invoice}/void", {"detail": "x"}, 409)
    assert "money has come in" in void["detail"]


async def test_a_void_gives_back_what_is_left_and_the_credit_that_had_paid_for_it(world: World) -> None:
    invoice = await an_invoice(world, credit="60.00")

    async def free(amount: str, due: str) -> bool:
        world.position = await world.service.log.last_position()
        told = await world.get(f"{HOME}/invoices/{invoice}/settlement")
        return ((await world.get(f"{HOME}/credits"))["free"], told["due"]) == (amount, due)

    await eventually(lambda: free("0.00", "32.13"))
    paid = await world.post(f"{HOME}/invoices/{invoice}/payments", {"amount": "32.14", "reference": "wire"}, 409)
    assert "32.13 EUR are owed" in paid["detail"]
    await world.post(f"{HOME}/invoices/{invoice}/void", {"detail": "billed by mistake"}, 201)
    await eventually(lambda: free("60.00", "0.00"))
    assert (await world.get(f"{HOME}/invoices/{invoice}/settlement"))["status"] == "void"
    await comes_to(world, receivable_acme="0.00", revenue_gpu="0.00", cash_prepaid="60.00", prepaid_acme="-60.00")
    for view in world.service._projectors.values():
        before = await digest(world.service.database, view.projection)
        await view.rebuild()
        assert await digest(world.service.database, view.projection) == before


async def test_a_tax_profile_that_cannot_stand_on_an_invoice_is_refused(world: World) -> None:
    await world.tenant("acme")
    for wrong in (
        {"category": "S", "percent": "0"},
        {"category": "S", "percent": "101"},
        {"category": "AE", "percent": "19", "exemption_reason": "Reverse charge"},
        {"category": "AE", "percent": "0"},
    ):
        await world.post(f"{HOME}/tax-profile", wrong, 422)
    assert (await world.get(f"{HOME}/tax-profile"))["category"] is None
    await world.post("/v1/tenants/acme/invoices/none/payments", {"amount": "1", "reference": "x"}, 404)
    await world.post("/v1/tenants/acme/invoices/none/void", {"detail": "x"}, 404)
