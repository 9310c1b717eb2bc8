"""What one tenant pays for one unit, moment by moment. One law: list, then contract, then campaign; each step is told.

The list price is the one of the price book version in force, in its band of hours. The contract of the highest
precedence that has a rule for the use replaces it. The campaign of the highest precedence may lower what that comes to,
and never raises it. Time is cut wherever any of these changes, so a part between two cuts has one price.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Final, TypeAlias

from gpuaas.billing.domain.agreement import Agreement
from gpuaas.billing.domain.bands import Band, edges, local_at
from gpuaas.billing.domain.metering import Interval, instant_ms
from gpuaas.billing.domain.price_book import PriceBook, PriceVersion
from gpuaas.common.clock import rfc3339
from gpuaas.common.money import plain
from gpuaas.contracts.billing import PriceBasis, PriceStepKind

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""An allocation's labels, sorted by name."""
UNLABELLED: Final[Labels] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What was applied to a price: a band's price, a rule's price, or a percentage off; `price`: after it."""

    step: PriceStepKind
    name: str
    rule: int | None
    percent_off: Decimal | None
    calculated_on: PriceBasis | None
    price: Decimal
    reason: str

    @property
    def key(self) -> str:
        """Its part of a line's price key."""
        return f"{self.step}:{self.name}" if self.rule is None else f"{self.step}:{self.name}/{self.rule}"


@dataclass(frozen=True, slots=True)
class Priced:
    """The price of one unit, and how it came to be.

    Attributes:
        key: which steps: the same key under the same version is the same price. Empty: the list price.
    """

    list_price: Decimal
    steps: tuple[Step, ...]
    key: str

    @classmethod
    def by(cls, list_price: Decimal, steps: Sequence[Step] = ()) -> Priced:
        """A list price with the steps from there."""
        return cls(list_price, tuple(steps), " ".join(step.key for step in steps))

    @property
    def unit_price(self) -> Decimal:
        return self.steps[-1].price if self.steps else self.list_price


@dataclass(frozen=True, slots=True)
class Window:
    """A part of time in which no price changes. `local`: (weekday, minute) of it where the version has bands."""

    part: Interval
    version: PriceVersion
    local: tuple[int, int] | None
    contracts: tuple[Agreement, ...]
    campaigns: tuple[Agreement, ...]


