"""Who is signed in with what. One law: a session is listed to its person, and to who may end it."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, insert
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import SessionEnded, SessionStarted
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, select, true

SESSIONS_V1 = Table(
    "sessions_v1",
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
Index("sessions_v1_user", SESSIONS_V1.c.user_id, SESSIONS_V1.c.session_id)
_END = """
UPDATE sessions_v1 AS s SET ended_at = e.at, end_cause = e.cause, end_reason = e.reason
FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[]) AS e (session_id, at, cause, reason)
WHERE s.session_id = e.session_id"""


class Sessions(Projection):
    """One row per session that was ever started."""

    answer = "sessions"
    version = 1
    reads = (SessionStarted, SessionEnded)
    tables = (SESSIONS_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        """Starts before ends: within one batch a session's end always comes after its beginning."""
        started = [fact.event for fact in facts if isinstance(fact.event, SessionStarted)]
        ended = [(fact, fact.event) for fact in facts if isinstance(fact.event, SessionEnded)]
        names = [c.name for c in SESSIONS_V1.columns if not c.name.startswith("end")]
        blank = {"ended_at": None, "end_cause": None, "end_reason": None}
        await insert(rows, SESSIONS_V1, [{name: getattr(each, name) for name in names} | blank for each in started])
        if ended:
            told = ((event.session_id, fact.time, event.cause, event.reason) for fact, event in ended)
            await rows.execute(_END, *map(list, zip(*told, strict=True)))

    async def of(self, database: Database, user_id: str, after: str | None, count: int) -> list[Record]:
        """At most `count` sessions of a person, by id, beginning after `after`."""
        at = SESSIONS_V1.c
        query = (
            select(SESSIONS_V1)
            .where(at.user_id == user_id, true() if after is None else at.session_id > after)
            .order_by(at.session_id)
            .limit(count)
        )
        return await database.fetch(query)
