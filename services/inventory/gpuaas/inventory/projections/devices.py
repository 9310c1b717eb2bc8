"""Every GPU by its serial number, and where it has been. One law: the component has a life of its own.

A row follows the serial number from slot to slot and machine to machine; each stay is kept as a row of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows, upsert
from gpuaas.contracts.inventory import Device, MachineAccepted, MachineMismatched, MachineRemoved
from gpuaas.inventory.domain.machine import VOCABULARY, Claimed
from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, MetaData, Table, Text, and_, select

_META: Final = MetaData()
DEVICES: Final = Table(
    "devices_v1",
    _META,
    Column("serial", Text, primary_key=True),
    Column("device_id", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("machine_id", Text),
    Column("slot", Integer),
    Column("first_seen_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("devices_v1_by_machine", "machine_id", "slot"),
)
STAYS: Final = Table(
    "device_stays_v1",
    _META,
    Column("serial", Text, primary_key=True),
    Column("since_position", BigInteger, primary_key=True),
    Column("machine_id", Text, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("until", DateTime(timezone=True)),
    Column("until_position", BigInteger),
)
FILTERS: Final = ("machine_id", "gpu_model")


class Devices(Projection):
    """Answers where a GPU is, where it was, and whether a serial number is taken."""

    answer = "devices"
    version = 1
    reads = VOCABULARY.types
    tables = (DEVICES, STAYS)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        books = await _Books.open(rows, facts)
        for fact in facts:
            match fact.event:
                case MachineAccepted() as event:
                    books.show(event, fact)
                case MachineRemoved() as event:
                    books.empty(event.machine_id, set(), fact)
                case MachineMismatched():
                    pass  # the machine stays where it is, and its devices in it, until the difference is settled
                case other:
                    raise AssertionError(f"{type(other).__name__} is read but not folded")
        await upsert(rows, DEVICES, list(books.devices.values()))
        await upsert(rows, STAYS, list(books.stays.values()))

    async def device(self, db: Database, serial: str) -> Record | None:
        return await db.fetch_one(select(DEVICES).where(DEVICES.c.serial == serial))

    async def stays(self, db: Database, serial: str) -> list[Record]:
        """Where the device has been, the first stay first."""
        return await db.fetch(select(STAYS).where(STAYS.c.serial == serial).order_by(STAYS.c.since_position))

    async def matching(self, db: Database, wanted: Mapping[str, str], after: str | None, limit: int) -> list[Record]:
        """Up to `limit` devices in order of serial number after `after`; `wanted` maps names of `FILTERS` to values."""
        conditions = [DEVICES.c[name] == value for name, value in wanted.items()]
        if after is not None:
            conditions.append(DEVICES.c.serial > after)
        query = select(DEVICES).where(and_(True, *conditions))
        return await db.fetch(query.order_by(DEVICES.c.serial).limit(limit))

    async def claimed(self, db: Database, serials: Sequence[str], but: str) -> list[Claimed]:
        """Those of the GPUs' serial numbers that stand in machines other than `but`."""
        query = select(DEVICES.c.serial, DEVICES.c.machine_id).where(
            DEVICES.c.serial.in_(list(serials)), DEVICES.c.machine_id.is_not(None), DEVICES.c.machine_id != but
        )
        return [Claimed(row["serial"], row["machine_id"]) for row in await db.fetch(query.order_by(DEVICES.c.serial))]


class _Books:
    """The rows that a batch touches, with an index of who stands where and of the stay that is still open."""

    def __init__(self, devices: Sequence[Record], open_stays: Sequence[Record]) -> None:
        self.devices: dict[str, dict[str, Any]] = {row["serial"]: dict(row) for row in devices}
        self.stays: dict[tuple[str, int], dict[str, Any]] = {}
        self._open: dict[str, dict[str, Any]] = {}
        self._inside: defaultdict[str, set[str]] = defaultdict(set)
        for row in devices:
            if row["machine_id"] is not None:
                self._inside[row["machine_id"]].add(row["serial"])
        for stay in open_stays:
            self._open[stay["serial"]] = self.stays[stay["serial"], stay["since_position"]] = dict(stay)

    @classmethod
    async def open(cls, rows: Rows, facts: Sequence[Fact]) -> _Books:
        """Read what the batch can touch: devices it names, and devices that stand in machines it names."""
        events = [fact.event for fact in facts]
        serials = sorted({d.serial for event in events if isinstance(event, MachineAccepted) for d in event.devices})
        machines = sorted({fact.subject.rpartition(".")[2] for fact in facts})
        devices = await rows.fetch(
            "SELECT * FROM devices_v1 WHERE serial = ANY($1) OR machine_id = ANY($2)", serials, machines
        )
        known = [row["serial"] for row in devices]
        stays = await rows.fetch("SELECT * FROM device_stays_v1 WHERE serial = ANY($1) AND until IS NULL", known)
        return cls(devices, stays)

    def show(self, event: MachineAccepted, fact: Fact) -> None:
        """The machine shows exactly these devices."""
        self.empty(event.machine_id, {device.serial for device in event.devices}, fact)
        for device in event.devices:
            self._place(device, event, fact)

    def empty(self, machine_id: str, but: set[str], fact: Fact) -> None:
        """No device but those named stands in the machine any more."""
        for serial in sorted(self._inside[machine_id] - but):
            self._leave(serial, fact)
            nowhere = {"machine_id": None, "slot": None, "changed_at": fact.time, "position": fact.position}
            self.devices[serial] |= nowhere

    def _place(self, device: Device, event: MachineAccepted, fact: Fact) -> None:
        row = self.devices.get(device.serial)
        if row is not None and row["machine_id"] not in (None, event.machine_id):
            return  # entered in two machines at once: the earlier keeps it, and `SettleClaims` tells the later
        if row is not None and (row["machine_id"], row["slot"]) == (event.machine_id, device.slot):
            return
        self._leave(device.serial, fact)
        self._inside[event.machine_id].add(device.serial)
        self.devices[device.serial] = {
            "serial": device.serial,
            "device_id": device.device_id,
            "gpu_model": event.gpu_model,
            "memory_mib": device.memory_mib,
            "machine_id": event.machine_id,
            "slot": device.slot,
            "first_seen_at": row["first_seen_at"] if row else fact.time,
            "changed_at": fact.time,
            "position": fact.position,
        }
        self._open[device.serial] = self.stays[device.serial, fact.position] = {
            "serial": device.serial,
            "since_position": fact.position,
            "machine_id": event.machine_id,
            "slot": device.slot,
            "since": fact.time,
            "until": None,
            "until_position": None,
        }

    def _leave(self, serial: str, fact: Fact) -> None:
        row = self.devices.get(serial)
        if row is not None and row["machine_id"] is not None:
            self._inside[row["machine_id"]].discard(serial)
        if (stay := self._open.pop(serial, None)) is not None:
            stay |= {"until": fact.time, "until_position": fact.position}
