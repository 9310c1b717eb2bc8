"""Maintenance windows and how far each of their machines has come. One law: what is due is a question, not a timer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.nodes import (
    MaintenanceAccepted,
    MaintenanceEnded,
    MaintenancePostponed,
    MaintenanceScheduled,
    MaintenanceStarted,
    NodeMaintenanceEnded,
    NodeMaintenanceStarted,
)
from gpuaas.nodes.domain.maintenance import Stage
from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, MetaData, Table, Text, and_, or_, select
from sqlalchemy.dialects.postgresql import JSONB

_META: Final = MetaData()
WINDOWS: Final = Table(
    "maintenance_windows_v1",
    _META,
    Column("window_id", Text, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("outcome", Text),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("ends_at", DateTime(timezone=True), nullable=False),
    Column("notice_at", DateTime(timezone=True), nullable=False),
    Column("first_starts_at", DateTime(timezone=True), nullable=False),
    Column("notice_s", Integer, nullable=False),
    Column("mode", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("postpone_max_s", Integer, nullable=False),
    Column("postponements_max", Integer, nullable=False),
    Column("postponements", Integer, nullable=False),
    Column("firmware", JSONB, nullable=False),
    Column("accepted", JSONB, nullable=False),
    Column("started_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("ended_because", Text),
    Column("position", BigInteger, nullable=False),
    Index("maintenance_windows_v1_by_stage", "stage", "notice_at"),
)
PLACES: Final = Table(
    "maintenance_nodes_v1",
    _META,
    Column("window_id", Text, primary_key=True),
    Column("node_id", Text, primary_key=True),
    Column("progress", Text, nullable=False),
    Index("maintenance_nodes_v1_by_node", "node_id", "window_id"),
)
"""`progress`: waiting, working, done, failed; `returned` when the window ended with it back in service."""
AT_ONCE_MAX: Final = 200
"""Windows looked after in one round."""


class MaintenanceWindows(Projection):
    """Answers what is planned, what is due, and which windows a machine is in."""

    answer = "maintenance_windows"
    version = 1
    reads = (
        MaintenanceScheduled,
        MaintenanceAccepted,
        MaintenancePostponed,
        MaintenanceStarted,
        MaintenanceEnded,
        NodeMaintenanceStarted,
        NodeMaintenanceEnded,
    )
    tables = (WINDOWS, PLACES)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        ids = sorted({window_id for fact in facts if (window_id := _window_of(fact)) is not None})
        known = await rows.fetch("SELECT * FROM maintenance_windows_v1 WHERE window_id = ANY($1)", ids)
        windows: dict[str, dict[str, Any]] = {row["window_id"]: dict(row) for row in known}
        places: dict[tuple[str, str], dict[str, Any]] = {}
        for fact in facts:
            window_id = _window_of(fact)
            if window_id is not None:
                row = windows.get(window_id, {}) | _changes(windows.get(window_id, {}), fact)
                windows[window_id] = row | {"position": fact.position}
            for node_id, progress in _progress(fact):
                key = (str(getattr(fact.event, "window_id", "")), node_id)
                places[key] = {"window_id": key[0], "node_id": node_id, "progress": progress}
        await upsert(rows, WINDOWS, list(windows.values()))
        await upsert(rows, PLACES, list(places.values()))

    async def window(self, db: Database, window_id: str) -> Record | None:
        return await db.fetch_one(select(WINDOWS).where(WINDOWS.c.window_id == window_id))

    async def places(self, db: Database, window_ids: Sequence[str]) -> list[Record]:
        """The machines of these windows, by window and machine."""
        query = select(PLACES).where(PLACES.c.window_id.in_(list(window_ids)))
        return await db.fetch(query.order_by(PLACES.c.window_id, PLACES.c.node_id))

    async def matching(self, db: Database, stage: str | None, after: str | None, limit: int) -> list[Record]:
        """Up to `limit` windows in order of id after `after`."""
        conditions = [WINDOWS.c.stage == stage] if stage is not None else []
        if after is not None:
            conditions.append(WINDOWS.c.window_id > after)
        return await db.fetch(select(WINDOWS).where(and_(True, *conditions)).order_by(WINDOWS.c.window_id).limit(limit))

    async def on_nodes(
        self, db: Database, node_ids: Sequence[str], after: str | None = None, limit: int = AT_ONCE_MAX
    ) -> list[Record]:
        """Windows that have not ended and have one of these machines, in order of id after `after`."""
        held = select(PLACES.c.window_id).where(PLACES.c.node_id.in_(list(node_ids)))
        conditions = [WINDOWS.c.stage != Stage.ENDED, WINDOWS.c.window_id.in_(held)]
        if after is not None:
            conditions.append(WINDOWS.c.window_id > after)
        return await db.fetch(select(WINDOWS).where(and_(*conditions)).order_by(WINDOWS.c.window_id).limit(limit))

    async def due(self, db: Database, now: datetime) -> list[Record]:
        """Windows that want something done at `now`: past their notice and not ended."""
        waiting = and_(WINDOWS.c.stage == Stage.SCHEDULED, WINDOWS.c.notice_at <= now)
        query = select(WINDOWS).where(or_(waiting, WINDOWS.c.stage == Stage.STARTED))
        return await db.fetch(query.order_by(WINDOWS.c.notice_at, WINDOWS.c.window_id).limit(AT_ONCE_MAX))

    async def among(self, db: Database, window_ids: Sequence[str]) -> dict[str, Record]:
        found = await db.fetch(select(WINDOWS).where(WINDOWS.c.window_id.in_(list(window_ids))))
        return {row["window_id"]: row for row in found}


def _window_of(fact: Fact) -> str | None:
    """The window whose own history this is; None for a machine's."""
    return (
        None if isinstance(fact.event, NodeMaintenanceStarted | NodeMaintenanceEnded) else fact.subject.split(".")[-1]
    )


