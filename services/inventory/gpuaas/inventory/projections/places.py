"""The fleet as a tree: region, site, pod, rack, NVLink domain, machine. One law: a machine hangs in one place.

Machines whose GPUs are linked with nobody stand in the domain `none` of their rack. GPUs are the leaves; `devices`
answers for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.inventory import MachineAccepted, MachineMismatched, MachineRemoved
from gpuaas.inventory.domain.machine import VOCABULARY
from gpuaas.inventory.projections.fleet_capacity import accepted_at
from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table, Text, and_, case, func, select

LEVELS: Final = ("region", "site", "pod", "rack", "nvlink_domain", "machine_id")
UNLINKED: Final = "none"
PLACES: Final = Table(
    "places_v1",
    MetaData(),
    Column("machine_id", Text, primary_key=True),
    *(Column(name, Text) for name in LEVELS[:-1]),
    Column("pool_id", Text),
    Column("gpu_model", Text),
    Column("gpus", Integer, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("mismatched", Boolean, nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("places_v1_by_place", *LEVELS),
)


class Places(Projection):
    """Answers what stands below a place."""

    answer = "places"
    version = 1
    reads = VOCABULARY.types
    tables = (PLACES,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        ids = sorted({fact.subject.rpartition(".")[2] for fact in facts})
        known = await rows.fetch("SELECT * FROM places_v1 WHERE machine_id = ANY($1)", ids)
        standing: dict[str, dict[str, Any]] = {row["machine_id"]: dict(row) for row in known}
        for fact in facts:
            machine_id = fact.subject.rpartition(".")[2]
            before = standing.get(machine_id, _NOWHERE)
            standing[machine_id] = {
                **before,
                **_changes(fact),
                "machine_id": machine_id,
                "position": fact.position,
            }
        await upsert(rows, PLACES, list(standing.values()))

    async def below(
        self, db: Database, path: Sequence[str], wanted: Mapping[str, str], after: str | None, limit: int
    ) -> list[Record]:
        """Up to `limit` places right below `path` (names from the region down), in order of name after `after`."""
        name = PLACES.c[LEVELS[len(path)]]
        conditions = [PLACES.c[level] == value for level, value in zip(LEVELS, path, strict=False)]
        conditions += [PLACES.c[column] == value for column, value in wanted.items()]
        if after is not None:
            conditions.append(name > after)
        sums = [
            func.count().label("machines"),
            func.sum(PLACES.c.gpus).label("gpus"),
            func.sum(case((PLACES.c.mismatched, PLACES.c.gpus), else_=0)).label("mismatched_gpus"),
        ]
        query = select(name.label("name"), *sums).where(and_(PLACES.c.listed, *conditions))
        return await db.fetch(query.group_by(name).order_by(name).limit(limit))


_NOWHERE: Final[dict[str, Any]] = {
    **dict.fromkeys((*LEVELS[:-1], "pool_id", "gpu_model")),
    "gpus": 0,
    "listed": False,
    "mismatched": False,
}


def _changes(fact: Fact) -> dict[str, Any]:
    match fact.event:
        case MachineAccepted() as event:
            return accepted_at(event) | {"nvlink_domain": event.nvlink_domain or UNLINKED}
        case MachineMismatched():
            return {"mismatched": True}
        case MachineRemoved():
            return {"listed": False}
        case other:
            raise AssertionError(f"{type(other).__name__} is read but not folded")
