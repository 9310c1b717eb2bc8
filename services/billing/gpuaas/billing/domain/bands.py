"""Hours of the week with prices of their own. One law: a moment lies in a band by its local time, and only by that.

Local time is UTC plus an offset, and the offsets are part of the price book: the rules of a country may change, what a
version means does not. An hour that the clock leaves out is in no band, one that it repeats is in its band twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final, TypeAlias

from gpuaas.billing.domain.metering import Interval
from gpuaas.common.errors import Invalid

DAY_MINUTES: Final = 24 * 60
_DAYS: Final = 7
WEEK_MINUTES: Final = _DAYS * DAY_MINUTES
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = DAY_MINUTES * _MINUTE_MS
_THURSDAY: Final = 3
"""1970-01-01, counted from Monday as 0."""

Offsets: TypeAlias = tuple[tuple[int, int], ...]
"""(first instant in ms, milliseconds ahead of UTC), rising; each lasts until the next."""


@dataclass(frozen=True, slots=True)
class Band:
    """From `begins` up to `ends`, minutes of the local day, on days (1 is Monday) on which it begins.

    Not later than `begins`, `ends` is on the next day.
    """

    band_id: str
    weekdays: frozenset[int]
    begins: int
    ends: int
    amount: Decimal

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether that minute of that day is in it."""
        if self.begins < self.ends:
            return weekday in self.weekdays and self.begins <= minute < self.ends
        before = (weekday - 2) % _DAYS + 1
        return (weekday in self.weekdays and minute >= self.begins) or (before in self.weekdays and minute < self.ends)


def minute_of(told: str) -> int:
    """`HH:MM` as a minute of the day."""
    hours, minutes = told.split(":")
    return int(hours) * 60 + int(minutes)


def local_at(at_ms: int, offsets: Offsets) -> tuple[int, int]:
    """(day of the week, minute of the day) of an instant; before the first offset, by the first."""
    ahead = offsets[0][1]
    for since, offset in offsets:
        if since > at_ms:
            break
        ahead = offset
    day, rest = divmod(at_ms + ahead, _DAY_MS)
    return (day + _THURSDAY) % _DAYS + 1, rest // _MINUTE_MS


def edges(bands: Iterable[Band], offsets: Offsets, part: Interval) -> list[int]:
    """Every instant inside `part` at which a band may begin or end, and every change of the clock, in order."""
    minutes = sorted({minute for band in bands for minute in (band.begins, band.ends)})
    if not minutes:
        return []
    found: set[int] = set()
    starts = [part.start_ms, *(since for since, _ in offsets[1:] if part.start_ms < since < part.end_ms)]
    for start, end in pairwise([*starts, part.end_ms]):
        ahead = next((offset for since, offset in reversed(offsets) if since <= start), offsets[0][1])
        found.add(start)
        for day in range((start + ahead) // _DAY_MS, (end + ahead) // _DAY_MS + 1):
            found.update(day * _DAY_MS + minute * _MINUTE_MS - ahead for minute in minutes)
    return sorted(at for at in found if part.start_ms < at < part.end_ms)


def check_bands(gpu_model: str, bands: Sequence[Band]) -> None:
    """Return if no two bands of a model meet and no name stands twice.

    Raises:
        Invalid: they do; says when.
    """
    if len({band.band_id for band in bands}) != len(bands):
        raise Invalid(f"two bands of {gpu_model} have the same name; give each its own")
    held = sorted((start, end, band.band_id) for band in bands for start, end in _weekly(band))
    for (_, end, one), (start, _, other) in pairwise(held):
        if start < end:
            day, minute = divmod(start, DAY_MINUTES)
            clock = f"{minute // 60:02d}:{minute % 60:02d}"
            raise Invalid(f"{one} and {other} of {gpu_model} meet on day {day + 1} at {clock}; let one end before")


def _weekly(band: Band) -> Iterator[tuple[int, int]]:
    """Its hours as [start, end) in minutes of a week that begins on Monday."""
    length = band.ends - band.begins if band.ends > band.begins else band.ends - band.begins + DAY_MINUTES
    for weekday in band.weekdays:
        start = (weekday - 1) * DAY_MINUTES + band.begins
        yield start, min(start + length, WEEK_MINUTES)
        if start + length > WEEK_MINUTES:
            yield 0, start + length - WEEK_MINUTES
