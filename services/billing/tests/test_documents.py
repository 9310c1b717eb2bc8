"""An invoice in other forms. One law: every form says what the invoice says, and says it the same way each time."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from billing_world import AUGUST, HOUR, World, settings_on, world_on
from gpuaas.billing.documents.facts import Preceding, TaxFacts
from gpuaas.billing.documents.focus import COLUMNS, as_focus
from gpuaas.billing.documents.note_csv import as_csv_note
from gpuaas.billing.documents.pdf import as_pdf, as_pdf_note, printable
from gpuaas.billing.documents.ubl import as_ubl, as_ubl_note
from gpuaas.billing.domain.invoice_party import INVOICE_PARTY, Party, SetParty
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.testing.stack import LogAddress
from paper_facts import AGREED, BUYER, INVOICE, SELLER, TAXED, given_back, line

NAMES = {
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
}


def text_of(root: ElementTree.Element, path: str) -> list[str | None]:
    return [found.text for found in root.findall(path, NAMES)]


def test_ubl_totals_are_the_invoices_and_quantities_are_exact() -> None:
    root = ElementTree.fromstring(as_ubl(TAXED))
    assert text_of(root, "cac:LegalMonetaryTotal/*") == ["39.85", "39.85", "47.42", "47.42"]
    assert text_of(root, "cac:InvoiceLine/cbc:InvoicedQuantity") == ["57600000", "14458"]
    assert set(text_of(root, "cac:InvoiceLine/cac:Price/cbc:BaseQuantity")) == {"3600000"}
    lines = text_of(root, "cac:InvoiceLine/cbc:LineExtensionAmount")
    assert sum(Decimal(str(each)) for each in lines) == TAXED.total
    assert text_of(root, "cac:InvoicePeriod/*") == ["2026-08-01", "2026-08-31"]
    assert text_of(root, "cbc:DueDate") == ["2026-09-16"]


def test_without_tax_ubl_is_outside_the_scope_of_tax_and_names_no_vat_number() -> None:
    written = as_ubl(INVOICE)
    root = ElementTree.fromstring(written)
    assert text_of(root, "cac:TaxTotal/cac:TaxSubtotal/cac:TaxCategory/cbc:ID") == ["O"]
    assert text_of(root, "cac:TaxTotal/cac:TaxSubtotal/cac:TaxCategory/cbc:TaxExemptionReason")
    assert b"DE123456789" not in written
    with pytest.raises(Rejected, match="registration_id"):
        as_ubl(replace(INVOICE, seller=replace(SELLER, registration_id="")))


def test_reverse_charge_names_both_vat_numbers_and_its_reason() -> None:
    group = TaxFacts("AE", Decimal(0), INVOICE.total, Decimal("0.00"))
    root = ElementTree.fromstring(as_ubl(replace(INVOICE, taxes=(group,), exemption_reason="Reverse charge")))
    assert text_of(root, ".//cac:PartyTaxScheme/cbc:CompanyID") == ["DE123456789", "BE0123456789"]
    assert text_of(root, ".//cbc:TaxExemptionReason") == ["Reverse charge"]


def test_a_currency_of_three_digits_has_no_ubl() -> None:
    with pytest.raises(Rejected, match="two digits"):
        as_ubl(replace(INVOICE, currency="KWD"))


def test_the_sum_of_focus_rows_is_the_invoice() -> None:
    rows = list(csv.DictReader(io.StringIO(as_focus([INVOICE]))))
    assert list(rows[0]) == list(COLUMNS)
    assert sum(Decimal(row["BilledCost"]) for row in rows) == INVOICE.total
    for row in rows:
        exact = Decimal(row["PricingQuantity"]) * Decimal(row["ListUnitPrice"])
        assert abs(exact - Decimal(row["ListCost"])) < Decimal("1e-11")
        assert abs(exact - Decimal(row["BilledCost"])) <= Decimal("0.005")
    assert (rows[0]["BillingPeriodStart"], rows[0]["BillingPeriodEnd"]) == (
        "2026-08-01T00:00:00Z",
        "2026-09-01T00:00:00Z",
    )


def test_with_its_tax_the_sum_of_focus_rows_is_what_is_owed() -> None:
    *lines, tax = csv.DictReader(io.StringIO(as_focus([TAXED])))
    assert sum(Decimal(row["BilledCost"]) for row in (*lines, tax)) == TAXED.gross
    assert (tax["ChargeCategory"], tax["SkuId"], tax["PricingQuantity"]) == ("Tax", "", "")
    listed = sum((Decimal(row["ListCost"]) for row in lines), Decimal(0)) * 19 / 100
    assert abs(Decimal(tax["ListCost"]) - listed) < Decimal("1e-11")
    assert {row["InvoiceId"] for row in lines} == {TAXED.number}


def test_whole_amounts_in_focus_still_read_as_decimals() -> None:
    whole = replace(INVOICE, currency="JPY", total=Decimal(32), lines=(line(1, 16 * 3_600_000, "2", "32"),))
    (row,) = csv.DictReader(io.StringIO(as_focus([whole])))
    assert [row[name] for name in ("BilledCost", "ListUnitPrice", "PricingQuantity")] == [
        "32.0",
        "2.0",
        "16.000000000000",
    ]


def test_a_credit_note_in_ubl_points_to_its_invoice_run_and_line() -> None:
    note = given_back(TAXED)
    root = ElementTree.fromstring(as_ubl_note(note))
    assert root.tag.endswith("CreditNote-2}CreditNote")
    assert text_of(root, "cbc:CreditNoteTypeCode") == ["381"]
    assert text_of(root, "cac:BillingReference/cac:InvoiceDocumentReference/*") == [TAXED.number, "2026-09-02"]
    assert text_of(root, "cac:LegalMonetaryTotal/*") == ["10.00", "10.00", "11.90", "11.90"]
    assert text_of(root, "cac:CreditNoteLine/cbc:Note") == [f"Line l-1 of {TAXED.number}, billing run run-1"]


def test_an_invoice_that_corrects_others_names_them_in_ubl() -> None:
    again = replace(INVOICE, number="INV-2026-000009", corrects=(Preceding(INVOICE.number, INVOICE.issued_at),))
    root = ElementTree.fromstring(as_ubl(again))
    assert text_of(root, "cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID") == [INVOICE.number]


def test_focus_rows_of_an_invoice_and_its_notes_sum_to_what_is_left() -> None:
    notes = [given_back(TAXED), given_back(TAXED, "goodwill")]
    rows = list(csv.DictReader(io.StringIO(as_focus([TAXED, *notes]))))
    assert sum(Decimal(row["BilledCost"]) for row in rows) == TAXED.gross - sum(note.gross for note in notes)
    kinds = [(row["ChargeCategory"], row["ChargeClass"]) for row in rows if row["InvoiceId"] == "CN-2026-000001"]
    assert kinds == [("Usage", "Correction"), ("Tax", "Correction"), ("Credit", ""), ("Tax", "Correction")]
    assert {row["x_CorrectedInvoiceId"] for row in rows[3:]} == {TAXED.number}


def test_agreed_prices_stand_beside_the_list_price_in_every_form() -> None:
    (row, _) = csv.DictReader(io.StringIO(as_focus([AGREED])))
    told = [Decimal(row[name]) for name in ("ListUnitPrice", "ListCost", "ContractedUnitPrice", "ContractedCost")]
    assert told == [Decimal("2.00"), Decimal("32.00"), Decimal("1.90"), Decimal("30.40")]
    assert (row["BilledCost"], row["SkuPriceId"]) == ("28.80", "list-eur:1:nvidia-h100-sxm-80gb:night")
    assert "campaign autumn: 1.80 (autumn campaign)" in row["ChargeDescription"]
    root = ElementTree.fromstring(as_ubl(AGREED))
    assert text_of(root, "cac:InvoiceLine/cac:Price/cbc:PriceAmount") == ["1.80"]
    assert text_of(root, "cac:InvoiceLine/cac:Price/cac:AllowanceCharge/*") == ["false", "0.20", "2.00"]
    assert "contract acme-2026: 1.90 (framework contract)" in str(text_of(root, "cac:InvoiceLine/cbc:Note"))
    plain_line = replace(AGREED.lines[0], published=None, steps=())
    assert as_pdf(AGREED) != as_pdf(replace(AGREED, lines=(plain_line,)))


def test_a_credit_note_as_csv_says_what_it_lessens_and_by_how_much() -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv_note(given_back(TAXED))))
    told = [row[name] for name in ("invoice_number", "run_id", "line_id", "billed", "amount", "net", "tax", "gross")]
    assert told == [TAXED.number, "run-1", "l-1", "39.84", "10.00", "10.00", "1.90", "11.90"]


def test_a_pdf_of_one_invoice_is_always_the_same_file() -> None:
    many = replace(INVOICE, lines=tuple(line(1 + n % 9, 3_600_000, "1", "1.00") for n in range(120)))
    assert as_pdf(many) == as_pdf(many)
    assert as_pdf(INVOICE).startswith(b"%PDF-")
    assert as_pdf(INVOICE) != as_pdf(TAXED)
    assert as_pdf_note(given_back(TAXED)) == as_pdf_note(given_back(TAXED)) != as_pdf_note(given_back(INVOICE))


def test_a_letter_that_the_font_has_not_is_printed_plainly_or_refused() -> None:
    assert printable("Straße, Kraków, 100 €") == "Straße, Kraków, 100 €"
    assert printable("Dvořák Příbram") == "Dvorák Príbram"
    with pytest.raises(Rejected, match="take the UBL"):
        printable("東京")


def test_the_same_party_again_says_nothing_and_a_wrong_iban_is_refused() -> None:
    assert len(INVOICE_PARTY.decide(SetParty("platform", SELLER), Party())) == 1
    assert INVOICE_PARTY.decide(SetParty("platform", SELLER), SELLER) == []
    with pytest.raises(Invalid, match="mistyped"):
        INVOICE_PARTY.decide(SetParty("platform", replace(SELLER, iban="DE89370400440532013001")), Party())


@pytest.fixture
async def world(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(settings_on(log_address.url, database_dsn, tmp_path)) as made:
        yield made


def told(party: Party) -> dict[str, str]:
    return {name: value for name in Party.__dataclass_fields__ if (value := getattr(party, name))}


async def test_documents_come_by_the_door_and_show_who_it_was_then(world: World) -> None:
    await world.tenant("acme")
    await world.publish("2.49")
    await world.used("acme", "a-1", AUGUST + HOUR, AUGUST + 3 * HOUR)
    await world.bill()
    (invoice,) = await world.invoices("acme")
    path = f"/v1/tenants/acme/invoices/{invoice['invoice_id']}/document"
    assert "who sells" in (await world.get(path, status=409))["detail"]
    await world.post("/v1/invoice-seller", told(SELLER), 201)
    await world.post("/v1/tenants/acme/invoice-party", told(BUYER), 201)
    first = {form: await document(world, path, form) for form in ("pdf", "ubl", "focus")}
    assert [first[form][0] for form in first] == ["application/pdf", "application/xml", "text/csv"]
    moved = told(replace(BUYER, city="Antwerpen", postal_code="2000"))
    await world.post("/v1/tenants/acme/invoice-party", moved, 201)
    assert (await world.get("/v1/tenants/acme/invoice-party"))["city"] == "Antwerpen"
    assert {form: await document(world, path, form) for form in first} == first
    rows = list(csv.DictReader(io.StringIO(first["focus"][1].decode())))
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal(invoice["total"])
    note = await credited(world, invoice)
    path_of_note = f"/v1/tenants/acme/credit-notes/{note['credit_note_id']}"
    assert await world.get(path_of_note) == note
    forms = {form: await document(world, f"{path_of_note}/document", form) for form in ("pdf", "ubl", "focus", "csv")}
    assert [form[0] for form in forms.values()] == ["application/pdf", "application/xml", "text/csv", "text/csv"]
    assert b"Antwerpen" in forms["ubl"][1]
    assert invoice["number"].encode() in forms["csv"][1]
    owed = Decimal((await world.get(f"/v1/tenants/acme/invoices/{invoice['invoice_id']}/settlement"))["due"])
    whole = await world.client.get("/v1/tenants/acme/focus", headers=world.operator | world._fresh())
    assert sum(Decimal(row["BilledCost"]) for row in csv.DictReader(io.StringIO(whole.text))) == owed
    none = await world.client.get(
        "/v1/tenants/acme/focus", params={"since": "2027-01-01T00:00:00Z"}, headers=world.operator
    )
    assert list(csv.DictReader(io.StringIO(none.text))) == []
    assert "no credit note" in (await world.get("/v1/tenants/acme/credit-notes/none", status=404))["detail"]
    rival = await world.identities.principal(["*.*.*"], "rival")
    assert (await world.client.get(path, headers=rival)).status_code == 404
    await world.get(path, status=422, format="docx")


async def credited(world: World, invoice: dict[str, Any]) -> dict[str, Any]:
    lines = [{"line_id": "l-1", "amount": "1.50"}]
    home = f"/v1/tenants/acme/invoices/{invoice['invoice_id']}"
    await world.post(f"{home}/credit-notes", {"lines": lines, "detail": "node down"}, 201)
    (note,) = (await world.get("/v1/tenants/acme/credit-notes"))["items"]
    return dict(note)


async def document(world: World, path: str, form: str) -> tuple[str, bytes]:
    headers = world.operator | {"GPUaaS-At-Least": str(world.position)}
    answer = await world.client.get(path, params={"format": form}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["content-type"].split(";")[0], answer.content
