"""What billing does about events: releases are metered, runs write invoices. One law: once per cause, all or nothing.

A run writes tenant after tenant; each tenant's invoice, its number and its booking are in one atomic batch. A run
that was interrupted leaves out whom it has billed and goes on with the rest, so no number is lost or given twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from gpuaas.billing.domain import kept
from gpuaas.billing.domain.billing_run import BILLING_RUN, CompleteRun, RunCommand, RunState
from gpuaas.billing.domain.invoice import INVOICE, FinalizeInvoice, InvoiceCommand, InvoiceState, Terms, invoice_id_of
from gpuaas.billing.domain.invoice_series import INVOICE_SERIES, AssignNumbers, Series, printed, series_of
from gpuaas.billing.domain.ledger import (
    LEDGER,
    REVENUE,
    TAX,
    Entry,
    Ledger,
    LedgerCommand,
    PostTransfer,
    receivable_of,
    transfer_of,
)
from gpuaas.billing.domain.metering import WHOLE_MILLI, Began, Ended, Interval, Meter, instant_ms, read
from gpuaas.billing.domain.price_book import PriceBook, digest_of
from gpuaas.billing.domain.rating import RATING_VERSION, Line, rate
from gpuaas.billing.domain.usage import USAGE, MeterUsage, UsageCommand, UsageState
from gpuaas.billing.ports import Standing
from gpuaas.billing.projections.metered_usage import Pinned
from gpuaas.billing.projections.price_agreements import Agreements
from gpuaas.billing.projections.views import Views
from gpuaas.common.commands import Cause, Commands, Entity, Order
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import Rejected, Unavailable, Unreadable
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import EventLog
from gpuaas.common.projections import Database, Record, decoded
from gpuaas.common.reactions import Reaction
from gpuaas.common.snapshots import Keep
from gpuaas.contracts.allocations import AllocationReleased, AllocationRequested, AllocationStarted
from gpuaas.contracts.billing import (
    BillingRunCompleted,
    BillingRunStarted,
    CreditNoteIssued,
    InvoiceFinalized,
    InvoiceNumberAssigned,
    InvoicePaymentRecorded,
    LedgerTransferPosted,
    UsageDiscrepancyFound,
    UsageMetered,
)

SERVICE: Final = "billing"
USAGES: Final[Entity[UsageState, UsageCommand]] = Entity(
    SERVICE, "usage", USAGE, Vocabulary(UsageMetered, UsageDiscrepancyFound)
)
RUNS: Final[Entity[RunState, RunCommand]] = Entity(
    SERVICE, "billing-run", BILLING_RUN, Vocabulary(BillingRunStarted, BillingRunCompleted)
)
SERIES: Final[Entity[Series, AssignNumbers]] = Entity(
    SERVICE,
    "invoice-series",
    INVOICE_SERIES,
    Vocabulary(InvoiceNumberAssigned),
    keep=Keep(kept.series_written, kept.series_read),
)
INVOICES: Final[Entity[InvoiceState, InvoiceCommand]] = Entity(
    SERVICE, "invoice", INVOICE, Vocabulary(InvoiceFinalized, CreditNoteIssued, InvoicePaymentRecorded)
)
LEDGERS: Final[Entity[Ledger, LedgerCommand]] = Entity(
    SERVICE,
    "ledger",
    LEDGER,
    Vocabulary(LedgerTransferPosted),
    keep=Keep(kept.ledger_written, kept.ledger_read),
)

TENANTS_AT_ONCE: Final = 50
"""Tenants whose invoices are written in one atomic batch at most."""
RECORDS_AT_ONCE: Final = 20_000
"""Usage records rated in one go, unless one tenant alone has more: the door waits meanwhile."""
_ALLOCATION: Final = Vocabulary(AllocationRequested, AllocationStarted, AllocationReleased)


class Metering(Reaction):
    """A released allocation becomes one usage record."""

    name = "metering"
    reads = (AllocationReleased,)

    def __init__(self, commands: Commands, log: EventLog) -> None:
        self._commands = commands
        self._log = log

    async def react(self, fact: Fact) -> None:
        # A copy of the log that is behind would answer without the release itself, and the run would go unmetered.
        history = await self._log.history(fact.subject, reaching=fact.position)
        order = meter_order(decoded(_ALLOCATION, history), fact.position)
        if order is None:
            return
        cause = Cause.of(fact, actor=SERVICE, step="meter")
        allocation_id = order.started.allocation_id
        await self._commands.execute(USAGES, fact.tenant_id, allocation_id, order, cause, fresh=True)


def meter_order(history: Sequence[Fact], until: int) -> MeterUsage | None:
    """What to record after the release at position `until`, out of the allocation's own history; None: nothing.

    Raises:
        Invalid: the history contradicts itself, see `domain.metering`.
    """
    meter = Meter()
    started: AllocationStarted | None = None
    released: AllocationReleased | None = None
    labels: Mapping[str, str] = {}
    for fact in history:
        if fact.position > until:
            break
        match fact.event:
            case AllocationRequested() as asked:
                labels = asked.labels
            case AllocationStarted() as started:
                share = started.share_milli or WHOLE_MILLI
                meter = read(meter, Began(instant_ms(started.started_at), started.gpu_count, fact.envelope.id, share))
            case AllocationReleased() as released:
                since_ms = None if released.started_at is None else instant_ms(released.started_at)
                meter = read(meter, Ended(instant_ms(released.ended_at), fact.envelope.id, since_ms))
    if started is None or released is None:
        return None
    return MeterUsage(started=started, released=released, span=meter.spans[-1], labels=labels)


@dataclass(frozen=True, slots=True)
class _Bill:
    """One tenant's invoice before it has a number."""

    tenant_id: str
    currency: str
    lines: tuple[Line, ...]
    terms: Terms | None


