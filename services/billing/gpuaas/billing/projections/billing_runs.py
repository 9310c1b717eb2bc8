"""Which runs there were. One law: billed periods are equal or apart, and a period is billed by one run at a time.

A run that crosses an earlier one, or begins while one for the same period is not done, is void. The order of the log
decides which of two runs is the earlier, so everyone who folds it agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gpuaas.billing.domain.metering import Interval
from gpuaas.billing.domain.unbilled import BilledPeriod
from gpuaas.common.clock import rfc3339
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Rejected
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import BillingRunCompleted, BillingRunStarted
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Table, Text, func, select

RUNS = Table(
    "billing_runs_v2",
    MetaData(),
    Column("run_id", Text, primary_key=True),
    Column("status", Text, nullable=False, comment="running, completed or void"),
    Column("void_reason", Text),
    Column("period_start", DateTime(timezone=True), nullable=False),
    Column("period_end", DateTime(timezone=True), nullable=False),
    Column("since_position", BigInteger, nullable=False),
    Column("log_position", BigInteger, nullable=False),
    Column("price_book_sha256", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("correction_id", Text),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("completed_at", DateTime(timezone=True)),
    Column("position", BigInteger, nullable=False),
)


class BillingRuns(Projection):
    """Billing runs and where each one began to read."""

    answer = "billing_runs"
    version = 2
    reads = (BillingRunStarted, BillingRunCompleted)
    tables = (RUNS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        for fact in facts:
            match fact.event:
                case BillingRunStarted() as started:
                    await insert(rows, RUNS, [await _started(rows, fact, started)])
                case BillingRunCompleted() as completed:
                    await rows.execute(
                        "UPDATE billing_runs_v2 SET completed_at = $2, "
                        "status = CASE status WHEN 'void' THEN 'void' ELSE 'completed' END WHERE run_id = $1",
                        completed.run_id,
                        fact.time,
                    )

    async def one(self, db: Database, run_id: str) -> Record | None:
        """One run."""
        return await db.fetch_one(select(RUNS).where(RUNS.c.run_id == run_id))

    async def runs(self, db: Database, before: int | None, limit: int) -> list[Record]:
        """Up to `limit` runs below position `before`, newest first."""
        query = select(RUNS) if before is None else select(RUNS).where(RUNS.c.position < before)
        return await db.fetch(query.order_by(RUNS.c.position.desc()).limit(limit))

    async def refuse_void(self, db: Database, period_start: datetime, period_end: datetime) -> None:
        """Return if a run over this period, started now, would not be void.

        Raises:
            Rejected: it would; says which run is in its way.
        """
        query = select(RUNS).where(
            RUNS.c.status != "void", RUNS.c.period_start < period_end, RUNS.c.period_end > period_start
        )
        for row in await db.fetch(query.order_by(RUNS.c.position)):
            if reason := _in_the_way(row, period_start, period_end):
                raise Rejected(reason)

    async def billed_periods(self, db: Database) -> list[BilledPeriod]:
        """Every billed period, and the position up to which usage in it is billed."""
        query = select(RUNS.c.period_start, RUNS.c.period_end, func.max(RUNS.c.log_position).label("upto"))
        query = query.where(RUNS.c.status != "void").group_by(RUNS.c.period_start, RUNS.c.period_end)
        return [
            BilledPeriod(Interval.between(row["period_start"], row["period_end"]), row["upto"])
            for row in await db.fetch(query.order_by(RUNS.c.period_start))
        ]

    async def newest_of(self, db: Database, period_start: datetime, period_end: datetime) -> Record | None:
        """The newest run that billed usage of exactly this period."""
        query = select(RUNS).where(
            RUNS.c.status != "void",
            RUNS.c.correction_id.is_(None),
            RUNS.c.period_start == period_start,
            RUNS.c.period_end == period_end,
        )
        return await db.fetch_one(query.order_by(RUNS.c.position.desc()).limit(1))

    async def is_running(self, db: Database) -> bool:
        """Whether a run is writing invoices."""
        return await db.fetch_one(select(RUNS.c.run_id).where(RUNS.c.status == "running").limit(1)) is not None

    async def billed_until(self, db: Database) -> datetime | None:
        """The end of the latest billed period, or None before the first."""
        row = await db.fetch_one(select(func.max(RUNS.c.period_end).label("until")).where(RUNS.c.status != "void"))
        return row["until"] if row else None


async def _started(rows: Rows, fact: Fact, started: BillingRunStarted) -> dict[str, object]:
    earlier = await rows.fetch(
        "SELECT run_id, status, period_start, period_end, log_position FROM billing_runs_v2 "
        "WHERE status <> 'void' AND period_start < $2 AND period_end > $1 ORDER BY position",
        started.period_start,
        started.period_end,
    )
    reasons = [reason for row in earlier if (reason := _in_the_way(row, started.period_start, started.period_end))]
    return {
        "run_id": started.run_id,
        "status": "void" if reasons else "running",
        "void_reason": reasons[0] if reasons else None,
        "period_start": started.period_start,
        "period_end": started.period_end,
        "since_position": max((row["log_position"] for row in earlier), default=0),
        "log_position": started.log_position,
        "price_book_sha256": started.price_book_sha256,
        "code_version": started.code_version,
        "correction_id": started.correction_id,
        "started_at": fact.time,
        "position": fact.position,
    }


def _in_the_way(row: Record, period_start: datetime, period_end: datetime) -> str | None:
    """Why a run over this period cannot follow the run in `row`, whose period meets it; None if it can."""
    if (row["period_start"], row["period_end"]) != (period_start, period_end):
        return (
            f"the period crosses that of run {row['run_id']}, {rfc3339(row['period_start'])} to "
            f"{rfc3339(row['period_end'])}; bill that period again, or one beside it"
        )
    if row["status"] == "running":
        return f"run {row['run_id']} is still billing this period; start again when it is done"
    return None
