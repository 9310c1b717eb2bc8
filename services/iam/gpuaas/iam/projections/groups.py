"""Which groups there are. One law: who is in one is asked of the rights in force, so that both never differ."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import GroupCreated
from sqlalchemy import Column, DateTime, MetaData, Table, Text, select, true

GROUPS_V1 = Table(
    "groups_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)


class Groups(Projection):
    """One row per group."""

    answer = "groups"
    version = 1
    reads = (GroupCreated,)
    tables = (GROUPS_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        created = [(fact.time, fact.event) for fact in facts if isinstance(fact.event, GroupCreated)]
        await insert(
            rows,
            GROUPS_V1,
            [
                {
                    "tenant_id": event.tenant_id,
                    "group_id": event.group_id,
                    "display_name": event.display_name,
                    "created_at": at,
                }
                for at, event in created
            ],
        )

    async def at_home(self, database: Database, tenant_id: str, after: str | None, count: int) -> list[Record]:
        """At most `count` groups at home in a tenant (or `platform`), by id, after `after`."""
        at = GROUPS_V1.c
        later = true() if after is None else at.group_id > after
        query = select(GROUPS_V1).where(at.tenant_id == tenant_id, later).order_by(at.group_id).limit(count)
        return await database.fetch(query)
