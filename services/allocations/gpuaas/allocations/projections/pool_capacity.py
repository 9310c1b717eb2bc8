"""What a pool has and who holds it: GPUs per machine, and each held GPU. One law: of no GPU is more held than there is.

The fold adds up what is held of each GPU and stops here, by name, rather than show a pool that cannot be.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gpuaas.allocations.domain.shape import WHOLE_MILLI
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Unreadable
from gpuaas.common.projections import Database, Projection, Record, Rows, insert, upsert
from gpuaas.contracts.allocations import ClaimGranted, ClaimReturned, PoolCapacityAdded, PoolCapacityWithdrawn
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, func, select, tuple_
from sqlalchemy.dialects.postgresql import TIMESTAMP

Holding = tuple[str, str, int]
"""GPU, allocation, member."""
_META: Final = MetaData()
MACHINES: Final = Table(
    "pool_capacity_v2",
    _META,
    Column("pool_id", Text, primary_key=True),
    Column("node_id", Text, primary_key=True),
    Column("gpu_model", Text, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("held", Integer, nullable=False, server_default="0"),
    Column("region", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("pod", Text, nullable=False),
    Column("rack", Text, nullable=False),
    Column("withdrawn", Text),
    Index("pool_capacity_v2_by_node", "node_id"),
    postgresql_with={"fillfactor": 70},
)
HELD: Final = Table(
    "held_devices_v2",
    _META,
    Column("device_id", Text, primary_key=True),
    Column("allocation_id", Text, primary_key=True),
    Column("member", Integer, primary_key=True),
    Column("share_milli", Integer, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("pool_id", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("since", TIMESTAMP(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("held_devices_v2_by_allocation", "allocation_id"),
)


class PoolCapacity(Projection):
    """Capacity by pool, model and machine, and the holder of every held GPU."""

    answer = "pool_capacity"
    version = 2
    reads = (PoolCapacityAdded, PoolCapacityWithdrawn, ClaimGranted, ClaimReturned)
    tables = (MACHINES, HELD)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        await _fold_machines(rows, facts)
        await _fold_claims(rows, facts)

    # -- questions ---------------------------------------------------------------------------------------------

    async def pools(self, db: Database, pool_id: str | None = None) -> list[Record]:
        """Per pool and GPU model: machines, and GPUs in all, held, withdrawn (and not held) and free."""
        m = MACHINES.c
        open_gpus = func.sum(m.gpus).filter(m.withdrawn.is_(None))
        open_held = func.sum(m.held).filter(m.withdrawn.is_(None))
        query = (
            select(
                m.pool_id,
                m.gpu_model,
                func.count().label("machines"),
                func.count().filter(m.withdrawn.is_not(None)).label("machines_withdrawn"),
                func.sum(m.gpus).label("gpus"),
                func.sum(m.held).label("held"),
                func.coalesce(open_gpus - open_held, 0).label("free"),
            )
            .group_by(m.pool_id, m.gpu_model)
            .order_by(m.pool_id, m.gpu_model)
        )
        return await db.fetch(query if pool_id is None else query.where(m.pool_id == pool_id))

    async def pool_ids(self, db: Database) -> list[str]:
        """Every pool that has, or has had, a machine."""
        query = select(MACHINES.c.pool_id).distinct().order_by(MACHINES.c.pool_id)
        return [str(row["pool_id"]) for row in await db.fetch(query)]

    async def machines(self, db: Database, pool_id: str, after: str, limit: int) -> list[Record]:
        """Machines of a pool by id, beginning after `after`."""
        m = MACHINES.c
        query = select(MACHINES).where(m.pool_id == pool_id, m.node_id > after)
        return await db.fetch(query.order_by(m.node_id).limit(limit))

    async def held_devices(self, db: Database, pool_id: str, after: tuple[Any, ...], limit: int) -> list[Record]:
        """Held GPUs of a pool by (id, allocation, member), beginning after `after`."""
        keys = (HELD.c.device_id, HELD.c.allocation_id, HELD.c.member)
        query = select(HELD).where(HELD.c.pool_id == pool_id)
        if after:
            query = query.where(tuple_(*keys) > tuple_(*after))
        return await db.fetch(query.order_by(*keys).limit(limit))


async def _fold_machines(rows: Rows, facts: Sequence[Fact]) -> None:
    offered: dict[tuple[str, str], dict[str, Any]] = {}
    closed: dict[tuple[str, str], str] = {}
    for fact in facts:
        match fact.event:
            case PoolCapacityAdded() as added:
                key = (added.pool_id, added.node_id)
                closed.pop(key, None)
                offered[key] = {
                    "pool_id": added.pool_id,
                    "node_id": added.node_id,
                    "gpu_model": added.gpu_model,
                    "gpus": len(added.device_ids),
                    **added.topology.model_dump(),
                    "withdrawn": None,
                }
            case PoolCapacityWithdrawn() as withdrawn:
                key = (withdrawn.pool_id, withdrawn.node_id)
                if key in offered:
                    offered[key]["withdrawn"] = withdrawn.reason
                else:
                    closed[key] = withdrawn.reason
    await upsert(rows, MACHINES, list(offered.values()))
    if closed:
        await rows.execute(
            f"UPDATE {MACHINES.name} AS m SET withdrawn = n.reason "  # noqa: S608
            "FROM unnest($1::text[], $2::text[], $3::text[]) AS n(pool_id, node_id, reason) "
            "WHERE m.pool_id = n.pool_id AND m.node_id = n.node_id",
            [pool_id for pool_id, _ in closed],
            [node_id for _, node_id in closed],
            list(closed.values()),
        )


async def _fold_claims(rows: Rows, facts: Sequence[Fact]) -> None:
    granted = [fact.event for fact in facts if isinstance(fact.event, ClaimGranted)]
    returned = [fact.event.allocation_id for fact in facts if isinstance(fact.event, ClaimReturned)]
    if not granted and not returned:
        return
    found = await rows.fetch(
        f"SELECT * FROM {HELD.name} WHERE device_id = ANY($2) OR device_id IN "  # noqa: S608
        f"(SELECT device_id FROM {HELD.name} WHERE allocation_id = ANY($1))",
        returned,
        [device for claim in granted for member in claim.members for device in member.device_ids],
    )
    before = {(row["device_id"], row["allocation_id"], row["member"]): dict(row) for row in found}
    after = dict(before)
    milli = Counter[str]()
    of_allocation: defaultdict[str, set[Holding]] = defaultdict(set)
    for key, row in before.items():
        milli[row["device_id"]] += row["share_milli"]
        of_allocation[row["allocation_id"]].add(key)
    for fact in facts:
        if isinstance(fact.event, ClaimGranted):
            of_allocation[fact.event.allocation_id] |= _hold(after, milli, fact, fact.event)
        elif isinstance(fact.event, ClaimReturned):
            for key in of_allocation.pop(fact.event.allocation_id, ()):
                milli[key[0]] -= after.pop(key)["share_milli"]
    freed = [row for key, row in before.items() if after.get(key) is not row]
    taken = [row for key, row in after.items() if before.get(key) is not row]
    if freed:
        await rows.execute(
            f"DELETE FROM {HELD.name} AS h USING unnest($1::text[], $2::text[], $3::int[]) "  # noqa: S608
            "AS n(device_id, allocation_id, member) "
            "WHERE h.device_id = n.device_id AND h.allocation_id = n.allocation_id AND h.member = n.member",
            [row["device_id"] for row in freed],
            [row["allocation_id"] for row in freed],
            [row["member"] for row in freed],
        )
    await insert(rows, HELD, taken)
    await _count_held(rows, _devices(before.values()), _devices(after.values()))


def _devices(holdings: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """GPU → (pool, machine) of what is held at all."""
    return {row["device_id"]: (row["pool_id"], row["node_id"]) for row in holdings}


def _hold(after: dict[Holding, dict[str, Any]], milli: Counter[str], fact: Fact, claim: ClaimGranted) -> set[Holding]:
    """Write the claim's GPUs into `after`; under which keys."""
    keys: set[Holding] = set()
    for member in claim.members:
        share = WHOLE_MILLI if member.share_milli is None else member.share_milli
        for device in member.device_ids:
            milli[device] += share
            if milli[device] > WHOLE_MILLI:
                raise Unreadable(
                    f"position {fact.position}: {share}/1000 of GPU {device} are granted to {claim.allocation_id} "
                    f"while {milli[device] - share}/1000 of it are held already"
                )
            key = (device, claim.allocation_id, member.member)
            keys.add(key)
            after[key] = {
                "device_id": device,
                "allocation_id": claim.allocation_id,
                "member": member.member,
                "share_milli": share,
                "node_id": member.node_id,
                "pool_id": claim.pool_id,
                "gpu_model": claim.gpu_model,
                "tenant_id": claim.tenant_id,
                "project_id": claim.project_id,
                "since": fact.time,
                "position": fact.position,
            }
    return keys


async def _count_held(rows: Rows, before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]]) -> None:
    change = Counter(home for device, home in after.items() if device not in before)
    change.subtract(home for device, home in before.items() if device not in after)
    moved = {key: by for key, by in change.items() if by}
    if moved:
        await rows.execute(
            f"UPDATE {MACHINES.name} AS m SET held = m.held + n.by "  # noqa: S608
            "FROM unnest($1::text[], $2::text[], $3::int[]) AS n(pool_id, node_id, by) "
            "WHERE m.pool_id = n.pool_id AND m.node_id = n.node_id",
            [pool_id for pool_id, _ in moved],
            [node_id for _, node_id in moved],
            list(moved.values()),
        )
