"""How GPUs of each model can be cut. One law: the newest table of a model is the one that counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.inventory import PartitioningPublished
from gpuaas.inventory.domain.partitioning import VOCABULARY
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB

PARTITIONINGS: Final = Table(
    "partitionings_v1",
    MetaData(),
    Column("gpu_model", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("scheme", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("profiles", JSONB, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
)


class Partitionings(Projection):
    """Answers into which instances a GPU of a model can be cut."""

    answer = "partitionings"
    version = 1
    reads = VOCABULARY.types
    tables = (PARTITIONINGS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        records = []
        for fact in facts:
            event = fact.event
            assert isinstance(event, PartitioningPublished)
            said = event.model_dump(mode="json", exclude={"profiles"})
            profiles = {"items": [profile.model_dump(mode="json") for profile in event.profiles]}
            records.append({**said, "profiles": profiles, "published_at": fact.time, "position": fact.position})
        await upsert(rows, PARTITIONINGS, records)

    async def listed(self, db: Database, after: str | None, limit: int) -> list[Record]:
        """Up to `limit` tables in order of model, after `after`."""
        query = select(PARTITIONINGS)
        if after is not None:
            query = query.where(PARTITIONINGS.c.gpu_model > after)
        return await db.fetch(query.order_by(PARTITIONINGS.c.gpu_model).limit(limit))
