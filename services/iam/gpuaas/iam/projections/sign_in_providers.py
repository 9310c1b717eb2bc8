"""Who vouches for people, and for whom. One law: what a provider calls somebody stands in no table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, upsert
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import (
    IdentityLinked,
    IdentityProviderConfigured,
    IdentityProviderRemoved,
    IdentityUnlinked,
)
from sqlalchemy import Column, DateTime, Index, Integer, MetaData, Table, Text, select, true
from sqlalchemy.dialects.postgresql import JSONB

PROVIDERS_V1 = Table(
    "identity_providers_v1",
    MetaData(),
    Column("provider_id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("scopes", JSONB, nullable=False),
    Column("email_domains", JSONB, nullable=False),
    Column("required_claims", JSONB, nullable=False),
    Column("new_people", Text, nullable=False),
    Column("configured_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True)),
)
IDENTITIES_V1 = Table(
    "identities_v1",
    MetaData(),
    Column("identity_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("linked_at", DateTime(timezone=True), nullable=False),
    Column("unlinked_at", DateTime(timezone=True)),
)
Index("identities_v1_user", IDENTITIES_V1.c.user_id, IDENTITIES_V1.c.identity_id)
_REMOVED = "UPDATE identity_providers_v1 SET removed_at = $2 WHERE provider_id = $1"
_UNLINKED = "UPDATE identities_v1 SET unlinked_at = $2 WHERE identity_id = $1"


class IdentityProviders(Projection):
    """One row per provider that was ever configured."""

    answer = "identity_providers"
    version = 1
    reads = (IdentityProviderConfigured, IdentityProviderRemoved)
    tables = (PROVIDERS_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        for fact in facts:  # few, and each may follow the other
            if isinstance(fact.event, IdentityProviderConfigured):
                await upsert(rows, PROVIDERS_V1, [_provider(fact, fact.event)])
            elif isinstance(fact.event, IdentityProviderRemoved):
                await rows.execute(_REMOVED, fact.event.provider_id, fact.time)

    async def usable(self, database: Database, after: str | None, count: int) -> list[Record]:
        """At most `count` providers that people may sign in through, by id, after `after`."""
        at = PROVIDERS_V1.c
        shown = [column for column in PROVIDERS_V1.columns if column.name != "removed_at"]
        later = true() if after is None else at.provider_id > after
        query = select(*shown).where(at.removed_at.is_(None), later).order_by(at.provider_id).limit(count)
        return await database.fetch(query)


class Identities(Projection):
    """One row per identity that was ever linked."""

    answer = "identities"
    version = 1
    reads = (IdentityLinked, IdentityUnlinked)
    tables = (IDENTITIES_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        linked = [(fact, fact.event) for fact in facts if isinstance(fact.event, IdentityLinked)]
        names = ("identity_id", "user_id", "provider_id", "origin")
        fresh = [
            {name: getattr(event, name) for name in names} | {"linked_at": fact.time, "unlinked_at": None}
            for fact, event in linked
        ]
        await upsert(rows, IDENTITIES_V1, fresh)
        for fact in facts:  # after its beginning, within one batch too
            if isinstance(fact.event, IdentityUnlinked):
                await rows.execute(_UNLINKED, fact.event.identity_id, fact.time)

    async def of(self, database: Database, user_id: str, after: str | None, count: int) -> list[Record]:
        """At most `count` identities of a person, by id, after `after`."""
        at = IDENTITIES_V1.c
        later = true() if after is None else at.identity_id > after
        query = select(IDENTITIES_V1).where(at.user_id == user_id, later).order_by(at.identity_id).limit(count)
        return await database.fetch(query)


def _provider(fact: Fact, event: IdentityProviderConfigured) -> dict[str, Any]:
    return {
        "provider_id": event.provider_id,
        "version": event.version,
        "display_name": event.display_name,
        "issuer": event.issuer,
        "client_id": event.client_id,
        "scopes": list(event.scopes),
        "email_domains": list(event.email_domains),
        "required_claims": {each.claim: each.value for each in event.required_claims},
        "new_people": event.new_people,
        "configured_at": fact.time,
        "removed_at": None,
    }
