"""Which API keys there are. One law: of a key's secret only the digest is here, and no list shows even that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Unreadable
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import ApiKeyIssued, ApiKeyRevoked, ApiKeySuperseded, ApiKeyUsed
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, select, true
from sqlalchemy.dialects.postgresql import JSONB

API_KEYS_V2 = Table(
    "api_keys_v2",
    MetaData(),
    Column("key_id", Text, primary_key=True),
    Column("principal_kind", Text, nullable=False),
    Column("principal_id", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("secret_sha256", Text, nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    Column("issued_by", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("revoke_reason", Text),
    Column("permissions", JSONB),
    Column("narrowed_to_tenant_id", Text),
    Column("narrowed_to_project_id", Text),
    Column("predecessor_id", Text),
    Column("successor_id", Text),
    Column("last_used_at", DateTime(timezone=True)),
)
Index("api_keys_v2_principal", API_KEYS_V2.c.principal_kind, API_KEYS_V2.c.principal_id, API_KEYS_V2.c.key_id)

_SHOWN: Final = [column for column in API_KEYS_V2.columns if column.name != "secret_sha256"]
_REVOKE: Final = """
UPDATE api_keys_v2 AS k SET revoked_at = e.at, revoke_reason = e.reason
FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS e (key_id, at, reason)
WHERE k.key_id = e.key_id"""

_SUPERSEDE: Final = "UPDATE api_keys_v2 SET expires_at = least(expires_at, $2), successor_id = $3 WHERE key_id = $1"
_USED: Final = "UPDATE api_keys_v2 SET last_used_at = greatest(last_used_at, $2) WHERE key_id = $1"


class ApiKeys(Projection):
    """One row per key that was ever issued."""

    answer = "api_keys"
    version = 2
    reads = (ApiKeyIssued, ApiKeyRevoked, ApiKeySuperseded, ApiKeyUsed)
    tables = (API_KEYS_V2,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        """Issues before revocations: within one batch a key's end always comes after its beginning."""
        issued = [(fact, fact.event) for fact in facts if isinstance(fact.event, ApiKeyIssued)]
        revoked = [(fact, fact.event) for fact in facts if isinstance(fact.event, ApiKeyRevoked)]
        await insert(
            rows,
            API_KEYS_V2,
            [
                {
                    "key_id": event.key_id,
                    "principal_kind": event.principal_kind,
                    "principal_id": event.principal_id,
                    "tenant_id": event.tenant_id,
                    "label": event.label,
                    "secret_sha256": event.secret_sha256,
                    "issued_at": fact.time,
                    "issued_by": fact.envelope.actor,
                    "expires_at": event.expires_at,
                    "permissions": None if event.permissions is None else list(event.permissions),
                    "narrowed_to_tenant_id": event.narrowed_to_tenant_id,
                    "narrowed_to_project_id": event.narrowed_to_project_id,
                    "predecessor_id": event.predecessor_id,
                }
                for fact, event in issued
            ],
        )
        for fact in facts:
            if isinstance(fact.event, ApiKeySuperseded):
                done = await rows.execute(_SUPERSEDE, fact.event.key_id, fact.event.ends_at, fact.event.successor_id)
                if done != "UPDATE 1":
                    raise Unreadable(f"API key {fact.event.key_id} was superseded but never issued")
            elif isinstance(fact.event, ApiKeyUsed):
                await rows.execute(_USED, fact.event.key_id, fact.event.used_at)
        if revoked:
            columns = zip(*((event.key_id, fact.time, event.reason) for fact, event in revoked), strict=True)
            done = await rows.execute(_REVOKE, *map(list, columns))
            if done != f"UPDATE {len(revoked)}":
                raise Unreadable(f"{len(revoked)} API keys were revoked but {done}: one was never issued")

    async def presented(self, database: Database, key_id: str) -> Record | None:
        """The row of a key that somebody presents, with the digest of its secret; None: there is no such key."""
        return await database.fetch_one(select(API_KEYS_V2).where(API_KEYS_V2.c.key_id == key_id))

    async def of(self, database: Database, kind: str, principal_id: str, after: str | None, count: int) -> list[Record]:
        """At most `count` keys of a principal without their digests, by id, beginning after `after`."""
        at = API_KEYS_V2.c
        query = (
            select(*_SHOWN)
            .where(
                at.principal_kind == kind,
                at.principal_id == principal_id,
                true() if after is None else at.key_id > after,
            )
            .order_by(at.key_id)
            .limit(count)
        )
        return await database.fetch(query)
