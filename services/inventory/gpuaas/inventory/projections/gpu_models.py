"""The catalogue of GPU models. One law: what is listed here is what machines, requests and prices may name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.inventory import GpuModelDefined
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Text, select

GPU_MODELS: Final = Table(
    "gpu_models_v1",
    MetaData(),
    Column("gpu_model", Text, primary_key=True),
    Column("vendor", Text, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("interconnect", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
)


class GpuModels(Projection):
    """Answers which GPU models there are."""

    answer = "gpu_models"
    version = 1
    reads = (GpuModelDefined,)
    tables = (GPU_MODELS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        records = [{**fact.event.model_dump(), "changed_at": fact.time, "position": fact.position} for fact in facts]
        await upsert(rows, GPU_MODELS, records)

    async def model(self, db: Database, gpu_model: str) -> Record | None:
        return await db.fetch_one(select(GPU_MODELS).where(GPU_MODELS.c.gpu_model == gpu_model))

    async def listed(self, db: Database, after: str | None, limit: int) -> list[Record]:
        """Up to `limit` models in order of name, after `after`."""
        query = select(GPU_MODELS)
        if after is not None:
            query = query.where(GPU_MODELS.c.gpu_model > after)
        return await db.fetch(query.order_by(GPU_MODELS.c.gpu_model).limit(limit))
