"""What an invoice rests on, found in the trail. One law: found by what is logged, checked by the lines' own digests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from gpuaas.audit.domain.bundles import Evidence, InvoiceEvidence
from gpuaas.audit.domain.entries import PLATFORM_TREE
from gpuaas.audit.domain.invoice_parts import has_agreed_prices, overlaps, parts_of
from gpuaas.audit.projections.audit_trail import PAYLOADS, TRAIL
from gpuaas.audit.projections.trail_search import evidence_in
from gpuaas.common.envelope import decode, subject_of
from gpuaas.common.errors import Invalid, NotFound
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.tables import Database, Record
from gpuaas.contracts.allocations import AllocationReleased, AllocationStarted
from gpuaas.contracts.billing import (
    BillingRunStarted,
    CorrectionIssued,
    CreditNoteIssued,
    InvoiceFinalized,
    InvoicePaymentRecorded,
    PriceAgreementEnded,
    PriceAgreementMade,
    PriceBookPublished,
    UsageMetered,
)
from sqlalchemy import ColumnElement, select

Told = TypeVar("Told", bound=Event)
USAGES_MAX = 50_000
"""Usage records in one bundle at most."""
_SUBJECTS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Found(Generic[Told]):
    """An event of the trail, decoded, with its evidence."""

    event: Told
    event_id: str
    evidence: Evidence

    @property
    def position(self) -> int:
        return self.evidence.entry.position


async def invoice_evidence(db: Database, tenant_id: str, invoice_id: str) -> InvoiceEvidence:
    """Everything the invoice rests on, without proofs.

    Raises:
        NotFound: the trail has no such invoice.
        Rejected: its lines are not made of what the log holds.
        Invalid: more usage records than one bundle carries.
    """
    invoice = await _invoice(db, tenant_id, invoice_id)
    run, since = await _run(db, invoice)
    usages = await _usages(db, tenant_id, invoice, since, run.event.log_position)
    books = await _price_books(db, invoice, run.event.log_position)
    parts = parts_of(invoice.event, [usage.event for usage in usages], [book.event for book in books])
    billed = {usage_id for ids in parts.values() for usage_id in ids}
    agreed = has_agreed_prices(invoice.event)
    chosen = [usage for usage in usages if agreed or usage.event.usage_id in billed]
    made = await _agreements(db, PriceAgreementMade, tenant_id, run.event.log_position) if agreed else []
    ended = await _agreements(db, PriceAgreementEnded, tenant_id, run.event.log_position) if agreed else []
    of_period = await _invoices_of_period(db, tenant_id, invoice)
    return InvoiceEvidence(
        tenant_id=tenant_id,
        invoice=invoice.evidence,
        run=run.evidence,
        parts=parts,
        usages=[usage.evidence for usage in chosen],
        allocation_events=await _allocation_events(db, tenant_id, chosen),
        price_books=[book.evidence for book in books],
        price_agreements=made,
        price_agreement_ends=ended,
        earlier_invoices=[each.evidence for each in of_period if each.position < run.position],
        later_invoices=[each.evidence for each in of_period if each.position > invoice.position],
        followups=await _followups(db, tenant_id, [invoice, *of_period]),
        corrections=await _corrections(db, tenant_id, invoice),
    )


async def _invoice(db: Database, tenant_id: str, invoice_id: str) -> Found[InvoiceFinalized]:
    subject = subject_of("billing", "invoice", tenant_id, invoice_id)
    for found in await _events(db, InvoiceFinalized, TRAIL.c.tree == tenant_id, TRAIL.c.subject == subject):
        return found
    raise NotFound(f"the trail of {tenant_id} has no final invoice {invoice_id}")


async def _run(db: Database, invoice: Found[InvoiceFinalized]) -> tuple[Found[BillingRunStarted], int]:
    """The run that wrote the invoice, and where in the log the run before it for the same period stopped reading."""
    runs = [
        run
        for run in await _events(db, BillingRunStarted, TRAIL.c.tree == PLATFORM_TREE)
        if _period(run.event) == _period(invoice.event) and run.position < invoice.position
    ]
    for run in runs:
        if run.event.run_id == invoice.event.run_id:
            before = (each.event.log_position for each in runs if each.position < run.position)
            return run, max(before, default=0)
    raise NotFound(f"the trail has no billing run {invoice.event.run_id}, which wrote {invoice.event.number}")


async def _invoices_of_period(
    db: Database, tenant_id: str, invoice: Found[InvoiceFinalized]
) -> list[Found[InvoiceFinalized]]:
    """The other invoices of the same tenant and period."""
    found = await _events(db, InvoiceFinalized, TRAIL.c.tree == tenant_id)
    same = [each for each in found if _period(each.event) == _period(invoice.event)]
    return [each for each in same if each.position != invoice.position]


async def _followups(db: Database, tenant_id: str, invoices: Sequence[Found[InvoiceFinalized]]) -> list[Evidence]:
    """Credit notes and payments in the histories of these invoices."""
    subjects = [subject_of("billing", "invoice", tenant_id, each.event.invoice_id) for each in invoices]
    stands = (TRAIL.c.tree == tenant_id, TRAIL.c.subject.in_(subjects))
    found = [each.evidence for each in await _events(db, CreditNoteIssued, *stands)]
    found += [each.evidence for each in await _events(db, InvoicePaymentRecorded, *stands)]
    return sorted(found, key=lambda evidence: evidence.entry.position)


async def _corrections(db: Database, tenant_id: str, invoice: Found[InvoiceFinalized]) -> list[Evidence]:
    """The corrections of the invoice's period."""
    found = await _events(db, CorrectionIssued, TRAIL.c.tree == tenant_id)
    return [each.evidence for each in found if _period(each.event) == _period(invoice.event)]


