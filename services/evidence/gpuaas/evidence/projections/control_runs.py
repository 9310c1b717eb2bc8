"""When the negative controls were run, and how it went. One law: the newest run is the one a gate looks at."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.projections import Database, Fact, Projection, Record, Rows, upsert
from gpuaas.contracts.evidence import ControlsRun
from gpuaas.evidence.domain.inputs import ControlsOnFile
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB

RUNS = Table(
    "control_runs_v1",
    MetaData(),
    Column("position", BigInteger, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("ran_at", DateTime(timezone=True), nullable=False),
    Column("not_refused", Integer, nullable=False),
    Column("said", JSONB, nullable=False),
)


class ControlRuns(Projection):
    """Every run of the negative controls; `said` is the event's data."""

    answer = "control_runs"
    version = 1
    reads = (ControlsRun,)
    tables = (RUNS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        found = [
            {
                "position": fact.position,
                "run_id": event.run_id,
                "ran_at": event.ran_at,
                "not_refused": event.not_refused,
                "said": event.model_dump(mode="json", exclude_none=True),
            }
            for fact in facts
            if isinstance(event := fact.event, ControlsRun)
        ]
        await upsert(rows, RUNS, found)

    async def listed(self, database: Database, *, limit: int, before_position: int | None = None) -> list[Record]:
        """Up to `limit` runs, newest first."""
        query = select(RUNS).order_by(RUNS.c.position.desc()).limit(limit)
        return await database.fetch(
            query if before_position is None else query.where(RUNS.c.position < before_position)
        )

    async def for_gate(self, database: Database) -> ControlsOnFile | None:
        """The newest run."""
        found = await self.listed(database, limit=1)
        if not found:
            return None
        return ControlsOnFile(position=found[0]["position"], ran=ControlsRun.model_validate(found[0]["said"]))
