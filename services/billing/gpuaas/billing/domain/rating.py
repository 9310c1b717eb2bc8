"""Usage becomes invoice lines. One law: quantities are whole GPU-microseconds, and money is rounded once, at the line.

A line adds up all usage of one GPU model in one project under one price book version, with the same contract, campaign
and hours. Usage that crosses the period's bounds or a change of prices is cut there, at the millisecond, before
anything is priced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Final, TypeAlias

from gpuaas.billing.domain.canonical import sha256_of_ids
from gpuaas.billing.domain.metering import MS_PER_HOUR, WHOLE_MILLI, Interval
from gpuaas.billing.domain.price_book import PriceBook
from gpuaas.billing.domain.prices import Converted, PerUnit, Price, charge
from gpuaas.billing.domain.tariff import UNLABELLED, Labels, Priced, Step, Tariff, Windows
from gpuaas.common.errors import Rejected
from gpuaas.common.money import minor_digits, rounded

RATING_VERSION: Final = "rating-2"
"""Version of these rules: goes up when the same usage and prices could give another line."""


@dataclass(frozen=True, slots=True)
class Usage:
    """One metered holding: `share_milli` thousandths of each of `gpu_count` GPUs of one model, over `interval`."""

    usage_id: str
    project_id: str
    gpu_model: str
    gpu_count: int
    interval: Interval
    share_milli: int = WHOLE_MILLI
    labels: Labels = UNLABELLED


US_PER_MS: Final = 1_000
LineKey: TypeAlias = tuple[str, str, int, str]
"""project id, GPU model, price book version, price key (`tariff.Priced.key`): one line of an invoice."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What earlier invoices of the same period hold for one line."""

    gpu_us: int = 0
    amount: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a line that corrects others stands for: (invoice id, line id), and what credit notes had given back."""

    lines: tuple[tuple[str, str], ...]
    credited: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its quantity, its price and where both come from.

    Attributes:
        amount: rounded to the currency's minor unit.
        corrects: of a line without usage of its own: the rest of what other lines should have come to.
        usage_sha256: over the ids of the `usage_count` usage records it adds up, see `canonical.sha256_of_ids`.
        list_price: before any of the `steps` that lead to the unit price; None: the unit price is it.
        price_key: which steps those are; empty: none.
    """

    project_id: str
    gpu_model: str
    price_book_id: str
    price_book_version: int
    unit_price: Decimal
    gpu_us: int
    amount: Decimal
    usage_count: int
    usage_sha256: str
    corrects: Corrected | None = None
    list_price: Decimal | None = None
    price_key: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def gpu_ms(self) -> int:
        """Whole GPU-milliseconds; `gpu_us` is the quantity."""
        return self.gpu_us // US_PER_MS

    @property
    def exact(self) -> Fraction:
        """What the line's own quantity costs, before rounding."""
        return charge(gpu_hour(self.unit_price), Fraction(self.gpu_us, US_PER_MS))


_Kind: TypeAlias = tuple[str, str, Labels]
"""project id, GPU model, labels: what tells uses apart for a tariff."""


@dataclass(slots=True)
class _Sum:
    """A line while it is being added up."""

    priced: Priced
    gpu_us: int = 0
    usage_ids: list[str] = field(default_factory=list)


def gpu_hour(amount: Decimal) -> Price:
    """The price of a quantity in GPU-milliseconds at `amount` for one GPU-hour."""
    return Converted(divide=Fraction(MS_PER_HOUR), rounding="exact", of=PerUnit(Fraction(amount)))


def amount_due(unit_price: Decimal, quantity_us: int, booked: Booked, currency: str) -> Decimal:
    """What `quantity_us` more GPU-microseconds cost after what is booked: the rounded total less the booked amount."""
    total = charge(gpu_hour(unit_price), Fraction(booked.gpu_us + quantity_us, US_PER_MS))
    return rounded(total, currency) - booked.amount


