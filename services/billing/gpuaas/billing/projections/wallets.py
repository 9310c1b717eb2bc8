"""Prepaid credit as it stands and as it stood. One law: every row is an event's; a balance is a sum over rows.

As-of balances need no snapshots: each movement of a grant is a row with its position and time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, insert, upsert
from gpuaas.contracts.billing import (
    CreditApplied,
    CreditGranted,
    CreditHeld,
    CreditLapsed,
    CreditPart,
    CreditRestored,
)
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    case,
    func,
    select,
)

_META = MetaData()
GRANTS = Table(
    "credit_grants_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("grant_id", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("amount", Numeric, nullable=False),
    Column("kind", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("project_ids", JSON, nullable=False),
    Column("effective_from", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("reference", Text, nullable=False),
    Column("granted_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
)
MOVES = Table(
    "credit_moves_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("grant_id", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="granted, held, returned, applied, restored, expired or voided"),
    Column("free", Numeric, nullable=False, comment="what the grant's free rest gains"),
    Column("held", Numeric, nullable=False, comment="what is held of it gains"),
    Column("project_id", Text),
    Column("document_id", Text, comment="invoice or credit note"),
    Column("moved_at", DateTime(timezone=True), nullable=False),
    Index("credit_moves_v1_by_grant", "tenant_id", "grant_id"),
)
HOLDS = Table(
    "credit_holds_v1",
    _META,
    Column("tenant_id", Text, primary_key=True),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("covers_until", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("burn_per_hour", Numeric, nullable=False),
    Column("uncovered", Numeric, nullable=False),
    Column("position", BigInteger, nullable=False),
)
Move: TypeAlias = tuple[str, str, Decimal, Decimal, str | None, str | None]
"""grant, kind, free gains, held gains, project, document"""


class Wallets(Projection):
    """Grants, every movement of credit, and the newest hold of each tenant."""

    answer = "wallets"
    version = 1
    reads = (CreditGranted, CreditHeld, CreditApplied, CreditRestored, CreditLapsed)
    tables = (GRANTS, MOVES, HOLDS)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        granted = [(fact, fact.event) for fact in facts if isinstance(fact.event, CreditGranted)]
        await insert(rows, GRANTS, [_grant(fact, event) for fact, event in granted])
        await insert(rows, MOVES, [row for fact in facts for row in _rows(fact)])
        holds = {fact.event.tenant_id: _hold(fact, fact.event) for fact in facts if isinstance(fact.event, CreditHeld)}
        await upsert(rows, HOLDS, list(holds.values()))

    async def tenants(self, db: Database) -> list[str]:
        """Everybody who ever had credit."""
        query = select(GRANTS.c.tenant_id).distinct().order_by(GRANTS.c.tenant_id)
        return [row["tenant_id"] for row in await db.fetch(query)]

    async def has_wallet(self, db: Database, tenant_id: str) -> bool:
        return await db.fetch_one(select(GRANTS.c.grant_id).where(GRANTS.c.tenant_id == tenant_id).limit(1)) is not None

    async def grants_of(self, db: Database, tenant_id: str, at: datetime | None) -> list[Record]:
        """A tenant's grants as they stood at `at` (None: now), in the order they were given, each with what is free,
        held, applied and lapsed of it."""

        moved = MOVES.c.free + MOVES.c.held

        def sums(*kinds: str) -> ColumnElement[Decimal]:
            return -func.coalesce(func.sum(case((MOVES.c.kind.in_(kinds), moved), else_=0)), 0)

        whole = select(
            MOVES.c.grant_id,
            func.sum(MOVES.c.free).label("free"),
            func.sum(MOVES.c.held).label("held"),
            sums("applied", "restored").label("applied"),
            sums("expired", "voided").label("lapsed"),
        ).where(MOVES.c.tenant_id == tenant_id)
        if at is not None:
            whole = whole.where(MOVES.c.moved_at <= at)
        sub = whole.group_by(MOVES.c.grant_id).subquery()
        query = select(*GRANTS.c, sub.c.free, sub.c.held, sub.c.applied, sub.c.lapsed).select_from(
            GRANTS.join(sub, GRANTS.c.grant_id == sub.c.grant_id)
        )
        return await db.fetch(query.where(GRANTS.c.tenant_id == tenant_id).order_by(GRANTS.c.position))

    async def hold_of(self, db: Database, tenant_id: str) -> Record | None:
        """The newest hold."""
        return await db.fetch_one(select(HOLDS).where(HOLDS.c.tenant_id == tenant_id))

    async def moves_of(self, db: Database, tenant_id: str, before: int | None, limit: int) -> list[Record]:
        """Up to `limit` movements below position `before`, newest first. A position is never cut in two: the last one
        may bring more rows than `limit`."""
        inner = select(MOVES.c.position).distinct().where(MOVES.c.tenant_id == tenant_id)
        if before is not None:
            inner = inner.where(MOVES.c.position < before)
        wanted = inner.order_by(MOVES.c.position.desc()).limit(limit).subquery()
        query = select(MOVES).where(MOVES.c.tenant_id == tenant_id, MOVES.c.position.in_(select(wanted.c.position)))
        return await db.fetch(query.order_by(MOVES.c.position.desc(), MOVES.c.number))

    async def applied_to(self, db: Database, tenant_id: str) -> dict[str, Decimal]:
        """What credit pays for each invoice, less what was restored."""
        query = select(MOVES.c.document_id, func.sum(MOVES.c.free + MOVES.c.held).label("moved")).where(
            MOVES.c.tenant_id == tenant_id, MOVES.c.kind.in_(("applied", "restored"))
        )
        found = await db.fetch(query.group_by(MOVES.c.document_id))
        return {row["document_id"]: -row["moved"] for row in found}


def _moves(event: object) -> list[Move]:
    match event:
        case CreditGranted() as granted:
            return [(granted.grant_id, "granted", granted.amount, Decimal(0), None, None)]
        case CreditHeld() as held:
            return [*_parts(held.returned, "returned", 1, -1), *_parts(held.collected, "held", -1, 1)]
        case CreditApplied() as applied:
            document = applied.invoice_id
            return [
                *_parts(applied.from_hold, "applied", 0, -1, document),
                *_parts(applied.from_free, "applied", -1, 0, document),
            ]
        case CreditRestored() as restored:
            return _parts(restored.parts, "restored", 1, 0, restored.invoice_id)
        case CreditLapsed() as lapsed:
            return [(lapsed.grant_id, lapsed.reason, -lapsed.amount, Decimal(0), None, None)]
    return []


def _parts(parts: Iterable[CreditPart], kind: str, free: int, held: int, document_id: str | None = None) -> list[Move]:
    return [
        (part.grant_id, kind, free * part.amount, held * part.amount, part.project_id, document_id) for part in parts
    ]


def _rows(fact: Fact) -> list[dict[str, object]]:
    return [
        {
            "tenant_id": fact.tenant_id,
            "position": fact.position,
            "number": number,
            "grant_id": grant_id,
            "kind": kind,
            "free": free,
            "held": held,
            "project_id": project_id,
            "document_id": document_id,
            "moved_at": fact.time,
        }
        for number, (grant_id, kind, free, held, project_id, document_id) in enumerate(_moves(fact.event))
    ]


def _grant(fact: Fact, granted: CreditGranted) -> dict[str, object]:
    same = ("tenant_id", "grant_id", "currency", "amount", "kind", "priority", "effective_from", "expires_at")
    return {name: getattr(granted, name) for name in (*same, "reference")} | {
        "project_ids": list(granted.project_ids),
        "granted_at": fact.time,
        "position": fact.position,
    }


def _hold(fact: Fact, held: CreditHeld) -> dict[str, object]:
    same = ("tenant_id", "as_of", "covers_until", "expires_at", "burn_per_hour")
    return {name: getattr(held, name) for name in same} | {
        "uncovered": sum((each.amount for each in held.uncovered), Decimal(0)),
        "position": fact.position,
    }
