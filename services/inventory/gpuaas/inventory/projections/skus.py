"""What kinds of machines can be ordered. One law: every version that was ever published can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.inventory import SkuPublished, SkuVersionRetired
from gpuaas.inventory.domain.sku import VOCABULARY
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Text, and_, select
from sqlalchemy.dialects.postgresql import JSONB

SKUS: Final = Table(
    "skus_v1",
    MetaData(),
    Column("key", Text, primary_key=True),
    Column("sku_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("gpu_count", Integer, nullable=False),
    Column("nvlink_scope", Text, nullable=False),
    Column("parts", JSONB, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False),
    Column("retired_at", DateTime(timezone=True)),
    Column("retired_because", Text),
    Column("position", BigInteger, nullable=False),
)


def key_of(sku_id: str, version: int) -> str:
    """One version's place in the list: versions of one SKU follow each other in order."""
    return f"{sku_id}/{version:07d}"


class Skus(Projection):
    """Answers which SKUs there are, in which versions."""

    answer = "skus"
    version = 1
    reads = VOCABULARY.types
    tables = (SKUS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        ids = sorted({fact.subject.rpartition(".")[2] for fact in facts})
        known = await rows.fetch("SELECT * FROM skus_v1 WHERE sku_id = ANY($1)", ids)
        standing: dict[str, dict[str, Any]] = {row["key"]: dict(row) for row in known}
        for fact in facts:
            match fact.event:
                case SkuPublished() as event:
                    said = event.model_dump(exclude={"parts"})
                    parts = {"items": [part.model_dump() for part in event.parts]}
                    still = {"retired_at": None, "retired_because": None, "published_at": fact.time}
                    key = key_of(event.sku_id, event.version)
                    standing[key] = {**said, **still, "key": key, "parts": parts, "position": fact.position}
                case SkuVersionRetired() as event:
                    ended = {"retired_at": fact.time, "retired_because": event.reason, "position": fact.position}
                    standing[key_of(event.sku_id, event.version)] |= ended
                case other:
                    raise AssertionError(f"{type(other).__name__} is read but not folded")
        await upsert(rows, SKUS, list(standing.values()))

    async def listed(self, db: Database, sku_id: str | None, after: str | None, limit: int) -> list[Record]:
        """Up to `limit` versions in order of SKU and version, after the key `after`; of one SKU if it is named."""
        conditions = [] if sku_id is None else [SKUS.c.sku_id == sku_id]
        if after is not None:
            conditions.append(SKUS.c.key > after)
        return await db.fetch(select(SKUS).where(and_(True, *conditions)).order_by(SKUS.c.key).limit(limit))
