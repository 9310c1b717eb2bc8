"""Who there is. One law: a service account is listed where it is at home, a person on the platform.

A person's name and address stand here as in the log: sealed. They are opened when somebody entitled asks, so what is
erased is erased here too, in every copy of the table, and a rebuild changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.sealing import Box, Seals
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import PersonalDataErased, ServiceAccountCreated, UserRegistered
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, select, true

PRINCIPALS_V2 = Table(
    "principals_v2",
    MetaData(),
    Column("kind", Text, primary_key=True),
    Column("principal_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text),
    Column("display_name", Text, nullable=False),
    Column("email", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("event_id", Text),
    Column("sealed", Text),
    Column("sealed_by", Text),
    Column("erased_at", DateTime(timezone=True)),
)
Index("principals_v2_home", PRINCIPALS_V2.c.tenant_id, PRINCIPALS_V2.c.kind, PRINCIPALS_V2.c.principal_id)

_FORGET = """
UPDATE principals_v2 SET erased_at = $2, sealed = NULL, sealed_by = NULL WHERE kind = 'user' AND principal_id = $1"""


class Principals(Projection):
    """One row per user and per service account."""

    answer = "principals"
    version = 2
    reads = (UserRegistered, ServiceAccountCreated, PersonalDataErased)
    tables = (PRINCIPALS_V2,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        # Nobody is registered again after an erasure, so those of a batch may come last.
        await insert(
            rows, PRINCIPALS_V2, [_row(fact) for fact in facts if not isinstance(fact.event, PersonalDataErased)]
        )
        for fact in facts:
            if isinstance(fact.event, PersonalDataErased):
                await rows.execute(_FORGET, fact.event.user_id, fact.time)

    async def people(self, database: Database, seals: Seals, after: str | None, count: int) -> list[dict[str, Any]]:
        """At most `count` people by id, after `after`, with their names where these were not erased."""
        return await self._named(seals, await self.at_home(database, "user", PLATFORM, None, after, count))

    async def email_of(self, database: Database, seals: Seals, user_id: str) -> str | None:
        """A person's e-mail address; None: nobody of that id is known here, or they were erased."""
        at = PRINCIPALS_V2.c
        found = await database.fetch(select(PRINCIPALS_V2).where(at.kind == "user", at.principal_id == user_id))
        named = await self._named(seals, found)
        return str(named[0]["email"]) if named and named[0]["email"] and not named[0]["erased_at"] else None

    async def _named(self, seals: Seals, found: Sequence[Record]) -> list[dict[str, Any]]:
        rows = [dict(row) for row in found]
        kept = [row for row in rows if row["sealed"] is not None]
        boxes = [Box(row["event_id"], UserRegistered.TYPE, row["sealed"], row["sealed_by"]) for row in kept]
        for row, values in zip(kept, await seals.opened(boxes), strict=True):
            row.update(values or {})
        return rows

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
        at = PRINCIPALS_V2.c
        query = (
            select(PRINCIPALS_V2)
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
                "event_id": fact.envelope.id,
                "sealed": fact.envelope.sealed,
                "sealed_by": fact.envelope.sealedby,
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
                "event_id": None,
                "sealed": None,
                "sealed_by": None,
            }
        case other:
            raise AssertionError(f"principals do not read {other.TYPE}")
