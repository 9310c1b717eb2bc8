"""When who waits will start. One law: the engine's own decisions, lived ahead in thought from what the log says.

Nine futures are lived through to the last start, by the code of the policy lab and with the calendar: the line as it
stands, leases, reservations, closed machines. They differ only in how long work runs, which is drawn from how long
work of that kind really ran (`lengths.py`). Of nine equal chances for a start, a tenth one falls before the fifth
with one half and before the latest with nine tenths: these two are the quote. Nothing is left to chance: the draws
come from the names, so the same log gives the same quote.

What will be asked for later is not known: who comes after and goes first (higher priority, a quota of its own) makes a
start later than quoted. How often that happens is what the read model of quotes says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.lab import Job, Standing, Way, live_through
from gpuaas.allocations.domain.lengths import Kind, Lengths
from gpuaas.allocations.domain.preemption import Running
from gpuaas.allocations.domain.queue import Waiting

FUTURES: Final = 9
LIKELY: Final = 4
"""Index of the fifth of nine."""
LINE_MAX: Final = 100
"""Requests of a line that are quoted; who stands behind them is told nothing yet."""
HORIZON: Final = timedelta(days=90)
"""What starts later than this is not foreseen."""
METHOD: Final = "nine-futures-v1"
_MOMENT: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known when a forecast is made. `pool` is used up: hand over one of its own.

    Attributes:
        waiting: the line, in order.
        running: since when claims run; one that is not named has just been granted.
    """

    pool_id: str
    pool: Pool
    waiting: Sequence[Waiting]
    running: Mapping[str, Running]
    lengths: Lengths
    way: Way
    now: datetime


@dataclass(frozen=True, slots=True)
class Quote:
    """When it is expected to start; None: not foreseen."""

    p50_at: datetime | None
    p90_at: datetime | None
    requests_ahead: int


def in_order(waiting: Sequence[Waiting]) -> list[Waiting]:
    """The line: priority, then arrival."""
    return sorted(waiting, key=lambda each: (-each.priority, each.arrival))


def forecast(scene: Scene) -> dict[str, Quote]:
    """A quote for each of the first `LINE_MAX` of the line."""
    first = in_order(scene.waiting)[:LINE_MAX]
    starts: dict[str, list[datetime]] = {each.allocation_id: [] for each in first}
    for future in range(FUTURES):
        for name, at in _lived(scene, first, future).items():
            starts[name].append(at)
    return {
        each.allocation_id: Quote(_nth(starts[each.allocation_id], LIKELY), _nth(starts[each.allocation_id], -1), ahead)
        for ahead, each in enumerate(first)
    }


def _nth(starts: list[datetime], which: int) -> datetime | None:
    """Of nine starts in order; a future without a start comes last."""
    which = which % FUTURES
    return sorted(starts)[which] if which < len(starts) else None


def _lived(scene: Scene, first: Sequence[Waiting], future: int) -> dict[str, datetime]:
    """Who starts when in one future."""
    jobs = [Job(each, scene.now, _runs(scene, each, future)) for each in first]
    standing = {name: _standing(scene, name, future) for name in scene.pool.book.claims}
    found = live_through(
        scene.pool_id,
        scene.pool,
        jobs,
        scene.way,
        until=scene.now + HORIZON,
        standing=standing,
        by_calendar=True,
        to_starts=True,
    )
    return found.starts


def _runs(scene: Scene, waiting: Waiting, future: int) -> timedelta:
    lease = timedelta(seconds=waiting.lease_s) if waiting.lease_s else None
    drawn = scene.lengths.draw(_kind_of(waiting), timedelta(0), lease, _chance(waiting.allocation_id, future))
    return max(drawn or HORIZON, _MOMENT)


def _standing(scene: Scene, name: str, future: int) -> Standing:
    claim = scene.pool.book.claims[name]
    work = scene.running.get(name) or Running(0, None, scene.now)
    latest = None if claim.ends_by is None else max(claim.ends_by - work.started_at, timedelta(0))
    ran = max(scene.now - work.started_at, timedelta(0))
    kind = Kind(claim.tenant_id, claim.gpu_count)
    drawn = scene.lengths.draw(kind, ran, latest, _chance(name, future))
    # What has overstayed ends at any moment; nothing ends in the past.
    ends_at = None if drawn is None else max(work.started_at + drawn, scene.now + _MOMENT)
    return Standing(work, ends_at)


def _kind_of(waiting: Waiting) -> Kind:
    return Kind(waiting.tenant_id, waiting.shape.gpu_count)


def _chance(name: str, future: int) -> float:
    """A number of [0, 1) that a name has in a future."""
    return int.from_bytes(sha256(f"{future} {name}".encode()).digest()[:6]) / 2**48
