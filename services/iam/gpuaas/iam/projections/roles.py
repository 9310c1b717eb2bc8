"""Which roles there are. One law: every version is kept, the highest applies."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import RoleDefined
from sqlalchemy import ARRAY, Column, DateTime, Integer, MetaData, Table, Text, select, true
from sqlalchemy.dialects.postgresql import distinct_on

ROLES_V1 = Table(
    "roles_v1",
    MetaData(),
    Column("role", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("description", Text, nullable=False),
    Column("permissions", ARRAY(Text), nullable=False),
    Column("defined_at", DateTime(timezone=True), nullable=False),
)


class Roles(Projection):
    """One row per version of a role."""

    answer = "roles"
    version = 1
    reads = (RoleDefined,)
    tables = (ROLES_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        defined = [(fact.time, fact.event) for fact in facts if isinstance(fact.event, RoleDefined)]
        await insert(
            rows,
            ROLES_V1,
            [
                {
                    "role": event.role,
                    "version": event.version,
                    "description": event.description,
                    "permissions": list(event.permissions),
                    "defined_at": at,
                }
                for at, event in defined
            ],
        )

    async def newest(self, database: Database, after: str | None, count: int) -> list[Record]:
        """At most `count` roles in their newest version, by name, beginning after `after`."""
        at = ROLES_V1.c
        query = (
            select(ROLES_V1)
            .ext(distinct_on(at.role))
            .where(true() if after is None else at.role > after)
            .order_by(at.role, at.version.desc())
            .limit(count)
        )
        return await database.fetch(query)
