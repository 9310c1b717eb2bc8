"""What became of each invoice. One law: due = gross - credit notes - payments - credit, from events alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import (
    CreditApplied,
    CreditNoteIssued,
    CreditRestored,
    InvoiceFinalized,
    InvoicePaymentRecorded,
)
from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, MetaData, Numeric, Table, Text, select

_META = MetaData()
DUES = Table(
    "invoice_dues_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("invoice_id", Text, primary_key=True),
    Column("number", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("net", Numeric, nullable=False),
    Column("taxes", JSON, nullable=False),
    Column("gross", Numeric, nullable=False),
    Column("due_at", DateTime(timezone=True)),
    Column("exemption_reason", Text),
    Column("position", BigInteger, nullable=False),
)
SETTLED = Table(
    "invoice_settlements_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("invoice_id", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="credit-note, void, payment or credit"),
    Column("document_id", Text, nullable=False, comment="credit note or payment; for credit the invoice"),
    Column("number", Text, comment="printed on a credit note"),
    Column("amount", Numeric, nullable=False, comment="what the tenant owes less"),
    Column("detail", JSON, nullable=False, comment="the event's data"),
    Column("settled_at", DateTime(timezone=True), nullable=False),
    Index("invoice_settlements_v1_by_invoice", "tenant_id", "invoice_id"),
)
_NOTES = ("credit-note", "void")


class Settlements(Projection):
    """Gross of every invoice, and everything that lessens what is due."""

    answer = "settlements"
    version = 1
    reads = (InvoiceFinalized, CreditNoteIssued, InvoicePaymentRecorded, CreditApplied, CreditRestored)
    tables = (DUES, SETTLED)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        final = [(fact, fact.event) for fact in facts if isinstance(fact.event, InvoiceFinalized)]
        await insert(rows, DUES, [_due(fact, invoice) for fact, invoice in final])
        await insert(rows, SETTLED, [row for fact in facts if (row := _settled(fact)) is not None])

    async def of_invoice(self, db: Database, tenant_id: str, invoice_id: str) -> tuple[Record | None, list[Record]]:
        """What is owed for one invoice, and everything that lessened it, in order."""
        own = (DUES.c.tenant_id == tenant_id) & (DUES.c.invoice_id == invoice_id)
        moved = select(SETTLED).where(SETTLED.c.tenant_id == tenant_id, SETTLED.c.invoice_id == invoice_id)
        return await db.fetch_one(select(DUES).where(own)), await db.fetch(moved.order_by(SETTLED.c.position))

    async def corrected_of(
        self, db: Database, tenant_id: str, invoice_ids: Sequence[str]
    ) -> dict[tuple[str, str], Decimal]:
        """What credit notes gave back of the lines of these invoices, goodwill apart, by (invoice id, line id)."""
        notes = select(SETTLED.c.invoice_id, SETTLED.c.detail).where(
            SETTLED.c.tenant_id == tenant_id,
            SETTLED.c.invoice_id.in_(list(invoice_ids)),
            SETTLED.c.kind.in_(_NOTES),
        )
        given: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for row in await db.fetch(notes):
            if row["detail"]["reason"] != "goodwill":
                for line in row["detail"]["lines"]:
                    given[row["invoice_id"], line["line_id"]] += Decimal(line["amount"])
        return given

    async def note(self, db: Database, tenant_id: str, credit_note_id: str) -> dict[str, Any] | None:
        """One credit note as it was issued."""
        query = select(SETTLED).where(SETTLED.c.tenant_id == tenant_id, SETTLED.c.document_id == credit_note_id)
        row = await db.fetch_one(query.where(SETTLED.c.kind.in_(_NOTES)))
        return None if row is None else _issued(row)

    async def notes_for(self, db: Database, tenant_id: str, invoice_id: str) -> list[dict[str, Any]]:
        """The credit notes of one invoice in the order they were issued."""
        query = select(SETTLED).where(SETTLED.c.tenant_id == tenant_id, SETTLED.c.invoice_id == invoice_id)
        found = await db.fetch(query.where(SETTLED.c.kind.in_(_NOTES)).order_by(SETTLED.c.position))
        return [_issued(row) for row in found]

    async def notes_of(self, db: Database, tenant_id: str, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` credit notes of a tenant below position `before`, newest first, as they were issued."""
        query = select(SETTLED).where(SETTLED.c.tenant_id == tenant_id, SETTLED.c.kind.in_(_NOTES))
        if before is not None:
            query = query.where(SETTLED.c.position < before)
        found = await db.fetch(query.order_by(SETTLED.c.position.desc()).limit(limit))
        return [_issued(row) for row in found]


def _issued(row: Record) -> dict[str, Any]:
    return {**row["detail"], "issued_at": row["settled_at"], "position": row["position"]}


def _due(fact: Fact, invoice: InvoiceFinalized) -> dict[str, object]:
    return {
        "tenant_id": invoice.tenant_id,
        "invoice_id": invoice.invoice_id,
        "number": invoice.number,
        "currency": invoice.currency,
        "net": invoice.total,
        "taxes": [group.model_dump(mode="json") for group in invoice.taxes or ()],
        "gross": invoice.total if invoice.gross is None else invoice.gross,
        "due_at": invoice.due_at,
        "exemption_reason": invoice.exemption_reason,
        "position": fact.position,
    }


def _settled(fact: Fact) -> dict[str, object] | None:
    number: str | None = None
    match fact.event:
        case CreditNoteIssued() as note:
            kind = "void" if note.reason == "void" else "credit-note"
            invoice_id, document_id, number, amount = note.invoice_id, note.credit_note_id, note.number, note.gross
        case InvoicePaymentRecorded() as paid:
            kind, invoice_id, document_id, amount = "payment", paid.invoice_id, paid.payment_id, paid.amount
        case CreditApplied() as applied:
            kind, invoice_id, document_id, amount = "credit", applied.invoice_id, applied.invoice_id, applied.amount
        case CreditRestored() as back:
            kind, invoice_id, document_id, amount = "credit", back.invoice_id, back.document_id, -back.amount
        case _:
            return None
    return {
        "tenant_id": fact.tenant_id,
        "position": fact.position,
        "invoice_id": invoice_id,
        "kind": kind,
        "document_id": document_id,
        "number": number,
        "amount": amount,
        "detail": fact.event.model_dump(mode="json", exclude_none=True),
        "settled_at": fact.time,
    }
