"""One figure of the bench. One law: a figure stands beside a baseline measured in the same run."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

Measure = Callable[[], Awaitable[list["Row"]]]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of `build/bench.json`.

    Attributes:
        value: the figure in `unit`.
        baseline: the same unit, measured beside it; None where the figure stands alone.
        ratio: value / baseline.
        target: what DESIGN asks, in words.
        met: whether it was reached in this run; None where there is no target.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    target: str | None = None
    met: bool | None = None

    def as_document(self) -> dict[str, Any]:
        return asdict(self)


def at_most(name: str, value: float, unit: str, *, ratio: float, baseline: float, baseline_is: str) -> Row:
    """A cost: met when value / baseline ≤ `ratio`."""
    reached = value / baseline
    return Row(name, value, unit, baseline, reached, f"≤ {ratio:g} × {baseline_is}", reached <= ratio)


def at_least(name: str, value: float, unit: str, least: float) -> Row:
    """A rate: met when value ≥ `least`."""
    return Row(name, value, unit, least, value / least, f"≥ {least:,.0f} {unit}", value >= least)


async def in_turn(*works: Callable[[int], Awaitable[object]], calls: int, blocks: int = 7) -> list[float]:
    """Seconds of one call of each work: medians over blocks that alternate, so that drift meets all alike.

    `work` gets 0, 1, 2 … over the whole run.
    """
    means: list[list[float]] = [[] for _ in works]
    for block in range(blocks):
        for index, work in enumerate(works):
            began = time.perf_counter()
            for number in range(calls):
                await work(block * calls + number)
            means[index].append((time.perf_counter() - began) / calls)
    return [median(each) for each in means]
