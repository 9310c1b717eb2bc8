"""Which labels an allocation carries. One law: as it was asked for; a label never changes afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Rows, upsert
from gpuaas.contracts.allocations import AllocationRequested
from sqlalchemy import Column, Index, MetaData, Table, Text, select

LABELS = Table(
    "labelled_allocations_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("allocation_id", Text, primary_key=True),
    Column("label_name", Text, primary_key=True),
    Column("label_value", Text, nullable=False),
    Index("labelled_allocations_v1_by_label", "tenant_id", "label_name", "label_value"),
)


class LabelledAllocations(Projection):
    """Labels by allocation."""

    answer = "labelled_allocations"
    version = 1
    reads = (AllocationRequested,)
    tables = (LABELS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        labelled = [
            {
                "tenant_id": fact.event.tenant_id,
                "allocation_id": fact.event.allocation_id,
                "label_name": name,
                "label_value": value,
            }
            for fact in facts
            if isinstance(fact.event, AllocationRequested)
            for name, value in fact.event.labels.items()
        ]
        await upsert(rows, LABELS, labelled)

    async def carrying(self, db: Database, tenant_id: str, name: str, value: str) -> set[str]:
        """The allocations of a tenant that carry a label."""
        query = select(LABELS.c.allocation_id).where(
            LABELS.c.tenant_id == tenant_id, LABELS.c.label_name == name, LABELS.c.label_value == value
        )
        return {row["allocation_id"] for row in await db.fetch(query)}
