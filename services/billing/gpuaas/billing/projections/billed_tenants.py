"""In which currency a tenant pays, and whether its books are closed. One law: what iam said of the tenant."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.iam import TenantClosed, TenantCreated
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Table, Text, select

TENANTS = Table(
    "billed_tenants_v2",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("closed_at", DateTime(timezone=True), comment="null: it is not"),
    Column("position", BigInteger, nullable=False),
)


class BilledTenants(Projection):
    """Billing currency by tenant, and when it was closed."""

    answer = "billed_tenants"
    version = 2
    reads = (TenantCreated, TenantClosed)
    tables = (TENANTS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        created = [(fact.position, fact.event) for fact in facts if isinstance(fact.event, TenantCreated)]
        await upsert(
            rows,
            TENANTS,
            [
                {
                    "tenant_id": tenant.tenant_id,
                    "currency": tenant.billing_currency,
                    "closed_at": None,
                    "position": position,
                }
                for position, tenant in created
            ],
        )
        for fact in facts:
            if isinstance(fact.event, TenantClosed):
                await rows.execute(
                    "UPDATE billed_tenants_v2 SET closed_at = $2 WHERE tenant_id = $1", fact.event.tenant_id, fact.time
                )

    async def one(self, db: Database, tenant_id: str) -> Record | None:
        """A tenant's row."""
        return await db.fetch_one(select(TENANTS).where(TENANTS.c.tenant_id == tenant_id))

    async def currencies_of(self, db: Database, tenant_ids: Sequence[str]) -> dict[str, str]:
        """Currency by tenant, for those that are known."""
        query = select(TENANTS).where(TENANTS.c.tenant_id.in_(list(tenant_ids)))
        return {row["tenant_id"]: row["currency"] for row in await db.fetch(query)}
