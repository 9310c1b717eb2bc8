"""Who holds what on which machine, and what is promised there, out of the pools' own histories. One law: the pool's
order is the order here.

Custody of shared machines is this fold and nothing else. A machine is empty when its pool offers it no more and no
claim stands on it: a pool's claims and withdrawals are one history, so nothing can slip in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.allocations import (
    ClaimExtended,
    ClaimGranted,
    ClaimReturned,
    PoolCapacityAdded,
    PoolCapacityWithdrawn,
    PoolTimeBooked,
    PoolTimeFreed,
)
from gpuaas.nodes.domain.promises import Kept, Offered, Room, Standing
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    literal,
    select,
    tuple_,
)

PLACE: Final = ("region", "site", "pod", "rack")
_META: Final = MetaData()
CLAIMS: Final = Table(
    "node_claims_v2",
    _META,
    Column("allocation_id", Text, primary_key=True),
    Column("node_id", Text, primary_key=True),
    Column("pool_id", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("granted_at", DateTime(timezone=True), nullable=False),
    Column("ends_by", DateTime(timezone=True)),
    Column("reservation_id", Text),
    Column("position", BigInteger, nullable=False),
    Index("node_claims_v2_by_node", "node_id", "allocation_id"),
    Index("node_claims_v2_by_tenant", "tenant_id", "node_id"),
)
OFFERS: Final = Table(
    "node_offers_v2",
    _META,
    Column("node_id", Text, primary_key=True),
    Column("pool_id", Text, nullable=False),
    Column("offered", Boolean, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("gpus", Integer, nullable=False),
    *(Column(name, Text, nullable=False) for name in PLACE),
    Column("position", BigInteger, nullable=False),
    Index("node_offers_v2_by_pool", "pool_id", "node_id"),
)
KEPT: Final = Table(
    "kept_gpus_v2",
    _META,
    Column("reservation_id", Text, primary_key=True),
    Column("window", Integer, primary_key=True),
    Column("member", Integer, primary_key=True),
    Column("node_id", Text, nullable=False),
    Column("pool_id", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("ends_at", DateTime(timezone=True), nullable=False),
    Column("level", Text),
    Index("kept_gpus_v2_by_node", "node_id", "ends_at"),
    Index("kept_gpus_v2_by_pool", "pool_id", "ends_at"),
)
"""What is kept for reservations, group by group; `level` is a condition, not a wish."""
KEPT_KEYS: Final = (KEPT.c.reservation_id, KEPT.c.window, KEPT.c.member)
ASKED_MAX: Final = 5_000
"""Machines that one question may be about."""


class NodeClaims(Projection):
    """Answers which allocations have GPUs on a machine, whether its pool offers it, and what is promised on it."""

    answer = "node_claims"
    version = 2
    reads = (
        PoolCapacityAdded,
        PoolCapacityWithdrawn,
        ClaimGranted,
        ClaimExtended,
        ClaimReturned,
        PoolTimeBooked,
        PoolTimeFreed,
    )
    tables = (CLAIMS, OFFERS, KEPT)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        await _fold_offers(rows, facts)
        await _fold_claims(rows, facts)
        await _fold_kept(rows, facts)

    async def on_nodes(self, db: Database, node_ids: Sequence[str]) -> list[Record]:
        """The claims that stand on these machines (at most `ASKED_MAX`), by machine and allocation."""
        query = select(CLAIMS).where(CLAIMS.c.node_id.in_(list(node_ids)[:ASKED_MAX]))
        return await db.fetch(query.order_by(CLAIMS.c.node_id, CLAIMS.c.allocation_id))

    async def offered(self, db: Database, node_ids: Sequence[str]) -> set[str]:
        """Those of these machines that their pools offer for new claims."""
        query = select(OFFERS.c.node_id).where(OFFERS.c.node_id.in_(list(node_ids)[:ASKED_MAX]), OFFERS.c.offered)
        return {row["node_id"] for row in await db.fetch(query)}

    async def of_tenant(self, db: Database, tenant_id: str, node_ids: Sequence[str]) -> list[Record]:
        """A tenant's claims on these machines."""
        on = CLAIMS.c.node_id.in_(list(node_ids)[:ASKED_MAX])
        query = select(CLAIMS).where(CLAIMS.c.tenant_id == tenant_id, on)
        return await db.fetch(query.order_by(CLAIMS.c.node_id, CLAIMS.c.allocation_id))

    async def nodes_of_tenant(self, db: Database, tenant_id: str) -> list[str]:
        """The machines that a tenant has claims on, at most `ASKED_MAX`, in order of id."""
        query = select(CLAIMS.c.node_id).where(CLAIMS.c.tenant_id == tenant_id).distinct()
        return [row["node_id"] for row in await db.fetch(query.order_by(CLAIMS.c.node_id).limit(ASKED_MAX))]

    async def promised_on(self, db: Database, node_ids: Sequence[str], since: datetime, until: datetime) -> list[Kept]:
        """What is kept on these machines in windows that meet [since, until); at most `ASKED_MAX` of both."""
        on = and_(KEPT.c.node_id.in_(list(node_ids)[:ASKED_MAX]), KEPT.c.ends_at > since, KEPT.c.starts_at < until)
        return [_of(row) for row in await db.fetch(select(KEPT).where(on).order_by(*KEPT_KEYS).limit(ASKED_MAX))]

    async def kept_on(
        self, db: Database, node_id: str, since: datetime, after: tuple[str, int, int] | None, limit: int
    ) -> list[Record]:
        """Up to `limit` groups kept on a machine in windows that are not over, by `KEPT_KEYS` after `after`."""
        query = select(KEPT).where(KEPT.c.node_id == node_id, KEPT.c.ends_at > since)
        if after is not None:
            query = query.where(tuple_(*KEPT_KEYS) > tuple_(*(literal(key) for key in after)))
        return await db.fetch(query.order_by(*KEPT_KEYS).limit(limit))

    async def pools_of(self, db: Database, node_ids: Sequence[str]) -> list[str]:
        """The pools that these machines are in."""
        query = select(OFFERS.c.pool_id).where(OFFERS.c.node_id.in_(list(node_ids)[:ASKED_MAX])).distinct()
        return [row["pool_id"] for row in await db.fetch(query.order_by(OFFERS.c.pool_id))]

    async def room(self, db: Database, pool_id: str, since: datetime, until: datetime) -> Room:
        """What a pool offers, has granted and keeps in windows that meet [since, until)."""
        places = [
            (Offered(row["node_id"], row["gpu_model"], row["gpus"], _place(row)), row["offered"])
            for row in await db.fetch(select(OFFERS).where(OFFERS.c.pool_id == pool_id).order_by(OFFERS.c.node_id))
        ]
        meets = and_(KEPT.c.pool_id == pool_id, KEPT.c.ends_at > since, KEPT.c.starts_at < until)
        kept = [_of(row) for row in await db.fetch(select(KEPT).where(meets))]
        standing = [
            Standing(row["node_id"], row["gpus"], row["ends_by"], row["reservation_id"])
            for row in await db.fetch(select(CLAIMS).where(CLAIMS.c.pool_id == pool_id))
        ]
        return Room([each for each, offered in places if offered], kept, standing, [each for each, _ in places])


