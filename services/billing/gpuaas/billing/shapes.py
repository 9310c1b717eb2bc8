"""What the door takes and gives. One law: money and 64-bit numbers are strings, times are UTC, as in the events."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeVar

from gpuaas.billing.domain.ledger import ENTRIES_MAX
from gpuaas.billing.domain.rating import US_PER_MS, Line
from gpuaas.billing.domain.tariff import Step
from gpuaas.billing.projections.charges import Charges
from gpuaas.common.http import Body
from gpuaas.common.money import plain
from gpuaas.common.projections import Record
from gpuaas.common.wire import Count64, ExactDecimal, Moment, NonNegativeDecimal
from pydantic import AwareDatetime, BaseModel, Field

YEAR_S: Final = 366 * 24 * 3600
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.", examples=["EUR"])]
Shown = TypeVar("Shown", bound=BaseModel)


class PriceOrder(Body):
    """The price of one GPU-hour of one model."""

    gpu_model: Label
    unit: Literal["gpu-hour"] = "gpu-hour"
    amount: NonNegativeDecimal


class StartBillingRun(Body):
    """A run over [period_start, period_end)."""

    run_id: Label | None = Field(None, description="Made by the service when left out.")
    period_start: AwareDatetime
    period_end: AwareDatetime


class UsageShown(BaseModel):
    """One usage record: GPUs held over [started_at, ended_at), which is `gpu_ms` GPU-milliseconds."""

    usage_id: str
    tenant_id: str
    project_id: str
    allocation_id: str
    gpu_model: str
    gpu_count: int
    started_at: Moment
    ended_at: Moment
    share_milli: int = Field(description="Thousandths of each GPU; 1000: all of it.")
    gpu_ms: Count64
    gpu_us: Count64 | None = Field(
        None, description="The exact quantity in GPU-microseconds, where `gpu_ms` is floored."
    )
    start_event_id: str
    end_event_id: str
    position: int


class UsagePage(BaseModel):
    """Usage records in log order."""

    items: list[UsageShown]
    next_cursor: str | None


class DiscrepancyShown(BaseModel):
    """Where what was metered and another account of it disagree."""

    discrepancy_id: str
    kind: str
    project_id: str
    allocation_id: str
    gpu_model: str
    found_from: Moment
    found_until: Moment
    gpu_ms: Count64
    event_id: str | None
    detail: str
    found_at: Moment
    position: int


class DiscrepanciesPage(BaseModel):
    """Discrepancies, newest first."""

    items: list[DiscrepancyShown]
    next_cursor: str | None


class StepShown(BaseModel):
    """What was applied to a price, and why; `price`: of one unit after it."""

    step: Literal["band", "contract", "campaign"]
    name: str
    rule: int | None = None
    percent_off: NonNegativeDecimal | None = None
    calculated_on: Literal["list", "contract"] | None = None
    price: NonNegativeDecimal
    reason: str


class DraftLine(BaseModel):
    """A line as it would stand on an invoice."""

    project_id: str
    gpu_model: str
    gpu_ms: Count64
    gpu_us: Count64 | None = Field(
        None, description="The exact quantity in GPU-microseconds, where `gpu_ms` is floored."
    )
    unit: Literal["gpu-hour"]
    unit_price: NonNegativeDecimal
    price_book_id: str
    price_book_version: int
    amount: ExactDecimal
    usage_count: int
    list_price: NonNegativeDecimal | None = Field(
        None, description="Before what was applied; absent: the unit price is the list's."
    )
    price_key: str | None = Field(None, description="What was applied, in short; lines of one key have one price.")
    applied: list[StepShown] | None = Field(None, description="From the list price to the unit price, step by step.")


class Draft(BaseModel):
    """Lines and their sum."""

    lines: list[DraftLine]
    total: ExactDecimal


class ChargesShown(BaseModel):
    """What a tenant would owe if it were billed now.

    Attributes:
        unbilled: metered, and on no invoice.
        running: held right now, counted up to `as_of`.
        per_hour: what the next hour costs if nothing starts or ends, None: no price is published for all of it.
    """

    tenant_id: str
    currency: str
    as_of: Moment
    unbilled: Draft
    running: Draft
    per_hour: Draft | None
    total: ExactDecimal


class LinePointed(BaseModel):
    """A line of an invoice."""

    invoice_id: str
    line_id: str


class CorrectedShown(BaseModel):
    """The lines that a line corrects, and what credit notes had given back of them."""

    lines: list[LinePointed]
    credited: ExactDecimal


class InvoiceLineShown(DraftLine):
    """A line of a final invoice; `usage_sha256` proves which usage records it adds up."""

    line_id: str
    usage_sha256: str
    corrects: CorrectedShown | None = Field(
        None, description="Of a line that corrects others, without usage of its own."
    )


class InvoiceShown(BaseModel):
    """A final invoice without its lines."""

    invoice_id: str
    run_id: str
    number: str
    tenant_id: str
    currency: str
    period_start: Moment
    period_end: Moment
    total: ExactDecimal
    line_count: int
    content_sha256: str
    finalized_at: Moment
    position: int


class InvoiceWithLines(InvoiceShown):
    """A final invoice."""

    lines: list[InvoiceLineShown]


class InvoicesPage(BaseModel):
    """Invoices, newest first."""

    items: list[InvoiceShown]
    next_cursor: str | None


class BalanceShown(BaseModel):
    """What one account holds; a gain is positive."""

    currency: str
    account: str
    balance: ExactDecimal


class BalancesShown(BaseModel):
    """Every account of one tenant's ledger; per currency they sum to zero."""

    tenant_id: str
    items: list[BalanceShown]


