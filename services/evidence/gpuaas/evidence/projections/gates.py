"""What gates have decided. One law: a decision says what was so when it was taken, never what is so now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuaas.common.projections import Database, Fact, Projection, Record, Rows, upsert
from gpuaas.contracts.evidence import GateDecided, GateRevoked, RequirementKind
from sqlalchemy import BigInteger, Column, DateTime, Index, MetaData, Table, Text, literal, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

_META = MetaData()
DECISIONS = Table(
    "gates_v2",
    _META,
    Column("position", BigInteger, primary_key=True),
    Column("gate_id", Text, nullable=False),
    Column("subject_sha256", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("kinds", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("said", JSONB, nullable=False),
    Index("gates_v2_gate", "gate_id", "position"),
    Index("gates_v2_subject", "subject_sha256", "profile", "position"),
)
REVOCATIONS = Table(
    "revocations_v2",
    _META,
    Column("position", BigInteger, primary_key=True),
    Column("subject_sha256", Text, nullable=False),
    Column("said", JSONB, nullable=False),
    Index("revocations_v2_subject", "subject_sha256", "position"),
)
KINDS_JOIN = ","


class Gates(Projection):
    """Every decision and revocation of every gate; `said` is the event's data."""

    answer = "gates"
    version = 2
    reads = (GateDecided, GateRevoked)
    tables = (DECISIONS, REVOCATIONS)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        await upsert(rows, DECISIONS, [_row(fact, fact.event) for fact in facts if isinstance(fact.event, GateDecided)])
        taken_back = [_revoked(fact, fact.event) for fact in facts if isinstance(fact.event, GateRevoked)]
        await upsert(rows, REVOCATIONS, taken_back)

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
        """The newest decision of each gate (and choice of kinds) about this subject in this profile, by gate id."""
        decisions = DECISIONS.c
        return await database.fetch(
            select(DECISIONS)
            .where(decisions.subject_sha256 == subject_sha256, decisions.profile == profile)
            .ext(distinct_on(decisions.gate_id, decisions.kinds))
            .order_by(decisions.gate_id, decisions.kinds, decisions.position.desc())
            .limit(limit)
        )

    async def standing(
        self, database: Database, *, limit: int, after: tuple[str, str, str, str] | None = None
    ) -> list[Record]:
        """Up to `limit` newest decisions that are a pass, of every gate about every subject, in a fixed order."""
        keys = (DECISIONS.c.gate_id, DECISIONS.c.subject_sha256, DECISIONS.c.profile, DECISIONS.c.kinds)
        newest = select(DECISIONS).ext(distinct_on(*keys)).order_by(*keys, DECISIONS.c.position.desc()).subquery()
        query = select(newest).where(newest.c.verdict == "pass")
        ordered = [newest.c[key.name] for key in keys]
        if after is not None:
            query = query.where(tuple_(*ordered) > tuple_(*(literal(key) for key in after)))
        return await database.fetch(query.order_by(*ordered).limit(limit))

    async def revocations(self, database: Database, subject_sha256: str, *, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` revocations about this subject, newest first."""
        query = select(REVOCATIONS).where(REVOCATIONS.c.subject_sha256 == subject_sha256)
        rows = await database.fetch(query.order_by(REVOCATIONS.c.position.desc()).limit(limit))
        return [{**row["said"], "position": row["position"]} for row in rows]


def _row(fact: Fact, event: GateDecided) -> dict[str, Any]:
    return {
        "position": fact.position,
        "gate_id": event.gate_id,
        "subject_sha256": event.subject_sha256,
        "profile": event.profile,
        "kinds": KINDS_JOIN.join(event.kinds or ()),
        "verdict": event.verdict,
        "decided_at": event.decided_at,
        "decided_by": fact.envelope.actor,
        "said": event.model_dump(mode="json", exclude_none=True),
    }


def kinds_of(row: Record) -> tuple[RequirementKind, ...]:
    """The kinds of requirement that were asked for; none: all."""
    return GateDecided.model_validate(row["said"]).kinds or ()


def _revoked(fact: Fact, event: GateRevoked) -> dict[str, Any]:
    said = event.model_dump(mode="json", exclude_none=True)
    return {"position": fact.position, "subject_sha256": event.subject_sha256, "said": said}


def shown(row: Record) -> dict[str, Any]:
    """A decision as it was said, with where and by whom."""
    return {**row["said"], "position": row["position"], "decided_by": row["decided_by"]}
