"""Which requirements there are, every version of each. One law: the newest version is the one in force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuaas.common.projections import Database, Fact, Projection, Record, Rows, upsert
from gpuaas.contracts.evidence import RequirementPublished
from gpuaas.evidence.domain.inputs import RequirementOnFile
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Select, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

REQUIREMENTS = Table(
    "requirements_v1",
    MetaData(),
    Column("requirement_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False),
    Column("published_by", Text, nullable=False),
    Column("said", JSONB, nullable=False),
)


class Requirements(Projection):
    """Every version of every requirement; `said` is the event's data."""

    answer = "requirements"
    version = 1
    reads = (RequirementPublished,)
    tables = (REQUIREMENTS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        said = [_row(fact, version) for fact in facts if isinstance(version := fact.event, RequirementPublished)]
        await upsert(rows, REQUIREMENTS, said)

    async def newest(self, database: Database, *, limit: int, after_id: str | None = None) -> list[Record]:
        """The version in force of up to `limit` requirements, by id."""
        query = _newest().limit(limit)
        if after_id is not None:
            query = query.where(REQUIREMENTS.c.requirement_id > after_id)
        return await database.fetch(query)

    async def versions(self, database: Database, requirement_id: str, *, limit: int) -> list[Record]:
        """Up to `limit` versions of one requirement, newest first; none if there is no such requirement."""
        query = select(REQUIREMENTS).where(REQUIREMENTS.c.requirement_id == requirement_id)
        return await database.fetch(query.order_by(REQUIREMENTS.c.version.desc()).limit(limit))

    async def in_force(self, database: Database, profile: str, *, limit: int) -> list[RequirementOnFile]:
        """Newest versions that apply in `profile`, by id."""
        newest = _newest().subquery()
        rows = await database.fetch(select(newest).where(newest.c.said["profiles"].contains([profile])).limit(limit))
        return [
            RequirementOnFile(position=row["position"], published=RequirementPublished.model_validate(row["said"]))
            for row in sorted(rows, key=lambda row: str(row["requirement_id"]))
        ]


def _newest() -> Select[Any]:
    table = REQUIREMENTS.c
    newest_first = (table.requirement_id, table.version.desc())
    return select(REQUIREMENTS).ext(distinct_on(table.requirement_id)).order_by(*newest_first)


def _row(fact: Fact, event: RequirementPublished) -> dict[str, Any]:
    return {
        "requirement_id": event.requirement_id,
        "version": event.version,
        "position": fact.position,
        "published_at": fact.time,
        "published_by": fact.envelope.actor,
        "said": event.model_dump(mode="json", exclude_none=True),
    }


def shown(row: Record) -> dict[str, Any]:
    """A version as it was published, with where, when and by whom."""
    return {**row["said"], **{name: row[name] for name in ("position", "published_at", "published_by")}}
