"""In which currency a tenant pays. One law: what iam said when the tenant was created."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Rows, upsert
from gpuaas.contracts.iam import TenantCreated
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, select

TENANTS = Table(
    "billed_tenants_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
)


class BilledTenants(Projection):
    """Billing currency by tenant."""

    answer = "billed_tenants"
    version = 1
    reads = (TenantCreated,)
    tables = (TENANTS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        created = [(fact.position, fact.event) for fact in facts if isinstance(fact.event, TenantCreated)]
        await upsert(
            rows,
            TENANTS,
            [
                {"tenant_id": tenant.tenant_id, "currency": tenant.billing_currency, "position": position}
                for position, tenant in created
            ],
        )

    async def currencies_of(self, db: Database, tenant_ids: Sequence[str]) -> dict[str, str]:
        """Currency by tenant, for those that are known."""
        query = select(TENANTS).where(TENANTS.c.tenant_id.in_(list(tenant_ids)))
        return {row["tenant_id"]: row["currency"] for row in await db.fetch(query)}
