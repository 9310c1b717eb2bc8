"""How long which GPUs were held. One law: half-open intervals [start, end) in whole milliseconds, so parts add up.

A moment becomes a millisecond by flooring its *absolute* time (since 1970-01-01T00:00:00Z), at both ends alike.
Two intervals that share a moment therefore share a millisecond: nothing between them is lost or counted twice, and
any split of an interval sums to the whole. A duration is never rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias, assert_never

from gpuaas.common.errors import Invalid

MS_PER_HOUR: Final = 3_600_000
WHOLE_MILLI: Final = 1_000
"""A whole GPU in thousandths."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def instant_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, floored.

    Raises:
        Invalid: a time without a zone.
    """
    if moment.tzinfo is None:
        raise Invalid(f"{moment.isoformat()} has no time zone; say which one")
    return (moment - _EPOCH) // _MS


def moment_of(instant: int) -> datetime:
    """The moment at which a millisecond begins."""
    return _EPOCH + instant * _MS


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """[start_ms, end_ms): the start belongs to it, the end does not. May be empty.

    Raises:
        Invalid: it ends before it starts.
    """

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms < self.start_ms:
            raise Invalid(
                f"an interval cannot end ({_spelled(self.end_ms)}) before it starts ({_spelled(self.start_ms)})"
            )

    @classmethod
    def between(cls, start: datetime, end: datetime) -> Interval:
        """From `start` up to but not including `end`."""
        return cls(instant_ms(start), instant_ms(end))

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    def within(self, other: Interval) -> Interval | None:
        """The part that lies in `other`, or None when no millisecond does."""
        start_ms, end_ms = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return Interval(start_ms, end_ms) if start_ms < end_ms else None


def gpu_us(interval: Interval, gpu_count: int, share_milli: int = WHOLE_MILLI) -> int:
    """GPU-microseconds of `share_milli` thousandths of each of `gpu_count` GPUs, held over `interval`: always whole.

    Raises:
        Invalid: no GPU, a negative number of them, or no share or more than all of one.
    """
    _check_held(gpu_count, share_milli)
    return interval.length_ms * gpu_count * share_milli


def _check_held(gpu_count: int, share_milli: int) -> None:
    if gpu_count < 1:
        raise Invalid(f"usage is of at least one GPU, not {gpu_count}")
    if not 1 <= share_milli <= WHOLE_MILLI:
        raise Invalid(f"a share is 1 to {WHOLE_MILLI} thousandths of a GPU, not {share_milli}")


@dataclass(frozen=True, slots=True)
class Began:
    """GPUs began to be held. `event_id`: the event that says so."""

    at_ms: int
    gpu_count: int
    event_id: str
    share_milli: int = WHOLE_MILLI


@dataclass(frozen=True, slots=True)
class Ended:
    """They are held no longer. `since_ms`: when the holding began, as the release itself states it; None: never."""

    at_ms: int
    event_id: str
    since_ms: int | None


@dataclass(frozen=True, slots=True)
class Span:
    """One closed holding of `gpu_count` GPUs, with the two events that prove it."""

    interval: Interval
    gpu_count: int
    start_event_id: str
    end_event_id: str
    share_milli: int = WHOLE_MILLI

    @property
    def gpu_us(self) -> int:
        return gpu_us(self.interval, self.gpu_count, self.share_milli)


@dataclass(frozen=True, slots=True)
class Meter:
    """One allocation's holdings so far: the closed ones in order, and the open one if there is one."""

    spans: tuple[Span, ...] = ()
    running: Began | None = None

    @property
    def gpu_us(self) -> int:
        """Of all closed spans."""
        return sum(span.gpu_us for span in self.spans)


Reading: TypeAlias = Began | Ended


def read(meter: Meter, reading: Reading) -> Meter:
    """The meter after one more fact, in the order of the log. A release of what never began changes nothing.

    Raises:
        Invalid: an overlap with an earlier holding, an end before its start, or a number of GPUs below one.
    """
    match reading:
        case Began() as began:
            return _begin(meter, began)
        case Ended() as ended:
            return _end(meter, ended)
        case _:
            assert_never(reading)


def _begin(meter: Meter, began: Began) -> Meter:
    _check_held(began.gpu_count, began.share_milli)
    if meter.running is not None:
        raise Invalid(
            f"the GPUs began to be held at {_spelled(began.at_ms)} while they were already held since "
            f"{_spelled(meter.running.at_ms)}: the two would overlap"
        )
    if meter.spans and began.at_ms < meter.spans[-1].interval.end_ms:
        raise Invalid(
            f"the GPUs began to be held at {_spelled(began.at_ms)}, inside a holding that ended at "
            f"{_spelled(meter.spans[-1].interval.end_ms)}: the two would overlap"
        )
    return Meter(meter.spans, began)


def _end(meter: Meter, ended: Ended) -> Meter:
    began = meter.running
    if began is None and ended.since_ms is None:
        return meter
    if began is None or ended.since_ms != began.at_ms:
        said = "never" if began is None else f"at {_spelled(began.at_ms)}"
        stated = "never" if ended.since_ms is None else f"at {_spelled(ended.since_ms)}"
        raise Invalid(f"the release says the holding began {stated}, the log says {said}: one of the two is wrong")
    span = Span(
        interval=Interval(began.at_ms, ended.at_ms),
        gpu_count=began.gpu_count,
        start_event_id=began.event_id,
        end_event_id=ended.event_id,
        share_milli=began.share_milli,
    )
    return Meter(spans=(*meter.spans, span), running=None)


def _spelled(at_ms: int) -> str:
    try:
        return (_EPOCH + at_ms * _MS).isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{at_ms} ms"
