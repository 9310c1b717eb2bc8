"""Which tenants there are. One law: only iam's own events make a tenant."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.access import Reach
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.reaching import scopes_where
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import TenantCreated
from sqlalchemy import Column, DateTime, MetaData, Table, Text, select, true

TENANTS_V1 = Table(
    "tenants_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("billing_currency", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)


class Tenants(Projection):
    """One row per tenant."""

    answer = "tenants"
    version = 1
    reads = (TenantCreated,)
    tables = (TENANTS_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        created = [(fact.time, fact.event) for fact in facts if isinstance(fact.event, TenantCreated)]
        await insert(
            rows,
            TENANTS_V1,
            [
                {
                    "tenant_id": event.tenant_id,
                    "display_name": event.display_name,
                    "billing_currency": event.billing_currency,
                    "created_at": at,
                }
                for at, event in created
            ],
        )

    async def named(self, database: Database, tenant_id: str) -> Record | None:
        """One tenant, or None."""
        return await database.fetch_one(select(TENANTS_V1).where(TENANTS_V1.c.tenant_id == tenant_id))

    async def within(self, database: Database, reach: Reach, after: str | None, count: int) -> list[Record]:
        """At most `count` tenants that `reach` covers, by id, beginning after `after`."""
        key = TENANTS_V1.c.tenant_id
        seen = scopes_where(reach, key)
        query = select(TENANTS_V1).where(seen, true() if after is None else key > after).order_by(key).limit(count)
        return await database.fetch(query)
