"""The rows behind `devices` that one batch touches. One law: read once, change in memory, write once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Record, Rows, upsert
from gpuaas.contracts.inventory import Device, MachineAccepted
from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, MetaData, Table, Text

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
OWNERS: Final = Table(
    "serial_owners_v1",
    _META,
    Column("serial", Text, primary_key=True),
    Column("machine_id", Text, nullable=False),
    Index("serial_owners_v1_by_machine", "machine_id"),
)
CONFLICTS: Final = Table(
    "serial_conflicts_v1",
    _META,
    Column("machine_id", Text, primary_key=True),
    Column("serial", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
)


class DeviceBooks:
    """The touched rows in memory, with an index of who has which serial numbers and of the stay that is open."""

    def __init__(self, owners: Sequence[Record], devices: Sequence[Record], stays: Sequence[Record]) -> None:
        self._owners = {row["serial"]: str(row["machine_id"]) for row in owners}
        self._has: defaultdict[str, set[str]] = defaultdict(set)
        for serial, machine_id in self._owners.items():
            self._has[machine_id].add(serial)
        self._devices: dict[str, dict[str, Any]] = {row["serial"]: dict(row) for row in devices}
        self._stays: dict[tuple[str, int], dict[str, Any]] = {}
        self._open: dict[str, dict[str, Any]] = {}
        for stay in stays:
            self._open[stay["serial"]] = self._stays[stay["serial"], stay["since_position"]] = dict(stay)
        self._released: set[str] = set()
        self._settled: set[str] = set()
        self._conflicts: dict[str, list[dict[str, Any]]] = {}

    @classmethod
    async def open(cls, rows: Rows, facts: Sequence[Fact]) -> DeviceBooks:
        """Read what the batch can touch: serial numbers it names, and those of the machines it names."""
        machines = sorted({fact.subject.rpartition(".")[2] for fact in facts})
        named = sorted({s for fact in facts if isinstance(fact.event, MachineAccepted) for s in serials(fact.event)})
        owners = await rows.fetch(
            "SELECT * FROM serial_owners_v1 WHERE serial = ANY($1) OR machine_id = ANY($2)", named, machines
        )
        touched = sorted({*named, *(row["serial"] for row in owners)})
        devices = await rows.fetch("SELECT * FROM devices_v1 WHERE serial = ANY($1)", touched)
        stays = await rows.fetch("SELECT * FROM device_stays_v1 WHERE serial = ANY($1) AND until IS NULL", touched)
        return cls(owners, devices, stays)

    async def write(self, rows: Rows) -> None:
        """Put everything that changed back."""
        gone = sorted(self._released - self._owners.keys())
        if gone:
            await rows.execute("DELETE FROM serial_owners_v1 WHERE serial = ANY($1)", gone)
        if self._settled:
            settled = sorted(self._settled)
            await rows.execute("DELETE FROM serial_conflicts_v1 WHERE machine_id = ANY($1)", settled)
        owners = [{"serial": serial, "machine_id": owner} for serial, owner in self._owners.items()]
        await upsert(rows, OWNERS, owners)
        await upsert(rows, DEVICES, list(self._devices.values()))
        await upsert(rows, STAYS, list(self._stays.values()))
        await upsert(rows, CONFLICTS, [row for found in self._conflicts.values() for row in found])

    def show(self, event: MachineAccepted, fact: Fact) -> None:
        """The machine shows exactly these devices; what another one has is a conflict."""
        self.settled(event.machine_id)
        self._release(self._has[event.machine_id] - set(serials(event)), fact)
        free = {serial for serial in serials(event) if self._owners.get(serial, event.machine_id) == event.machine_id}
        self._conflicts[event.machine_id] = [
            {
                "machine_id": event.machine_id,
                "serial": serial,
                "owner": self._owners[serial],
                "position": fact.position,
            }
            for serial in serials(event)
            if serial not in free
        ]
        self._owners.update(dict.fromkeys(free, event.machine_id))
        self._has[event.machine_id] |= free
        for device in event.devices:
            if device.serial in free:
                self._place(device, event, fact)

    def settled(self, machine_id: str) -> None:
        """Its conflicts are answered: it was compared again."""
        self._settled.add(machine_id)
        self._conflicts.pop(machine_id, None)

    def empty(self, machine_id: str, fact: Fact) -> None:
        """The machine is gone and has nothing any more."""
        self.settled(machine_id)
        self._release(set(self._has[machine_id]), fact)

    def _release(self, gone: set[str], fact: Fact) -> None:
        for serial in sorted(gone):
            self._has[self._owners.pop(serial)].discard(serial)
            self._released.add(serial)
            self._end_stay(serial, fact)
            if serial in self._devices:
                nowhere = {"machine_id": None, "slot": None, "changed_at": fact.time, "position": fact.position}
                self._devices[serial] |= nowhere

    def _place(self, device: Device, event: MachineAccepted, fact: Fact) -> None:
        row = self._devices.get(device.serial)
        if row is not None and (row["machine_id"], row["slot"]) == (event.machine_id, device.slot):
            return
        self._end_stay(device.serial, fact)
        self._devices[device.serial] = {
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
        self._open[device.serial] = self._stays[device.serial, fact.position] = {
            "serial": device.serial,
            "since_position": fact.position,
            "machine_id": event.machine_id,
            "slot": device.slot,
            "since": fact.time,
            "until": None,
            "until_position": None,
        }

    def _end_stay(self, serial: str, fact: Fact) -> None:
        if (stay := self._open.pop(serial, None)) is not None:
            stay |= {"until": fact.time, "until_position": fact.position}


def serials(event: MachineAccepted) -> list[str]:
    """The serial numbers a machine has: its chassis' and its GPUs'."""
    return [event.machine_serial, *(device.serial for device in event.devices)]
