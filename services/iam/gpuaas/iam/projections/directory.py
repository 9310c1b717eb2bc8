"""The people and groups of tenants' directories. One law: what a directory says of a person stands here sealed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record
from gpuaas.common.sealing import Box, Seals
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import (
    DirectoryGroupDescribed,
    DirectoryGroupRemoved,
    DirectoryUserDescribed,
    DirectoryUserRemoved,
    PersonalDataErased,
)
from sqlalchemy import Boolean, Column, DateTime, Integer, MetaData, Table, Text, func, select

DIRECTORY_USERS_V1 = Table(
    "directory_users_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("event_id", Text),
    Column("sealed", Text),
    Column("sealed_by", Text),
)
DIRECTORY_GROUPS_V1 = Table(
    "directory_groups_v1",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("external_id", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)
_USER = """
INSERT INTO directory_users_v1
(tenant_id, user_id, revision, active, created_at, changed_at, event_id, sealed, sealed_by)
VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8) ON CONFLICT (tenant_id, user_id) DO UPDATE SET
revision = excluded.revision, active = excluded.active, changed_at = excluded.changed_at,
event_id = excluded.event_id, sealed = excluded.sealed, sealed_by = excluded.sealed_by"""
_GROUP = """
INSERT INTO directory_groups_v1 (tenant_id, group_id, revision, display_name, external_id, created_at, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (tenant_id, group_id) DO UPDATE SET revision = excluded.revision,
display_name = excluded.display_name, external_id = excluded.external_id, changed_at = excluded.changed_at"""
_NO_USER = "DELETE FROM directory_users_v1 WHERE tenant_id = $1 AND user_id = $2"
_NO_GROUP = "DELETE FROM directory_groups_v1 WHERE tenant_id = $1 AND group_id = $2"
_FORGET = "UPDATE directory_users_v1 SET sealed = NULL, sealed_by = NULL WHERE user_id = $1"


class Directory(Projection):
    """One row per person and group that a directory knows; those it removed are gone from here."""

    answer = "directory"
    version = 1
    reads = (
        DirectoryUserDescribed,
        DirectoryUserRemoved,
        DirectoryGroupDescribed,
        DirectoryGroupRemoved,
        PersonalDataErased,
    )
    tables = (DIRECTORY_USERS_V1, DIRECTORY_GROUPS_V1)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        for fact in facts:
            envelope = fact.envelope
            match fact.event:
                case DirectoryUserDescribed() as said:
                    who = (said.tenant_id, said.user_id, said.revision, said.active, fact.time)
                    await rows.execute(_USER, *who, envelope.id, envelope.sealed, envelope.sealedby)
                case DirectoryUserRemoved() as gone:
                    await rows.execute(_NO_USER, gone.tenant_id, gone.user_id)
                case DirectoryGroupDescribed() as said:
                    what = (said.tenant_id, said.group_id, said.revision, said.display_name, said.external_id)
                    await rows.execute(_GROUP, *what, fact.time)
                case DirectoryGroupRemoved() as gone:
                    await rows.execute(_NO_GROUP, gone.tenant_id, gone.group_id)
                case PersonalDataErased() as erased:
                    await rows.execute(_FORGET, erased.user_id)

    async def count(self, database: Database, table: Table, tenant_id: str) -> int:
        """How many people or groups a tenant's directory has."""
        query = select(func.count().label("count")).select_from(table).where(table.c.tenant_id == tenant_id)
        row = await database.fetch_one(query)
        return 0 if row is None else int(row["count"])

    async def users(
        self, database: Database, seals: Seals, tenant_id: str, ids: Sequence[str] | None, offset: int, count: int
    ) -> list[dict[str, Any]]:
        """People by id, with `attributes` opened; those of `ids` only where it is given. Erased ones are left out."""
        at = DIRECTORY_USERS_V1.c
        query = select(DIRECTORY_USERS_V1).where(at.tenant_id == tenant_id, at.sealed.is_not(None))
        if ids is not None:
            query = query.where(at.user_id.in_(ids))
        found = [dict(row) for row in await database.fetch(query.order_by(at.user_id).offset(offset).limit(count))]
        kind = DirectoryUserDescribed.TYPE
        boxes = [Box(row["event_id"], kind, row["sealed"], row["sealed_by"]) for row in found]
        opened = await seals.opened(boxes)
        return [
            row | {"attributes": json.loads(values["attributes"])}
            for row, values in zip(found, opened, strict=True)
            if values is not None
        ]

    async def groups(
        self, database: Database, tenant_id: str, group_id: str | None, offset: int, count: int
    ) -> list[Record]:
        """Groups by id; the one of `group_id` only where it is given."""
        at = DIRECTORY_GROUPS_V1.c
        query = select(DIRECTORY_GROUPS_V1).where(at.tenant_id == tenant_id)
        if group_id is not None:
            query = query.where(at.group_id == group_id)
        return await database.fetch(query.order_by(at.group_id).offset(offset).limit(count))

    async def ids_of_groups(self, database: Database, tenant_id: str) -> set[str]:
        """Ids of a directory's groups."""
        at = DIRECTORY_GROUPS_V1.c
        return {
            str(row["group_id"]) for row in await database.fetch(select(at.group_id).where(at.tenant_id == tenant_id))
        }
