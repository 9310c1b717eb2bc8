"""A correction put together: record, credit notes, one more invoice. One law: one batch, decided on one state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from gpuaas.billing.desk import Desk
from gpuaas.billing.domain.billing_run import StartRun
from gpuaas.billing.domain.correction import (
    CORRECTION,
    Corrections,
    IssueCorrection,
    OtherPrice,
    Plan,
    StandingLine,
    corrections_of,
    planned,
)
from gpuaas.billing.domain.invoice import Finalized, FinalizeInvoice, IssueCreditNote, Terms, credit_note, invoice_id_of
from gpuaas.billing.domain.invoice_series import AssignNumbers, note_series_of, printed, series_of
from gpuaas.billing.domain.ledger import PostTransfers
from gpuaas.billing.domain.price_book import digest_of
from gpuaas.billing.domain.rating import RATING_VERSION
from gpuaas.billing.reactions import INVOICES, LEDGERS, RUNS, SERIES, SERVICE, booking_of
from gpuaas.billing.settling import UNNUMBERED, booking_of_note
from gpuaas.common.commands import Cause, Entity, Order, Outcome
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Rejected, Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.projections import Record
from gpuaas.contracts.billing import CorrectionIssued

CORRECTIONS: Final[Entity[Corrections, IssueCorrection]] = Entity(
    SERVICE, "correction", CORRECTION, Vocabulary(CorrectionIssued)
)
ATTEMPTS_MAX: Final = 8
"""Documents that others may number while this correction is decided."""
PAYMENT_DAYS: Final = 30
"""Until when an additional invoice is to be paid, for a tenant without a tax profile."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be corrected, and how."""

    correction_id: str
    tenant_id: str
    period_start: datetime
    period_end: datetime
    prices: Sequence[OtherPrice]
    detail: str


@dataclass(frozen=True, slots=True)
class _Stands:
    """What there is to correct."""

    run: Record
    currency: str
    invoices: dict[str, Finalized]
    lines: list[StandingLine]
    known: Corrections


async def issue_correction(desk: Desk, wanted: Wanted, cause: Cause) -> Outcome[Any]:
    """Rate the period again and tell the difference.

    Raises:
        Rejected: the period was not billed, a run is writing, or nothing changes.
        Invalid: see `domain.correction.planned`.
        Unavailable: a view is behind, or others number documents faster than this one is decided.
    """
    refused = ""
    for _ in range(ATTEMPTS_MAX):
        await desk.standing.folded(await desk.log.last_position())
        stands = await _stands(desk, wanted)
        if wanted.correction_id in stands.known.ids:
            # A repeat: what was said then is found by its cause.
            plan = Plan((), {}, ())
            record = Order(CORRECTIONS, wanted.tenant_id, _period_id(wanted), _record(wanted, stands, plan, (), None))
            return (await desk.commands.execute_together([record], cause))[0]
        orders = await _orders(desk, wanted, stands, planned(stands.lines, wanted.prices, stands.currency))
        try:
            return (await desk.commands.execute_together(orders, cause))[0]
        except Rejected as overtaken:
            refused = overtaken.detail
    raise Unavailable(f"documents are being numbered faster than this correction is decided ({refused})")


async def _stands(desk: Desk, wanted: Wanted) -> _Stands:
    views, db = desk.views, desk.database
    if await views.runs.is_running(db):
        raise Rejected("a billing run is writing invoices; order the correction when it is done")
    run = await views.runs.newest_of(db, wanted.period_start, wanted.period_end)
    if run is None:
        raise Rejected("this period was not billed; publish prices and start a run instead")
    rows = await views.invoices.lines_of_period(db, wanted.tenant_id, wanted.period_start, wanted.period_end)
    if not rows:
        raise Rejected(f"{wanted.tenant_id} has no invoice for this period; there is nothing to correct")
    invoices: dict[str, Finalized] = {}
    for invoice_id in dict.fromkeys(row["invoice_id"] for row in rows):
        state, _ = await desk.commands.state(INVOICES, wanted.tenant_id, invoice_id)
        assert isinstance(state, Finalized)
        invoices[invoice_id] = state
    known, _ = await desk.commands.state(CORRECTIONS, wanted.tenant_id, _period_id(wanted))
    lines = [_standing(row, invoices[row["invoice_id"]]) for row in rows]
    return _Stands(run, rows[0]["currency"], invoices, lines, known)


def _standing(row: Record, invoice: Finalized) -> StandingLine:
    line_id = row["line_id"]
    nothing = row["amount"] * 0
    given = invoice.credited.get(line_id, nothing)
    return StandingLine(
        invoice_id=row["invoice_id"],
        line_id=line_id,
        project_id=row["project_id"],
        gpu_model=row["gpu_model"],
        price_book_id=row["price_book_id"],
        price_book_version=row["price_book_version"],
        gpu_us=int(row["quantity_us"]),
        amount=row["amount"],
        credited=given - invoice.goodwill.get(line_id, nothing),
        left=row["amount"] - given,
        price_key=row["price_key"] or "",
    )


