"""The rows behind `gpu_time` that one batch touches: spans of time, opened and closed. One law: an event opens or
closes only spans of its own history, so it does not matter in which order different histories arrive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Rows, upsert
from gpuaas.contracts.allocations import (
    AllocationReleased,
    AllocationStarted,
    BookedWindow,
    ClaimGranted,
    ClaimReturned,
    Member,
    PoolTimeBooked,
    PoolTimeFreed,
)
from gpuaas.contracts.billing import UsageMetered
from gpuaas.contracts.inventory import MachineAccepted, MachineMismatched, MachineRemoved
from gpuaas.contracts.nodes import (
    NodeBecameAvailable,
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldLifted,
    NodeHoldPlaced,
    NodeSanitizingStarted,
)
from gpuaas.inventory.domain.conservation import WHOLE, instant_ms
from gpuaas.inventory.projections.fleet_capacity import DIMENSIONS
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text

_META: Final = MetaData()
PRESENCES: Final = Table(
    "gpu_presences_v2",
    _META,
    Column("device_id", Text, primary_key=True),
    Column("since_position", BigInteger, primary_key=True),
    Column("serial", Text, nullable=False),
    Column("machine_id", Text, nullable=False),
    Column("slot", Integer, nullable=False),
    *(Column(name, Text, nullable=False) for name in DIMENSIONS),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Index("gpu_presences_v2_by_machine", "machine_id"),
)
CLOSURES: Final = Table(
    "machine_closures_v2",
    _META,
    Column("machine_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("since_position", BigInteger, primary_key=True),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Column("why", Text, nullable=False),
)
USES: Final = Table(
    "gpu_uses_v2",
    _META,
    Column("kind", Text, primary_key=True),
    Column("allocation_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("since_position", BigInteger, primary_key=True),
    Column("share_milli", Integer, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Index("gpu_uses_v2_by_device", "device_id"),
    Index("gpu_uses_v2_by_allocation", "allocation_id"),
)
METERED: Final = Table(
    "metered_gpu_time_v2",
    _META,
    Column("usage_id", Text, primary_key=True),
    Column("allocation_id", Text, nullable=False),
    Column("gpu_count", Integer, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)
READS: Final = (
    MachineAccepted,
    MachineMismatched,
    MachineRemoved,
    NodeHoldPlaced,
    NodeHoldLifted,
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeSanitizingStarted,
    NodeBecameAvailable,
    ClaimGranted,
    ClaimReturned,
    PoolTimeBooked,
    PoolTimeFreed,
    AllocationStarted,
    AllocationReleased,
    UsageMetered,
)
Row = dict[str, Any]
WINDOWS_MAX: Final = 64
"""Windows of one reservation, as its schema says."""


class GpuTimeBooks:
    """Open spans in memory, by what closes them, and every row that changed (one that changed twice stands twice)."""

    def __init__(self, presences: Iterable[Row] = (), closures: Iterable[Row] = (), uses: Iterable[Row] = ()) -> None:
        self._inside: defaultdict[str, dict[tuple[str, int], Row]] = defaultdict(dict)
        self._closed: defaultdict[str, dict[tuple[str, str], Row]] = defaultdict(dict)
        self._used: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
        self.presences: list[Row] = []
        self.closures: list[Row] = []
        self.uses: list[Row] = []
        self.metered: list[Row] = []
        for row in presences:
            self._note_presence(row)
        for row in closures:
            self._note_closure(row)
        for row in uses:
            self._note_use(row)

    @classmethod
    async def open(cls, rows: Rows, facts: Sequence[Fact]) -> GpuTimeBooks:
        """Read the spans that this batch can close: open ones of the machines and allocations it names."""
        machines, allocations = set[str](), set[str]()
        for fact in facts:
            match fact.event:
                case ClaimGranted() | ClaimReturned() | AllocationStarted() | AllocationReleased() as event:
                    allocations.add(event.allocation_id)
                case PoolTimeBooked() as event:
                    allocations.update(_booking(event.reservation_id, each.window) for each in event.windows)
                case PoolTimeFreed() as event:
                    allocations.update(_booking(event.reservation_id, number) for number in _freed(event))
                case UsageMetered():
                    pass
                case _:
                    machines.add(fact.subject.rpartition(".")[2])
        still = "until_ms IS NULL"
        here = f"WHERE machine_id = ANY($1) AND {still}"
        names = sorted(machines)
        presences = await rows.fetch(f"SELECT * FROM gpu_presences_v2 {here}", names)  # noqa: S608
        closures = await rows.fetch(f"SELECT * FROM machine_closures_v2 {here}", names)  # noqa: S608
        uses = await rows.fetch(
            # A booking knows its end from the start, and may yet be moved or given up.
            f"SELECT * FROM gpu_uses_v2 WHERE allocation_id = ANY($1) AND ({still} OR kind = 'booking')",  # noqa: S608
            sorted(allocations),
        )
        return cls(map(dict, presences), map(dict, closures), map(dict, uses))

    async def write(self, rows: Rows) -> None:
        """Put back what changed."""
        await upsert(rows, PRESENCES, self.presences)
        await upsert(rows, CLOSURES, self.closures)
        await upsert(rows, USES, self.uses)
        await upsert(rows, METERED, self.metered)

    def apply(self, fact: Fact) -> None:
        """One event."""
        at_ms = instant_ms(fact.time)
        match fact.event:
            case MachineAccepted() as event:
                self._show(event, at_ms, fact.position)
                self._reopen(event.machine_id, "down", "mismatched", at_ms)
            case MachineMismatched() as event:
                why = event.mismatches[0]
                self._shut(event.machine_id, "down", "mismatched", at_ms, fact, f"{why.field}: {why.observed}")
            case MachineRemoved() as event:
                self._leave(event.machine_id, set(), at_ms)
                self._reopen(event.machine_id, "down", "mismatched", at_ms)
            case NodeHoldPlaced() as event:
                self._shut(event.node_id, "hold", event.hold_id, at_ms, fact, f"{event.owner}: {event.cause}")
            case NodeHoldLifted() as event:
                self._reopen(event.node_id, "hold", event.hold_id, at_ms)
            case NodeHeartbeatLost() as event:
                self._shut(event.node_id, "down", "silent", at_ms, fact, "its heartbeat is lost")
            case NodeHeartbeatRestored() as event:
                self._reopen(event.node_id, "down", "silent", at_ms)
            case NodeSanitizingStarted() as event:
                self._shut(event.node_id, "down", "sanitizing", at_ms, fact, "it is wiped and validated")
            case NodeBecameAvailable() as event:
                self._reopen(event.node_id, "down", "sanitizing", at_ms)
            case other:
                self._used_by(other, at_ms, fact.position)

    def _used_by(self, event: object, at_ms: int, position: int) -> None:
        match event:
            case ClaimGranted():
                self._begin("claim", event.allocation_id, event.members, _share(event), at_ms, position)
            case ClaimReturned():
                self._finish("claim", event.allocation_id, at_ms)
            case PoolTimeBooked():
                for window in event.windows:
                    self._book(_booking(event.reservation_id, window.window), window, at_ms, position)
            case PoolTimeFreed():
                for number in _freed(event):
                    self._unbook(_booking(event.reservation_id, number), at_ms)
            case AllocationStarted():
                since_ms = instant_ms(event.started_at)
                self._begin("sale", event.allocation_id, event.members, _share(event), since_ms, position)
            case AllocationReleased():
                self._finish("sale", event.allocation_id, instant_ms(event.ended_at))
            case UsageMetered():
                self.metered.append(
                    {
                        "usage_id": event.usage_id,
                        "allocation_id": event.allocation_id,
                        "gpu_count": event.gpu_count,
                        "since_ms": instant_ms(event.started_at),
                        "until_ms": instant_ms(event.ended_at),
                    }
                )
            case _:
                raise AssertionError(f"{type(event).__name__} is read but not folded")

    # -- machines ------------------------------------------------------------------------------------------------

    def _show(self, event: MachineAccepted, at_ms: int, position: int) -> None:
        """The machine has exactly these GPUs from now on; one that stays where it was is one span."""
        wanted = {(device.device_id, device.slot): device for device in event.devices}
        where = event.topology.model_dump() | {"pool_id": event.pool_id, "gpu_model": event.gpu_model}
        where = {name: where[name] for name in DIMENSIONS}
        inside = self._inside[event.machine_id]
        same = {key for key in wanted if key in inside and where.items() <= inside[key].items()}
        self._leave(event.machine_id, same, at_ms)
        for key in sorted(wanted.keys() - same):
            device = wanted[key]
            row = {"device_id": device.device_id, "since_position": position, "serial": device.serial}
            row |= {"machine_id": event.machine_id, "slot": device.slot, **where, "since_ms": at_ms, "until_ms": None}
            self._note_presence(row)
            self.presences.append(row)

    def _note_presence(self, row: Row) -> None:
        self._inside[row["machine_id"]][row["device_id"], row["slot"]] = row

    def _leave(self, machine_id: str, staying: set[tuple[str, int]], at_ms: int) -> None:
        inside = self._inside[machine_id]
        for key in sorted(inside.keys() - staying):
            self._ended(inside.pop(key), at_ms, self.presences)

    def _shut(self, machine_id: str, kind: str, name: str, at_ms: int, fact: Fact, why: str) -> None:
        if (kind, name) in self._closed[machine_id]:
            return
        row = {"machine_id": machine_id, "kind": kind, "name": name, "since_position": fact.position}
        row |= {"since_ms": at_ms, "until_ms": None, "why": why[:500]}
        self._note_closure(row)
        self.closures.append(row)

    def _note_closure(self, row: Row) -> None:
        self._closed[row["machine_id"]][row["kind"], row["name"]] = row

    def _reopen(self, machine_id: str, kind: str, name: str, at_ms: int) -> None:
        if (row := self._closed[machine_id].pop((kind, name), None)) is not None:
            self._ended(row, at_ms, self.closures)

    # -- uses ----------------------------------------------------------------------------------------------------

    def _begin(
        self,
        kind: str,
        allocation_id: str,
        members: Iterable[Member],
        share: int,
        since_ms: int,
        position: int,
        until_ms: int | None = None,
    ) -> None:
        for device_id in sorted({device for member in members for device in member.device_ids}):
            row = {"kind": kind, "allocation_id": allocation_id, "device_id": device_id, "since_position": position}
            row |= {"share_milli": share, "since_ms": since_ms, "until_ms": until_ms}
            self._note_use(row)
            self.uses.append(row)

    def _book(self, key: str, window: BookedWindow, at_ms: int, position: int) -> None:
        """Keep these GPUs for the window; those that were kept for it until now are no more."""
        since_ms, until_ms = instant_ms(window.starts_at), instant_ms(window.ends_at)
        if self._unbook(key, at_ms):
            since_ms = max(since_ms, at_ms)
        if since_ms < until_ms:
            self._begin("booking", key, window.members, WHOLE, since_ms, position, until_ms)

    def _unbook(self, key: str, at_ms: int) -> bool:
        """End what is kept for a window at `at_ms`, before it begins at the earliest; whether there was anything."""
        kept = self._used.pop(("booking", key), [])
        for row in kept:
            row["until_ms"] = max(row["since_ms"], min(row["until_ms"], at_ms))
            self.uses.append(row)
        return bool(kept)

    def _note_use(self, row: Row) -> None:
        self._used[row["kind"], row["allocation_id"]].append(row)

    def _finish(self, kind: str, allocation_id: str, at_ms: int) -> None:
        for row in self._used.pop((kind, allocation_id), []):
            self._ended(row, at_ms, self.uses)

    def _ended(self, row: Row, at_ms: int, changed: list[Row]) -> None:
        """A clock that went back does not make a span negative."""
        row["until_ms"] = max(row["since_ms"], at_ms)
        changed.append(row)


def _booking(reservation_id: str, window: int) -> str:
    """The name under which a window's GPUs are kept; no allocation can have it."""
    return f"{reservation_id}.{window}"


def _freed(event: PoolTimeFreed) -> Iterable[int]:
    return range(WINDOWS_MAX) if event.windows is None else event.windows


def _share(event: ClaimGranted | AllocationStarted) -> int:
    """Thousandths of each device; all of it where the event does not say."""
    said: Mapping[str, Any] = event.model_dump(include={"share_milli"})
    return said.get("share_milli") or WHOLE
