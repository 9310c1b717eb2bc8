"""What was used: one row for each usage record. One law: a row is one event, never changed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpuaas.billing.domain.metering import WHOLE_MILLI, Interval, instant_ms
from gpuaas.billing.domain.rating import US_PER_MS, Usage
from gpuaas.billing.domain.unbilled import BilledPeriod
from gpuaas.billing.projections.usage_edges import BUCKET_MS, EDGES, Edge, Kind, add_edges, labels_of, used_between
from gpuaas.common.decisions import Reach
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.common.reaching import scopes_where
from gpuaas.contracts.billing import UsageMetered
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    Select,
    Table,
    Text,
    cast,
    func,
    literal,
    or_,
    select,
    union_all,
)

USAGE = Table(
    "metered_usage_v3",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("usage_id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("allocation_id", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("gpu_count", Integer, nullable=False),
    Column("share_milli", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("gpu_ms", BigInteger, nullable=False),
    Column("gpu_us", BigInteger, comment="null: 1000 times gpu_ms"),
    Column("start_event_id", Text, nullable=False),
    Column("end_event_id", Text, nullable=False),
    Column("labels", JSON, comment="null: none"),
    Column("position", BigInteger, nullable=False),
    Index("metered_usage_v3_by_position", "tenant_id", "position"),
    Index("metered_usage_v3_by_end", "tenant_id", "end_ms"),
)


QUANTITY_US = func.coalesce(USAGE.c.gpu_us, cast(USAGE.c.gpu_ms, Numeric) * US_PER_MS)


@dataclass(frozen=True, slots=True)
class Pinned:
    """The usage that a billing run bills: records above `since` and up to `upto`, as far as they lie in `period`."""

    period: Interval
    since: int
    upto: int


@dataclass(frozen=True, slots=True)
class Demand:
    """How much of one GPU model a tenant used, roughly: for checking that it can be priced.

    Attributes:
        span: from the first start to the last end, cut to the period.
        projects: how many projects used it.
    """

    tenant_id: str
    gpu_model: str
    span: Interval
    projects: int


class MeteredUsage(Projection):
    """Usage by tenant."""

    answer = "metered_usage"
    version = 3
    reads = (UsageMetered,)
    tables = (USAGE, EDGES)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        metered = [_row(fact, fact.event) for fact in facts if isinstance(fact.event, UsageMetered)]
        await insert(rows, USAGE, metered)
        await add_edges(rows, metered)

    async def used_by(self, db: Database, tenant_id: str, reach: Reach, after: int, limit: int) -> list[Record]:
        """Up to `limit` records of a tenant, as far as `reach` goes, above position `after`, in log order."""
        seen = scopes_where(reach, USAGE.c.tenant_id, USAGE.c.project_id)
        query = select(USAGE).where(USAGE.c.tenant_id == tenant_id, USAGE.c.position > after, seen)
        return await db.fetch(query.order_by(USAGE.c.position).limit(limit))

    async def tenants_of(self, db: Database, pinned: Pinned) -> dict[str, int]:
        """The tenants with usage to bill, by id in order, and how many records each has."""
        query = _inside(select(USAGE.c.tenant_id, func.count().label("records")), pinned)
        found = await db.fetch(query.group_by(USAGE.c.tenant_id).order_by(USAGE.c.tenant_id))
        return {row["tenant_id"]: row["records"] for row in found}

    async def usage_of(self, db: Database, tenant_ids: Sequence[str], pinned: Pinned) -> dict[str, list[Usage]]:
        """The records to bill of these tenants."""
        columns = (USAGE.c.tenant_id, *(USAGE.c[name] for name in _USAGE_COLUMNS))
        query = _inside(select(*columns), pinned).where(USAGE.c.tenant_id.in_(list(tenant_ids)))
        return _by_tenant(await db.fetch(query))

    async def demand(self, db: Database, pinned: Pinned) -> list[Demand]:
        """What there is to price, by tenant and model."""
        query = _inside(
            select(
                USAGE.c.tenant_id,
                USAGE.c.gpu_model,
                func.min(USAGE.c.start_ms).label("start_ms"),
                func.max(USAGE.c.end_ms).label("end_ms"),
                func.count(USAGE.c.project_id.distinct()).label("projects"),
            ),
            pinned,
        ).group_by(USAGE.c.tenant_id, USAGE.c.gpu_model)
        return [
            Demand(
                tenant_id=row["tenant_id"],
                gpu_model=row["gpu_model"],
                span=Interval(max(row["start_ms"], pinned.period.start_ms), min(row["end_ms"], pinned.period.end_ms)),
                projects=row["projects"],
            )
            for row in await db.fetch(query.order_by(USAGE.c.tenant_id, USAGE.c.gpu_model))
        ]

    async def used_between(
        self,
        db: Database,
        tenant_id: str,
        moments: Sequence[int],
        project_id: str | None,
        label: tuple[str, str] | None,
    ) -> dict[Kind, list[int]]:
        """GPU-microseconds by kind in each [moments[i], moments[i + 1]): of one project or all, of a label or all.

        One statement, so all of it is of one moment of the log.
        """
        first, last = moments[0] // BUCKET_MS, moments[-1] // BUCKET_MS
        ranges = [(at // BUCKET_MS * BUCKET_MS, at) for at in moments if at % BUCKET_MS]
        rate = USAGE.c.gpu_count * USAGE.c.share_milli
        parts = [
            _edges(EDGES, (literal(-1), func.sum(EDGES.c.rate), func.sum(EDGES.c.moment)), tenant_id, project_id, label)
            .where(EDGES.c.bucket < first)
            .group_by(EDGES.c.project_id, EDGES.c.gpu_model, EDGES.c.labels),
            _edges(
                EDGES, (EDGES.c.bucket * BUCKET_MS, EDGES.c.rate, EDGES.c.moment), tenant_id, project_id, label
            ).where(EDGES.c.bucket >= first, EDGES.c.bucket <= last),
        ]
        for at, sign in ((USAGE.c.start_ms, 1), (USAGE.c.end_ms, -1)) if ranges else ():
            told = (at, cast(sign * rate, Numeric), cast(sign * rate, Numeric) * at)
            inside = or_(*((at >= since) & (at < until) for since, until in ranges))
            parts.append(_edges(USAGE, told, tenant_id, project_id, label, exact=True).where(inside))
        by_hour: defaultdict[Kind, list[Edge]] = defaultdict(list)
        single: defaultdict[Kind, list[Edge]] = defaultdict(list)
        for row in await db.fetch(union_all(*parts)):
            kind = (row["project_id"], row["gpu_model"], labels_of(json.loads(row["labels"] or "{}")))
            found = single if row["exact"] else by_hour
            found[kind].append((int(row["at"]), int(row["rate"]), int(row["moment"])))
        return {kind: used_between(by_hour[kind], single[kind], moments) for kind in {*by_hour, *single}}

    async def unbilled_of(
        self, db: Database, tenant_id: str, billed: Sequence[BilledPeriod], limit: int
    ) -> list[tuple[Usage, int]]:
        """Up to `limit` records of a tenant, with their positions, that no one run has billed as a whole."""
        query = select(USAGE.c.position, *(USAGE.c[name] for name in _USAGE_COLUMNS)).where(
            USAGE.c.tenant_id == tenant_id, USAGE.c.start_ms < USAGE.c.end_ms
        )
        for each in billed:
            query = query.where(
                (USAGE.c.position > each.upto)
                | (USAGE.c.start_ms < each.period.start_ms)
                | (USAGE.c.end_ms > each.period.end_ms)
            )
        found = await db.fetch(query.order_by(USAGE.c.position).limit(limit))
        return [(_usage(row), row["position"]) for row in found]


_USAGE_COLUMNS = ("usage_id", "project_id", "gpu_model", "gpu_count", "share_milli", "start_ms", "end_ms", "labels")


def _edges(
    table: Table,
    told: tuple[ColumnElement[Any], ColumnElement[Any], ColumnElement[Any]],
    tenant_id: str,
    project_id: str | None,
    label: tuple[str, str] | None,
    *,
    exact: bool = False,
) -> Select[Any]:
    """(at, rate, moment) of a table's edges, with their kind."""
    named = (column.label(name) for name, column in zip(("at", "rate", "moment"), told, strict=True))
    labels = cast(table.c.labels, Text).label("labels")
    query = select(table.c.project_id, table.c.gpu_model, labels, literal(exact).label("exact"), *named).where(
        table.c.tenant_id == tenant_id
    )
    if project_id is not None:
        query = query.where(table.c.project_id == project_id)
    if label is not None:
        query = query.where(cast(table.c.labels, JSON)[label[0]].as_string() == label[1])
    return query


