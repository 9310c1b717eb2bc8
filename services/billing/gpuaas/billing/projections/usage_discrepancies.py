"""Where what was metered and another account disagree. One law: a row is one event, and nothing follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import UsageDiscrepancyFound
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Table, Text, select

DISCREPANCIES = Table(
    "usage_discrepancies_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("discrepancy_id", Text, nullable=False),
    Column("usage_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("allocation_id", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("found_from", DateTime(timezone=True), nullable=False),
    Column("found_until", DateTime(timezone=True), nullable=False),
    Column("gpu_ms", BigInteger, nullable=False),
    Column("event_id", Text),
    Column("detail", Text, nullable=False),
    Column("found_at", DateTime(timezone=True), nullable=False),
)


class UsageDiscrepancies(Projection):
    """Discrepancies by tenant."""

    answer = "usage_discrepancies"
    version = 1
    reads = (UsageDiscrepancyFound,)
    tables = (DISCREPANCIES,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        found = [(fact, fact.event) for fact in facts if isinstance(fact.event, UsageDiscrepancyFound)]
        same = [{name: getattr(event, name) for name in type(event).model_fields} for _, event in found]
        moments = [{"position": fact.position, "found_at": fact.time} for fact, _ in found]
        await insert(rows, DISCREPANCIES, [row | moment for row, moment in zip(same, moments, strict=True)])

    async def of_tenant(self, db: Database, tenant_id: str, before: int | None, limit: int) -> list[Record]:
        """Up to `limit` discrepancies of a tenant below position `before`, newest first."""
        query = select(DISCREPANCIES).where(DISCREPANCIES.c.tenant_id == tenant_id)
        if before is not None:
            query = query.where(DISCREPANCIES.c.position < before)
        return await db.fetch(query.order_by(DISCREPANCIES.c.position.desc()).limit(limit))
