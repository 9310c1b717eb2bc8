"""Where every GPU's time went, now and at any moment before. One law: spans come from events, sums from spans.

Spans of presence (inventory), closure (nodes, inventory), claim, booking and sale (allocations) are kept for good; what
they add up to is reckoned when it is asked, by `domain.conservation`. What billing metered stands beside them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows
from gpuaas.inventory.domain.conservation import GpuTime, Kind, Span, Window, reckon
from gpuaas.inventory.projections.fleet_capacity import DIMENSIONS
from gpuaas.inventory.projections.gpu_time_books import (
    CLOSURES,
    METERED,
    PRESENCES,
    READS,
    USES,
    GpuTimeBooks,
)
from sqlalchemy import and_, func, or_, select

FILTERS: Final = (*DIMENSIONS, "machine_id", "serial")
GPUS_AT_ONCE: Final = 500
_KINDS: Final[Mapping[str, Kind]] = {
    "sale": "sale",
    "claim": "claim",
    "booking": "claim",
    "down": "down",
    "hold": "hold",
}


@dataclass(frozen=True, slots=True)
class Life:
    """One GPU within a window.

    Attributes:
        where: the newest of its places in the window: `DIMENSIONS`, machine_id, slot, serial.
        spans: everything that was so of it, cut to the machine it was in.
    """

    device_id: str
    where: Mapping[str, Any]
    spans: tuple[Span, ...]

    def time(self, window: Window) -> GpuTime:
        return reckon(self.spans, window)


@dataclass(slots=True)
class Sums:
    """GPUs and where their time went, under one key."""

    gpus: int = 0
    time: GpuTime = field(default_factory=GpuTime)


class GpuTimes(Projection):
    """Answers where the time of GPUs went, and how the fleet stood at a moment."""

    answer = "gpu_times"
    version = 2
    reads = READS
    tables = (PRESENCES, CLOSURES, USES, METERED)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        books = await GpuTimeBooks.open(rows, facts)
        for fact in facts:
            books.apply(fact)
        await books.write(rows)

    async def lives(
        self, db: Database, window: Window, wanted: Mapping[str, str], after: str | None, limit: int
    ) -> list[Life]:
        """Up to `limit` GPUs that were in the books in the window, in order of device id after `after`."""
        columns = PRESENCES.c
        conditions = [_in_window(PRESENCES, window), *(columns[name] == value for name, value in wanted.items())]
        if after is not None:
            conditions.append(columns.device_id > after)
        chosen = select(columns.device_id).where(and_(*conditions)).distinct().order_by(columns.device_id).limit(limit)
        ids = [row["device_id"] for row in await db.fetch(chosen)]
        presences = await db.fetch(
            select(PRESENCES).where(and_(_in_window(PRESENCES, window), columns.device_id.in_(ids)))
        )
        uses = await db.fetch(select(USES).where(and_(_in_window(USES, window), USES.c.device_id.in_(ids))))
        machines = sorted({row["machine_id"] for row in presences})
        shut = select(CLOSURES).where(and_(_in_window(CLOSURES, window), CLOSURES.c.machine_id.in_(machines)))
        return _lives(presences, uses, await db.fetch(shut))

    async def all_lives(self, db: Database, window: Window, wanted: Mapping[str, str]) -> AsyncIterator[Life]:
        """Every GPU of the window, read in pages so that others are served meanwhile."""
        after: str | None = None
        while True:
            page = await self.lives(db, window, wanted, after, GPUS_AT_ONCE)
            for life in page:
                yield life
            if len(page) < GPUS_AT_ONCE:
                return
            after = page[-1].device_id

    async def sums(
        self, db: Database, window: Window, dimensions: Sequence[str], wanted: Mapping[str, str]
    ) -> dict[tuple[str, ...], Sums]:
        """Sums by the dimensions (a part of `DIMENSIONS`); a GPU counts where it was last in the window."""
        found: defaultdict[tuple[str, ...], Sums] = defaultdict(Sums)
        async for life in self.all_lives(db, window, wanted):
            sums = found[tuple(life.where[name] for name in dimensions)]
            sums.gpus += 1
            sums.time += life.time(window)
        return dict(sorted(found.items()))

    async def metered_us(self, db: Database, window: Window) -> int:
        """What billing metered of the window, GPU-microseconds: reckoned by another service from the same events."""
        columns = METERED.c
        length = func.least(columns.until_ms, window.until_ms) - func.greatest(columns.since_ms, window.since_ms)
        total = func.coalesce(func.sum(length * columns.gpu_count), 0)
        inside = and_(columns.since_ms < window.until_ms, columns.until_ms > window.since_ms)
        (row,) = await db.fetch(select(total.label("gpu_ms")).where(inside))
        return int(row["gpu_ms"]) * 1_000

    async def closed_sales_us(self, db: Database, window: Window) -> int:
        """What of the window was sold to allocations that have ended: what billing has had the time to meter."""
        columns = USES.c
        length = func.least(columns.until_ms, window.until_ms) - func.greatest(columns.since_ms, window.since_ms)
        total = func.coalesce(func.sum(length * columns.share_milli), 0)
        inside = and_(columns.kind == "sale", columns.since_ms < window.until_ms, columns.until_ms > window.since_ms)
        (row,) = await db.fetch(select(total.label("gpu_us")).where(inside))
        return int(row["gpu_us"])

    async def first_ms(self, db: Database) -> int | None:
        """When the first GPU came into the books."""
        (row,) = await db.fetch(select(func.min(PRESENCES.c.since_ms).label("first")))
        return None if row["first"] is None else int(row["first"])


def _in_window(table: Any, window: Window) -> Any:
    open_or_later = or_(table.c.until_ms.is_(None), table.c.until_ms > window.since_ms)
    return and_(table.c.since_ms < window.until_ms, open_or_later)


def _lives(presences: Iterable[Record], uses: Iterable[Record], closures: Iterable[Record]) -> list[Life]:
    """GPUs in order of device id; a machine's closure counts for a GPU while it is in that machine."""
    shut: defaultdict[str, list[Record]] = defaultdict(list)
    for row in closures:
        shut[row["machine_id"]].append(row)
    used: defaultdict[str, list[Span]] = defaultdict(list)
    for row in uses:
        span = Span(_KINDS[row["kind"]], row["since_ms"], row["until_ms"], row["share_milli"], row["allocation_id"])
        used[row["device_id"]].append(span)
    stays: defaultdict[str, list[Record]] = defaultdict(list)
    for row in presences:
        stays[row["device_id"]].append(row)
    shown = (*DIMENSIONS, "machine_id", "slot", "serial")
    lives: list[Life] = []
    for device_id, rows in sorted(stays.items()):
        newest = max(rows, key=lambda row: int(row["since_position"]))
        spans = list(used[device_id])
        for stay in rows:
            here = Span("present", stay["since_ms"], stay["until_ms"])
            spans += [here, *_within(here, shut[stay["machine_id"]])]
        lives.append(Life(device_id, {name: newest[name] for name in shown}, tuple(spans)))
    return lives


def _within(here: Span, closures: Iterable[Record]) -> Iterable[Span]:
    for row in closures:
        since_ms = max(here.since_ms, row["since_ms"])
        ends = [end for end in (here.until_ms, row["until_ms"]) if end is not None]
        until_ms = min(ends) if ends else None
        if until_ms is None or since_ms < until_ms:
            yield Span(_KINDS[row["kind"]], since_ms, until_ms)
