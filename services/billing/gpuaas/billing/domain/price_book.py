"""The list prices of one currency. One law: a version never changes, and no two versions price the same moment.

The list book of a currency is named for it, `list-eur`, so a currency cannot have two. A version without an end
lasts until its successor begins; one with an end may leave a gap, which only matters if something is used in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeAlias

from gpuaas.billing.domain.canonical import sha256_of
from gpuaas.billing.domain.metering import Interval, instant_ms
from gpuaas.common.clock import rfc3339
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.ids import is_name
from gpuaas.common.money import minor_digits, plain
from gpuaas.contracts.billing import Price, PriceBookPublished, PriceUnit

PRICES_MAX: Final = 1_000
PRICE_MAX: Final = Decimal(10**9)
PRICE_DIGITS_MAX: Final = 12
"""Digits behind the point of a price for one unit."""
UNIT: Final[PriceUnit] = "gpu-hour"


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """One immutable version: its prices by GPU model, for [from, until)."""

    version: int
    effective_from: datetime
    effective_until: datetime | None
    prices: Mapping[str, Decimal]


Window: TypeAlias = tuple[Interval, PriceVersion]


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All versions of one book, oldest first. `currency` is empty until the first is published."""

    price_book_id: str = ""
    currency: str = ""
    versions: tuple[PriceVersion, ...] = ()

    def windows(self, period: Interval) -> list[Window]:
        """The parts of `period` that a version prices, in order, with the version. Parts never overlap."""
        found: list[Window] = []
        for at, version in enumerate(self.versions):
            ends = [instant_ms(version.effective_until)] if version.effective_until else []
            ends += [instant_ms(later.effective_from) for later in self.versions[at + 1 : at + 2]]
            start = instant_ms(version.effective_from)
            effective = Interval(start, max(start, min([period.end_ms, *ends])))
            if (part := period.within(effective)) is not None:
                found.append((part, version))
        return found

    def at(self, moment: datetime) -> PriceVersion | None:
        """The version that prices `moment`, or None."""
        start = instant_ms(moment)
        windows = self.windows(Interval(start, start + 1))
        return windows[0][1] if windows else None

    def price(self, gpu_model: str, moment: datetime) -> tuple[PriceVersion, Decimal]:
        """The version in force at `moment` and its price for one GPU-hour of `gpu_model`.

        Raises:
            Rejected: no version, or none with that model.
        """
        version = self.at(moment)
        if version is None:
            raise Rejected(
                f"{self.price_book_id} has no prices for {rfc3339(moment)}; publish a version that covers it"
            )
        if gpu_model not in version.prices:
            known = ", ".join(sorted(version.prices)[:10])
            raise Rejected(
                f"{self.price_book_id} version {version.version} has no price for {gpu_model}; it has {known}"
            )
        return version, version.prices[gpu_model]


@dataclass(frozen=True, slots=True)
class PublishPrices:
    """Order the next version of a book.

    Attributes:
        prices: (GPU model, price of one GPU-hour).
        billed_until: end of the newest period already billed; prices for it are settled. None: nothing is billed.
    """

    price_book_id: str
    currency: str
    effective_from: datetime
    effective_until: datetime | None
    prices: tuple[tuple[str, Decimal], ...]
    billed_until: datetime | None = None


def list_book_of(currency: str) -> str:
    """The id of a currency's list price book.

    Raises:
        Invalid: not a currency this suite can round.
    """
    minor_digits(currency)
    return f"list-{currency.lower()}"


def digest_of(books: Sequence[PriceBook]) -> str:
    """SHA-256 over every version of every book: what a billing run pins."""
    return sha256_of(
        [
            {
                "price_book_id": book.price_book_id,
                "currency": book.currency,
                "versions": [
                    {
                        "version": version.version,
                        "effective_from": rfc3339(version.effective_from),
                        "effective_until": rfc3339(version.effective_until) if version.effective_until else None,
                        "prices": {model: plain(amount) for model, amount in version.prices.items()},
                    }
                    for version in book.versions
                ],
            }
            for book in sorted(books, key=lambda book: book.price_book_id)
        ]
    )


def decide(command: PublishPrices, book: PriceBook) -> list[Event]:
    """The next version, or a refusal that says what to change."""
    if command.price_book_id != list_book_of(command.currency):
        raise Invalid(
            f"list prices in {command.currency} are the book {list_book_of(command.currency)}, "
            f"not {command.price_book_id}"
        )
    _check_prices(command.prices)
    _check_times(command, book)
    return [
        PriceBookPublished(
            price_book_id=command.price_book_id,
            version=len(book.versions) + 1,
            currency=command.currency,
            effective_from=command.effective_from,
            effective_until=command.effective_until,
            prices=tuple(Price(gpu_model=model, unit=UNIT, amount=amount) for model, amount in command.prices),
        )
    ]


def evolve(book: PriceBook, event: Event) -> PriceBook:
    """The book after one more version."""
    match event:
        case PriceBookPublished() as published:
            version = PriceVersion(
                version=published.version,
                effective_from=published.effective_from,
                effective_until=published.effective_until,
                prices={price.gpu_model: price.amount for price in published.prices},
            )
            return replace(
                book,
                price_book_id=published.price_book_id,
                currency=published.currency,
                versions=(*book.versions, version),
            )
        case _:
            raise AssertionError(f"{type(event).__name__} is not of a price book")


def _check_prices(prices: Sequence[tuple[str, Decimal]]) -> None:
    if not 1 <= len(prices) <= PRICES_MAX:
        raise Invalid(f"a price book version has 1 to {PRICES_MAX} prices, not {len(prices)}")
    times = Counter(model for model, _ in prices)
    if twice := sorted(model for model, count in times.items() if count > 1):
        raise Invalid(f"{', '.join(twice)} is priced twice; give each GPU model one price")
    for model, amount in prices:
        if not is_name(model):
            raise Invalid(f"{model[:80]!r} is not the name of a GPU model")
        if not amount.is_finite() or amount < 0:
            raise Invalid(f"the price of {model} is {amount}; a price is zero or more")
        if amount >= PRICE_MAX or _digits_behind_the_point(amount) > PRICE_DIGITS_MAX:
            raise Invalid(
                f"the price of {model} is {amount}; use less than {PRICE_MAX:f} and {PRICE_DIGITS_MAX} digits"
            )


def _check_times(command: PublishPrices, book: PriceBook) -> None:
    starts = command.effective_from
    if command.effective_until is not None and instant_ms(command.effective_until) <= instant_ms(starts):
        raise Invalid("prices must end after they begin; set effective_until later than effective_from")
    if not book.versions:
        return
    if command.billed_until is not None and starts < command.billed_until:
        raise Rejected(
            f"time before {rfc3339(command.billed_until)} is already billed; let the prices begin then or later"
        )
    newest = book.versions[-1]
    if starts <= newest.effective_from:
        raise Rejected(
            f"version {newest.version} is in force from {rfc3339(newest.effective_from)} on: the two would overlap. "
            "Let the new prices begin later"
        )
    if newest.effective_until is not None and starts < newest.effective_until:
        raise Rejected(
            f"version {newest.version} is in force until {rfc3339(newest.effective_until)}: the two would overlap. "
            "Let the new prices begin then or later"
        )


def _digits_behind_the_point(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


PRICE_BOOK: Final = Decider(initial=PriceBook(), decide=decide, evolve=evolve)
