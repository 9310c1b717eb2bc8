"""Where the time of one GPU went. One law: sold + idle + reserved + held + down = elapsed, exact, in whole numbers.

Times are whole milliseconds since 1970, floored at both ends alike, so parts add up; shares of a GPU are thousandths.
A quantity is milliseconds × thousandths, which is GPU-microseconds: no division, nothing is rounded.

Of every moment that a GPU is in the books, or is sold, its thousandths go, in this order, to

    sold      a tenant's work runs there (what is billed)
    down      the machine is silent, mismatched or being wiped: nobody could use it
    reserved  claimed for an allocation whose work does not run (yet, or any more), or kept for a reservation's window
    held      closed to new work, and nobody was promised it
    idle      the rest: it could have been sold

*Sold* is not read off that division: it is the plain sum of all sales. If more is sold of a GPU than there is of it,
the two sides differ by `difference_us`, and the report shows it instead of hiding it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from gpuaas.common.errors import Invalid

WHOLE: Final = 1_000
"""Thousandths of one GPU."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
Kind: TypeAlias = Literal["present", "sale", "claim", "down", "hold"]
BUCKETS: Final = ("sold", "idle", "reserved", "held", "down")


def instant_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, floored, as billing reckons them.

    Raises:
        Invalid: a time without a zone.
    """
    if moment.tzinfo is None:
        raise Invalid(f"{moment.isoformat()} has no time zone; say which one")
    return (moment - _EPOCH) // _MS


def moment_of(ms: int) -> datetime:
    """The other way round."""
    return _EPOCH + ms * _MS


@dataclass(frozen=True, slots=True)
class Span:
    """Something that was so from `since_ms` up to but not including `until_ms` (None: still).

    Attributes:
        share_milli: thousandths of the GPU; only sales and claims have less than all of it.
        of: the allocation of a sale or claim.
    """

    kind: Kind
    since_ms: int
    until_ms: int | None
    share_milli: int = WHOLE
    of: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """[since_ms, until_ms). Raises Invalid when it ends before it starts."""

    since_ms: int
    until_ms: int

    def __post_init__(self) -> None:
        if self.until_ms < self.since_ms:
            raise Invalid(f"the window ends ({self.until_ms} ms) before it starts ({self.since_ms} ms); turn it round")


@dataclass(frozen=True, slots=True)
class GpuTime:
    """GPU-microseconds of one GPU, or of many.

    Attributes:
        outside_us: the part of `sold_us` after the GPU had left the books; it counts as elapsed.
    """

    elapsed_us: int = 0
    sold_us: int = 0
    idle_us: int = 0
    reserved_us: int = 0
    held_us: int = 0
    down_us: int = 0
    outside_us: int = 0

    @property
    def difference_us(self) -> int:
        """Elapsed less everything it went to; not zero means that more was sold of a GPU than there is."""
        return self.elapsed_us - (self.sold_us + self.idle_us + self.reserved_us + self.held_us + self.down_us)

    def __add__(self, other: GpuTime) -> GpuTime:
        return GpuTime(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def reckon(spans: Iterable[Span], window: Window) -> GpuTime:
    """Where the time of one GPU went within `window`; the order of the spans does not matter."""
    cut = [(max(s.since_ms, window.since_ms), _end(s, window), s) for s in spans]
    inside = [(start, end, span) for start, end, span in cut if start < end]
    sold = sum((end - start) * span.share_milli for start, end, span in inside if span.kind == "sale")
    total = GpuTime(sold_us=sold)
    edges = sorted({edge for start, end, _ in inside for edge in (start, end)})
    opening = sorted(inside, key=lambda each: each[0], reverse=True)
    active: list[tuple[int, Span]] = []
    for start, end in pairwise(edges):
        while opening and opening[-1][0] <= start:
            _, until, span = opening.pop()
            active.append((until, span))
        active = [(until, span) for until, span in active if until > start]
        total += _moment([span for _, span in active], end - start)
    return total


def standing(spans: Iterable[Span], at_ms: int) -> GpuTime:
    """The same for the one millisecond that begins at `at_ms`: thousandths instead of microseconds."""
    return reckon(spans, Window(at_ms, at_ms + 1))


def _end(span: Span, window: Window) -> int:
    return window.until_ms if span.until_ms is None else min(span.until_ms, window.until_ms)


def _moment(active: Sequence[Span], length_ms: int) -> GpuTime:
    """The division of a stretch in which nothing changes; `sold_us` is left to the caller."""
    kinds = {span.kind for span in active}
    if "present" not in kinds and "sale" not in kinds:
        return GpuTime()
    selling = {span.of for span in active if span.kind == "sale"}
    sold = min(WHOLE, sum(span.share_milli for span in active if span.kind == "sale"))
    rest = WHOLE - sold
    promised = sum(span.share_milli for span in active if span.kind == "claim" and span.of not in selling)
    down = rest if "down" in kinds else 0
    reserved = min(rest - down, promised)
    held = rest - down - reserved if "hold" in kinds else 0
    return GpuTime(
        elapsed_us=WHOLE * length_ms,
        idle_us=(rest - down - reserved - held) * length_ms,
        reserved_us=reserved * length_ms,
        held_us=held * length_ms,
        down_us=down * length_ms,
        outside_us=0 if "present" in kinds else sold * length_ms,
    )
