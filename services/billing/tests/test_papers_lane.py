"""What others' programs say of our papers; `make papers` installs them and runs this. One law: each can say no."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from billing_world import AUGUST, HOUR, OCTOBER, SEPTEMBER, World, settings_on, world_on
from gpuaas.billing.documents.focus import as_focus
from gpuaas.billing.documents.ubl import as_ubl, as_ubl_note
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import LogAddress
from paper_facts import AGREED, BY_TAX, CORRECTION, INVOICE, TAXED, given_back
from papers_lane import (
    accounts_wrong,
    bean_check,
    focus_broken,
    focus_validator,
    rules_broken,
    rules_of_the_norm,
)

BEAN_CHECK, RULES, FOCUS = bean_check(), rules_of_the_norm(), focus_validator()
pytestmark = pytest.mark.papers
with_bean_check = pytest.mark.skipif(BEAN_CHECK is None, reason="no bean-check here: `make papers` installs it")
with_rules = pytest.mark.skipif(RULES is None, reason="no rules of EN 16931 here: `make papers` installs them")
with_focus = pytest.mark.skipif(
    FOCUS is None, reason="no FOCUS validator here: `make papers` installs it where there is Python 3.12"
)


@with_rules
def test_every_way_of_being_taxed_passes_the_rules_of_the_norm(tmp_path: Path) -> None:
    assert RULES is not None
    for category, invoice in BY_TAX.items():
        (tmp_path / f"{category}.xml").write_bytes(as_ubl(invoice))
        (tmp_path / f"{category}-note.xml").write_bytes(as_ubl_note(given_back(invoice)))
    (tmp_path / "correction.xml").write_bytes(as_ubl(CORRECTION))
    (tmp_path / "agreed.xml").write_bytes(as_ubl(AGREED))
    found = rules_broken(RULES, tmp_path.glob("*.xml"))
    assert len(found) == 2 * len(BY_TAX) + 2
    assert {name: broken for name, broken in found.items() if broken} == {}


@with_rules
def test_the_rules_of_the_norm_find_a_cent(tmp_path: Path) -> None:
    assert RULES is not None
    wrong, note = tmp_path / "wrong.xml", tmp_path / "note.xml"
    wrong.write_bytes(as_ubl(TAXED).replace(b">47.42</cbc:PayableAmount>", b">47.43</cbc:PayableAmount>"))
    note.write_bytes(as_ubl_note(given_back(TAXED)).replace(b">1.90</cbc:TaxAmount>", b">1.91</cbc:TaxAmount>"))
    found = rules_broken(RULES, [wrong, note])
    assert found["wrong.xml"] == ["BR-CO-16"]
    assert found["note.xml"] == ["BR-CO-15"]


@with_focus
def test_focus_rows_pass_the_validator_of_the_finops_foundation(tmp_path: Path) -> None:
    assert FOCUS is not None
    rows = tmp_path / "rows.csv"
    rows.write_text(as_focus([TAXED, given_back(TAXED), given_back(INVOICE, "goodwill"), CORRECTION, AGREED]))
    assert focus_broken(FOCUS, rows) == []


@with_focus
def test_the_validator_of_focus_finds_a_row_that_says_nothing_of_its_invoice(tmp_path: Path) -> None:
    assert FOCUS is not None
    rows = tmp_path / "rows.csv"
    rows.write_text(as_focus([TAXED]).replace(TAXED.number, "").replace("Usage-Based", "Sometimes"))
    found = focus_broken(FOCUS, rows)
    assert {"ChargeFrequency-C-003-M", "InvoiceId-C-005-C"} <= set(found)


@pytest.fixture
async def world(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(settings_on(log_address.url, database_dsn, tmp_path)) as made:
        yield made


async def busy_books(world: World) -> str:
    """Two tenants in two currencies, two months, tax, credit, a payment, a credit note; an invoice's id."""
    await world.tenant("acme")
    await world.tenant("9-lives", "JPY")
    await world.post("/v1/tenants/acme/tax-profile", {"category": "S", "percent": "19"}, 201)
    await world.post("/v1/tenants/acme/credits", {"amount": "60.00", "reference": 'order "7\\1"'}, 201)
    await world.publish("2.49")
    await world.publish("391", currency="JPY")
    await world.used("acme", "a-1", AUGUST, AUGUST + 29 * HOUR, gpus=1)
    await world.used("9-lives", "a-2", AUGUST, AUGUST + HOUR, project="speech")
    await world.used("acme", "a-3", SEPTEMBER, SEPTEMBER + HOUR)
    await world.bill()
    (invoice,) = await world.invoices("acme")

    async def paid_by_credit() -> bool:
        world.position = await world.service.log.last_position()
        path = f"/v1/tenants/acme/invoices/{invoice['invoice_id']}/settlement"
        return bool((await world.get(path))["credit"] == "60.00")

    await eventually(paid_by_credit, 20)
    home = f"/v1/tenants/acme/invoices/{invoice['invoice_id']}"
    note = {"lines": [{"line_id": "l-1", "amount": "1.00"}], "detail": "node down"}
    await world.post(f"{home}/credit-notes", note, 201)
    await world.post(f"{home}/payments", {"amount": "10.00", "currency": "USD", "rate": "0.9", "reference": "w"}, 201)
    await world.bill(SEPTEMBER, OCTOBER)
    return str(invoice["invoice_id"])


