"""Every GPU by its serial number, where it has been, and whose each serial number is. One law: the earlier keeps it.

A device's row follows its serial number from slot to slot and machine to machine; each stay is a row of its own. When
two machines are entered with one serial number, the log's order decides: the later one becomes a conflict to settle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows
from gpuaas.contracts.inventory import MachineAccepted, MachineMismatched, MachineRemoved
from gpuaas.inventory.domain.machine import VOCABULARY, Claimed
from gpuaas.inventory.projections.device_books import CONFLICTS, DEVICES, OWNERS, STAYS, DeviceBooks
from sqlalchemy import and_, select

FILTERS: Final = ("machine_id", "gpu_model")
CONFLICTS_AT_ONCE_MAX: Final = 200
# Asked for every machine that is entered, so it is not built anew each time.
_CLAIMED: Final = (
    "SELECT serial, machine_id FROM serial_owners_v1 WHERE serial = ANY($1) AND machine_id <> $2 ORDER BY serial"
)


@dataclass(frozen=True, slots=True)
class SerialConflict:
    """A machine that was entered at `position` with serial numbers that others had before."""

    machine_id: str
    position: int
    claimed: tuple[Claimed, ...]


class Devices(Projection):
    """Answers where a GPU is, where it was, and whether a serial number is taken."""

    answer = "devices"
    version = 1
    reads = VOCABULARY.types
    tables = (DEVICES, STAYS, OWNERS, CONFLICTS)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        books = await DeviceBooks.open(rows, facts)
        for fact in facts:
            match fact.event:
                case MachineAccepted() as event:
                    books.show(event, fact)
                case MachineMismatched() as event:
                    books.settled(event.machine_id)  # its devices stay in it until the difference is settled
                case MachineRemoved() as event:
                    books.empty(event.machine_id, fact)
                case other:
                    raise AssertionError(f"{type(other).__name__} is read but not folded")
        await books.write(rows)

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
        """Those of the serial numbers, of chassis and GPUs, that machines other than `but` have."""
        found = await db.pool.fetch(_CLAIMED, list(serials), but)
        return [Claimed(row["serial"], row["machine_id"]) for row in found]

    async def conflicts(self, db: Database) -> list[SerialConflict]:
        """Machines whose serial numbers have to be settled; at most `CONFLICTS_AT_ONCE_MAX` numbers, oldest first."""
        query = select(CONFLICTS).order_by(CONFLICTS.c.position, CONFLICTS.c.serial).limit(CONFLICTS_AT_ONCE_MAX)
        by_machine: dict[tuple[str, int], list[Claimed]] = {}
        for row in await db.fetch(query):
            claims = by_machine.setdefault((row["machine_id"], row["position"]), [])
            claims.append(Claimed(row["serial"], row["owner"]))
        return [SerialConflict(name, position, tuple(claims)) for (name, position), claims in by_machine.items()]
