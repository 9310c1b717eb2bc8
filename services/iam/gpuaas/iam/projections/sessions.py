"""Who is signed in with what. One law: a session is listed to its person, and to who may end it."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.credentials import DELETED, PROVIDER_REMOVED, SUSPENDED
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import (
    IdentityProviderConfigured,
    IdentityProviderRemoved,
    PrincipalSuspended,
    SessionEnded,
    SessionStarted,
    UserDeleted,
)
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, select, true

SESSIONS_V2 = Table(
    "sessions_v2",
    MetaData(),
    Column("session_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("provider", Text),
    Column("approved_in", Text),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("end_cause", Text),
    Column("end_reason", Text),
)
ISSUERS_V2 = Table(
    "session_issuers_v2",
    MetaData(),
    Column("provider_id", Text, primary_key=True),
    Column("issuer", Text, nullable=False),
)
Index("sessions_v2_approved", SESSIONS_V2.c.approved_in)
Index("sessions_v2_user", SESSIONS_V2.c.user_id, SESSIONS_V2.c.session_id)
_END = """
UPDATE sessions_v2 AS s SET ended_at = e.at, end_cause = e.cause, end_reason = e.reason
FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[]) AS e (session_id, at, cause, reason)
WHERE s.session_id = e.session_id"""


_PROVIDERS_END = """
WITH RECURSIVE gone (session_id) AS (
    SELECT session_id FROM sessions_v2 WHERE provider = $1 AND started_at <= $2
    UNION SELECT s.session_id FROM sessions_v2 AS s JOIN gone ON s.approved_in = gone.session_id)
UPDATE sessions_v2 AS s SET ended_at = $2, end_cause = $3 FROM gone
WHERE s.session_id = gone.session_id AND s.ended_at IS NULL AND s.started_at <= $2"""
_PERSONS_END = """
UPDATE sessions_v2 SET ended_at = $2, end_cause = $3 WHERE user_id = $1 AND ended_at IS NULL AND started_at <= $2"""
_ISSUER = "SELECT issuer FROM session_issuers_v2 WHERE provider_id = $1"
_KEEP_ISSUER = """
INSERT INTO session_issuers_v2 (provider_id, issuer) VALUES ($1, $2)
ON CONFLICT (provider_id) DO UPDATE SET issuer = $2"""


async def _many(rows: Rows, fact: Fact) -> None:
    """What ends all sessions of somebody, or through a provider, at once: the access fold says the same."""
    match fact.event:
        case IdentityProviderRemoved() as gone:
            await rows.execute(_PROVIDERS_END, gone.provider_id, fact.time, PROVIDER_REMOVED)
        case IdentityProviderConfigured() as now:
            before = await rows.fetchval(_ISSUER, now.provider_id)
            if before not in (None, now.issuer):
                await rows.execute(_PROVIDERS_END, now.provider_id, fact.time, PROVIDER_REMOVED)
            await rows.execute(_KEEP_ISSUER, now.provider_id, now.issuer)
        case PrincipalSuspended() as stopped if stopped.principal_kind == "user":
            await rows.execute(_PERSONS_END, stopped.principal_id, fact.time, SUSPENDED)
        case UserDeleted() as deleted:
            await rows.execute(_PERSONS_END, deleted.user_id, fact.time, DELETED)


class Sessions(Projection):
    """One row per session that was ever started."""

    answer = "sessions"
    version = 2
    reads = (
        SessionStarted,
        SessionEnded,
        IdentityProviderConfigured,
        IdentityProviderRemoved,
        PrincipalSuspended,
        UserDeleted,
    )
    tables = (SESSIONS_V2, ISSUERS_V2)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        """Starts before ends: within one batch a session's end always comes after its beginning."""
        started = [fact.event for fact in facts if isinstance(fact.event, SessionStarted)]
        ended = [(fact, fact.event) for fact in facts if isinstance(fact.event, SessionEnded)]
        names = [c.name for c in SESSIONS_V2.columns if not c.name.startswith("end")]
        blank = {"ended_at": None, "end_cause": None, "end_reason": None}
        await insert(rows, SESSIONS_V2, [{name: getattr(each, name) for name in names} | blank for each in started])
        if ended:
            told = ((event.session_id, fact.time, event.cause, event.reason) for fact, event in ended)
            await rows.execute(_END, *map(list, zip(*told, strict=True)))
        for fact in facts:
            await _many(rows, fact)

    async def of(self, database: Database, user_id: str, after: str | None, count: int) -> list[Record]:
        """At most `count` sessions of a person, by id, beginning after `after`."""
        at = SESSIONS_V2.c
        query = (
            select(SESSIONS_V2)
            .where(at.user_id == user_id, true() if after is None else at.session_id > after)
            .order_by(at.session_id)
            .limit(count)
        )
        return await database.fetch(query)
