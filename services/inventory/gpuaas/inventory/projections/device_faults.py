"""What every GPU went through, by serial number, wherever it sat. One law: a fault stays with the GPU for life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.inventory import MachineAccepted, MachineRemoved
from gpuaas.contracts.nodes import NodeFaultReported, NodeHealthChanged
from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, MetaData, Table, Text, and_, case, func, select

HEALTHY: Final = "healthy"
CONDITIONS: Final = (HEALTHY, "suspect", "degraded", "failed")
_META: Final = MetaData()
FAULTS: Final = Table(
    "device_faults_v1",
    _META,
    Column("position", BigInteger, primary_key=True),
    Column("serial", Text, nullable=False),
    Column("machine_id", Text, nullable=False),
    Column("fault_class", Text, nullable=False),
    Column("code", Text),
    Column("source", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("observed_at", DateTime(timezone=True), nullable=False),
    Index("device_faults_v1_by_serial", "serial", "position"),
)
HEALTH: Final = Table(
    "device_health_v1",
    _META,
    Column("serial", Text, primary_key=True),
    Column("condition", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("fault_count", Integer, nullable=False),
    Column("rule_version", Text),
    Column("reason", Text),
    Column("pool_id", Text),
    Column("gpu_model", Text),
    Column("machine_id", Text),
)
DIMENSIONS: Final = ("pool_id", "gpu_model", "machine_id")


class DeviceFaults(Projection):
    """Answers what happened to a GPU in its whole life, and how healthy the GPUs of the fleet are."""

    answer = "device_faults"
    version = 1
    reads = (NodeFaultReported, NodeHealthChanged, MachineAccepted, MachineRemoved)
    tables = (FAULTS, HEALTH)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        machines = sorted({f.subject.rpartition(".")[2] for f in facts if f.event.SERVICE == "inventory"})
        named = {serial for fact in facts for serial in _serials(fact)}
        known = await rows.fetch(
            "SELECT * FROM device_health_v1 WHERE serial = ANY($1) OR machine_id = ANY($2)", sorted(named), machines
        )
        health: dict[str, dict[str, Any]] = {row["serial"]: dict(row) for row in known}
        faults: list[dict[str, Any]] = []
        for fact in facts:
            match fact.event:
                case NodeFaultReported() as event:
                    shown = {"serial", "fault_class", "code", "source", "detail", "observed_at"}
                    said = event.model_dump(include=shown)
                    faults.append({**said, "machine_id": event.node_id, "position": fact.position})
                case NodeHealthChanged() as event:
                    told = event.model_dump(include={"condition", "action", "fault_count", "rule_version", "reason"})
                    health[event.serial] = {**health.get(event.serial, _unknown(event.serial)), **told}
                case MachineAccepted() as event:
                    _show(health, event)
                case MachineRemoved() as event:
                    _leave(health, event.machine_id, set())
                case other:
                    raise AssertionError(f"{type(other).__name__} is read but not folded")
        await upsert(rows, FAULTS, faults)
        await upsert(rows, HEALTH, list(health.values()))

    async def faults(self, db: Database, serial: str, after: int | None, limit: int) -> list[Record]:
        """Up to `limit` faults of one GPU in order of the log, after position `after`."""
        query = select(FAULTS).where(FAULTS.c.serial == serial)
        if after is not None:
            query = query.where(FAULTS.c.position > after)
        return await db.fetch(query.order_by(FAULTS.c.position).limit(limit))

    async def health(self, db: Database, serial: str) -> Record | None:
        return await db.fetch_one(select(HEALTH).where(HEALTH.c.serial == serial))

    async def counts(self, db: Database, dimensions: Sequence[str]) -> list[Record]:
        """GPUs in the books by condition, and all their faults, by the dimensions (a part of `DIMENSIONS`)."""
        keys = [HEALTH.c[name] for name in dimensions]
        by_condition = [func.sum(case((HEALTH.c.condition == name, 1), else_=0)).label(name) for name in CONDITIONS]
        repeat = func.sum(case((HEALTH.c.fault_count > 1, 1), else_=0)).label("repeat_offenders")
        faults = func.sum(HEALTH.c.fault_count).label("faults")
        query = select(*keys, func.count().label("gpus"), *by_condition, repeat, faults)
        query = query.where(and_(HEALTH.c.machine_id.is_not(None)))
        return await db.fetch(query.group_by(*keys).order_by(*keys) if keys else query.having(func.count() > 0))


def _serials(fact: Fact) -> list[str]:
    match fact.event:
        case NodeHealthChanged() as event:
            return [event.serial]
        case MachineAccepted() as event:
            return [device.serial for device in event.devices]
        case _:
            return []


def _unknown(serial: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("rule_version", "reason", *DIMENSIONS))
    return {"serial": serial, "condition": HEALTHY, "action": "none", "fault_count": 0, **nothing}


def _show(health: dict[str, dict[str, Any]], event: MachineAccepted) -> None:
    serials = {device.serial for device in event.devices}
    _leave(health, event.machine_id, serials)
    where = {"pool_id": event.pool_id, "gpu_model": event.gpu_model, "machine_id": event.machine_id}
    for serial in serials:
        health[serial] = {**health.get(serial, _unknown(serial)), **where}


def _leave(health: dict[str, dict[str, Any]], machine_id: str, staying: set[str]) -> None:
    for serial, row in health.items():
        if row["machine_id"] == machine_id and serial not in staying:
            row |= dict.fromkeys(DIMENSIONS)
