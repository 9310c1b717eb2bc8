"""Which releases there are. One law: a release is found by its root digest; its name is for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuaas.common.projections import Database, Fact, Projection, Record, Rows, upsert
from gpuaas.contracts.evidence import ReleaseRegistered
from gpuaas.evidence.domain.inputs import ReleaseOnFile
from sqlalchemy import BigInteger, Column, DateTime, Index, MetaData, Table, Text, or_, select
from sqlalchemy.dialects.postgresql import JSONB

RELEASES = Table(
    "releases_v1",
    MetaData(),
    Column("root_sha256", Text, primary_key=True),
    Column("release_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("registered_at", DateTime(timezone=True), nullable=False),
    Column("registered_by", Text, nullable=False),
    Column("said", JSONB, nullable=False),
    Index("releases_v1_position", "position"),
    Index("releases_v1_name", "name"),
    Index("releases_v1_id", "release_id"),
)


class Releases(Projection):
    """Every release; `said` is the event's data."""

    answer = "releases"
    version = 1
    reads = (ReleaseRegistered,)
    tables = (RELEASES,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        said = [_row(fact, event) for fact in facts if isinstance(event := fact.event, ReleaseRegistered)]
        await upsert(rows, RELEASES, said)

    async def listed(self, database: Database, *, limit: int, before_position: int | None = None) -> list[Record]:
        """Up to `limit` releases, newest first."""
        query = select(RELEASES).order_by(RELEASES.c.position.desc()).limit(limit)
        if before_position is not None:
            query = query.where(RELEASES.c.position < before_position)
        return await database.fetch(query)

    async def found(self, database: Database, words: str) -> Record | None:
        """The newest release with this root digest, id or name."""
        named = or_(RELEASES.c.root_sha256 == words, RELEASES.c.release_id == words, RELEASES.c.name == words)
        return await database.fetch_one(select(RELEASES).where(named).order_by(RELEASES.c.position.desc()).limit(1))

    async def for_gate(self, database: Database, root_sha256: str) -> ReleaseOnFile | None:
        """The release with this root digest."""
        row = await database.fetch_one(select(RELEASES).where(RELEASES.c.root_sha256 == root_sha256))
        if row is None:
            return None
        return ReleaseOnFile(position=row["position"], registered=ReleaseRegistered.model_validate(row["said"]))


def _row(fact: Fact, event: ReleaseRegistered) -> dict[str, Any]:
    return {
        "root_sha256": event.root_sha256,
        "release_id": event.release_id,
        "name": event.name,
        "position": fact.position,
        "registered_at": event.registered_at,
        "registered_by": fact.envelope.actor,
        "said": event.model_dump(mode="json", exclude_none=True),
    }


def shown(row: Record) -> dict[str, Any]:
    """A release as it was registered, with where and by whom."""
    return {**row["said"], **{name: row[name] for name in ("position", "registered_by")}}