@dataclass(slots=True)
class Windows:
    """The windows of a period, in order, that answer what a use costs in them."""

    all: list[Window]
    _starts: list[int] = field(init=False)
    _known: dict[tuple[int, str, str, Labels], Priced | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._starts = [window.part.start_ms for window in self.all]

    def place_of(self, at_ms: int) -> int:
        """The place of the first window that may hold an instant or begin behind it."""
        return max(0, bisect_right(self._starts, at_ms) - 1)

    def price(self, at: int, gpu_model: str, project_id: str, labels: Labels) -> Priced | None:
        """What a unit costs in the window at that place; None: the list has no price for the model."""
        key = (at, gpu_model, project_id, labels)
        if key not in self._known:
            self._known[key] = _priced(self.all[at], gpu_model, project_id, dict(labels))
        return self._known[key]


@dataclass(frozen=True, slots=True)
class Tariff:
    """A currency's list prices, and what a tenant has agreed on (with the campaigns for all)."""

    book: PriceBook
    agreements: tuple[Agreement, ...] = ()

    def windows(self, period: Interval) -> Windows:
        """The parts of `period` that have list prices, cut wherever a price may change."""
        found: list[Window] = []
        for part, version in self.book.windows(period):
            cuts = {part.start_ms, part.end_ms, *self._changes(part)}
            bands = [band for own in version.bands.values() for band in own]
            cuts.update(edges(bands, version.offsets, part))
            for start, end in pairwise(sorted(cuts)):
                local = local_at(start, version.offsets) if bands else None
                contracts, campaigns = (self._in_force(kind, start) for kind in ("contract", "campaign"))
                found.append(Window(Interval(start, end), version, local, contracts, campaigns))
        return Windows(found)

    def price(self, at_ms: int, gpu_model: str, project_id: str, labels: Labels = UNLABELLED) -> Priced | None:
        """What a unit costs at an instant; None: there is no list price."""
        windows = self.windows(Interval(at_ms, at_ms + 1))
        return windows.price(0, gpu_model, project_id, labels) if windows.all else None

    def _changes(self, part: Interval) -> Iterator[int]:
        for agreement in self.agreements:
            for moment in (agreement.effective_from, agreement.effective_until):
                if moment is not None and part.start_ms < (at := instant_ms(moment)) < part.end_ms:
                    yield at

    def _in_force(self, kind: str, at_ms: int) -> tuple[Agreement, ...]:
        """The agreements of a kind at an instant, highest first."""
        found = [
            each
            for each in self.agreements
            if each.kind == kind
            and instant_ms(each.effective_from) <= at_ms
            and (each.effective_until is None or at_ms < instant_ms(each.effective_until))
        ]
        return tuple(sorted(found, key=lambda each: each.rank, reverse=True))


def lowered(price: Decimal, percent_off: Decimal) -> Decimal:
    """`price` less a percentage, exactly."""
    return _trimmed(price * (100 - percent_off) / 100)


def spelled(agreements: Iterable[Agreement]) -> list[dict[str, object]]:
    """Agreements as data that can be hashed, in order of tenant and id."""
    return [
        {
            "tenant_id": each.tenant_id,
            "agreement_id": each.agreement_id,
            "kind": each.kind,
            "currency": each.currency,
            "effective_from": rfc3339(each.effective_from),
            "effective_until": None if each.effective_until is None else rfc3339(each.effective_until),
            "precedence": each.precedence,
            "calculated_on": each.calculated_on,
            "rules": [
                {
                    "gpu_models": sorted(rule.gpu_models),
                    "project_ids": sorted(rule.project_ids),
                    "label_name": rule.label_name,
                    "label_value": rule.label_value,
                    "amount": None if rule.amount is None else plain(rule.amount),
                    "percent_off": None if rule.percent_off is None else plain(rule.percent_off),
                }
                for rule in each.rules
            ],
        }
        for each in sorted(agreements, key=lambda each: (each.tenant_id, each.agreement_id))
    ]


def _priced(window: Window, gpu_model: str, project_id: str, labels: Mapping[str, str]) -> Priced | None:
    list_price = window.version.prices.get(gpu_model)
    if list_price is None:
        return None
    steps: list[Step] = []
    if (band := _band_in(window, gpu_model)) is not None:
        steps.append(Step("band", band.band_id, None, None, None, band.amount, f"hours of {window.version.time_zone}"))
    listed = steps[-1].price if steps else list_price
    if (chosen := _chosen(window.contracts, gpu_model, project_id, labels)) is not None:
        steps.append(_step(*chosen, of=listed))
    if (chosen := _chosen(window.campaigns, gpu_model, project_id, labels)) is not None:
        before = steps[-1].price if steps else list_price
        step = _step(*chosen, of=listed if chosen[0].calculated_on == "list" else before)
        if step.price < before:
            steps.append(step)
    return Priced.by(list_price, steps)


def _band_in(window: Window, gpu_model: str) -> Band | None:
    if window.local is None:
        return None
    own = window.version.bands.get(gpu_model, ())
    return next((band for band in own if band.holds(*window.local)), None)


def _chosen(
    agreements: Sequence[Agreement], gpu_model: str, project_id: str, labels: Mapping[str, str]
) -> tuple[Agreement, int] | None:
    for agreement in agreements:
        if (number := agreement.rule_for(gpu_model, project_id, labels)) is not None:
            return agreement, number
    return None


def _step(agreement: Agreement, number: int, of: Decimal) -> Step:
    rule = agreement.rules[number - 1]
    price = rule.amount if rule.percent_off is None else lowered(of, rule.percent_off)
    assert price is not None
    is_share = agreement.kind == "campaign" and rule.percent_off is not None
    return Step(
        step=agreement.kind,
        name=agreement.agreement_id,
        rule=number,
        percent_off=rule.percent_off,
        calculated_on=agreement.calculated_on if is_share else None,
        price=price,
        reason=agreement.reason,
    )


def _trimmed(amount: Decimal) -> Decimal:
    """Without zeros behind the last digit that counts, and never with an exponent."""
    trimmed = amount.normalize()
    return trimmed if trimmed.as_tuple().exponent <= 0 else trimmed.quantize(Decimal(1))  # type: ignore[operator]
