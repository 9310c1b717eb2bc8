"""The list prices of one currency. One law: a version never changes, and no two versions price the same moment.

The list book of a currency is named for it, `list-eur`, so a currency cannot have two. A version without an end
lasts until its successor begins; one with an end may leave a gap, which only matters if something is used in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeAlias

from gpuaas.billing.domain.bands import Band, Offsets, check_bands, minute_of
from gpuaas.billing.domain.canonical import sha256_of
from gpuaas.billing.domain.metering import Interval, instant_ms, moment_of
from gpuaas.common.clock import rfc3339
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.ids import is_name
from gpuaas.common.money import minor_digits, plain
from gpuaas.contracts.billing import Price, PriceBand, PriceBookPublished, PriceUnit, UtcOffset

PRICES_MAX: Final = 1_000
PRICE_MAX: Final = Decimal(10**9)
PRICE_DIGITS_MAX: Final = 12
"""Digits behind the point of a price for one unit."""
UNIT: Final[PriceUnit] = "gpu-hour"


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """One immutable version: its prices by GPU model, for [from, until).

    Attributes:
        bands: by GPU model: hours of the week with prices of their own, by the local time of `time_zone`.
        offsets: that zone's, over all the time that the version can be for.
    """

    version: int
    effective_from: datetime
    effective_until: datetime | None
    prices: Mapping[str, Decimal]
    bands: Mapping[str, tuple[Band, ...]] = field(default_factory=dict)
    time_zone: str | None = None
    offsets: Offsets = ()


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
        bands: by GPU model; then `time_zone` has the `offsets` of all the time that the version can be for.
        billed_until: end of the newest period already billed; prices for it are settled. None: nothing is billed.
    """

    price_book_id: str
    currency: str
    effective_from: datetime
    effective_until: datetime | None
    prices: tuple[tuple[str, Decimal], ...]
    billed_until: datetime | None = None
    bands: Mapping[str, tuple[Band, ...]] = field(default_factory=dict)
    time_zone: str | None = None
    offsets: Offsets = ()


def list_book_of(currency: str) -> str:
    """The id of a currency's list price book.

    Raises:
        Invalid: not a currency this suite can round.
    """
    minor_digits(currency)
    return f"list-{currency.lower()}"


def digest_of(books: Sequence[PriceBook], agreements: Sequence[Mapping[str, object]] = ()) -> str:
    """SHA-256 over every version of every book, and every agreement as `tariff.spelled`: what a billing run pins."""
    written = _books_spelled(books)
    return sha256_of({"books": written, "agreements": list(agreements)} if agreements else written)


def _books_spelled(books: Sequence[PriceBook]) -> list[dict[str, object]]:
    return [
        {
            "price_book_id": book.price_book_id,
            "currency": book.currency,
            "versions": [
                {
                    "version": version.version,
                    "effective_from": rfc3339(version.effective_from),
                    "effective_until": rfc3339(version.effective_until) if version.effective_until else None,
                    "prices": {model: plain(amount) for model, amount in version.prices.items()},
                    **_bands_spelled(version),
                }
                for version in book.versions
            ],
        }
        for book in sorted(books, key=lambda book: book.price_book_id)
    ]


def decide(command: PublishPrices, book: PriceBook) -> list[Event]:
    """The next version, or a refusal that says what to change."""
    if command.price_book_id != list_book_of(command.currency):
        raise Invalid(
            f"list prices in {command.currency} are the book {list_book_of(command.currency)}, "
            f"not {command.price_book_id}"
        )
    _check_prices(command.prices)
    _check_bands(command)
    _check_times(command, book)
    return [
        PriceBookPublished(
            price_book_id=command.price_book_id,
            version=len(book.versions) + 1,
            currency=command.currency,
            effective_from=command.effective_from,
            effective_until=command.effective_until,
            time_zone=command.time_zone if command.bands else None,
            utc_offsets=tuple(_offset(at) for at in command.offsets) if command.bands else None,
            prices=tuple(_price(model, amount, command.bands.get(model, ())) for model, amount in command.prices),
        )
    ]


