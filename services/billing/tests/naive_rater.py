"""A second rater, deliberately naive: it walks unit by unit and millisecond by millisecond. One law: no shared code."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal

EXACT = Context(prec=60)


@dataclass(frozen=True)
class Step:
    """A tier as plain numbers: its last unit (None: no end), price of a unit, price of entering."""

    last: int | None
    unit: int
    entry: int


def graduated_by_walking(steps: list[Step], quantity: int) -> int:
    """Every unit looks up its own tier; the first unit in a tier pays the entry."""
    total, entered = 0, set()
    for unit in range(1, quantity + 1):
        at = next(at for at, step in enumerate(steps) if step.last is None or unit <= step.last)
        total += steps[at].unit
        if at not in entered:
            entered.add(at)
            total += steps[at].entry
    return total


def volume_by_walking(steps: list[Step], quantity: int) -> int:
    """Every unit pays what the last unit's tier says."""
    if quantity == 0:
        return 0
    step = next(step for step in steps if step.last is None or quantity <= step.last)
    return sum(step.unit for _ in range(quantity)) + step.entry


def packages_by_walking(size: int, price: int, free: int, quantity: int) -> int:
    """A new package is opened whenever a unit finds none open."""
    total, left = 0, free
    for _ in range(quantity):
        if left == 0:
            total, left = total + price, size
        left -= 1
    return total


@dataclass(frozen=True)
class Held:
    """GPUs held from `start` to `end`, in milliseconds."""

    usage_id: str
    project: str
    model: str
    gpus: int
    start: int
    end: int
    share_milli: int = 1_000


@dataclass(frozen=True)
class Tariff:
    """Prices per GPU-hour by model, from `start` on."""

    version: int
    start: int
    prices: dict[str, Decimal]


def invoice_by_walking(
    held: list[Held], tariffs: list[Tariff], period: tuple[int, int]
) -> dict[tuple[str, str, int], tuple[int, Decimal, set[str]]]:
    """(project, model, version) → (GPU-µs, amount in cents rounded once, usage ids), one millisecond after another."""
    lines: dict[tuple[str, str, int], tuple[int, set[str]]] = {}
    for each in held:
        for at in range(each.start, each.end):
            if not period[0] <= at < period[1]:
                continue
            tariff = [tariff for tariff in tariffs if tariff.start <= at][-1]
            key = (each.project, each.model, tariff.version)
            quantity, ids = lines.get(key, (0, set()))
            lines[key] = (quantity + each.gpus * each.share_milli, ids | {each.usage_id})
    priced = {}
    for (project, model, version), (quantity, ids) in lines.items():
        price = next(tariff for tariff in tariffs if tariff.version == version).prices[model]
        exact = EXACT.divide(EXACT.multiply(Decimal(quantity), price), Decimal(3_600_000_000))
        priced[(project, model, version)] = (quantity, exact.quantize(Decimal("0.01"), ROUND_HALF_UP, EXACT), ids)
    return priced
