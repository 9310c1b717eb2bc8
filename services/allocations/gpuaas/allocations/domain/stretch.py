"""How a forecast is corrected by how earlier ones turned out. One law: only what is over or overdue teaches.

A forecast knows nobody who comes later and goes first, so waits turn out longer than foreseen, by a factor that stays
alike while demand does. Of the newest quotes of the pool, and of what still waits, that factor is taken: its median for
the half, and what nine tenths stayed within for the nine tenths. It stands in the event, so that the bare forecast can
be told from it; the next factor is learnt from bare forecasts alone and does not feed on itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gpuaas.allocations.domain.forecast import HORIZON, Quote
from gpuaas.allocations.domain.survival import survival

QUOTES_MAX: Final = 200
"""Newest first quotes of a pool that teach."""
QUOTES_MIN: Final = 10
LEAST_WAIT_S: Final = 60.0
"""A shorter wait than this was foreseen well enough, whatever the factor."""
MOST: Final = 32.0
ONE_MILLI: Final = 1_000


@dataclass(frozen=True, slots=True)
class Taught:
    """One earlier quote: the bare forecast, in seconds from when it was made, and the wait so far.

    Attributes:
        started: the wait is over.
    """

    p50_s: float
    p90_s: float
    waited_s: float
    started: bool


@dataclass(frozen=True, slots=True)
class Stretch:
    """What bare waits are multiplied by, in thousandths."""

    p50_milli: int = ONE_MILLI
    p90_milli: int = ONE_MILLI

    def of(self, quote: Quote, now: datetime) -> Quote:
        """The quote, corrected; what is foreseen for now stays so."""
        half, ninth = (
            _stretched(quote.p50_at, now, self.p50_milli),
            _stretched(quote.p90_at, now, self.p90_milli),
        )
        return replace(quote, p50_at=half, p90_at=None if ninth is None or half is None else max(half, ninth))


NOT_STRETCHED: Final = Stretch()


def learnt(earlier: Sequence[Taught]) -> Stretch:
    """The factors that earlier quotes teach; one while there are few."""
    if sum(each.started for each in earlier) < QUOTES_MIN:
        return NOT_STRETCHED
    half = [(_factor(each.waited_s, each.p50_s), each.started) for each in earlier]
    ninth = [(_factor(each.waited_s, each.p90_s), each.started) for each in earlier]
    return Stretch(_milli(half, 0.5), max(ONE_MILLI, _milli(ninth, 0.1)))


def _factor(waited_s: float, foreseen_s: float) -> float:
    return max(waited_s, LEAST_WAIT_S) / max(foreseen_s, LEAST_WAIT_S)


def _milli(factors: list[tuple[float, bool]], beyond: float) -> int:
    found = survival(factors)
    factor = found.first_with(beyond)
    return int(ONE_MILLI * min(max(factor if factor is not None else found.values[-1], 1 / MOST), MOST))


def _stretched(at: datetime | None, now: datetime, milli: int) -> datetime | None:
    if at is None:
        return None
    wait = (at - now) * milli // ONE_MILLI
    return now + wait if timedelta(0) <= wait <= HORIZON else None if wait > HORIZON else at