class EntryShown(BaseModel):
    """One side of a transfer."""

    account: str
    amount: ExactDecimal


class TransferShown(BaseModel):
    """One transfer; its entries sum to zero."""

    transfer_id: str
    tenant_id: str
    currency: str
    entries: Annotated[list[EntryShown], Field(max_length=ENTRIES_MAX)]
    description: str
    cause: str
    posted_at: Moment
    position: int


class TransfersPage(BaseModel):
    """Transfers, newest first."""

    items: list[TransferShown]
    next_cursor: str | None


class TrialBalanceShown(BaseModel):
    """One currency over all ledgers: `gained` + `lost` = `difference` = 0."""

    currency: str
    accounts: int
    gained: ExactDecimal
    lost: ExactDecimal
    difference: ExactDecimal


class TrialBalancesShown(BaseModel):
    """Over all tenants. `balanced`: every difference is zero."""

    balanced: bool
    items: list[TrialBalanceShown]


class RunShown(BaseModel):
    """A billing run and what it pinned.

    Attributes:
        since_position, log_position: it bills the usage records above the one and up to the other.
        status: running; completed; void (see `void_reason`; it writes nothing).
        invoices: written so far.
        tenants: with usage to bill; one without a millisecond inside the period gets no invoice.
    """

    run_id: str
    status: Literal["running", "completed", "void"]
    void_reason: str | None
    period_start: Moment
    period_end: Moment
    since_position: Count64
    log_position: Count64
    price_book_sha256: str
    code_version: str
    correction_id: str | None = Field(None, description="The correction that this run carries out.")
    started_at: Moment
    completed_at: Moment | None
    position: int


class RunProgress(RunShown):
    """A billing run and how far it is."""

    tenants: int
    invoices: int
    total_by_currency: dict[str, ExactDecimal]


class RunsPage(BaseModel):
    """Billing runs, newest first."""

    items: list[RunShown]
    next_cursor: str | None


def shown(shape: type[Shown], rows: Iterable[Mapping[str, Any] | Record]) -> list[Shown]:
    """Rows of a read model in the shape of an answer; what the shape does not name is left out."""
    return [shape.model_validate(dict(row)) for row in rows]


def draft(charges: Charges) -> Draft:
    """A draft's lines and total."""
    return Draft(lines=[_line(line) for line in charges.lines], total=charges.total)


def _line(line: Line) -> DraftLine:
    return DraftLine(
        project_id=line.project_id,
        gpu_model=line.gpu_model,
        gpu_ms=line.gpu_ms,
        gpu_us=line.gpu_us if line.gpu_us % US_PER_MS else None,
        unit="gpu-hour",
        unit_price=line.unit_price,
        price_book_id=line.price_book_id,
        price_book_version=line.price_book_version,
        amount=line.amount,
        usage_count=line.usage_count,
        list_price=line.list_price,
        price_key=line.price_key or None,
        applied=[_step(step) for step in line.steps] or None,
    )


def _step(step: Step) -> StepShown:
    names = ("step", "name", "rule", "percent_off", "calculated_on", "price", "reason")
    return StepShown.model_validate({name: getattr(step, name) for name in names})


CSV_COLUMNS: Final = (
    *("number", "invoice_id", "tenant_id", "currency", "period_start", "period_end", "line_id", "project_id"),
    *("gpu_model", "gpu_ms", "unit", "unit_price", "price_book_id", "price_book_version", "amount"),
    *("usage_count", "usage_sha256", "gpu_us", "list_price", "price_key"),
)


def as_csv(invoice: InvoiceWithLines) -> str:
    """One row for each line, with the invoice's own columns repeated (RFC 4180)."""
    written = io.StringIO()
    rows = csv.writer(written)
    rows.writerow(CSV_COLUMNS)
    whole = invoice.model_dump(mode="json")
    for line in whole["lines"]:
        rows.writerow([(whole | line)[name] for name in CSV_COLUMNS])
    return written.getvalue()


def totals(rows: Iterable[Record]) -> dict[str, Decimal]:
    """Sum of a run's invoices by currency."""
    return {row["currency"]: Decimal(plain(row["total"])) for row in rows}
