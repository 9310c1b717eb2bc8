"""What was expected against what was found, machine by machine. One law: each has one verdict that says why.

| verdict | means |
|---|---|
| as-planned | planned, found, compared, and heard |
| unplanned | found and compared, and nobody planned it |
| mismatched | found, and different from the plan, the catalogue or what was entered |
| silent | in the books, and its heartbeat is lost |
| missing | planned, or registered, and not in the books |
| gone | neither planned nor in the books any more |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.inventory import (
    MachineAccepted,
    MachineMismatched,
    MachinePlanned,
    MachinePlanWithdrawn,
    MachineRemoved,
)
from gpuaas.contracts.nodes import (
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeRegistered,
    NodeRetired,
    NodeValidationFailed,
)
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, MetaData, Table, Text, and_, func, select
from sqlalchemy.dialects.postgresql import JSONB

VERDICTS: Final = ("as-planned", "unplanned", "mismatched", "silent", "missing", "gone")
FILTERS: Final = ("verdict", "pool_id", "region", "site", "pod", "rack", "sku_id")
PLACES: Final = ("region", "site", "pod", "rack")
EXPECTATIONS: Final = Table(
    "expectations_v1",
    MetaData(),
    Column("machine_id", Text, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("pool_id", Text),
    *(Column(name, Text) for name in PLACES),
    Column("sku_id", Text),
    Column("plan", JSONB, nullable=False),
    Column("found", JSONB, nullable=False),
    Column("mismatches", JSONB, nullable=False),
    Column("registered", Boolean, nullable=False),
    Column("listed", Text, nullable=False),
    Column("silent", Boolean, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("expectations_v1_by_verdict", "verdict", "machine_id"),
)


class Expectations(Projection):
    """Answers what is missing, what is there unasked, what differs, and why."""

    answer = "expectations"
    version = 1
    reads = (
        MachinePlanned,
        MachinePlanWithdrawn,
        MachineAccepted,
        MachineMismatched,
        MachineRemoved,
        NodeRegistered,
        NodeValidationFailed,
        NodeRetired,
        NodeHeartbeatLost,
        NodeHeartbeatRestored,
    )
    tables = (EXPECTATIONS,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        ids = sorted({fact.subject.rpartition(".")[2] for fact in facts})
        known = await rows.fetch("SELECT * FROM expectations_v1 WHERE machine_id = ANY($1)", ids)
        standing: dict[str, dict[str, Any]] = {row["machine_id"]: dict(row) for row in known}
        for fact in facts:
            machine_id = fact.subject.rpartition(".")[2]
            row = {**standing.get(machine_id, _NOTHING), "machine_id": machine_id}
            row |= _changes(row, fact)
            verdict, why = _judged(row)
            standing[machine_id] = {
                **row,
                **_where(row),
                "verdict": verdict,
                "why": why,
                "changed_at": fact.time,
                "position": fact.position,
            }
        await upsert(rows, EXPECTATIONS, list(standing.values()))

    async def machine(self, db: Database, machine_id: str) -> Record | None:
        return await db.fetch_one(select(EXPECTATIONS).where(EXPECTATIONS.c.machine_id == machine_id))

    async def matching(self, db: Database, wanted: Mapping[str, str], after: str | None, limit: int) -> list[Record]:
        """Up to `limit` machines in order of id after `after`; `wanted` maps names of `FILTERS` to values."""
        conditions = [EXPECTATIONS.c[name] == value for name, value in wanted.items()]
        if after is not None:
            conditions.append(EXPECTATIONS.c.machine_id > after)
        query = select(EXPECTATIONS).where(and_(True, *conditions))
        return await db.fetch(query.order_by(EXPECTATIONS.c.machine_id).limit(limit))

    async def counts(self, db: Database, wanted: Mapping[str, str]) -> dict[str, int]:
        """Machines by verdict; every verdict is named."""
        conditions = [EXPECTATIONS.c[name] == value for name, value in wanted.items()]
        query = select(EXPECTATIONS.c.verdict, func.count().label("machines")).where(and_(True, *conditions))
        found = {row["verdict"]: row["machines"] for row in await db.fetch(query.group_by(EXPECTATIONS.c.verdict))}
        return {verdict: found.get(verdict, 0) for verdict in VERDICTS}


_NOTHING: Final[dict[str, Any]] = {
    "plan": {},
    "found": {},
    "mismatches": {},
    "registered": False,
    "listed": "no",
    "silent": False,
}


def _changes(row: Mapping[str, Any], fact: Fact) -> dict[str, Any]:
    match fact.event:
        case MachinePlanned() as event:
            return {"plan": event.model_dump(mode="json", exclude={"machine_id"})}
        case MachinePlanWithdrawn():
            return {"plan": {}}
        case MachineAccepted() as event:
            seen = event.model_dump(mode="json", exclude={"machine_id", "devices"})
            return {"found": {**seen, "gpu_count": len(event.devices)}, "listed": "accepted", "mismatches": {}}
        case MachineMismatched() as event:
            return {"listed": "mismatched", "mismatches": _told(event)}
        case MachineRemoved() as event:
            return {"listed": "removed", "found": {**row["found"], "reason": event.reason}, "mismatches": {}}
        case NodeRegistered() as event:
            seen = {"pool_id": event.pool_id, "topology": event.topology.model_dump(mode="json")}
            return {"registered": True, "found": {**seen, **row["found"]}}
        case NodeValidationFailed() as event:
            return {} if row["listed"] in ("accepted", "mismatched") else {"mismatches": _told(event)}
        case NodeRetired():
            return {"registered": False, "silent": False}
        case NodeHeartbeatLost():
            return {"silent": True}
        case NodeHeartbeatRestored():
            return {"silent": False}
        case other:
            raise AssertionError(f"{type(other).__name__} is read but not folded")


def _told(event: MachineMismatched | NodeValidationFailed) -> dict[str, Any]:
    return {"items": [mismatch.model_dump(mode="json") for mismatch in event.mismatches]}


def _judged(row: Mapping[str, Any]) -> tuple[str, str]:
    differences = "; ".join(
        f"{each['field']}: {each['expected']} expected, {each['observed']} found"
        for each in row["mismatches"].get("items", [])
    )
    match row["listed"]:
        case "mismatched":
            return "mismatched", differences
        case "accepted" if row["silent"]:
            return "silent", "in the books, and its heartbeat is lost"
        case "accepted" if row["plan"]:
            return "as-planned", "planned, found and compared"
        case "accepted":
            return "unplanned", "found and compared; nobody planned it"
        case "removed" if not row["plan"]:
            return "gone", f"out of the books: {row['found'].get('reason', 'withdrawn')}"
        case "removed":
            return "missing", f"planned, and out of the books: {row['found'].get('reason', 'withdrawn')}"
    if row["registered"]:
        return "missing", f"registered, and not usable: {differences}" if differences else "registered, not judged yet"
    return ("missing", "planned, and never registered") if row["plan"] else ("gone", "neither planned nor found")


def _where(row: Mapping[str, Any]) -> dict[str, Any]:
    """Where it stands, or where it was to stand."""
    said = row["found"] if row["listed"] in ("accepted", "mismatched") and row["found"] else row["plan"] or row["found"]
    place = said.get("topology", {})
    return {
        "pool_id": said.get("pool_id"),
        "sku_id": row["plan"].get("sku_id"),
        **{name: place.get(name) for name in PLACES},
    }
