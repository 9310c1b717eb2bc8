"""What is being used right now, and is not metered. One law: a row stands from an allocation's start to its release."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gpuaas.billing.domain.metering import WHOLE_MILLI, Interval, instant_ms
from gpuaas.billing.domain.rating import Usage
from gpuaas.billing.projections.labelled_allocations import LABELS
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.allocations import AllocationReleased, AllocationStarted
from gpuaas.contracts.billing import UsageMetered
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, select

HELD = Table(
    "held_allocations_v3",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("allocation_id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("gpu_count", Integer, nullable=False),
    Column("share_milli", Integer, nullable=False),
    Column("start_ms", BigInteger, nullable=False, comment="start, or where it was last cut"),
    Column("position", BigInteger, nullable=False),
)


class HeldAllocations(Projection):
    """Allocations that run."""

    answer = "held_allocations"
    version = 3
    reads = (AllocationStarted, AllocationReleased, UsageMetered)
    tables = (HELD,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        started: dict[tuple[str, str], dict[str, object]] = {}
        released: list[tuple[str, str]] = []
        cuts: dict[tuple[str, str], int] = {}
        for fact in facts:
            match fact.event:
                case AllocationStarted() as begun:
                    started[begun.tenant_id, begun.allocation_id] = _row(fact, begun)
                case AllocationReleased() as ended:
                    key = (ended.tenant_id, ended.allocation_id)
                    if started.pop(key, None) is None:
                        released.append(key)
                case UsageMetered(interim=True) as cut:
                    cuts[cut.tenant_id, cut.allocation_id] = instant_ms(cut.ended_at)
        for key in started.keys() & cuts.keys():
            started[key]["start_ms"] = cuts.pop(key)
        await upsert(rows, HELD, list(started.values()))
        if cuts:
            await rows.execute(
                "UPDATE held_allocations_v3 h SET start_ms = c.until FROM "
                "unnest($1::text[], $2::text[], $3::bigint[]) AS c(tenant, allocation, until) "
                "WHERE h.tenant_id = c.tenant AND h.allocation_id = c.allocation",
                [tenant_id for tenant_id, _ in cuts],
                [allocation_id for _, allocation_id in cuts],
                list(cuts.values()),
            )
        if released:
            await rows.execute(
                "DELETE FROM held_allocations_v3 h USING unnest($1::text[], $2::text[]) AS r(tenant, allocation) "
                "WHERE h.tenant_id = r.tenant AND h.allocation_id = r.allocation",
                [tenant_id for tenant_id, _ in released],
                [allocation_id for _, allocation_id in released],
            )

    async def running_at(self, db: Database, at_ms: int, after: int, limit: int) -> list[Record]:
        """Up to `limit` allocations that run and began, or were last cut, before `at_ms`: above position `after`."""
        query = select(HELD).where(HELD.c.start_ms < at_ms, HELD.c.position > after)
        return await db.fetch(query.order_by(HELD.c.position).limit(limit))

    async def held_by(self, db: Database, tenant_id: str, until_ms: int, limit: int, since_ms: int = 0) -> list[Usage]:
        """Up to `limit` allocations of a tenant that run, as if they ended at `until_ms`, and not before `since_ms`."""
        query = select(HELD).where(HELD.c.tenant_id == tenant_id, HELD.c.start_ms < until_ms)
        found = await db.fetch(query.order_by(HELD.c.position).limit(limit))
        labels = await _labels_of(db, tenant_id, [row["allocation_id"] for row in found])
        return [
            Usage(
                usage_id=row["allocation_id"],
                project_id=row["project_id"],
                gpu_model=row["gpu_model"],
                gpu_count=row["gpu_count"],
                interval=Interval(max(since_ms, row["start_ms"]), until_ms),
                share_milli=row["share_milli"],
                labels=tuple(sorted(labels[row["allocation_id"]])),
            )
            for row in found
        ]


async def _labels_of(
    db: Database, tenant_id: str, allocation_ids: Sequence[str]
) -> defaultdict[str, list[tuple[str, str]]]:
    columns = (LABELS.c.allocation_id, LABELS.c.label_name, LABELS.c.label_value)
    query = select(*columns).where(LABELS.c.tenant_id == tenant_id, LABELS.c.allocation_id.in_(list(allocation_ids)))
    labels: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in await db.fetch(query) if allocation_ids else ():
        labels[row["allocation_id"]].append((row["label_name"], row["label_value"]))
    return labels


def _row(fact: Fact, started: AllocationStarted) -> dict[str, object]:
    return {
        "tenant_id": started.tenant_id,
        "allocation_id": started.allocation_id,
        "project_id": started.project_id,
        "gpu_model": started.gpu_model,
        "gpu_count": started.gpu_count,
        "share_milli": started.share_milli or WHOLE_MILLI,
        "start_ms": instant_ms(started.started_at),
        "position": fact.position,
    }
