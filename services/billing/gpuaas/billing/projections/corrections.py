"""Corrections of billed periods. One law: a row is one event; what it changed stands in its documents."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import CorrectionIssued
from sqlalchemy import JSON, BigInteger, Column, DateTime, MetaData, Numeric, Table, Text, select

CORRECTIONS = Table(
    "corrections_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("correction_id", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("period_start", DateTime(timezone=True), nullable=False),
    Column("period_end", DateTime(timezone=True), nullable=False),
    Column("run_id", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("changes", JSON, nullable=False),
    Column("difference", Numeric, nullable=False),
    Column("credit_note_ids", JSON, nullable=False),
    Column("invoice_id", Text),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
)
_SAME = ("tenant_id", "correction_id", "currency", "period_start", "period_end", "run_id", "detail", "difference")


class CorrectionsIssued(Projection):
    """Corrections by tenant."""

    answer = "corrections"
    version = 1
    reads = (CorrectionIssued,)
    tables = (CORRECTIONS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        issued = [(fact, fact.event) for fact in facts if isinstance(fact.event, CorrectionIssued)]
        await insert(rows, CORRECTIONS, [_row(fact, correction) for fact, correction in issued])

    async def of_tenant(self, db: Database, tenant_id: str, before: int | None, limit: int) -> list[Record]:
        """Up to `limit` corrections of a tenant below position `before`, newest first."""
        query = select(CORRECTIONS).where(CORRECTIONS.c.tenant_id == tenant_id)
        if before is not None:
            query = query.where(CORRECTIONS.c.position < before)
        return await db.fetch(query.order_by(CORRECTIONS.c.position.desc()).limit(limit))


def _row(fact: Fact, issued: CorrectionIssued) -> dict[str, object]:
    return {name: getattr(issued, name) for name in _SAME} | {
        "changes": [change.model_dump(mode="json") for change in issued.changes],
        "credit_note_ids": list(issued.credit_note_ids),
        "invoice_id": issued.invoice_id,
        "issued_at": fact.time,
        "position": fact.position,
    }
