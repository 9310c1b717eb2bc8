"""What GPUs cost at most, out of the price books that billing publishes. One law: what has no price is not free.

A ceiling in money becomes one in GPU-time by the highest list price, from now on as far as it is published, of every
model that will do: so it holds whichever is granted and however long it waits. Bands count by their dearest hour.
Discounts only make it cheaper; taxes are not in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from gpuaas.common.errors import Invalid, Rejected
from gpuaas.contracts.allocations import CostCeiling
from gpuaas.contracts.billing import PriceBookPublished

GPU_HOUR_MS: Final = 3_600_000
GPU_MS_MAX: Final = 10**18


@dataclass(frozen=True, slots=True)
class PriceList:
    """All published versions of all price books."""

    published: tuple[PriceBookPublished, ...] = ()

    def with_book(self, book: PriceBookPublished) -> PriceList:
        """The list with one more version."""
        return PriceList((*self.published, book))

    def highest(self, gpu_model: str, currency: str, since: datetime) -> Decimal | None:
        """The most that one GPU-hour of this model costs from `since` on; None: then it has no price."""
        books = [book for book in self.published if book.currency == currency]
        changes = {book.effective_from for book in books}
        changes |= {book.effective_until for book in books if book.effective_until is not None}
        now = list(_prices(books, gpu_model, since))
        later = [price for at in changes if at > since for price in _prices(books, gpu_model, at)]
        return max(now + later) if now else None


def _prices(books: Sequence[PriceBookPublished], gpu_model: str, at: datetime) -> Iterator[Decimal]:
    """What each book asks for the model then, at its dearest hour."""
    in_force: dict[str, PriceBookPublished] = {}
    for book in books:
        over = book.effective_until is not None and at >= book.effective_until
        if book.effective_from <= at and not over:
            newest = in_force.get(book.price_book_id)
            if newest is None or newest.version < book.version:
                in_force[book.price_book_id] = book
    for book in in_force.values():
        for price in book.prices:
            if price.gpu_model == gpu_model:
                yield max((price.amount, *(band.amount for band in price.bands or ())))


def ceiling_of(
    prices: PriceList,
    amount: Decimal,
    currency: str,
    models: Collection[str],
    since: datetime,
    gpu_ms_max: int | None,
) -> tuple[CostCeiling, int | None]:
    """A ceiling in money, and what GPU-time is left by it and by `gpu_ms_max`.

    Args:
        models: all that will do.
        since: when it may begin.

    Raises:
        Rejected: one of the models has no price in that currency now. Invalid: there is no model to be priced.
    """
    if not models:
        raise Invalid("the pool has no GPUs that a ceiling in money could be reckoned for", field="cost_max")
    asked: list[Decimal] = []
    for model in sorted(models):
        price = prices.highest(model, currency, since)
        if price is None:
            raise Rejected(
                f"no price in {currency} for GPUs of {model} is in force; leave cost_max out", field="cost_max"
            )
        asked.append(price)
    dearest = max(asked)
    plain = Decimal(f"{amount:f}")  # People may write 1E+3; an event does not.
    said = CostCeiling(amount=plain, currency=currency, price_per_gpu_hour=dearest)
    if not dearest:
        return said, gpu_ms_max
    by_money = min(int(amount * GPU_HOUR_MS / dearest), GPU_MS_MAX)
    return said, by_money if gpu_ms_max is None else min(by_money, gpu_ms_max)
