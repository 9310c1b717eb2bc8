"""A second tariff, deliberately naive: each minute asks the wall clock of the place anew. One law: no shared code."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from zoneinfo import ZoneInfo

EXACT = Context(prec=60)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Hours:
    """A band: on these days of the week (0 is Monday) from one wall clock time to another."""

    name: str
    days: tuple[int, ...]
    begins: str
    ends: str
    price: Decimal


@dataclass(frozen=True)
class Offer:
    """A contract or a campaign with one rule: a price, or a percentage off, perhaps only for a label."""

    name: str
    kind: str
    begins: datetime
    ends: datetime
    precedence: int
    price: Decimal | None = None
    percent_off: Decimal | None = None
    label: tuple[str, str] | None = None
    on_list: bool = False


@dataclass(frozen=True)
class Job:
    """GPUs of one model held by one project from one minute to another."""

    name: str
    begins: datetime
    ends: datetime
    gpus: int
    labels: dict[str, str] = field(default_factory=dict)


def in_hours(hours: Hours, local: datetime) -> bool:
    """Yesterday's hours may reach into today."""
    clock = local.strftime("%H:%M")
    if hours.begins < hours.ends:
        return local.weekday() in hours.days and hours.begins <= clock < hours.ends
    yesterday = (local.date() - timedelta(days=1)).weekday()
    return (local.weekday() in hours.days and clock >= hours.begins) or (yesterday in hours.days and clock < hours.ends)


def price_at(
    at: datetime, job: Job, base: Decimal, hours: list[Hours], zone: str, offers: list[Offer]
) -> tuple[str, Decimal]:
    """What an hour costs at that minute, and by what."""
    said: list[str] = []
    price = base
    for each in hours:
        if in_hours(each, at.astimezone(ZoneInfo(zone))):
            price = each.price
            said.append(f"band:{each.name}")
    listed = price
    for kind in ("contract", "campaign"):
        fitting = [
            offer
            for offer in offers
            if offer.kind == kind
            and offer.begins <= at < offer.ends
            and (offer.label is None or job.labels.get(offer.label[0]) == offer.label[1])
        ]
        if not fitting:
            continue
        best = max(fitting, key=lambda offer: (offer.precedence, offer.begins, offer.name))
        basis = listed if best.on_list else price
        if best.price is not None:
            offered = best.price
        else:
            assert best.percent_off is not None
            offered = EXACT.divide(EXACT.multiply(basis, EXACT.subtract(Decimal(100), best.percent_off)), Decimal(100))
        if kind == "contract" or offered < price:
            price = offered
            said.append(f"{kind}:{best.name}/1")
    return " ".join(said), price


def lines_by_walking(
    jobs: list[Job], base: Decimal, hours: list[Hours], zone: str, offers: list[Offer]
) -> dict[str, tuple[int, Decimal, set[str]]]:
    """price key → (GPU minutes, amount rounded once, names of jobs), one minute after another."""
    found: dict[str, tuple[int, Decimal, set[str]]] = {}
    for job in jobs:
        at = job.begins
        while at < job.ends:
            key, price = price_at(at, job, base, hours, zone, offers)
            minutes, known, names = found.get(key, (0, price, set()))
            assert known == price, "one key, two prices"
            found[key] = (minutes + job.gpus, price, names | {job.name})
            at += MINUTE
    return {
        key: (
            minutes,
            EXACT.divide(EXACT.multiply(Decimal(minutes), price), Decimal(60)).quantize(
                Decimal("0.01"), ROUND_HALF_UP, EXACT
            ),
            names,
        )
        for key, (minutes, price, names) in found.items()
    }


def utc(text: str) -> datetime:
    """A time written without its zone."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
