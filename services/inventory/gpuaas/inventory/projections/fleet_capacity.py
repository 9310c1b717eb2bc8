"""What exists, what is sellable and why the rest is not, counted by place, pool and model.

One law: every GPU that is counted stands in exactly one of sellable, held, down and mismatched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.inventory import MachineAccepted, MachineMismatched, MachineRemoved
from gpuaas.contracts.nodes import (
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldLifted,
    NodeHoldPlaced,
)
from sqlalchemy import Boolean, Column, Integer, MetaData, Table, Text, and_, func, select
from sqlalchemy.dialects.postgresql import JSONB

DIMENSIONS: Final = ("region", "site", "pod", "rack", "pool_id", "gpu_model")
STATES: Final = ("sellable", "held", "down", "mismatched")
"""In which of these a machine counts: mismatched before down before held before sellable."""

_META: Final = MetaData()
CAPACITY: Final = Table(
    "fleet_capacity_v1",
    _META,
    *(Column(name, Text, primary_key=True) for name in DIMENSIONS),
    Column("machines", Integer, nullable=False),
    Column("gpus", Integer, nullable=False),
    *(Column(f"{state}_gpus", Integer, nullable=False) for state in STATES),
)
COUNTED: Final = Table(
    "counted_machines_v1",
    _META,
    Column("machine_id", Text, primary_key=True),
    *(Column(name, Text) for name in DIMENSIONS),
    Column("gpus", Integer, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("mismatched", Boolean, nullable=False),
    Column("silent", Boolean, nullable=False),
    Column("holds", JSONB, nullable=False),
)
SUMS: Final = ("machines", "gpus", *(f"{state}_gpus" for state in STATES))
Key = tuple[str, ...]


class FleetCapacity(Projection):
    """Answers how many GPUs there are and how many of them can be sold, at any level."""

    answer = "fleet_capacity"
    version = 1
    reads = (
        MachineAccepted,
        MachineMismatched,
        MachineRemoved,
        NodeHoldPlaced,
        NodeHoldLifted,
        NodeHeartbeatLost,
        NodeHeartbeatRestored,
    )
    tables = (CAPACITY, COUNTED)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        ids = sorted({fact.subject.rpartition(".")[2] for fact in facts})
        known = await rows.fetch("SELECT * FROM counted_machines_v1 WHERE machine_id = ANY($1)", ids)
        machines: dict[str, dict[str, Any]] = {row["machine_id"]: dict(row) for row in known}
        before = {machine_id: dict(row) for machine_id, row in machines.items()}
        for fact in facts:
            machine_id = fact.subject.rpartition(".")[2]
            row = machines.get(machine_id) or _uncounted(machine_id)
            machines[machine_id] = {**row, **_changes(row, fact)}
        await upsert(rows, COUNTED, list(machines.values()))
        await _move(rows, before.values(), machines.values())

    async def by(self, db: Database, dimensions: Sequence[str], wanted: Mapping[str, str]) -> list[Record]:
        """Sums by the dimensions (a part of `DIMENSIONS`, empty for one total), in order of them."""
        keys = [CAPACITY.c[name] for name in dimensions]
        sums = [func.coalesce(func.sum(CAPACITY.c[name]), 0).label(name) for name in SUMS]
        query = select(*keys, *sums).where(and_(True, *(CAPACITY.c[name] == value for name, value in wanted.items())))
        if keys:
            query = query.group_by(*keys).having(func.sum(CAPACITY.c.machines) > 0).order_by(*keys)
        return await db.fetch(query)


def _uncounted(machine_id: str) -> dict[str, Any]:
    row: dict[str, Any] = {"machine_id": machine_id, **dict.fromkeys(DIMENSIONS)}
    return {**row, "gpus": 0, "listed": False, "mismatched": False, "silent": False, "holds": {}}


def _changes(row: Mapping[str, Any], fact: Fact) -> dict[str, Any]:
    match fact.event:
        case MachineAccepted() as event:
            return accepted_at(event)
        case MachineMismatched():
            return {"mismatched": True}
        case MachineRemoved():
            return {"listed": False}
        case NodeHoldPlaced() as event:
            return {"holds": {**row["holds"], event.hold_id: True}}
        case NodeHoldLifted() as event:
            return {"holds": {name: True for name in row["holds"] if name != event.hold_id}}
        case NodeHeartbeatLost():
            return {"silent": True}
        case NodeHeartbeatRestored():
            return {"silent": False}
        case other:
            raise AssertionError(f"{type(other).__name__} is read but not folded")


def accepted_at(event: MachineAccepted) -> dict[str, Any]:
    """Where an accepted machine stands, whose it is and how much it is: what every view of machines counts by."""
    return {
        **event.topology.model_dump(include=set(DIMENSIONS)),
        "pool_id": event.pool_id,
        "gpu_model": event.gpu_model,
        "gpus": len(event.devices),
        "listed": True,
        "mismatched": False,
    }


def _state(row: Mapping[str, Any]) -> str:
    if row["mismatched"]:
        return "mismatched"
    if row["silent"]:
        return "down"
    return "held" if row["holds"] else "sellable"


async def _move(rows: Rows, before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> None:
    """Take the machines out of the sums they stood in and add them where they stand now."""
    changes: dict[Key, dict[str, int]] = {}
    for sign, machines in ((-1, before), (1, after)):
        for row in machines:
            if row["listed"]:
                sums = changes.setdefault(tuple(row[name] for name in DIMENSIONS), dict.fromkeys(SUMS, 0))
                sums["machines"] += sign
                sums["gpus"] += sign * row["gpus"]
                sums[f"{_state(row)}_gpus"] += sign * row["gpus"]
    moved = {key: sums for key, sums in changes.items() if any(sums.values())}
    if not moved:
        return
    columns = [list(column) for column in zip(*moved, strict=True)]
    same = " AND ".join(f"c.{name} = k.{name}" for name in DIMENSIONS)
    arrays = ", ".join(f"${number}::text[]" for number in range(1, len(DIMENSIONS) + 1))
    known = await rows.fetch(
        f"SELECT c.* FROM fleet_capacity_v1 c JOIN unnest({arrays}) AS k({', '.join(DIMENSIONS)}) ON {same}",  # noqa: S608
        *columns,
    )
    standing = {tuple(row[name] for name in DIMENSIONS): row for row in known}
    records = []
    for key, sums in moved.items():
        base = standing.get(key)
        totals = {name: (base[name] if base else 0) + delta for name, delta in sums.items()}
        records.append({**dict(zip(DIMENSIONS, key, strict=True)), **totals})
    await upsert(rows, CAPACITY, records)
