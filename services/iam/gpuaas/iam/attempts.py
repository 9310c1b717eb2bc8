"""How often something may be tried. One law: an attempt is paid for before it is looked at; a right one is given back.

In the memory of one process; the least recently seen name is forgotten first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

NAMES_MAX: Final = 20_000


class Attempts:
    """`burst` at once for one name, then one more every `every_s` seconds."""

    def __init__(self, burst: int, every_s: float) -> None:
        self._burst = float(burst)
        self._every_s = every_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Pay for one attempt; 0.0 if there was one, else the seconds until there is."""
        now = time.monotonic()
        left, since = self._left.pop(name, (self._burst, now))
        left = min(self._burst, left + (now - since) / self._every_s)
        granted = left >= 1.0
        self._left[name] = (left - 1.0 if granted else left, now)
        if len(self._left) > NAMES_MAX:
            self._left.popitem(last=False)
        return 0.0 if granted else (1.0 - left) * self._every_s

    def give_back(self, name: str) -> None:
        """The attempt was right after all."""
        if (known := self._left.get(name)) is not None:
            self._left[name] = (min(self._burst, known[0] + 1.0), known[1])