async def saved(world: World, path: str, file: Path, **query: str) -> Path:
    world.position = await world.service.log.last_position()
    answer = await world.client.get(path, params=query, headers=world.operator | world._fresh())
    assert answer.status_code == 200, answer.text
    file.write_bytes(answer.content)
    return file


@with_bean_check
async def test_bean_check_accepts_the_journal_of_a_tenant_of_all_and_of_a_stretch(world: World, tmp_path: Path) -> None:
    assert BEAN_CHECK is not None
    await busy_books(world)

    async def booked() -> bool:
        world.position = await world.service.log.last_position()
        found = (await world.get("/v1/tenants/acme/ledger/balances"))["items"]
        return any(each["account"] == "cash:bank" for each in found)

    await eventually(booked, 20)
    one = await saved(world, "/v1/tenants/acme/ledger/journal", tmp_path / "acme.beancount")
    whole = await saved(world, "/v1/ledger/journal", tmp_path / "all.beancount")
    moments = [each["posted_at"] for each in (await world.get("/v1/tenants/acme/ledger/transfers"))["items"]]
    part = await saved(world, "/v1/ledger/journal", tmp_path / "part.beancount", since=moments[-2], until=moments[0])
    for file in (one, whole, part):
        assert accounts_wrong(BEAN_CHECK, file) == []
    text = whole.read_text()
    assert "Assets:Receivable:T-9-lives" in text
    assert "9-lives" not in one.read_text()
    assert '* "Brought forward"' in part.read_text()
    assert text.count(" * ") == len(await all_transfers(world))

    cent = tmp_path / "cent.beancount"
    cent.write_text(text.replace("-60.00 EUR", "-60.01 EUR", 1))
    assert accounts_wrong(BEAN_CHECK, cent)
    gone = tmp_path / "gone.beancount"
    pieces = text.split("\n\n")
    transaction = next(number for number, piece in enumerate(pieces) if " * " in piece)
    gone.write_text("\n\n".join(pieces[:transaction] + pieces[transaction + 1 :]))
    assert any("Balance failed" in told for told in accounts_wrong(BEAN_CHECK, gone))


async def all_transfers(world: World) -> list[object]:
    return [
        each
        for tenant in ("acme", "9-lives")
        for each in (await world.get(f"/v1/tenants/{tenant}/ledger/transfers", limit=500))["items"]
    ]
