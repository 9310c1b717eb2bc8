"""What papers show, read from the tables. One law: who stands on a paper stood there when it was written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from gpuaas.billing.desk import Desk
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
from gpuaas.billing.domain.rating import US_PER_MS
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.common.projections import Record

_OF_A_LINE: Final = LineFacts.__dataclass_fields__.keys() - {"gpu_us", "published", "steps"}
_OF_BOTH: Final = ("invoice_id", "run_id", "tenant_id", "currency")


async def invoice_facts(desk: Desk, tenant_id: str, invoice_id: str) -> InvoiceFacts:
    """What the documents of an invoice show.

    Raises:
        NotFound: no such invoice.
        Rejected: nobody has said who sells or who buys.
        Unavailable: a view is behind.
    """
    return await _invoice(desk, await _row(desk, tenant_id, invoice_id))


async def note_facts(desk: Desk, tenant_id: str, credit_note_id: str) -> NoteFacts:
    """What the documents of a credit note show.

    Raises:
        NotFound: no such credit note.
        Rejected, Unavailable: as for an invoice.
    """
    note = await desk.views.settled.note(desk.database, tenant_id, credit_note_id)
    if note is None:
        raise NotFound(f"{tenant_id} has no credit note {credit_note_id}; see the list of its credit notes")
    return await _note(desk, note)


async def papers_of(
    desk: Desk, tenant_id: str, since: datetime | None, until: datetime | None
) -> AsyncIterator[InvoiceFacts | NoteFacts]:
    """The invoices whose periods lie in [`since`, `until`), each followed by its credit notes.

    Raises:
        Rejected, Unavailable: as for an invoice.
    """
    after = 0
    while rows := await desk.views.invoices.of_periods(desk.database, tenant_id, since, until, after):
        for row in rows:
            yield await _invoice(desk, row)
            for note in await desk.views.settled.notes_for(desk.database, tenant_id, row["invoice_id"]):
                yield await _note(desk, note)
        after = rows[-1]["position"]


async def _row(desk: Desk, tenant_id: str, invoice_id: str) -> Record:
    row = await desk.views.invoices.one(desk.database, tenant_id, invoice_id)
    if row is None:
        raise NotFound(f"{tenant_id} has no invoice {invoice_id}; see the list of its invoices")
    return row


async def _invoice(desk: Desk, row: Record) -> InvoiceFacts:
    tenant_id, invoice_id = row["tenant_id"], row["invoice_id"]
    seller, buyer = await _parties(desk, tenant_id, row["position"])
    rows = await desk.views.invoices.lines_of(desk.database, tenant_id, invoice_id)
    due, _ = await desk.views.settled.of_invoice(desk.database, tenant_id, invoice_id)
    if due is None:
        raise Unavailable(f"what is due for {invoice_id} is not folded yet; ask again")
    return InvoiceFacts(
        **{name: row[name] for name in (*_OF_BOTH, "number", "period_start", "period_end", "total", "content_sha256")},
        issued_at=row["finalized_at"],
        lines=[_line(line) for line in rows],
        seller=seller,
        buyer=buyer,
        taxes=_taxes(due["taxes"]),
        due_at=due["due_at"],
        exemption_reason=due["exemption_reason"] or "",
        corrects=await _corrected(desk, tenant_id, rows),
    )


async def _note(desk: Desk, note: Mapping[str, Any]) -> NoteFacts:
    tenant_id, invoice_id = note["tenant_id"], note["invoice_id"]
    row = await _row(desk, tenant_id, invoice_id)
    seller, buyer = await _parties(desk, tenant_id, note["position"])
    rows = await desk.views.invoices.lines_of(desk.database, tenant_id, invoice_id)
    lines = {line.line_id: line for line in map(_line, rows)}
    due, _ = await desk.views.settled.of_invoice(desk.database, tenant_id, invoice_id)
    return NoteFacts(
        **{name: note[name] for name in (*_OF_BOTH, "number", "credit_note_id", "reason", "detail", "content_sha256")},
        period_start=row["period_start"],
        period_end=row["period_end"],
        issued_at=note["issued_at"],
        total=Decimal(note["net"]),
        invoice=Preceding(row["number"], row["finalized_at"]),
        lines=[NoteLineFacts(lines[given["line_id"]], Decimal(given["amount"])) for given in note["lines"]],
        seller=seller,
        buyer=buyer,
        taxes=_taxes(note["taxes"]),
        exemption_reason=(due and due["exemption_reason"]) or "",
    )


async def _parties(desk: Desk, tenant_id: str, position: int) -> tuple[Party, Party]:
    """Seller and buyer as they were at `position`."""
    parties, db = desk.views.parties, desk.database
    seller = await parties.shown_at(db, PLATFORM, position)
    if seller is None:
        raise Rejected("a document names its seller and nobody has said who sells; POST /v1/invoice-seller first")
    buyer = await parties.shown_at(db, tenant_id, position)
    if buyer is None:
        raise Rejected(f"a document names its buyer; POST /v1/tenants/{tenant_id}/invoice-party first")
    return seller, buyer


async def _corrected(desk: Desk, tenant_id: str, rows: Iterable[Record]) -> list[Preceding]:
    """The invoices that lines among these correct, each once."""
    named = {each["invoice_id"]: None for row in rows if row["corrects"] for each in row["corrects"]["lines"]}
    found = [await _row(desk, tenant_id, invoice_id) for invoice_id in named]
    return [Preceding(row["number"], row["finalized_at"]) for row in found]


def _line(row: Record) -> LineFacts:
    same = {name: row[name] for name in _OF_A_LINE}
    steps = [
        StepFacts(each["step"], each["name"], Decimal(each["price"]), each["reason"]) for each in row["applied"] or ()
    ]
    exact_us = row["gpu_us"] or row["gpu_ms"] * US_PER_MS
    return LineFacts(**same, gpu_us=exact_us, published=row["list_price"], steps=steps)


def _taxes(groups: Iterable[Mapping[str, Any]]) -> list[TaxFacts]:
    return [
        TaxFacts(group["category"], *(Decimal(group[name]) for name in ("percent", "net", "tax"))) for group in groups
    ]
