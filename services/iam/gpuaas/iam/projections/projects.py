"""Which projects a tenant has. One law: a project is listed under its tenant and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.access import Reach
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.reaching import scopes_where
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import ProjectCreated
from sqlalchemy import Column, DateTime, MetaData, Table, Text, select, true

PROJECTS_V1 = Table(
    "projects_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("project_id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)


class Projects(Projection):
    """One row per project."""

    answer = "projects"
    version = 1
    reads = (ProjectCreated,)
    tables = (PROJECTS_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        created = [(fact.time, fact.event) for fact in facts if isinstance(fact.event, ProjectCreated)]
        await insert(
            rows,
            PROJECTS_V1,
            [
                {
                    "tenant_id": event.tenant_id,
                    "project_id": event.project_id,
                    "display_name": event.display_name,
                    "created_at": at,
                }
                for at, event in created
            ],
        )

    async def named(self, database: Database, tenant_id: str, project_id: str) -> Record | None:
        """One project, or None."""
        at = PROJECTS_V1.c
        return await database.fetch_one(
            select(PROJECTS_V1).where(at.tenant_id == tenant_id, at.project_id == project_id)
        )

    async def within(
        self, database: Database, tenant_id: str, reach: Reach, after: str | None, count: int
    ) -> list[Record]:
        """At most `count` projects of one tenant that `reach` covers, by id, beginning after `after`."""
        at = PROJECTS_V1.c
        query = (
            select(PROJECTS_V1)
            .where(
                at.tenant_id == tenant_id,
                scopes_where(reach, at.tenant_id, at.project_id),
                true() if after is None else at.project_id > after,
            )
            .order_by(at.project_id)
            .limit(count)
        )
        return await database.fetch(query)
