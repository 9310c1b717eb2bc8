"""Budgets and how far they are. One law: the newest setting counts, and every crossing stays on record."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert, upsert
from gpuaas.contracts.billing import BudgetSet, BudgetThresholdCrossed, BudgetWithdrawn, SpendingLevelChanged
from sqlalchemy import JSON, BigInteger, Column, DateTime, Integer, MetaData, Numeric, Table, Text, select

_META = MetaData()
BUDGETS = Table(
    "budgets_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("budget_id", Text, primary_key=True),
    Column("project_id", Text),
    Column("label_name", Text),
    Column("label_value", Text),
    Column("currency", Text, nullable=False),
    Column("amount", Numeric, nullable=False),
    Column("thresholds", JSON, nullable=False),
    Column("action", Text, nullable=False),
    Column("withdrawn_at", DateTime(timezone=True)),
    Column("position", BigInteger, nullable=False),
)
CROSSINGS = Table(
    "budget_crossings_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("budget_id", Text, nullable=False),
    Column("month", Text, nullable=False),
    Column("percent", Integer, nullable=False),
    Column("of", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", Numeric, nullable=False),
    Column("spent", Numeric, nullable=False),
    Column("forecast", Numeric, nullable=False),
    Column("crossed_at", DateTime(timezone=True), nullable=False),
)
LEVELS = Table(
    "spending_levels_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("scope_id", Text, primary_key=True),
    Column("project_id", Text),
    Column("level", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("runway_s", BigInteger),
    Column("grace_until", DateTime(timezone=True)),
    Column("detail", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
)


class Budgets(Projection):
    """Budgets, their crossings, and the spending level of every scope."""

    answer = "budgets"
    version = 1
    reads = (BudgetSet, BudgetThresholdCrossed, BudgetWithdrawn, SpendingLevelChanged)
    tables = (BUDGETS, CROSSINGS, LEVELS)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        for fact in facts:
            match fact.event:
                case BudgetSet() as order:
                    await upsert(rows, BUDGETS, [_row(fact, order)])
                case BudgetThresholdCrossed() as crossed:
                    same = ("tenant_id", "budget_id", "month", "percent", "of", "currency", "amount", "spent")
                    row = {name: getattr(crossed, name) for name in (*same, "forecast")}
                    await insert(rows, CROSSINGS, [row | {"position": fact.position, "crossed_at": fact.time}])
                case BudgetWithdrawn() as end:
                    await rows.execute(
                        "UPDATE budgets_v1 SET withdrawn_at = $3, position = $4 "
                        "WHERE tenant_id = $1 AND budget_id = $2",
                        end.tenant_id,
                        end.budget_id,
                        fact.time,
                        fact.position,
                    )
                case SpendingLevelChanged() as changed:
                    row = {name: getattr(changed, name) for name in type(changed).model_fields}
                    await upsert(rows, LEVELS, [row | {"changed_at": fact.time, "position": fact.position}])

    async def tenants(self, db: Database) -> list[str]:
        """Everybody with a budget that counts."""
        query = select(BUDGETS.c.tenant_id).distinct().where(BUDGETS.c.withdrawn_at.is_(None))
        return [row["tenant_id"] for row in await db.fetch(query.order_by(BUDGETS.c.tenant_id))]

    async def of_tenant(self, db: Database, tenant_id: str) -> list[Record]:
        """Budgets that count, by id."""
        query = select(BUDGETS).where(BUDGETS.c.tenant_id == tenant_id, BUDGETS.c.withdrawn_at.is_(None))
        return await db.fetch(query.order_by(BUDGETS.c.budget_id))

    async def crossings_of(self, db: Database, tenant_id: str, before: int | None, limit: int) -> list[Record]:
        """Up to `limit` crossings below position `before`, newest first."""
        query = select(CROSSINGS).where(CROSSINGS.c.tenant_id == tenant_id)
        if before is not None:
            query = query.where(CROSSINGS.c.position < before)
        return await db.fetch(query.order_by(CROSSINGS.c.position.desc()).limit(limit))

    async def levels_of(self, db: Database, tenant_id: str) -> list[Record]:
        """Where each scope of a tenant stands."""
        query = select(LEVELS).where(LEVELS.c.tenant_id == tenant_id)
        return await db.fetch(query.order_by(LEVELS.c.scope_id))


def _row(fact: Fact, order: BudgetSet) -> dict[str, object]:
    same = ("tenant_id", "budget_id", "project_id", "label_name", "label_value", "currency", "amount", "action")
    return {name: getattr(order, name) for name in same} | {
        "thresholds": [each.model_dump() for each in order.thresholds],
        "withdrawn_at": None,
        "position": fact.position,
    }
