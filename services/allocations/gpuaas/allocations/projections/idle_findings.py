"""What was noticed as idle, and what came of it. One law: one row per notice, closed by what was said after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.allocations import AllocationIdleEnded, AllocationIdleNoticed, AllocationReleased
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import TIMESTAMP

TABLE: Final = Table(
    "idle_findings_v1",
    MetaData(),
    Column("position", BigInteger, primary_key=True),
    Column("allocation_id", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("pool_id", Text, nullable=False),
    Column("idle_since", TIMESTAMP(timezone=True), nullable=False),
    Column("noticed_at", TIMESTAMP(timezone=True), nullable=False),
    Column("reclaim_at", TIMESTAMP(timezone=True), nullable=False),
    Column("idle_after_s", Integer, nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("below_percent", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("outcome", Text),
    Column("over_at", TIMESTAMP(timezone=True)),
    Index("idle_findings_v1_open", "allocation_id"),
    Index("idle_findings_v1_by_project", "tenant_id", "project_id", "position"),
)
"""`outcome`: taken-back, ended (otherwise), or why it was called off; absent: the notice stands."""
_CLOSE: Final = (
    f"UPDATE {TABLE.name} SET outcome = $2, over_at = $3 "  # noqa: S608 - the table's own name
    "WHERE allocation_id = $1 AND outcome IS NULL"
)


class IdleFindings(Projection):
    """Notices of idleness."""

    answer = "idle_findings"
    version = 1
    reads = (AllocationIdleNoticed, AllocationIdleEnded, AllocationReleased)
    tables = (TABLE,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        for fact in facts:
            match fact.event:
                case AllocationIdleNoticed() as found:
                    await insert(rows, TABLE, [_row(fact, found)])
                case AllocationIdleEnded() as over:
                    await rows.execute(_CLOSE, over.allocation_id, over.why, over.ended_at)
                case AllocationReleased() as end:
                    outcome = "taken-back" if end.because == "idle" else "ended"
                    await rows.execute(_CLOSE, end.allocation_id, outcome, end.ended_at)

    async def standing(self, db: Database, allocation_id: str) -> dict[str, Any] | None:
        """The notice that stands, if any does."""
        t = TABLE.c
        columns = (t.idle_since, t.noticed_at, t.reclaim_at, t.samples, t.below_percent, t.source)
        row = await db.fetch_one(select(*columns).where(t.allocation_id == allocation_id, t.outcome.is_(None)))
        return None if row is None else dict(row)

    async def newest(
        self, db: Database, of: tuple[str, str] | None, pool_id: str | None, before: int | None, limit: int
    ) -> list[Record]:
        """Notices of a project or a pool before position `before` of the log, the newest first."""
        t = TABLE.c
        query = select(TABLE).order_by(t.position.desc()).limit(limit)
        if of is not None:
            query = query.where(t.tenant_id == of[0], t.project_id == of[1])
        if pool_id is not None:
            query = query.where(t.pool_id == pool_id)
        return await db.fetch(query if before is None else query.where(t.position < before))


def _row(fact: Fact, found: AllocationIdleNoticed) -> dict[str, Any]:
    names = [name for name in TABLE.columns.keys() if name not in ("position", "outcome", "over_at")]  # noqa: SIM118
    return {
        "position": fact.position,
        **{name: getattr(found, name) for name in names},
        "outcome": None,
        "over_at": None,
    }
