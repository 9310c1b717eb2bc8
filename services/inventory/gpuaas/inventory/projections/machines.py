"""The machines in the books. One law: a machine has one row, and it says what it is or why it is not sellable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.inventory import MachineAccepted, MachineMismatched, MachineRemoved, Mismatch
from gpuaas.inventory.domain.machine import VOCABULARY
from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, MetaData, Table, Text, and_, select
from sqlalchemy.dialects.postgresql import JSONB

MACHINES: Final = Table(
    "machines_v1",
    MetaData(),
    Column("machine_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("machine_serial", Text),
    Column("pool_id", Text),
    Column("gpu_model", Text),
    Column("gpu_count", Integer, nullable=False),
    Column("region", Text),
    Column("site", Text),
    Column("pod", Text),
    Column("rack", Text),
    Column("mismatches", JSONB, nullable=False),
    Column("reason", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("machines_v1_by_place", "region", "site", "pod", "rack"),
)
MISMATCHED_AT_ONCE_MAX: Final = 500
FILTERS: Final = ("status", "pool_id", "gpu_model", "region", "site", "pod", "rack")
PLACES: Final = ("region", "site", "pod", "rack")


class Machines(Projection):
    """Answers which machines there are, where, and what is wrong with the others."""

    answer = "machines"
    version = 1
    reads = VOCABULARY.types
    tables = (MACHINES,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        ids = sorted({fact.subject.rpartition(".")[2] for fact in facts})
        known = await rows.fetch("SELECT * FROM machines_v1 WHERE machine_id = ANY($1)", ids)
        standing: dict[str, dict[str, Any]] = {row["machine_id"]: dict(row) for row in known}
        for fact in facts:
            machine_id = fact.subject.rpartition(".")[2]
            before = standing.get(machine_id, _UNLISTED)
            changed = {**before, **_changes(fact), "machine_id": machine_id}
            standing[machine_id] = {**changed, "changed_at": fact.time, "position": fact.position}
        await upsert(rows, MACHINES, list(standing.values()))

    async def machine(self, db: Database, machine_id: str) -> Record | None:
        return await db.fetch_one(select(MACHINES).where(MACHINES.c.machine_id == machine_id))

    async def mismatched(self, db: Database) -> dict[str, list[Mismatch]]:
        """What is wrong with machines that are mismatched; of at most `MISMATCHED_AT_ONCE_MAX`, the newest first."""
        query = select(MACHINES).where(MACHINES.c.status == "mismatched").order_by(MACHINES.c.position.desc())
        rows = await db.fetch(query.limit(MISMATCHED_AT_ONCE_MAX))
        return {
            row["machine_id"]: [Mismatch.model_validate(each) for each in row["mismatches"]["items"]] for row in rows
        }

    async def matching(self, db: Database, wanted: Mapping[str, str], after: str | None, limit: int) -> list[Record]:
        """Up to `limit` machines in order of id after `after`; `wanted` maps names of `FILTERS` to values."""
        conditions = [MACHINES.c[name] == value for name, value in wanted.items()]
        if after is not None:
            conditions.append(MACHINES.c.machine_id > after)
        query = select(MACHINES).where(and_(True, *conditions))
        return await db.fetch(query.order_by(MACHINES.c.machine_id).limit(limit))


_UNLISTED: Final[dict[str, Any]] = {
    "machine_serial": None,
    "pool_id": None,
    "gpu_model": None,
    "gpu_count": 0,
    "region": None,
    "site": None,
    "pod": None,
    "rack": None,
}


def _changes(fact: Fact) -> dict[str, Any]:
    match fact.event:
        case MachineAccepted() as event:
            return {
                "status": "accepted",
                "machine_serial": event.machine_serial,
                "pool_id": event.pool_id,
                "gpu_model": event.gpu_model,
                "gpu_count": len(event.devices),
                "region": event.topology.region,
                "site": event.topology.site,
                "pod": event.topology.pod,
                "rack": event.topology.rack,
                "mismatches": {},
                "reason": None,
            }
        case MachineMismatched() as event:
            found = [mismatch.model_dump(mode="json") for mismatch in event.mismatches]
            return {"status": "mismatched", "mismatches": {"items": found}, "reason": None}
        case MachineRemoved() as event:
            return {"status": "removed", "mismatches": {}, "reason": event.reason}
        case other:
            raise AssertionError(f"{type(other).__name__} is read but not folded")
