"""Which invoices were written, and what stands on them. One law: a row is as final as the invoice it is from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from gpuaas.billing.domain.rating import US_PER_MS, Booked, LineKey
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import InvoiceFinalized
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    cast,
    func,
    select,
)

_META = MetaData()
INVOICES = Table(
    "invoices_v3",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("invoice_id", Text, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("number", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("period_start", DateTime(timezone=True), nullable=False),
    Column("period_end", DateTime(timezone=True), nullable=False),
    Column("total", Numeric, nullable=False),
    Column("line_count", Integer, nullable=False),
    Column("content_sha256", Text, nullable=False),
    Column("finalized_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("invoices_v3_by_run", "run_id"),
    Index("invoices_v3_by_position", "tenant_id", "position"),
)
LINES = Table(
    "invoice_lines_v3",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("invoice_id", Text, primary_key=True),
    Column("line_number", Integer, primary_key=True),
    Column("line_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("gpu_ms", BigInteger, nullable=False),
    Column("gpu_us", BigInteger, comment="null: 1000 times gpu_ms"),
    Column("unit", Text, nullable=False),
    Column("unit_price", Numeric, nullable=False),
    Column("price_book_id", Text, nullable=False),
    Column("price_book_version", Integer, nullable=False),
    Column("amount", Numeric, nullable=False),
    Column("usage_count", BigInteger, nullable=False),
    Column("usage_sha256", Text, nullable=False),
    Column("corrects", JSON),
    Column("list_price", Numeric, comment="null: the unit price"),
    Column("price_key", Text, comment="null: the list price itself"),
    Column("applied", JSON),
)
PAGE = 100
"""Invoices read at once for a long answer."""
QUANTITY_US = func.coalesce(LINES.c.gpu_us, cast(LINES.c.gpu_ms, Numeric) * US_PER_MS)


_BOTH = LINES.join(
    INVOICES, (LINES.c.tenant_id == INVOICES.c.tenant_id) & (LINES.c.invoice_id == INVOICES.c.invoice_id)
)


class Invoices(Projection):
    """Final invoices with their lines."""

    answer = "invoices"
    version = 3
    reads = (InvoiceFinalized,)
    tables = (INVOICES, LINES)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        final = [(fact, fact.event) for fact in facts if isinstance(fact.event, InvoiceFinalized)]
        await insert(rows, INVOICES, [_row(fact, invoice) for fact, invoice in final])
        await insert(rows, LINES, [line for _, invoice in final for line in _lines(invoice)])

    async def of_tenant(self, db: Database, tenant_id: str, before: int | None, limit: int) -> list[Record]:
        """Up to `limit` invoices of a tenant below position `before`, newest first."""
        query = select(INVOICES).where(INVOICES.c.tenant_id == tenant_id)
        if before is not None:
            query = query.where(INVOICES.c.position < before)
        return await db.fetch(query.order_by(INVOICES.c.position.desc()).limit(limit))

    async def one(self, db: Database, tenant_id: str, invoice_id: str) -> Record | None:
        """One invoice without its lines."""
        return await db.fetch_one(
            select(INVOICES).where(INVOICES.c.tenant_id == tenant_id, INVOICES.c.invoice_id == invoice_id)
        )

    async def of_periods(
        self, db: Database, tenant_id: str, since: datetime | None, until: datetime | None, after: int
    ) -> list[Record]:
        """A tenant's invoices behind position `after` whose periods lie in [`since`, `until`), in the order written."""
        query = select(INVOICES).where(INVOICES.c.tenant_id == tenant_id, INVOICES.c.position > after)
        if since is not None:
            query = query.where(INVOICES.c.period_start >= since)
        if until is not None:
            query = query.where(INVOICES.c.period_end <= until)
        return await db.fetch(query.order_by(INVOICES.c.position).limit(PAGE))

    async def lines_of(self, db: Database, tenant_id: str, invoice_id: str) -> list[Record]:
        """The lines of one invoice in their order."""
        query = select(LINES).where(LINES.c.tenant_id == tenant_id, LINES.c.invoice_id == invoice_id)
        return await db.fetch(query.order_by(LINES.c.line_number))

    async def lines_of_period(
        self, db: Database, tenant_id: str, period_start: datetime, period_end: datetime
    ) -> list[Record]:
        """Every line of a tenant's invoices of exactly this period, in the order they were written.

        Each with its invoice's `currency`, and `quantity_us`: its quantity in GPU-microseconds.
        """
        query = select(LINES, INVOICES.c.currency, QUANTITY_US.label("quantity_us")).select_from(_BOTH)
        query = query.where(
            INVOICES.c.tenant_id == tenant_id,
            INVOICES.c.period_start == period_start,
            INVOICES.c.period_end == period_end,
        )
        return await db.fetch(query.order_by(INVOICES.c.position, LINES.c.line_number))

    async def written_by(self, db: Database, run_id: str) -> list[Record]:
        """Per currency: how many invoices a run has written, and their sum."""
        query = select(
            INVOICES.c.currency, func.count().label("invoices"), func.sum(INVOICES.c.total).label("total")
        ).where(INVOICES.c.run_id == run_id)
        return await db.fetch(query.group_by(INVOICES.c.currency).order_by(INVOICES.c.currency))

    async def tenants_billed_by(self, db: Database, run_id: str) -> set[str]:
        """The tenants that a run has written an invoice for."""
        found = await db.fetch(select(INVOICES.c.tenant_id).where(INVOICES.c.run_id == run_id))
        return {row["tenant_id"] for row in found}

    async def booked(
        self, db: Database, tenant_ids: Sequence[str], period_start: datetime, period_end: datetime, before: int
    ) -> dict[str, dict[LineKey, Booked]]:
        """What invoices of exactly this period, written before position `before`, hold for each tenant's lines."""
        priced = func.coalesce(LINES.c.price_key, "").label("price_key")
        keys = (LINES.c.tenant_id, LINES.c.project_id, LINES.c.gpu_model, LINES.c.price_book_version, priced)
        query = (
            select(*keys, func.sum(QUANTITY_US).label("gpu_us"), func.sum(LINES.c.amount).label("amount"))
            .select_from(_BOTH)
            .where(
                INVOICES.c.tenant_id.in_(list(tenant_ids)),
                INVOICES.c.period_start == period_start,
                INVOICES.c.period_end == period_end,
                INVOICES.c.position < before,
                # A correction says what usage should have cost, not that there was more of it.
                LINES.c.usage_count > 0,
            )
            .group_by(*keys)
        )
        found: defaultdict[str, dict[LineKey, Booked]] = defaultdict(dict)
        for row in await db.fetch(query):
            key = (row["project_id"], row["gpu_model"], row["price_book_version"], row["price_key"])
            found[row["tenant_id"]][key] = Booked(int(row["gpu_us"]), Decimal(row["amount"]))
        return found


def _row(fact: Fact, invoice: InvoiceFinalized) -> dict[str, object]:
    return {
        "tenant_id": invoice.tenant_id,
        "invoice_id": invoice.invoice_id,
        "run_id": invoice.run_id,
        "number": invoice.number,
        "currency": invoice.currency,
        "period_start": invoice.period_start,
        "period_end": invoice.period_end,
        "total": invoice.total,
        "line_count": len(invoice.lines),
        "content_sha256": invoice.content_sha256,
        "finalized_at": fact.time,
        "position": fact.position,
    }


def _lines(invoice: InvoiceFinalized) -> list[dict[str, object]]:
    return [
        {
            "tenant_id": invoice.tenant_id,
            "invoice_id": invoice.invoice_id,
            "line_number": number,
            **{name: getattr(line, name) for name in type(line).model_fields},
            "corrects": None if line.corrects is None else line.corrects.model_dump(mode="json"),
            "applied": None if line.applied is None else [step.model_dump(mode="json") for step in line.applied],
        }
        for number, line in enumerate(invoice.lines, start=1)
    ]
