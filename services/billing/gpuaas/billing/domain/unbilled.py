"""Which part of a usage record no invoice holds. One law: a moment is billed once, by the first run that knew of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gpuaas.billing.domain.metering import Interval
from gpuaas.billing.domain.rating import Usage


@dataclass(frozen=True, slots=True)
class BilledPeriod:
    """A period for which the records up to position `upto` are billed."""

    period: Interval
    upto: int


def unbilled_parts(usage: Usage, position: int, billed: Iterable[BilledPeriod]) -> list[Usage]:
    """The parts of `usage`, whose record stands at `position`, outside every period that was billed knowing it."""
    parts = [usage.interval]
    for each in billed:
        if position <= each.upto:
            parts = [left for part in parts for left in _outside(part, each.period)]
    return [replace(usage, interval=part) for part in parts]


def _outside(part: Interval, period: Interval) -> list[Interval]:
    if part.within(period) is None:
        return [part]
    before = Interval(part.start_ms, max(part.start_ms, period.start_ms))
    behind = Interval(min(part.end_ms, period.end_ms), part.end_ms)
    return [left for left in (before, behind) if left.length_ms]