def _changes(row: Mapping[str, Any], fact: Fact) -> dict[str, Any]:
    match fact.event:
        case MaintenanceScheduled() as event:
            return _planned(event)
        case MaintenanceAccepted() as event:
            return {"accepted": sorted({*row["accepted"], event.tenant_id})}
        case MaintenancePostponed() as event:
            notice_at = event.starts_at - timedelta(seconds=event.notice_s)
            moved = {"starts_at": event.starts_at, "ends_at": event.ends_at, "notice_at": notice_at}
            return moved | {"accepted": [], "postponements": event.postponements}
        case MaintenanceStarted() as event:
            return {"stage": Stage.STARTED.value, "started_at": event.started_at, "ends_at": event.ends_at}
        case MaintenanceEnded() as event:
            over = {"stage": Stage.ENDED.value, "outcome": event.outcome, "ended_at": event.ended_at}
            return over | {"ended_because": event.reason}
        case other:
            raise AssertionError(f"{type(other).__name__} is read but not folded")


def _planned(event: MaintenanceScheduled) -> dict[str, Any]:
    return {
        "window_id": event.window_id,
        "stage": Stage.SCHEDULED.value,
        "outcome": None,
        "starts_at": event.starts_at,
        "ends_at": event.ends_at,
        "notice_at": event.starts_at - timedelta(seconds=event.notice_s),
        "first_starts_at": event.starts_at,
        "notice_s": event.notice_s,
        "mode": event.mode,
        "reason": event.reason,
        "postpone_max_s": event.postpone_max_s,
        "postponements_max": event.postponements_max,
        "postponements": 0,
        "firmware": [goal.model_dump(mode="json") for goal in event.firmware or ()],
        "accepted": [],
        "started_at": None,
        "ended_at": None,
        "ended_because": None,
    }


def _progress(fact: Fact) -> list[tuple[str, str]]:
    match fact.event:
        case MaintenanceScheduled() as event:
            return [(node_id, "waiting") for node_id in event.node_ids]
        case NodeMaintenanceStarted() as event:
            return [(event.node_id, "working")]
        case NodeMaintenanceEnded() as event:
            return [(event.node_id, event.outcome)]
        case MaintenanceEnded() as event:
            return [(node_id, "returned") for node_id in event.returned_node_ids]
        case _:
            return []
