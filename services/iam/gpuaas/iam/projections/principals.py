"""Who there is. One law: a service account is listed where it is at home, a person on the platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import ServiceAccountCreated, UserRegistered
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, select, true

PRINCIPALS_V1 = Table(
    "principals_v1",
    MetaData(),
    Column("kind", Text, primary_key=True),
    Column("principal_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text),
    Column("display_name", Text, nullable=False),
    Column("email", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
Index("principals_v1_home", PRINCIPALS_V1.c.tenant_id, PRINCIPALS_V1.c.kind, PRINCIPALS_V1.c.principal_id)


class Principals(Projection):
    """One row per user and per service account."""

    answer = "principals"
    version = 1
    reads = (UserRegistered, ServiceAccountCreated)
    tables = (PRINCIPALS_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        await insert(rows, PRINCIPALS_V1, [_row(fact) for fact in facts])

    async def at_home(
        self,
        database: Database,
        kind: str,
        tenant_id: str,
        project_id: str | None,
        after: str | None,
        count: int,
    ) -> list[Record]:
        """At most `count` principals of a kind at home in a tenant (or one project of it), by id, after `after`."""
        at = PRINCIPALS_V1.c
        query = (
            select(PRINCIPALS_V1)
            .where(
                at.kind == kind,
                at.tenant_id == tenant_id,
                true() if project_id is None else at.project_id == project_id,
                true() if after is None else at.principal_id > after,
            )
            .order_by(at.principal_id)
            .limit(count)
        )
        return await database.fetch(query)


def _row(fact: Fact) -> dict[str, Any]:
    match fact.event:
        case UserRegistered() as user:
            return {
                "kind": "user",
                "principal_id": user.user_id,
                "tenant_id": PLATFORM,
                "project_id": None,
                "display_name": user.display_name,
                "email": user.email,
                "created_at": fact.time,
            }
        case ServiceAccountCreated() as account:
            return {
                "kind": "service-account",
                "principal_id": account.service_account_id,
                "tenant_id": account.tenant_id,
                "project_id": account.project_id,
                "display_name": account.display_name,
                "email": None,
                "created_at": fact.time,
            }
        case other:
            raise AssertionError(f"principals do not read {other.TYPE}")