def rate(
    usages: Iterable[Usage],
    prices: Tariff | PriceBook,
    period: Interval,
    booked: Mapping[LineKey, Booked] | None = None,
) -> tuple[Line, ...]:
    """The lines for the usage inside `period`, by project, model, version and what was applied to the list price.

    Args:
        usages: each once, in any order; usage outside the period counts nothing.
        prices: a tenant's, or list prices alone.
        booked: what invoices of the same period already hold; empty for the first.

    Raises:
        Rejected: no price covers a part of the usage. Nothing is given away unpriced.
    """
    tariff = Tariff(prices) if isinstance(prices, PriceBook) else prices
    sums = _Sums(tariff.windows(period), period)
    for usage in usages:
        sums.add(usage)
    already = booked or {}
    return tuple(
        _line(tariff.book, key, total, already.get(key, Booked()))
        for key, total in sorted(sums.by_line.items(), key=_by_key)
    )


def amount_of_sums(sums: Mapping[LineKey, int], prices: Mapping[LineKey, Decimal], currency: str) -> Decimal:
    """What lines of these GPU-microseconds come to at their unit prices, each rounded as on an invoice."""
    total = Decimal(0).scaleb(-minor_digits(currency))
    for key, gpu_us in sums.items():
        total += amount_due(prices[key], gpu_us, Booked(), currency)
    return total


class _Sums:
    """Lines while they are added up. What a use costs in a window is looked up once for each kind of use."""

    def __init__(self, windows: Windows, period: Interval) -> None:
        self.by_line: dict[LineKey, _Sum] = {}
        self._windows = windows
        self._start_ms, self._end_ms = period.start_ms, period.end_ms
        self._bounds = [(window.part.start_ms, window.part.end_ms) for window in windows.all]
        self._known: list[dict[_Kind, _Sum | None]] = [{} for _ in windows.all]

    def add(self, usage: Usage) -> None:
        """Plain integers and no intervals: this runs once for every record of a bill.

        Raises:
            Rejected: a part of it has no price.
        """
        start_ms, end_ms = max(usage.interval.start_ms, self._start_ms), min(usage.interval.end_ms, self._end_ms)
        if end_ms <= start_ms:
            return
        left_ms = end_ms - start_ms
        gpus = usage.gpu_count * usage.share_milli
        kind = (usage.project_id, usage.gpu_model, usage.labels)
        bounds = self._bounds
        for at in range(self._windows.place_of(start_ms) if len(bounds) > 1 else 0, len(bounds)):
            begins, ends = bounds[at]
            if begins >= end_ms:
                break
            part_ms = (end_ms if end_ms < ends else ends) - (start_ms if start_ms > begins else begins)
            known = self._known[at]
            total = known[kind] if kind in known else self._opened(at, kind)
            if part_ms <= 0 or total is None:
                continue
            total.gpu_us += part_ms * gpus
            # A use is told part by part, so it can only stand here already as the last one.
            if not total.usage_ids or total.usage_ids[-1] != usage.usage_id:
                total.usage_ids.append(usage.usage_id)
            left_ms -= part_ms
        if left_ms:
            raise Rejected(
                f"usage {usage.usage_id} of {usage.gpu_model} has no price for {left_ms} ms of the period; publish a "
                "price book version that covers it"
            )

    def _opened(self, at: int, kind: _Kind) -> _Sum | None:
        """The line that a kind of use is on in a window; None: the list has no price for it."""
        project_id, gpu_model, labels = kind
        found: _Sum | None = None
        if (priced := self._windows.price(at, gpu_model, project_id, labels)) is not None:
            key = (project_id, gpu_model, self._windows.all[at].version.version, priced.key)
            found = self.by_line.setdefault(key, _Sum(priced))
        self._known[at][kind] = found
        return found


def _line(book: PriceBook, key: LineKey, total: _Sum, booked: Booked) -> Line:
    project_id, gpu_model, version, price_key = key
    priced = total.priced
    return Line(
        project_id=project_id,
        gpu_model=gpu_model,
        price_book_id=book.price_book_id,
        price_book_version=version,
        unit_price=priced.unit_price,
        gpu_us=total.gpu_us,
        amount=amount_due(priced.unit_price, total.gpu_us, booked, book.currency),
        usage_count=len(total.usage_ids),
        usage_sha256=sha256_of_ids(total.usage_ids),
        list_price=priced.list_price if priced.steps else None,
        price_key=price_key,
        steps=priced.steps,
    )


def _by_key(item: tuple[LineKey, _Sum]) -> LineKey:
    return item[0]
