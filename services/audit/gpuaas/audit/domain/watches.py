"""How much of the log is compared again, and when. One law: every position has its turn, the suspect ones at once.

A *pass* walks from position 1 to the end, a window at a time, and begins again. A *sweep* is a pass without pause; one
is due when the log's imprint is another than at the last look, and no epoch is sealed before it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import Final

WINDOW_MAX: Final = 50_000
"""Most positions of one look, however long the log."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Where the watching stands.

    Attributes:
        imprint: how the log was kept at the last look; empty before the first.
        cursor: the running pass has compared everything up to here.
        sweep_to: where the sweep that is due ends; 0: none is.
        pass_began: when the running pass compared its first position.
        whole_since: every position that the log had then has been compared at that time or later; None: not yet.
    """

    imprint: str = ""
    cursor: int = 0
    sweep_to: int = 0
    pass_began: datetime | None = None
    whole_since: datetime | None = None

    @property
    def sweeping(self) -> bool:
        return self.sweep_to > 0


def seen(watch: Watch, imprint: str, end: int) -> Watch:
    """After a look at how the log is kept; `end` is the position up to which there is something to compare with.

    At the first look there is nothing to suspect: the trail has just been made from this log.
    """
    if imprint == watch.imprint:
        return watch
    if not watch.imprint:
        return replace(watch, imprint=imprint)
    return replace(watch, imprint=imprint, cursor=0, sweep_to=end, pass_began=None)


def window(end: int, elapsed_s: float, least: int, pass_s: float) -> int:
    """Positions of the next look: `least`, or as many as a whole pass within `pass_s` demands, up to `WINDOW_MAX`.

    Args:
        elapsed_s: since the last look.
    """
    return min(max(least, ceil(end * elapsed_s / pass_s)), max(least, WINDOW_MAX))


def compared(watch: Watch, upto: int, end: int, now: datetime) -> Watch:
    """After the positions (cursor, upto] of `end` have been compared."""
    began = watch.pass_began or now
    sweep_to = 0 if upto >= watch.sweep_to else watch.sweep_to
    if upto < end:
        return replace(watch, cursor=upto, sweep_to=sweep_to, pass_began=began)
    return replace(watch, cursor=0, sweep_to=sweep_to, pass_began=None, whole_since=began)