@dataclass(frozen=True, slots=True)
class _Run:
    """A run under way, with what it pinned."""

    run_id: str
    position: int
    started_at: datetime
    period_start: datetime
    period_end: datetime
    pinned: Pinned
    books: Mapping[str, PriceBook]
    agreements: Agreements
    cause: Cause


class BillTenants(Reaction):
    """A started run writes every tenant's invoice. One run after the other, in the order of the log."""

    name = "billing-runs"
    reads = (BillingRunStarted,)
    concurrency = 1

    def __init__(
        self,
        commands: Commands,
        log: EventLog,
        database: Database,
        views: Views,
        standing: Standing,
        tenants_at_once: int = TENANTS_AT_ONCE,
    ) -> None:
        self._commands = commands
        self._log = log
        self._database = database
        self._views = views
        self._standing = standing
        self._tenants_at_once = tenants_at_once

    async def react(self, fact: Fact) -> None:
        assert isinstance(fact.event, BillingRunStarted)
        # Up to the end of the log, not only to this event: an interrupted run has written invoices behind it.
        await self._standing.folded(await self._log.last_position())
        row = await self._views.runs.one(self._database, fact.event.run_id)
        if row is None:
            raise Unavailable(f"run {fact.event.run_id} is not in the view of runs yet")
        if row["completed_at"] is not None:
            return
        if row["status"] != "void":
            await self._write_invoices(await self._run(fact, row))
        await self._complete(fact)

    async def _run(self, fact: Fact, row: Record) -> _Run:
        """Everything the run pinned, checked to be what it was.

        Raises:
            Unreadable: other prices or another rater would be used than the run says.
        """
        books = await self._views.prices.books(self._database, upto=row["log_position"])
        agreements = await self._views.agreements.agreements(self._database, upto=row["log_position"])
        if digest_of(list(books.values()), agreements.spelled()) != row["price_book_sha256"]:
            raise Unreadable(f"run {row['run_id']} was started with other prices than the log now shows")
        if row["code_version"] != RATING_VERSION:
            raise Unreadable(
                f"run {row['run_id']} was started by rater {row['code_version']}, this is {RATING_VERSION}: "
                "finish it with a release that has that rater"
            )
        period = Interval.between(row["period_start"], row["period_end"])
        return _Run(
            run_id=row["run_id"],
            position=fact.position,
            started_at=row["started_at"],
            period_start=row["period_start"],
            period_end=row["period_end"],
            pinned=Pinned(period, row["since_position"], row["log_position"]),
            books=books,
            agreements=agreements,
            cause=Cause.of(fact, actor=SERVICE, step="run"),
        )

    async def _write_invoices(self, run: _Run) -> None:
        tenants = await self._views.usage.tenants_of(self._database, run.pinned)
        billed = await self._views.invoices.tenants_billed_by(self._database, run.run_id)
        left = {tenant_id: records for tenant_id, records in tenants.items() if tenant_id not in billed}
        for tenant_ids in groups(left, self._tenants_at_once, RECORDS_AT_ONCE):
            if bills := await self._rated(run, tenant_ids):
                await self._write(run, bills)

    async def _rated(self, run: _Run, tenant_ids: Sequence[str]) -> list[_Bill]:
        currencies = await self._views.tenants.currencies_of(self._database, tenant_ids)
        usage = await self._views.usage.usage_of(self._database, tenant_ids, run.pinned)
        booked = await self._views.invoices.booked(
            self._database, tenant_ids, run.period_start, run.period_end, run.position
        )
        terms = await self._views.taxes.terms_of(self._database, tenant_ids, run.pinned.upto, run.started_at)
        bills: list[_Bill] = []
        for tenant_id in tenant_ids:
            currency = currencies[tenant_id]
            tariff = run.agreements.tariff(run.books[currency], tenant_id)
            lines = rate(usage[tenant_id], tariff, run.pinned.period, booked.get(tenant_id))
            if lines:
                bills.append(_Bill(tenant_id, currency, lines, terms.get(tenant_id)))
        return bills

    async def _write(self, run: _Run, bills: Sequence[_Bill]) -> None:
        """Numbers, invoices and bookings of these tenants, in one batch or not at all."""
        series = series_of(run.period_end)
        last = (await self._commands.state(SERIES, PLATFORM, series))[0].last
        finals = [_final(run, bill, printed(series, last + at)) for at, bill in enumerate(bills, start=1)]
        numbers = AssignNumbers(series, last + 1, tuple(final.invoice_id for final in finals))
        orders: list[Order[Any, Any]] = [Order(SERIES, PLATFORM, series, numbers)]
        for final in finals:
            orders.append(Order(INVOICES, final.tenant_id, final.invoice_id, final))
            if final.total != 0:
                orders.append(Order(LEDGERS, final.tenant_id, final.tenant_id, booking_of(final)))
        # The step names whom the batch is for: another grouping of the tenants is never taken for this one.
        whom = hashlib.sha256("\n".join(bill.tenant_id for bill in bills).encode()).hexdigest()
        try:
            await self._commands.execute_together(orders, run.cause.at(f"invoices-{whom}"), fresh=True)
        except Rejected as taken:
            raise Unavailable(f"run {run.run_id}: someone else is writing it too ({taken.detail})") from taken

    async def _complete(self, fact: Fact) -> None:
        assert isinstance(fact.event, BillingRunStarted)
        await self._standing.folded(await self._log.last_position())
        written = await self._views.invoices.written_by(self._database, fact.event.run_id)
        complete = CompleteRun(
            run_id=fact.event.run_id,
            invoices=sum(row["invoices"] for row in written),
            total_by_currency={row["currency"]: Decimal(row["total"]) for row in written},
        )
        cause = Cause.of(fact, actor=SERVICE, step="complete")
        await self._commands.execute(RUNS, PLATFORM, fact.event.run_id, complete, cause)


