"""What gates have decided. One law: a decision says what was so when it was taken, never what is so now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuaas.common.projections import Database, Fact, Projection, Record, Rows, upsert
from gpuaas.contracts.evidence import GateDecided
from sqlalchemy import BigInteger, Column, DateTime, Index, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

DECISIONS = Table(
    "gates_v1",
    MetaData(),
    Column("position", BigInteger, primary_key=True),
    Column("gate_id", Text, nullable=False),
    Column("subject_sha256", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("said", JSONB, nullable=False),
    Index("gates_v1_gate", "gate_id", "position"),
    Index("gates_v1_subject", "subject_sha256", "profile", "position"),
)


class Gates(Projection):
    """Every decision of every gate; `said` is the event's data."""

    answer = "gates"
    version = 1
    reads = (GateDecided,)
    tables = (DECISIONS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        await upsert(rows, DECISIONS, [_row(fact, fact.event) for fact in facts if isinstance(fact.event, GateDecided)])

    async def decisions(
        self, database: Database, *, limit: int, before_position: int | None = None, gate_id: str | None = None
    ) -> list[Record]:
        """Up to `limit` decisions, newest first."""
        query = select(DECISIONS).order_by(DECISIONS.c.position.desc()).limit(limit)
        if before_position is not None:
            query = query.where(DECISIONS.c.position < before_position)
        if gate_id is not None:
            query = query.where(DECISIONS.c.gate_id == gate_id)
        return await database.fetch(query)

    async def newest_about(self, database: Database, subject_sha256: str, profile: str, *, limit: int) -> list[Record]:
        """The newest decision of each gate about this subject in this profile, by gate id."""
        decisions = DECISIONS.c
        return await database.fetch(
            select(DECISIONS)
            .where(decisions.subject_sha256 == subject_sha256, decisions.profile == profile)
            .ext(distinct_on(decisions.gate_id))
            .order_by(decisions.gate_id, decisions.position.desc())
            .limit(limit)
        )


def _row(fact: Fact, event: GateDecided) -> dict[str, Any]:
    return {
        "position": fact.position,
        "gate_id": event.gate_id,
        "subject_sha256": event.subject_sha256,
        "profile": event.profile,
        "verdict": event.verdict,
        "decided_at": event.decided_at,
        "decided_by": fact.envelope.actor,
        "said": event.model_dump(mode="json"),
    }


def shown(row: Record) -> dict[str, Any]:
    """A decision as it was said, with where and by whom."""
    return {**row["said"], "position": row["position"], "decided_by": row["decided_by"]}
