"""Which projects are shared with whom. One law: the owner and the receiver read the same row, and nobody else does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gpuaas.common.decisions import Reach
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Unreadable
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.reaching import scopes_where
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import (
    ProjectShareAccepted,
    ProjectShareEnded,
    ProjectShareOfferClosed,
    ProjectShareOffered,
)
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, func, select, true

PROJECT_SHARES_V1 = Table(
    "project_shares_v1",
    MetaData(),
    Column("share_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("receiver_tenant_id", Text, nullable=False),
    Column("principal_kind", Text, nullable=False),
    Column("principal_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("role_tenant_id", Text),
    Column("reason", Text, nullable=False),
    Column("valid_until", DateTime(timezone=True)),
    Column("status", Text, nullable=False),
    Column("offered_at", DateTime(timezone=True), nullable=False),
    Column("answered_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("ended_by", Text),
    Column("end_reason", Text),
)
"""`status`: offered, standing, withdrawn, declined or ended."""
Index("project_shares_v1_owner", PROJECT_SHARES_V1.c.tenant_id, PROJECT_SHARES_V1.c.share_id)
Index("project_shares_v1_receiver", PROJECT_SHARES_V1.c.receiver_tenant_id, PROJECT_SHARES_V1.c.share_id)

_ANSWERED: Final = """
UPDATE project_shares_v1 AS s SET status = e.status, answered_at = e.at
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS e (share_id, status, at)
WHERE s.share_id = e.share_id"""
_ENDED: Final = """
UPDATE project_shares_v1 AS s SET status = e.status, ended_at = e.at, ended_by = e.by, end_reason = e.reason
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[]) AS e (share_id, status, at, by, reason)
WHERE s.share_id = e.share_id"""
_GOING_ON: Final = ("offered", "standing")


class ProjectShares(Projection):
    """One row per offer that was ever made."""

    answer = "project_shares"
    version = 1
    reads = (ProjectShareOffered, ProjectShareAccepted, ProjectShareOfferClosed, ProjectShareEnded)
    tables = (PROJECT_SHARES_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        """Offers, answers, ends: within one batch a share's events come in this order."""
        await insert(
            rows,
            PROJECT_SHARES_V1,
            [_row(fact, fact.event) for fact in facts if isinstance(fact.event, ProjectShareOffered)],
        )
        taken = [(e.event.share_id, "standing", e.time) for e in facts if isinstance(e.event, ProjectShareAccepted)]
        await _all(rows, _ANSWERED, taken)
        ended = [
            _end(fact, fact.event)
            for fact in facts
            if isinstance(fact.event, ProjectShareOfferClosed | ProjectShareEnded)
        ]
        await _all(rows, _ENDED, ended)

    async def of_owner(
        self, database: Database, tenant_id: str, project_id: str | None, reach: Reach, after: str | None, count: int
    ) -> list[Record]:
        """At most `count` offers and shares of a tenant's projects as far as `reach` goes, by id, after `after`."""
        at = PROJECT_SHARES_V1.c
        where = (
            at.tenant_id == tenant_id,
            true() if project_id is None else at.project_id == project_id,
            scopes_where(reach, at.tenant_id, at.project_id),
        )
        return await self._listed(database, where, after, count)

    async def of_receiver(self, database: Database, tenant_id: str, after: str | None, count: int) -> list[Record]:
        """At most `count` offers and shares made to a tenant, by id, after `after`."""
        return await self._listed(database, (PROJECT_SHARES_V1.c.receiver_tenant_id == tenant_id,), after, count)

    async def _listed(
        self, database: Database, where: tuple[object, ...], after: str | None, count: int
    ) -> list[Record]:
        key = PROJECT_SHARES_V1.c.share_id
        query = select(PROJECT_SHARES_V1).where(*where, true() if after is None else key > after)  # type: ignore[arg-type]
        return await database.fetch(query.order_by(key).limit(count))

    async def received(self, database: Database, receiver_tenant_id: str, share_id: str) -> Record | None:
        """One share as its receiver may see it, or None."""
        at = PROJECT_SHARES_V1.c
        return await database.fetch_one(
            select(PROJECT_SHARES_V1).where(at.share_id == share_id, at.receiver_tenant_id == receiver_tenant_id)
        )

    async def going_on(self, database: Database, tenant_id: str, project_id: str) -> int:
        """Offers and shares of a project that have not ended."""
        at = PROJECT_SHARES_V1.c
        row = await database.fetch_one(
            select(func.count().label("found"))
            .select_from(PROJECT_SHARES_V1)
            .where(at.tenant_id == tenant_id, at.project_id == project_id, at.status.in_(_GOING_ON))
        )
        return int(row["found"]) if row else 0


def _row(fact: Fact, event: ProjectShareOffered) -> dict[str, object]:
    return {
        "share_id": event.share_id,
        "tenant_id": event.tenant_id,
        "project_id": event.project_id,
        "receiver_tenant_id": event.receiver_tenant_id,
        "principal_kind": event.principal_kind,
        "principal_id": event.principal_id,
        "role": event.role,
        "role_tenant_id": event.role_tenant_id,
        "reason": event.reason,
        "valid_until": event.valid_until,
        "status": "offered",
        "offered_at": fact.time,
    }


def _end(fact: Fact, event: ProjectShareOfferClosed | ProjectShareEnded) -> tuple[object, ...]:
    if isinstance(event, ProjectShareEnded):
        return event.share_id, "ended", fact.time, event.ended_by, event.reason
    by = "receiver" if event.outcome == "declined" else "owner"
    return event.share_id, event.outcome, fact.time, by, event.reason


async def _all(rows: Rows, sql: str, changes: Sequence[tuple[object, ...]]) -> None:
    if not changes:
        return
    done = await rows.execute(sql, *map(list, zip(*changes, strict=True)))
    if done != f"UPDATE {len(changes)}":
        raise Unreadable(f"{len(changes)} shares changed but {done}: one was never offered")
