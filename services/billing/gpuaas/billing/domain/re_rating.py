"""What a period would cost under other prices. One law: the same usage by the same rules, rounded once a line.

A difference is told for each project and GPU model: versions of two books have no lines in common.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from gpuaas.billing.domain.price_book import PriceBook, PublishPrices, decide, evolve, list_book_of
from gpuaas.billing.domain.rating import US_PER_MS
from gpuaas.common.money import minor_digits

Part: TypeAlias = tuple[str, str, int, Decimal]
"""project id, GPU model, GPU-microseconds, amount"""


@dataclass(frozen=True, slots=True)
class OtherPrices:
    """One version of the other book: (GPU model, price of a GPU-hour) for [from, until)."""

    effective_from: datetime
    effective_until: datetime | None
    prices: tuple[tuple[str, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One project and model, floored to GPU-ms. `gpu_ms`: used; `before_gpu_ms`: what the amount before is for."""

    project_id: str
    gpu_model: str
    before_gpu_ms: int
    gpu_ms: int
    before: Decimal
    after: Decimal

    @property
    def difference(self) -> Decimal:
        """More (positive) or less to pay under the other prices."""
        return self.after - self.before


def book_of(currency: str, versions: Sequence[OtherPrices]) -> PriceBook:
    """The other book, by all rules of a real one.

    Raises:
        Invalid: a price, a time or the currency is not one.
        Rejected: versions overlap.
    """
    book = PriceBook()
    for each in sorted(versions, key=lambda version: version.effective_from):
        order = PublishPrices(list_book_of(currency), currency, each.effective_from, each.effective_until, each.prices)
        for event in decide(order, book):
            book = evolve(book, event)
    return book


def differences(before: Iterable[Part], after: Iterable[Part], currency: str) -> tuple[Difference, ...]:
    """Both sums for every project and model on either side, in order."""
    sides = (_sums(before, currency), _sums(after, currency))
    nothing = (0, _zero(currency))
    found = []
    for key in sorted({*sides[0], *sides[1]}):
        (before_us, was), (after_us, would) = (side.get(key, nothing) for side in sides)
        found.append(Difference(*key, before_us // US_PER_MS, after_us // US_PER_MS, was, would))
    return tuple(found)


def _sums(parts: Iterable[Part], currency: str) -> dict[tuple[str, str], tuple[int, Decimal]]:
    sums: defaultdict[tuple[str, str], tuple[int, Decimal]] = defaultdict(lambda: (0, _zero(currency)))
    for project_id, gpu_model, gpu_us, amount in parts:
        already_us, already = sums[project_id, gpu_model]
        sums[project_id, gpu_model] = (already_us + gpu_us, already + amount)
    return sums


def _zero(currency: str) -> Decimal:
    return Decimal(0).scaleb(-minor_digits(currency))
