"""Reservations as they stand. One law: one row per reservation, folded from its own events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.allocations import (
    ReservationCancelled,
    ReservationEnded,
    ReservationImpaired,
    ReservationMade,
    ReservationRestored,
)
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

TABLE: Final = Table(
    "reservations_v1",
    MetaData(),
    Column("reservation_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("pool_id", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("gpu_count", Integer, nullable=False),
    Column("replicas", Integer, nullable=False),
    Column("gpus_per_replica", Integer, nullable=False),
    Column("topology_level", Text),
    Column("topology_mode", Text),
    Column("starts_at", TIMESTAMP(timezone=True), nullable=False),
    Column("ends_at", TIMESTAMP(timezone=True), nullable=False),
    Column("every_days", Integer),
    Column("occurrences", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("over_at", TIMESTAMP(timezone=True)),
    Column("over_reason", Text),
    Column("missing_gpus", JSONB, nullable=False),
    Column("made_position", BigInteger, nullable=False),
    Index("reservations_v1_by_project", "tenant_id", "project_id", "made_position"),
)
"""`missing_gpus`: window number → GPUs it lacks; only windows that lack any."""
STATES: Final = ("standing", "cancelled", "ended", "given-up")


class Reservations(Projection):
    """What is promised to whom."""

    answer = "reservations"
    version = 1
    reads = (ReservationMade, ReservationCancelled, ReservationEnded, ReservationImpaired, ReservationRestored)
    tables = (TABLE,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        touched: dict[str, dict[str, Any]] = {}
        for fact in facts:
            if isinstance(said := fact.event, ReservationMade):
                touched[said.reservation_id] = _made(said, fact.position)
                continue
            name: str = fact.event.reservation_id  # type: ignore[attr-defined]
            if name not in touched:
                found = await rows.fetchrow(f"SELECT * FROM {TABLE.name} WHERE reservation_id = $1", name)  # noqa: S608
                assert found is not None, name
                touched[name] = dict(found)
            touched[name] = _after(touched[name], fact)
        await upsert(rows, TABLE, list(touched.values()))

    async def one(self, db: Database, tenant_id: str, project_id: str, reservation_id: str) -> Record | None:
        """A reservation of that project, or None."""
        return await db.fetch_one(
            select(TABLE).where(
                TABLE.c.reservation_id == reservation_id,
                TABLE.c.tenant_id == tenant_id,
                TABLE.c.project_id == project_id,
            )
        )

    async def newest(
        self, db: Database, of: tuple[str, str] | None, pool_id: str | None, before: int | None, limit: int
    ) -> list[Record]:
        """Up to `limit` reservations made before position `before`, the newest first; of a project, or of a pool."""
        query = select(TABLE).order_by(TABLE.c.made_position.desc()).limit(limit)
        if of is not None:
            query = query.where(TABLE.c.tenant_id == of[0], TABLE.c.project_id == of[1])
        if pool_id is not None:
            query = query.where(TABLE.c.pool_id == pool_id)
        if before is not None:
            query = query.where(TABLE.c.made_position < before)
        return await db.fetch(query)


def _made(said: ReservationMade, position: int) -> dict[str, Any]:
    plain = said.model_dump()
    recurrence = plain.pop("recurrence")
    return {
        **plain,
        "every_days": recurrence["every_days"] if recurrence else None,
        "occurrences": recurrence["occurrences"] if recurrence else 1,
        "state": "standing",
        "over_at": None,
        "over_reason": None,
        "missing_gpus": {},
        "made_position": position,
    }


def _after(row: dict[str, Any], fact: Fact) -> dict[str, Any]:
    match fact.event:
        case ReservationCancelled() as off:
            return row | {"state": "cancelled", "over_at": off.cancelled_at, "over_reason": off.reason}
        case ReservationEnded() as end:
            state = "ended" if end.outcome == "over" else "given-up"
            return row | {"state": state, "over_at": end.ended_at, "over_reason": end.reason}
        case ReservationImpaired() as less:
            return row | {"missing_gpus": {**row["missing_gpus"], str(less.window): less.missing_gpus}}
        case ReservationRestored() as again:
            left = {window: gpus for window, gpus in row["missing_gpus"].items() if window != str(again.window)}
            return row | {"missing_gpus": left}
        case _:
            raise AssertionError(fact.event)