def _inside(query: Select[tuple[object, ...]], pinned: Pinned) -> Select[tuple[object, ...]]:
    return query.where(
        USAGE.c.position > pinned.since,
        USAGE.c.position <= pinned.upto,
        USAGE.c.start_ms < pinned.period.end_ms,
        USAGE.c.end_ms > pinned.period.start_ms,
        USAGE.c.start_ms < USAGE.c.end_ms,
    )


def _by_tenant(found: Sequence[Record]) -> dict[str, list[Usage]]:
    usages: defaultdict[str, list[Usage]] = defaultdict(list)
    for row in found:
        usages[row["tenant_id"]].append(_usage(row))
    return usages


def _usage(row: Record) -> Usage:
    return Usage(
        usage_id=row["usage_id"],
        project_id=row["project_id"],
        gpu_model=row["gpu_model"],
        gpu_count=row["gpu_count"],
        interval=Interval(row["start_ms"], row["end_ms"]),
        share_milli=row["share_milli"],
        labels=labels_of(row["labels"]),
    )


def _row(fact: Fact, usage: UsageMetered) -> dict[str, object]:
    return {
        "tenant_id": usage.tenant_id,
        "usage_id": usage.usage_id,
        "project_id": usage.project_id,
        "allocation_id": usage.allocation_id,
        "gpu_model": usage.gpu_model,
        "gpu_count": usage.gpu_count,
        "share_milli": usage.share_milli or WHOLE_MILLI,
        "started_at": usage.started_at,
        "ended_at": usage.ended_at,
        "start_ms": instant_ms(usage.started_at),
        "end_ms": instant_ms(usage.ended_at),
        "gpu_ms": usage.gpu_ms,
        "gpu_us": usage.gpu_us,
        "start_event_id": usage.start_event_id,
        "end_event_id": usage.end_event_id,
        "labels": None if usage.labels is None else dict(usage.labels),
        "position": fact.position,
    }
