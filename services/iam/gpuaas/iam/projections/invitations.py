"""Who was invited to what. One law: the address stands here as in the log: sealed, opened for who may read it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Unreadable
from gpuaas.common.projections import Database, Projection, insert
from gpuaas.common.sealing import Box, Seals
from gpuaas.common.tables import Rows
from gpuaas.contracts.iam import InvitationAccepted, InvitationClosed, InvitationSent
from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, func, select, true

INVITATIONS_V1 = Table(
    "invitations_v1",
    MetaData(),
    Column("invitation_id", Text, primary_key=True),
    Column("home", Text, nullable=False),
    Column("tenant_id", Text),
    Column("project_id", Text),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("role_tenant_id", Text),
    Column("reason", Text, nullable=False),
    Column("invited_by_kind", Text, nullable=False),
    Column("invited_by_id", Text, nullable=False),
    Column("sent_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("binding_valid_until", DateTime(timezone=True)),
    Column("status", Text, nullable=False),
    Column("answered_at", DateTime(timezone=True)),
    Column("user_id", Text),
    Column("binding_id", Text),
    Column("end_reason", Text),
    Column("event_id", Text, nullable=False),
    Column("sealed", Text),
    Column("sealed_by", Text),
)
"""`home`: the tenant, or `platform`. `status`: waiting, accepted, declined or withdrawn."""
Index("invitations_v1_home", INVITATIONS_V1.c.home, INVITATIONS_V1.c.invitation_id)

_ANSWERED: Final = """
UPDATE invitations_v1 AS i
SET status = e.status, answered_at = e.at, user_id = e.user_id, binding_id = e.binding_id, end_reason = e.reason
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
    AS e (invitation_id, status, at, user_id, binding_id, reason)
WHERE i.invitation_id = e.invitation_id"""
_SEALED: Final = ("event_id", "sealed", "sealed_by", "home")


class Invitations(Projection):
    """One row per invitation that was ever sent."""

    answer = "invitations"
    version = 1
    reads = (InvitationSent, InvitationAccepted, InvitationClosed)
    tables = (INVITATIONS_V1,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        """Beginnings before ends: within one batch an answer always comes after its invitation."""
        await insert(rows, INVITATIONS_V1, [_row(fact, fact.event) for fact in facts if _is_sent(fact)])
        ended = [_answer(fact) for fact in facts if not _is_sent(fact)]
        if ended:
            done = await rows.execute(_ANSWERED, *map(list, zip(*ended, strict=True)))
            if done != f"UPDATE {len(ended)}":
                raise Unreadable(f"{len(ended)} invitations were answered but {done}: one was never sent")

    async def sent(
        self, database: Database, seals: Seals, home: str, project_id: str | None, after: str | None, count: int
    ) -> list[dict[str, Any]]:
        """At most `count` invitations of a tenant (or `platform`), or of one project, by id, after `after`."""
        at = INVITATIONS_V1.c
        query = (
            select(INVITATIONS_V1)
            .where(
                at.home == home,
                true() if project_id is None else at.project_id == project_id,
                true() if after is None else at.invitation_id > after,
            )
            .order_by(at.invitation_id)
            .limit(count)
        )
        rows = [dict(row) for row in await database.fetch(query)]
        kept = [row for row in rows if row["sealed"] is not None]
        boxes = [Box(row["event_id"], InvitationSent.TYPE, row["sealed"], row["sealed_by"]) for row in kept]
        for row, values in zip(kept, await seals.opened(boxes), strict=True):
            row.update(values or {})
        return [{name: value for name, value in row.items() if name not in _SEALED} for row in rows]

    async def waiting(self, database: Database, home: str, now: datetime) -> int:
        """Invitations of a tenant (or `platform`) that can still be answered."""
        at = INVITATIONS_V1.c
        row = await database.fetch_one(
            select(func.count().label("found"))
            .select_from(INVITATIONS_V1)
            .where(at.home == home, at.status == "waiting", at.expires_at > now)
        )
        return int(row["found"]) if row else 0


def _is_sent(fact: Fact) -> bool:
    return isinstance(fact.event, InvitationSent)


def _row(fact: Fact, event: Any) -> dict[str, Any]:
    return {
        "invitation_id": event.invitation_id,
        "home": fact.tenant_id,
        "tenant_id": event.tenant_id,
        "project_id": event.project_id,
        "email": event.email,
        "role": event.role,
        "role_tenant_id": event.role_tenant_id,
        "reason": event.reason,
        "invited_by_kind": event.invited_by_kind,
        "invited_by_id": event.invited_by_id,
        "sent_at": fact.time,
        "expires_at": event.expires_at,
        "binding_valid_until": event.binding_valid_until,
        "status": "waiting",
        "event_id": fact.envelope.id,
        "sealed": fact.envelope.sealed,
        "sealed_by": fact.envelope.sealedby,
    }


def _answer(fact: Fact) -> tuple[Any, ...]:
    match fact.event:
        case InvitationAccepted() as accepted:
            return (accepted.invitation_id, "accepted", fact.time, accepted.user_id, accepted.binding_id, None)
        case InvitationClosed() as closed:
            return (closed.invitation_id, closed.outcome, fact.time, None, None, closed.reason)
        case other:
            raise AssertionError(f"invitations do not read {other.TYPE}")