def groups(tenants: Mapping[str, int], tenants_max: int, records_max: int) -> Iterator[list[str]]:
    """The tenants in their order, in groups of up to `tenants_max` with up to `records_max` usage records.

    A tenant with more records than that is a group of its own.
    """
    group: list[str] = []
    records = 0
    for tenant_id, own in tenants.items():
        if group and (len(group) == tenants_max or records + own > records_max):
            yield group
            group, records = [], 0
        group.append(tenant_id)
        records += own
    if group:
        yield group


def booking_of(final: FinalizeInvoice) -> PostTransfer:
    """What an invoice does to its tenant's ledger: the tenant owes its total, which we have earned, and its tax."""
    tax = final.gross - final.total
    entries = (Entry(receivable_of(final.tenant_id), final.gross), Entry(REVENUE, -final.total), Entry(TAX, -tax))
    return PostTransfer(
        transfer_id=transfer_of(final.invoice_id),
        tenant_id=final.tenant_id,
        currency=final.currency,
        entries=tuple(entry for entry in entries if entry.amount),
        description=f"invoice {final.number}",
        cause=final.invoice_id,
    )


def _final(run: _Run, bill: _Bill, number: str) -> FinalizeInvoice:
    return FinalizeInvoice(
        invoice_id=invoice_id_of(run.run_id, bill.tenant_id),
        run_id=run.run_id,
        number=number,
        tenant_id=bill.tenant_id,
        currency=bill.currency,
        period_start=run.period_start,
        period_end=run.period_end,
        lines=bill.lines,
        terms=bill.terms,
    )
