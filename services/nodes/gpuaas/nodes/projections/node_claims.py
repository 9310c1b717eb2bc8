"""Who holds what on which machine, out of the pools' own histories. One law: the pool's order is the order here.

Custody of shared machines is this fold and nothing else. A machine is empty when its pool offers it no more and no
claim stands on it: a pool's claims and withdrawals are one history, so nothing can slip in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.allocations import ClaimGranted, ClaimReturned, PoolCapacityAdded, PoolCapacityWithdrawn
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Integer, MetaData, Table, Text, select

_META: Final = MetaData()
CLAIMS: Final = Table(
    "node_claims_v1",
    _META,
    Column("allocation_id", Text, primary_key=True),
    Column("node_id", Text, primary_key=True),
    Column("pool_id", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("granted_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("node_claims_v1_by_node", "node_id", "allocation_id"),
    Index("node_claims_v1_by_tenant", "tenant_id", "node_id"),
)
OFFERS: Final = Table(
    "node_offers_v1",
    _META,
    Column("node_id", Text, primary_key=True),
    Column("pool_id", Text, nullable=False),
    Column("offered", Boolean, nullable=False),
    Column("position", BigInteger, nullable=False),
)
ASKED_MAX: Final = 5_000
"""Machines that one question may be about."""


class NodeClaims(Projection):
    """Answers which allocations have GPUs on a machine, and whether its pool offers it."""

    answer = "node_claims"
    version = 1
    reads = (PoolCapacityAdded, PoolCapacityWithdrawn, ClaimGranted, ClaimReturned)
    tables = (CLAIMS, OFFERS)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        offers: dict[str, dict[str, Any]] = {}
        standing: dict[str, list[dict[str, Any]]] = {}
        returned: set[str] = set()
        for fact in facts:
            match fact.event:
                case PoolCapacityAdded() as event:
                    offers[event.node_id] = _offer(event.node_id, event.pool_id, True, fact)
                case PoolCapacityWithdrawn() as event:
                    offers[event.node_id] = _offer(event.node_id, event.pool_id, False, fact)
                case ClaimGranted() as event:
                    standing[event.allocation_id] = _claims(event, fact)
                case ClaimReturned() as event:
                    standing.pop(event.allocation_id, None)
                    returned.add(event.allocation_id)
        await upsert(rows, OFFERS, list(offers.values()))
        if returned:
            # Before what stands is written: an allocation may return a claim and get another one.
            await rows.execute("DELETE FROM node_claims_v1 WHERE allocation_id = ANY($1)", sorted(returned))
        await upsert(rows, CLAIMS, [claim for claims in standing.values() for claim in claims])

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


def _offer(node_id: str, pool_id: str, offered: bool, fact: Fact) -> dict[str, Any]:
    return {"node_id": node_id, "pool_id": pool_id, "offered": offered, "position": fact.position}


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
            "position": fact.position,
        }
        for node_id, count in gpus.items()
    ]
