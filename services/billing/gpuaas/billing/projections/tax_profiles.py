"""How each tenant is taxed. One law: what was set stays on record, so a run reads what held at its position."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from gpuaas.billing.domain.invoice import Terms
from gpuaas.billing.domain.taxes import Tax
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import TaxProfileSet
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Numeric, Table, Text, select

PROFILES = Table(
    "tax_profiles_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("category", Text, nullable=False),
    Column("percent", Numeric, nullable=False),
    Column("exemption_reason", Text),
    Column("payment_days", Integer, nullable=False),
    Column("set_at", DateTime(timezone=True), nullable=False),
)


class TaxProfiles(Projection):
    """Tax profiles, each as often as it was set."""

    answer = "tax_profiles"
    version = 1
    reads = (TaxProfileSet,)
    tables = (PROFILES,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        same = ("tenant_id", "category", "percent", "exemption_reason", "payment_days")
        await insert(
            rows,
            PROFILES,
            [
                {name: getattr(fact.event, name) for name in same} | {"position": fact.position, "set_at": fact.time}
                for fact in facts
                if isinstance(fact.event, TaxProfileSet)
            ],
        )

    async def of_tenant(self, db: Database, tenant_id: str) -> Record | None:
        """The profile that holds now."""
        query = select(PROFILES).where(PROFILES.c.tenant_id == tenant_id)
        return await db.fetch_one(query.order_by(PROFILES.c.position.desc()).limit(1))

    async def terms_of(
        self, db: Database, tenant_ids: Sequence[str], upto: int, written_at: datetime
    ) -> dict[str, Terms]:
        """Terms of an invoice written at `written_at`, by tenant, as they held at position `upto`."""
        query = select(PROFILES).where(PROFILES.c.tenant_id.in_(list(tenant_ids)), PROFILES.c.position <= upto)
        found = await db.fetch(query.order_by(PROFILES.c.position))
        return {row["tenant_id"]: _terms(row, written_at) for row in found}


def _terms(row: Record, written_at: datetime) -> Terms:
    return Terms(
        tax=Tax(row["category"], Decimal(row["percent"])),
        due_at=written_at + timedelta(days=row["payment_days"]),
        exemption_reason=row["exemption_reason"],
    )