async def _usages(
    db: Database, tenant_id: str, invoice: Found[InvoiceFinalized], since: int, up_to: int
) -> list[Found[UsageMetered]]:
    """The usage that the run read for the tenant: log positions (since, up_to], as far as it lies in the period."""
    stands = (TRAIL.c.tree == tenant_id, TRAIL.c.position > since, TRAIL.c.position <= up_to)
    found = [each for each in await _events(db, UsageMetered, *stands) if overlaps(each.event, invoice.event)]
    if len(found) > USAGES_MAX:
        raise Invalid(f"the invoice rests on {len(found):,} usage records; a bundle carries at most {USAGES_MAX:,}")
    return found


async def _price_books(db: Database, invoice: Found[InvoiceFinalized], up_to: int) -> list[Found[PriceBookPublished]]:
    """The versions that the lines name, and their successors as far as the run had read."""
    named = {(line.price_book_id, line.price_book_version) for line in invoice.event.lines}
    wanted = named | {(book_id, version + 1) for book_id, version in named}
    subjects = [subject_of("billing", "price-book", PLATFORM_TREE, book_id) for book_id in {each for each, _ in named}]
    stands = (TRAIL.c.tree == PLATFORM_TREE, TRAIL.c.subject.in_(subjects), TRAIL.c.position <= up_to)
    found = await _events(db, PriceBookPublished, *stands)
    return [book for book in found if (book.event.price_book_id, book.event.version) in wanted]


async def _agreements(db: Database, kind: type[Told], tenant_id: str, up_to: int) -> list[Evidence]:
    """The tenant's contracts and campaigns and those for all, or their ends, as far as the run had read."""
    mine = TRAIL.c.tree.in_([tenant_id, PLATFORM_TREE])
    return [each.evidence for each in await _events(db, kind, mine, TRAIL.c.position <= up_to)]


def _period(event: InvoiceFinalized | BillingRunStarted | CorrectionIssued) -> tuple[datetime, datetime]:
    return event.period_start, event.period_end


async def _allocation_events(db: Database, tenant_id: str, usages: Sequence[Found[UsageMetered]]) -> list[Evidence]:
    """The starts and ends that the usages name."""
    named = {each for usage in usages for each in (usage.event.start_event_id, usage.event.end_event_id)}
    subjects = sorted(
        {subject_of("allocations", "allocation", tenant_id, usage.event.allocation_id) for usage in usages}
    )
    found: list[Evidence] = []
    for start in range(0, len(subjects), _SUBJECTS_AT_ONCE):
        stands = (TRAIL.c.tree == tenant_id, TRAIL.c.subject.in_(subjects[start : start + _SUBJECTS_AT_ONCE]))
        for kind in (AllocationStarted, AllocationReleased):
            found += [each.evidence for each in await _events(db, kind, *stands) if each.event_id in named]
    return sorted(found, key=lambda evidence: evidence.entry.position)


async def _events(db: Database, kind: type[Told], *stands: ColumnElement[Any]) -> list[Found[Told]]:
    """The events of one type that stand there, in the order of the log."""
    query = select(TRAIL, PAYLOADS.c.payload).join(PAYLOADS, PAYLOADS.c.position == TRAIL.c.position)
    rows = await db.fetch(query.where(TRAIL.c.type == kind.TYPE, *stands).order_by(TRAIL.c.position))
    return list(_decoded(kind, rows))


def _decoded(kind: type[Told], rows: Iterable[Record]) -> Iterable[Found[Told]]:
    vocabulary = Vocabulary(kind)
    for row in rows:
        envelope = decode(row["payload"])
        event = vocabulary.read(envelope.type, bytes(envelope.data))
        assert isinstance(event, kind)
        yield Found(event, envelope.id, evidence_in(row, row["payload"]))
