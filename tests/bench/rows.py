"""One figure of the bench. One law: a figure stands beside a baseline measured in the same run."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A line of `build/bench.json`.

    Attributes:
        value: the figure in `unit`.
        baseline: the same unit, measured beside it (or the wanted figure where nothing is); None: it stands alone.
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


def at_least(name: str, value: float, unit: str, least: float, baseline: float | None = None) -> Row:
    """A rate: met when value ≥ `least`; the ratio is to what was measured beside it, if anything was."""
    beside = least if baseline is None else baseline
    return Row(name, value, unit, beside, value / beside, f"≥ {_plain(least)} {unit}", value >= least)


def no_more(name: str, value: float, unit: str, most: float, baseline: float | None = None) -> Row:
    """A cost with a limit of its own: met when value ≤ `most`."""
    beside = most if baseline is None else baseline
    return Row(name, value, unit, beside, value / beside, f"≤ {_plain(most)} {unit}", value <= most)


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,}"


def beside(name: str, value: float, unit: str, baseline: float) -> Row:
    """A figure that nobody asked a limit of, next to what it is compared with."""
    return Row(name, value, unit, baseline, value / baseline)


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


def rates_in_turn(*works: Callable[[int], int], blocks: int = 7) -> list[float]:
    """Things per second of each work, for works without waiting: medians over blocks that alternate.

    `work` gets the block's number and says how many things it did.
    """
    rates: list[list[float]] = [[] for _ in works]
    for block in range(blocks):
        for index, work in enumerate(works):
            began = time.perf_counter()
            count = work(block)
            rates[index].append(count / (time.perf_counter() - began))
    return [median(each) for each in rates]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