async def _orders(desk: Desk, wanted: Wanted, stands: _Stands, plan: Plan) -> list[Order[Any, Any]]:
    """Record, notes, numbers, bookings, and a run of its own for the additional invoice: one batch."""
    now = desk.clock.now()
    notes = {
        invoice_id: _note(wanted, at, lines) for at, (invoice_id, lines) in enumerate(plan.credits.items(), start=1)
    }
    note_ids = tuple(note.credit_note_id for note in notes.values())
    numbering, numbers = await _numbers(desk, note_series_of(now), note_ids)
    notes = {
        invoice_id: replace(note, number=number)
        for (invoice_id, note), number in zip(notes.items(), numbers, strict=True)
    }
    issued = {invoice_id: credit_note(note, stands.invoices[invoice_id]) for invoice_id, note in notes.items()}
    transfers = [booking_of_note(note) for note in issued.values()]
    orders = [*numbering]
    for invoice_id, note in notes.items():
        guarded = replace(note, gross=issued[invoice_id].gross)
        orders.append(Order(INVOICES, wanted.tenant_id, invoice_id, guarded))
    extra_id: str | None = None
    if plan.extra:
        run_id = f"{wanted.correction_id[:59].rstrip('-')}-run"
        extra_id = invoice_id_of(run_id, wanted.tenant_id)
        numbering, (number,) = await _numbers(desk, series_of(wanted.period_end), (extra_id,))
        extra = await _extra_invoice(desk, wanted, stands, plan, (run_id, extra_id, number))
        transfers.append(booking_of(extra))
        # The run before its invoice, as everywhere: who proves the invoice asks that its run had begun.
        orders += [*numbering, await _run_order(desk, wanted, stands, run_id)]
        orders.append(Order(INVOICES, wanted.tenant_id, extra_id, extra))
    record = _record(wanted, stands, plan, note_ids, extra_id)
    orders.append(Order(LEDGERS, wanted.tenant_id, wanted.tenant_id, PostTransfers(tuple(transfers))))
    return [Order(CORRECTIONS, wanted.tenant_id, _period_id(wanted), record), *orders]


async def _numbers(desk: Desk, series: str, document_ids: tuple[str, ...]) -> tuple[list[Order[Any, Any]], list[str]]:
    """The next numbers of a series for these documents: the order that takes them, and as printed."""
    if not document_ids:
        return [], []
    last = (await desk.commands.state(SERIES, PLATFORM, series))[0].last
    order = Order(SERIES, PLATFORM, series, AssignNumbers(series, last + 1, document_ids))
    return [order], [printed(series, last + at) for at in range(1, len(document_ids) + 1)]


def _note(wanted: Wanted, at: int, lines: tuple[tuple[str, Decimal], ...]) -> IssueCreditNote:
    return IssueCreditNote(
        credit_note_id=f"{wanted.correction_id[:54].rstrip('-')}-cn-{at}",
        number=UNNUMBERED,
        tenant_id=wanted.tenant_id,
        reason="correction",
        detail=wanted.detail,
        lines=lines,
        cause=wanted.correction_id,
    )


async def _extra_invoice(
    desk: Desk, wanted: Wanted, stands: _Stands, plan: Plan, named: tuple[str, str, str]
) -> FinalizeInvoice:
    """The invoice for what was missing, taxed as the first one of the period was. `named`: run, invoice, number."""
    run_id, invoice_id, number = named
    first = next(iter(stands.invoices.values()))
    profile = await desk.views.taxes.of_tenant(desk.database, wanted.tenant_id)
    due_at = desk.clock.now() + timedelta(days=profile["payment_days"] if profile else PAYMENT_DAYS)
    return FinalizeInvoice(
        invoice_id=invoice_id,
        run_id=run_id,
        number=number,
        tenant_id=wanted.tenant_id,
        currency=stands.currency,
        period_start=wanted.period_start,
        period_end=wanted.period_end,
        lines=plan.extra,
        terms=None if first.tax is None else Terms(first.tax, due_at, first.exemption_reason),
    )


async def _run_order(desk: Desk, wanted: Wanted, stands: _Stands, run_id: str) -> Order[Any, Any]:
    """The run that carries a correction out reads no further than the period's newest: it bills no usage."""
    position = stands.run["log_position"]
    books = await desk.views.prices.books(desk.database, upto=position)
    agreements = await desk.views.agreements.agreements(desk.database, upto=position)
    start = StartRun(
        run_id=run_id,
        period_start=wanted.period_start,
        period_end=wanted.period_end,
        log_position=position,
        price_book_sha256=digest_of(list(books.values()), agreements.spelled()),
        code_version=RATING_VERSION,
        correction_id=wanted.correction_id,
    )
    return Order(RUNS, PLATFORM, run_id, start)


def _record(
    wanted: Wanted, stands: _Stands, plan: Plan, note_ids: tuple[str, ...], invoice_id: str | None
) -> IssueCorrection:
    return IssueCorrection(
        correction_id=wanted.correction_id,
        tenant_id=wanted.tenant_id,
        currency=stands.currency,
        period_start=wanted.period_start,
        period_end=wanted.period_end,
        run_id=stands.run["run_id"],
        detail=wanted.detail,
        plan=plan,
        credit_note_ids=note_ids,
        invoice_id=invoice_id,
        known=len(stands.known.ids),
    )


def _period_id(wanted: Wanted) -> str:
    return corrections_of(wanted.period_start, wanted.period_end)
