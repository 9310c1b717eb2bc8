"""Invoices as their documents see them, one for each way of being taxed. One law: figures that add up by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from billing_world import AUGUST, SEPTEMBER
from gpuaas.billing.documents.facts import (
    InvoiceFacts,
    LineFacts,
    NoteFacts,
    NoteLineFacts,
    Preceding,
    StepFacts,
    TaxFacts,
)
from gpuaas.billing.domain.invoice_party import Party

SELLER = Party(
    legal_name="GPU Works GmbH",
    street="Mainzer Landstraße 1",
    city="Frankfurt am Main",
    postal_code="60329",
    country="DE",
    vat_id="DE123456789",
    registration_id="HRB 123456",
    iban="DE89370400440532013000",
)
BUYER = Party(
    legal_name="Acme Research SE",
    street="Rue de la Loi 16",
    city="Bruxelles",
    postal_code="1000",
    country="BE",
    vat_id="BE0123456789",
    buyer_reference="CC-4711",
)


def line(number: int, gpu_ms: int, price: str, amount: str) -> LineFacts:
    return LineFacts(
        line_id=f"l-{number}",
        project_id="vision",
        gpu_model="nvidia-h100-sxm-80gb",
        gpu_us=gpu_ms * 1_000,
        unit_price=Decimal(price),
        price_book_id="list-eur",
        price_book_version=number,
        amount=Decimal(amount),
        usage_count=3,
        usage_sha256="ab" * 32,
    )


INVOICE = InvoiceFacts(
    invoice_id="inv-1",
    run_id="run-1",
    number="INV-2026-000001",
    tenant_id="acme",
    currency="EUR",
    period_start=AUGUST,
    period_end=SEPTEMBER,
    issued_at=datetime(2026, 9, 2, 3, 4, 5, tzinfo=UTC),
    total=Decimal("39.85"),
    content_sha256="cd" * 32,
    lines=(line(1, 16 * 3_600_000, "2.49", "39.84"), line(2, 14_458, "2.49", "0.01")),
    seller=SELLER,
    buyer=BUYER,
)
TAXED = replace(
    INVOICE,
    taxes=(TaxFacts("S", Decimal(19), Decimal("39.85"), Decimal("7.57")),),
    due_at=datetime(2026, 9, 16, tzinfo=UTC),
)


def taxed(category: str, percent: str, tax: str, reason: str = "") -> InvoiceFacts:
    group = TaxFacts(category, Decimal(percent), INVOICE.total, Decimal(tax))
    return replace(INVOICE, taxes=(group,), exemption_reason=reason)


BY_TAX = {
    "S": TAXED,
    "Z": taxed("Z", "0", "0.00"),
    "E": taxed("E", "0", "0.00", "Exempt by article 44"),
    "AE": taxed("AE", "0", "0.00", "Reverse charge"),
    "O": INVOICE,
}

AGREED = replace(
    TAXED,
    lines=(
        replace(
            line(1, 16 * 3_600_000, "1.80", "28.80"),
            published=Decimal("2.49"),
            steps=(
                StepFacts("band", "night", Decimal("2.00"), "hours of the night"),
                StepFacts("contract", "acme-2026", Decimal("1.90"), "framework contract"),
                StepFacts("campaign", "autumn", Decimal("1.80"), "autumn campaign"),
            ),
        ),
    ),
    total=Decimal("28.80"),
    taxes=(TaxFacts("S", Decimal(19), Decimal("28.80"), Decimal("5.47")),),
)
"""16 GPU-hours of the night, by a contract and a campaign."""
CORRECTION = replace(
    TAXED,
    number="INV-2026-000009",
    total=Decimal("1.60"),
    lines=(replace(line(1, 0, "2.59", "1.60"), usage_count=0),),
    taxes=(TaxFacts("S", Decimal(19), Decimal("1.60"), Decimal("0.30")),),
    corrects=(Preceding(INVOICE.number, INVOICE.issued_at),),
)
"""What was missing on the first line at another price."""


def note_on(invoice: InvoiceFacts, reason: str = "correction", *, taxes: tuple[TaxFacts, ...] = ()) -> NoteFacts:
    """What gives ten of the first line back."""
    given = Decimal("10.00")
    return NoteFacts(
        invoice_id=invoice.invoice_id,
        run_id=invoice.run_id,
        number="CN-2026-000001",
        tenant_id=invoice.tenant_id,
        currency=invoice.currency,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        issued_at=datetime(2026, 9, 20, 1, 2, 3, tzinfo=UTC),
        total=given,
        content_sha256="ef" * 32,
        seller=SELLER,
        buyer=BUYER,
        taxes=taxes,
        exemption_reason=invoice.exemption_reason,
        credit_note_id="cn-1",
        invoice=Preceding(invoice.number, invoice.issued_at),
        reason=reason,
        detail="the node was down for an hour",
        lines=(NoteLineFacts(invoice.lines[0], given),),
    )


def given_back(invoice: InvoiceFacts, reason: str = "correction") -> NoteFacts:
    """The same with the invoice's own kind of tax on it."""
    found = tuple(
        replace(each, net=Decimal("10.00"), tax=(each.percent / 10).quantize(Decimal("0.01"))) for each in invoice.taxes
    )
    return note_on(invoice, reason, taxes=found)
