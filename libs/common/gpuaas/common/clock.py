"""Time as something handed in. One law: nothing in the suite reads the wall clock except through a `Clock`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time of the world this process lives in."""

    def now(self) -> datetime:
        """An aware UTC datetime."""
        ...

    def real_seconds(self, world_s: float) -> float:
        """How many real seconds pass while `world_s` seconds of this world do."""
        ...


class WallClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def real_seconds(self, world_s: float) -> float:
        return world_s


@dataclass(frozen=True, slots=True)
class Pace:
    """World time runs from `world` at real time `real_s` (Unix seconds), `rate` times as fast."""

    real_s: float
    world: datetime
    rate: float

    def at(self, real_s: float) -> datetime:
        return self.world + timedelta(seconds=(real_s - self.real_s) * self.rate)

    def encode(self) -> str:
        return f"{self.real_s!r}/{self.world.isoformat()}/{self.rate!r}"

    @classmethod
    def decode(cls, text: str) -> Pace:
        real_s, world, rate = text.split("/")
        return cls(float(real_s), datetime.fromisoformat(world), float(rate))


class PacedClock:
    """The demo profile's clock: piecewise linear, never backwards, every process of one stack alike.

    A new pace takes effect at its own `real_s`, so processes told in time switch at the same instant.
    """

    def __init__(self, pace: Pace) -> None:
        self._paces = [pace]

    def now(self) -> datetime:
        return self._current().at(time.time())

    def real_seconds(self, world_s: float) -> float:
        return world_s / self._current().rate

    def change(self, pace: Pace) -> None:
        """Adopt `pace` from its own `real_s` on."""
        self._paces = [self._current(), pace]

    def _current(self) -> Pace:
        real_s = time.time()
        begun = [pace for pace in self._paces if pace.real_s <= real_s]
        return begun[-1] if begun else self._paces[0]


class FixedClock:
    """A clock for tests: it stands where it is put."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def real_seconds(self, world_s: float) -> float:
        return 0.0

    def advance(self, delta: timedelta) -> None:
        self._now += delta


def rfc3339(moment: datetime) -> str:
    """UTC with microseconds and `Z`: one spelling, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
