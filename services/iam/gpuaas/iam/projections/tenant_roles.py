"""Which roles of its own a tenant has. One law: every version is kept, the highest applies."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import TenantRoleDefined
from sqlalchemy import ARRAY, Column, DateTime, Integer, MetaData, Table, Text, select, true
from sqlalchemy.dialects.postgresql import distinct_on

TENANT_ROLES_V1 = Table(
    "tenant_roles_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("description", Text, nullable=False),
    Column("permissions", ARRAY(Text), nullable=False),
    Column("defined_at", DateTime(timezone=True), nullable=False),
    Column("defined_by", Text, nullable=False),
)


class TenantRoles(Projection):
    """One row per version of a tenant's own role."""

    answer = "tenant_roles"
    version = 1
    reads = (TenantRoleDefined,)
    tables = (TENANT_ROLES_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        defined = [(fact, fact.event) for fact in facts if isinstance(fact.event, TenantRoleDefined)]
        await insert(
            rows,
            TENANT_ROLES_V1,
            [
                {
                    "tenant_id": event.tenant_id,
                    "role": event.role,
                    "version": event.version,
                    "description": event.description,
                    "permissions": list(event.permissions),
                    "defined_at": fact.time,
                    "defined_by": fact.envelope.actor,
                }
                for fact, event in defined
            ],
        )

    async def newest(self, database: Database, tenant_id: str, after: str | None, count: int) -> list[Record]:
        """At most `count` of the tenant's roles in their newest version, by name, beginning after `after`."""
        at = TENANT_ROLES_V1.c
        query = (
            select(TENANT_ROLES_V1)
            .ext(distinct_on(at.role))
            .where(at.tenant_id == tenant_id, true() if after is None else at.role > after)
            .order_by(at.role, at.version.desc())
            .limit(count)
        )
        return await database.fetch(query)