def _of(row: Record) -> Kept:
    return Kept(
        reservation_id=row["reservation_id"],
        tenant_id=row["tenant_id"],
        window=row["window"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        node_id=row["node_id"],
        gpu_model=row["gpu_model"],
        gpus=row["gpus"],
        level=row["level"],
    )


def _place(row: Record) -> tuple[str, str, str, str]:
    return row["region"], row["site"], row["pod"], row["rack"]


async def _fold_offers(rows: Rows, facts: Sequence[Fact]) -> None:
    offers: dict[str, dict[str, Any]] = {}
    closed: dict[str, int] = {}
    for fact in facts:
        match fact.event:
            case PoolCapacityAdded() as event:
                offers[event.node_id] = _offer(event, fact)
            case PoolCapacityWithdrawn(node_id=node_id) if node_id in offers:
                offers[node_id] |= {"offered": False, "position": fact.position}
            case PoolCapacityWithdrawn(node_id=node_id):
                closed[node_id] = fact.position
    if closed:
        # Before what was added is written: a machine may be withdrawn and offered again.
        closing = """UPDATE node_offers_v2 SET offered = false, position = said.position
            FROM unnest($1::text[], $2::bigint[]) AS said(id, position) WHERE node_id = said.id"""
        await rows.execute(closing, list(closed), list(closed.values()))
    await upsert(rows, OFFERS, list(offers.values()))


async def _fold_claims(rows: Rows, facts: Sequence[Fact]) -> None:
    standing: dict[str, list[dict[str, Any]]] = {}
    extended: dict[str, datetime] = {}
    returned: set[str] = set()
    for fact in facts:
        match fact.event:
            case ClaimGranted() as event:
                standing[event.allocation_id] = _claims(event, fact)
            case ClaimExtended(allocation_id=name) as event if name in standing:
                standing[name] = [claim | {"ends_by": event.ends_by} for claim in standing[name]]
            case ClaimExtended() as event:
                extended[event.allocation_id] = event.ends_by
            case ClaimReturned() as event:
                standing.pop(event.allocation_id, None)
                returned.add(event.allocation_id)
    if extended:
        later = """UPDATE node_claims_v2 SET ends_by = said.ends_by
            FROM unnest($1::text[], $2::timestamptz[]) AS said(id, ends_by) WHERE allocation_id = said.id"""
        await rows.execute(later, list(extended), list(extended.values()))
    if returned:
        # Before what stands is written: an allocation may return a claim and get another one.
        await rows.execute("DELETE FROM node_claims_v2 WHERE allocation_id = ANY($1)", sorted(returned))
    await upsert(rows, CLAIMS, [claim for claims in standing.values() for claim in claims])


async def _fold_kept(rows: Rows, facts: Sequence[Fact]) -> None:
    """One after the other, for they are few."""
    for fact in facts:
        match fact.event:
            case PoolTimeBooked() as event:
                await _free(rows, event.reservation_id, [each.window for each in event.windows])
                await upsert(rows, KEPT, _kept(event))
            case PoolTimeFreed() as event:
                await _free(rows, event.reservation_id, event.windows)


async def _free(rows: Rows, reservation_id: str, windows: Sequence[int] | None) -> None:
    if windows is None:
        await rows.execute("DELETE FROM kept_gpus_v2 WHERE reservation_id = $1", reservation_id)
        return
    some = 'DELETE FROM kept_gpus_v2 WHERE reservation_id = $1 AND "window" = ANY($2)'
    await rows.execute(some, reservation_id, list(windows))


def _kept(event: PoolTimeBooked) -> list[dict[str, Any]]:
    required = event.topology_level if event.topology_mode == "required" else None
    return [
        {
            "reservation_id": event.reservation_id,
            "window": window.window,
            "member": member.member,
            "node_id": member.node_id,
            "pool_id": event.pool_id,
            "tenant_id": event.tenant_id,
            "gpu_model": event.gpu_model,
            "gpus": len(member.device_ids),
            "starts_at": window.starts_at,
            "ends_at": window.ends_at,
            "level": required,
        }
        for window in event.windows
        for member in window.members
    ]


def _offer(event: PoolCapacityAdded, fact: Fact) -> dict[str, Any]:
    return {
        "node_id": event.node_id,
        "pool_id": event.pool_id,
        "offered": True,
        "gpu_model": event.gpu_model,
        "gpus": len(event.device_ids),
        **{name: getattr(event.topology, name) for name in PLACE},
        "position": fact.position,
    }


def _claims(event: ClaimGranted, fact: Fact) -> list[dict[str, Any]]:
    gpus: dict[str, int] = {}
    for member in event.members:
        gpus[member.node_id] = gpus.get(member.node_id, 0) + len(member.device_ids)
    return [
        {
            "allocation_id": event.allocation_id,
            "node_id": node_id,
            "pool_id": event.pool_id,
            "tenant_id": event.tenant_id,
            "project_id": event.project_id,
            "gpus": count,
            "granted_at": fact.time,
            "ends_by": event.ends_by,
            "reservation_id": event.reservation_id,
            "position": fact.position,
        }
        for node_id, count in gpus.items()
    ]
