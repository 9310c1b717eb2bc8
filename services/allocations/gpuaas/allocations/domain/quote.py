"""What who waits was told of its start. One law: it is told again only when that is news.

News is a start that moved by more than a minute and by more than a fifth of what was left to wait, or that can be
foreseen for the first time, or no more. So the log does not fill with what everybody knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.allocations import StartQuoted

LEAST_NEWS: Final = timedelta(seconds=60)
NEWS_PART: Final = 5
"""One part in so many of what was left to wait."""


@dataclass(frozen=True, slots=True)
class QuoteStart:
    """Tell it, if it is news."""

    said: StartQuoted


Told = StartQuoted | None


def decide(order: QuoteStart, told: Told) -> list[Event]:
    """The quote, or nothing where the last one still says as much."""
    new = order.said
    if told is None:
        return [new]
    moved = ((told.p50_at, new.p50_at), (told.p90_at, new.p90_at))
    return [new] if any(_is_news(told, new, before, now) for before, now in moved) else []


def _is_news(told: StartQuoted, new: StartQuoted, before: datetime | None, now: datetime | None) -> bool:
    if before is None or now is None:
        return before is not now
    left = max(before - told.quoted_at, timedelta(0))
    return abs(now - before) > max(LEAST_NEWS, left / NEWS_PART) and new.quoted_at >= told.quoted_at


def evolve(_: Told, event: Event) -> Told:
    """The newest quote."""
    assert isinstance(event, StartQuoted), event.TYPE
    return event


QUOTE: Final[Decider[Told, QuoteStart]] = Decider(initial=None, decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(StartQuoted)
