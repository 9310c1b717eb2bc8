"""Meters, and what was reported for them. One law: a row is one event, never changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gpuaas.billing.domain.metering import Interval, instant_ms
from gpuaas.billing.domain.meters import Meters, Value
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import MeterDefined, UsageReported
from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, Integer, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import distinct_on

_META = MetaData()
METERS = Table(
    "meters_v1",
    _META,
    Column("meter_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", JSON, nullable=False),
    Column("position", BigInteger, nullable=False),
)
REPORTS = Table(
    "usage_reports_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("report_id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("meter_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_event_id", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("used_at", DateTime(timezone=True), nullable=False),
    Column("used_ms", BigInteger, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("usage_reports_v1_by_position", "tenant_id", "position"),
    Index("usage_reports_v1_by_time", "tenant_id", "used_ms"),
)


class ReportedUsage(Projection):
    """Reports by tenant, and the meters that they are for."""

    answer = "reported_usage"
    version = 1
    reads = (MeterDefined, UsageReported)
    tables = (METERS, REPORTS)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        await insert(rows, METERS, [_meter(fact, fact.event) for fact in facts if isinstance(fact.event, MeterDefined)])
        await insert(rows, REPORTS, [_row(fact, fact.event) for fact in facts if isinstance(fact.event, UsageReported)])

    async def versions(self, db: Database, after: int, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` meter versions above position `after`, in the order they were defined."""
        query = select(METERS).where(METERS.c.position > after)
        found = await db.fetch(query.order_by(METERS.c.position).limit(limit))
        return [{**row["definition"], "position": row["position"]} for row in found]

    async def meters(self, db: Database) -> dict[str, Meters]:
        """Every meter with its versions."""
        found: dict[str, Meters] = {}
        for row in await db.fetch(select(METERS).order_by(METERS.c.meter_id, METERS.c.version)):
            known = found.get(row["meter_id"], Meters())
            version = MeterDefined.model_validate_json(json.dumps(row["definition"]))
            found[row["meter_id"]] = Meters((*known.versions, version))
        return found

    async def of_tenant(self, db: Database, tenant_id: str, after: int, limit: int) -> list[Record]:
        """Up to `limit` reports of a tenant above position `after`, in log order."""
        query = select(REPORTS).where(REPORTS.c.tenant_id == tenant_id, REPORTS.c.position > after)
        return await db.fetch(query.order_by(REPORTS.c.position).limit(limit))

    async def values_of(self, db: Database, tenant_id: str, month: Interval, limit: int) -> list[Value]:
        """Up to `limit` values of a month, and before them each subject's last one from before it."""
        named = (REPORTS.c.project_id, REPORTS.c.meter_id, REPORTS.c.subject)
        columns = (*named, REPORTS.c.used_ms, REPORTS.c.value, REPORTS.c.position)
        own = REPORTS.c.tenant_id == tenant_id
        before = (
            select(*columns)
            .ext(distinct_on(*named))
            .where(own, REPORTS.c.used_ms < month.start_ms)
            .order_by(*named, REPORTS.c.used_ms.desc(), REPORTS.c.position.desc())
            .limit(limit)
        )
        inside = (
            select(*columns)
            .where(own, REPORTS.c.used_ms >= month.start_ms, REPORTS.c.used_ms < month.end_ms)
            .order_by(REPORTS.c.position)
            .limit(limit)
        )
        found = [row for query in (before, inside) for row in await db.fetch(query)]
        return [
            Value(
                row["project_id"],
                row["meter_id"],
                row["subject"],
                row["used_ms"],
                int(row["value"]),
                row["position"],
            )
            for row in found
        ]


def _meter(fact: Fact, defined: MeterDefined) -> dict[str, object]:
    return {
        "meter_id": defined.meter_id,
        "version": defined.version,
        "definition": defined.model_dump(mode="json", exclude_none=True),
        "position": fact.position,
    }


def _row(fact: Fact, told: UsageReported) -> dict[str, object]:
    same = ("tenant_id", "report_id", "project_id", "meter_id", "source", "source_event_id", "used_at", "value")
    return {name: getattr(told, name) for name in same} | {
        "subject": told.subject or "",
        "used_ms": instant_ms(told.used_at),
        "position": fact.position,
    }
