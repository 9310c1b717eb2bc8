"""Quotas as they stand. One law: one row per scope, the newest word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.allocations import QuotaSet
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, select, tuple_

TABLE: Final = Table(
    "quotas_v1",
    MetaData(),
    Column("pool_id", Text, primary_key=True),
    Column("tenant_id", Text, primary_key=True),
    Column("gpu_model", Text, primary_key=True),
    Column("project_id", Text, primary_key=True),
    Column("nominal_gpus", Integer, nullable=False),
    Column("borrow_gpus", Integer),
    Column("weight", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
)
"""`project_id` is empty for the tenant as a whole."""
KEYS: Final = ("pool_id", "tenant_id", "gpu_model", "project_id")


class QuotasInForce(Projection):
    """Who is entitled to what."""

    answer = "quotas"
    version = 1
    reads = (QuotaSet,)
    tables = (TABLE,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        newest: dict[tuple[Any, ...], dict[str, Any]] = {}
        for fact in facts:
            said = fact.event
            assert isinstance(said, QuotaSet)
            row = {**said.model_dump(), "project_id": said.project_id or "", "position": fact.position}
            newest[tuple(row[key] for key in KEYS)] = row
        await upsert(rows, TABLE, list(newest.values()))

    async def listed(
        self, db: Database, tenant_id: str | None, pool_id: str | None, after: tuple[Any, ...], limit: int
    ) -> list[Record]:
        """Quotas of a tenant or a pool in order of `KEYS`, beginning after `after`."""
        keys = [TABLE.c[key] for key in KEYS]
        query = select(TABLE).order_by(*keys).limit(limit)
        for column, value in ((TABLE.c.tenant_id, tenant_id), (TABLE.c.pool_id, pool_id)):
            if value is not None:
                query = query.where(column == value)
        return await db.fetch(query.where(tuple_(*keys) > tuple_(*after)) if after else query)
