"""How much of what is counted outlives a value, where some of it is not over yet. One law: what is not over counts as
longer than it is so far (Kaplan and Meier, 1958).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Survival:
    """Values in rising order at which something was over, and the share of all that outlived each."""

    values: Sequence[float]
    beyond: Sequence[float]

    def share_beyond(self, value: float) -> float:
        number = bisect_right(self.values, value)
        return self.beyond[number - 1] if number else 1.0

    def first_with(self, share: float) -> float | None:
        """The least value that at most `share` of all outlive; None: more than that outlived all that was seen."""
        number = bisect_left(self.beyond, -share, key=lambda beyond: -beyond)
        return self.values[number] if number < len(self.values) else None


def survival(seen: list[tuple[float, bool]]) -> Survival:
    """Of (value so far, whether it is over)."""
    values: list[float] = []
    beyond: list[float] = []
    share, left = 1.0, len(seen)
    for value, over in sorted(seen, key=lambda each: (each[0], not each[1])):
        if over:
            share *= 1 - 1 / left
            if values and values[-1] == value:
                beyond[-1] = share
            else:
                values.append(value)
                beyond.append(share)
        left -= 1
    return Survival(values, beyond)