def evolve(book: PriceBook, event: Event) -> PriceBook:
    """The book after one more version."""
    match event:
        case PriceBookPublished() as published:
            version = version_of(published)
            return replace(
                book,
                price_book_id=published.price_book_id,
                currency=published.currency,
                versions=(*book.versions, version),
            )
        case _:
            raise AssertionError(f"{type(event).__name__} is not of a price book")


def version_of(published: PriceBookPublished) -> PriceVersion:
    """The version that an event tells."""
    return PriceVersion(
        version=published.version,
        effective_from=published.effective_from,
        effective_until=published.effective_until,
        prices={price.gpu_model: price.amount for price in published.prices},
        bands={
            price.gpu_model: tuple(band_of(band) for band in price.bands) for price in published.prices if price.bands
        },
        time_zone=published.time_zone,
        offsets=tuple((instant_ms(each.since), each.offset_s * 1_000) for each in published.utc_offsets or ()),
    )


def band_of(told: PriceBand) -> Band:
    """A band out of its contract."""
    return Band(told.band_id, frozenset(told.weekdays), minute_of(told.begins), minute_of(told.ends), told.amount)


def _bands_spelled(version: PriceVersion) -> dict[str, object]:
    """What a version's digest adds for its bands; without any it stays what it always was."""
    if not version.bands:
        return {}
    bands = {
        model: [
            [band.band_id, sorted(band.weekdays), band.begins, band.ends, plain(band.amount)]
            for band in sorted(own, key=lambda band: band.band_id)
        ]
        for model, own in version.bands.items()
    }
    return {
        "time_zone": version.time_zone,
        "offsets": [[str(at), ahead] for at, ahead in version.offsets],
        "bands": bands,
    }


def _price(gpu_model: str, amount: Decimal, bands: Sequence[Band]) -> Price:
    own = tuple(
        PriceBand(
            band_id=band.band_id,
            weekdays=tuple(sorted(band.weekdays)),
            begins=_clock(band.begins),
            ends=_clock(band.ends),
            amount=band.amount,
        )
        for band in bands
    )
    return Price(gpu_model=gpu_model, unit=UNIT, amount=amount, bands=own or None)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _offset(told: tuple[int, int]) -> UtcOffset:
    return UtcOffset(since=moment_of(told[0]), offset_s=told[1] // 1_000)


def _check_bands(command: PublishPrices) -> None:
    models = {model for model, _ in command.prices}
    if stray := sorted(set(command.bands) - models):
        raise Invalid(f"{stray[0]} has bands and no price; say what it costs outside of them")
    if command.bands and not command.offsets:
        raise Invalid("bands are hours of a place: say which with time_zone, such as Europe/Berlin")
    for model, bands in command.bands.items():
        check_bands(model, bands)
        for band in bands:
            _check_amount(f"{model} in band {band.band_id}", band.amount)


def _check_prices(prices: Sequence[tuple[str, Decimal]]) -> None:
    if not 1 <= len(prices) <= PRICES_MAX:
        raise Invalid(f"a price book version has 1 to {PRICES_MAX} prices, not {len(prices)}")
    times = Counter(model for model, _ in prices)
    if twice := sorted(model for model, count in times.items() if count > 1):
        raise Invalid(f"{', '.join(twice)} is priced twice; give each GPU model one price")
    for model, amount in prices:
        if not is_name(model):
            raise Invalid(f"{model[:80]!r} is not the name of a GPU model")
        _check_amount(model, amount)


def _check_amount(what: str, amount: Decimal) -> None:
    if not amount.is_finite() or amount < 0:
        raise Invalid(f"the price of {what} is {amount}; a price is zero or more")
    if amount >= PRICE_MAX or digits_behind_the_point(amount) > PRICE_DIGITS_MAX:
        raise Invalid(f"the price of {what} is {amount}; use less than {PRICE_MAX:f} and {PRICE_DIGITS_MAX} digits")


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


def digits_behind_the_point(amount: Decimal) -> int:
    """How many digits a decimal is written with behind its point."""
    exponent = amount.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


PRICE_BOOK: Final = Decider(initial=PriceBook(), decide=decide, evolve=evolve)
