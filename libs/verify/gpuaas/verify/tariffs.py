"""Contracts, campaigns and hours of the week, judged. One law: each line is computed again from what was published.

Used for an invoice on which anything was applied to a list price. Every usage is cut wherever a price may change, each
part is priced anew (list, band, contract, campaign), and the sums by price must be the invoice's lines: all of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final, TypeAlias

from gpuaas.verify.fields import Fields
from gpuaas.verify.leaves import ProvedEvent
from gpuaas.verify.refusals import Refuted, Unusable

_NS_PER_MS: Final = 1_000_000
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
_THURSDAY: Final = 3
"""1970-01-01, counted from Monday as 0."""
PLATFORM: Final = "platform"
Key: TypeAlias = tuple[str, str, str, int, str]
"""project, GPU model, price book, version, price key: one line."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A contract or campaign as far as the run knew it: [start_ms, end_ms), None for no end."""

    agreement_id: str
    kind: str
    start_ms: int
    end_ms: int | None
    rank: tuple[int, int, str]
    data: Fields

    def holds(self, at_ms: int) -> bool:
        return self.start_ms <= at_ms and (self.end_ms is None or at_ms < self.end_ms)


@dataclass(slots=True)
class Expected:
    """What a line must be."""

    price: Fraction
    gpu_us: int = 0
    usage_ids: set[str] = field(default_factory=set)


def offers_of(
    tenant_id: str, currency: str, made: Sequence[ProvedEvent], ended: Sequence[ProvedEvent], read_up_to: int
) -> list[Offer]:
    """The agreements of the tenant and for all that the run had read, with where they were ended.

    Raises:
        Refuted: one is another tenant's, is there twice, or an end is of none.
    """
    ends: dict[tuple[str, str], int] = {}
    for each in ended:
        if each.position <= read_up_to:
            ends[_named(each)] = _ms(each.data, "ends_at")
    offers: dict[tuple[str, str], Offer] = {}
    for each in made:
        name = _named(each)
        if name[0] not in (tenant_id, PLATFORM):
            raise Refuted("foreign-tenant", f"{each.data.what} is an agreement of {name[0]}")
        if name in offers:
            raise Refuted("repeated", f"the agreement {name[1]} is in the bundle twice")
        if each.position <= read_up_to and each.data.text("currency") == currency:
            offers[name] = _offer(each.data, ends.pop(name, None))
    return list(offers.values())


def expected_lines(
    usages: Mapping[str, ProvedEvent],
    books: Sequence[ProvedEvent],
    offers: Sequence[Offer],
    period: tuple[int, int],
) -> dict[Key, Expected]:
    """The lines that these usages make in the period, by what tells them apart.

    Args:
        books: every version that may price them, of one book, as far as the run had read; any order.

    Raises:
        Refuted: a part of a usage has no price.
    """
    versions = [(*each, _Hours(each[1], each[0])) for each in _versions(books, period)]
    lines: dict[Key, Expected] = {}
    for usage_id, usage in usages.items():
        data = usage.data
        start = max(period[0], _ms(data, "started_at"))
        end = min(period[1], _ms(data, "ended_at"))
        priced = 0
        for (first, last), book, hours in versions:
            for begin, until in pairwise(_cuts(max(start, first), min(end, last), data, hours, offers)):
                key, price = _price(book, data, begin, offers)
                gpu_us = data.integer("gpu_count") * _share(data) * (until - begin)
                line = lines.setdefault((data.text("project_id"), data.text("gpu_model"), *key), Expected(price))
                if line.price != price:
                    raise Refuted("wrong-price", f"{key[2]!r} stands for two prices")
                line.gpu_us += gpu_us
                line.usage_ids.add(usage_id)
                priced += until - begin
        if priced != max(0, end - start):
            raise Refuted("wrong-lines", f"{data.what}: the price books given price {priced} ms of it")
    return lines


def key_of(line: Fields) -> Key:
    """What tells a line from others."""
    texts = (line.text("project_id"), line.text("gpu_model"), line.text("price_book_id"))
    return (*texts, line.integer("price_book_version"), line.optional_text("price_key") or "")


def check_steps(line: Fields, book: Fields) -> None:
    """The steps that a line tells lead from the list price to its unit price, and are those of its key."""
    listed = _listed(book, line.text("gpu_model"))
    if line.raw.get("list_price") is not None and (
        listed is None or listed.decimal("amount") != line.decimal("list_price")
    ):
        raise Refuted("wrong-price", f"{line.what}: its list price is not the one that was published")
    steps = [Fields(step, f"{line.what}.applied {number}") for number, step in enumerate(_items(line, "applied"), 1)]
    said = []
    for step in steps:
        rule = f"/{step.integer('rule')}" if step.raw.get("rule") is not None else ""
        said.append(f"{step.text('step')}:{step.text('name')}{rule}")
    if " ".join(said) != (line.optional_text("price_key") or ""):
        raise Refuted("wrong-price", f"{line.what}: its steps are not those of its price key")
    if steps and steps[-1].decimal("price") != line.decimal("unit_price"):
        raise Refuted("wrong-price", f"{line.what}: its last step comes to {steps[-1].text('price')}")


def _versions(books: Sequence[ProvedEvent], period: tuple[int, int]) -> list[tuple[tuple[int, int], Fields]]:
    ordered = sorted((book.data for book in books), key=lambda data: data.integer("version"))
    found = []
    for at, data in enumerate(ordered):
        ends = [period[1]]
        if data.optional_text("effective_until"):
            ends.append(_ms(data, "effective_until"))
        if at + 1 < len(ordered):
            ends.append(_ms(ordered[at + 1], "effective_from"))
        found.append(((max(period[0], _ms(data, "effective_from")), min(ends)), data))
    return found


class _Hours:
    """When a price book version changes from one band of hours to another, by GPU model."""

    def __init__(self, book: Fields, part: tuple[int, int]) -> None:
        self._book = book
        self._part = part
        self._known: dict[str, list[int] | None] = {}

    def changes(self, gpu_model: str) -> list[int] | None:
        """The instants, in order; None: the version has no price for the model."""
        if gpu_model not in self._known:
            price = _listed(self._book, gpu_model)
            self._known[gpu_model] = None if price is None else self._changes(price)
        return self._known[gpu_model]

    def _changes(self, price: Fields) -> list[int]:
        if not _items(price, "bands"):
            return []
        offsets = _offsets(self._book)
        found: list[int] = []
        held = None
        # A minute is the finest that hours of the week are told in: look at each, as a person with a clock would.
        for at in range(self._part[0] // _MINUTE_MS * _MINUTE_MS, self._part[1], _MINUTE_MS):
            band = _band(price, at, offsets)
            name = None if band is None else band.text("band_id")
            if name != held:
                found.append(at)
                held = name
        return found


def _cuts(start: int, end: int, usage: Fields, hours: _Hours, offers: Sequence[Offer]) -> list[int]:
    """Where the part of a usage is cut; fewer than two: there is none."""
    changes = hours.changes(usage.text("gpu_model")) if start < end else None
    if changes is None:
        return []
    cuts = {start, end, *changes[bisect_right(changes, start) : bisect_left(changes, end)]}
    for offer in offers:
        cuts.update(at for at in (offer.start_ms, offer.end_ms) if at is not None and start < at < end)
    return sorted(cuts)


def _price(book: Fields, usage: Fields, at_ms: int, offers: Sequence[Offer]) -> tuple[tuple[str, int, str], Fraction]:
    """(book, version, price key) and the unit price at an instant."""
    listed = _listed(book, usage.text("gpu_model"))
    assert listed is not None
    said: list[str] = []
    price = listed.decimal("amount")
    if _items(listed, "bands") and (band := _band(listed, at_ms, _offsets(book))) is not None:
        price = band.decimal("amount")
        said.append(f"band:{band.text('band_id')}")
    of_list = price
    for kind in ("contract", "campaign"):
        chosen = _chosen([each for each in offers if each.kind == kind and each.holds(at_ms)], usage)
        if chosen is None:
            continue
        offer, number, rule = chosen
        on_list = kind == "campaign" and offer.data.optional_text("calculated_on") == "list"
        offered = _applied(rule, of_list if on_list or kind == "contract" else price)
        if kind == "contract" or offered < price:
            price = offered
            said.append(f"{kind}:{offer.agreement_id}/{number}")
    return (book.text("price_book_id"), book.integer("version"), " ".join(said)), price


def _chosen(offers: Sequence[Offer], usage: Fields) -> tuple[Offer, int, Fields] | None:
    for offer in sorted(offers, key=lambda each: each.rank, reverse=True):
        for number, value in enumerate(offer.data.items("rules"), 1):
            rule = Fields(value, f"{offer.data.what}.rules {number}")
            if _fits(rule, usage):
                return offer, number, rule
    return None


def _fits(rule: Fields, usage: Fields) -> bool:
    models, projects = _items(rule, "gpu_models"), _items(rule, "project_ids")
    if (models and usage.text("gpu_model") not in models) or (projects and usage.text("project_id") not in projects):
        return False
    name = rule.optional_text("label_name")
    if name is None:
        return True
    labels = usage.inner("labels").raw if usage.raw.get("labels") is not None else {}
    return name in labels and rule.raw.get("label_value") in (None, labels[name])


def _applied(rule: Fields, price: Fraction) -> Fraction:
    if rule.raw.get("percent_off") is None:
        return rule.decimal("amount")
    return price * (100 - rule.decimal("percent_off")) / 100


def _listed(book: Fields, gpu_model: str) -> Fields | None:
    for number, value in enumerate(book.items("prices"), 1):
        price = Fields(value, f"{book.what}.prices {number}")
        if price.text("gpu_model") == gpu_model:
            if price.text("unit") != "gpu-hour":
                raise Unusable("unknown-unit", f"{price.text('unit')!r} is not a unit this verifier can price")
            return price
    return None


def _offsets(book: Fields) -> list[tuple[int, int]]:
    told = [Fields(each, f"{book.what}.utc_offsets") for each in book.items("utc_offsets")]
    return [(_ms(each, "since"), each.integer("offset_s") * 1_000) for each in told]


def _band(price: Fields, at_ms: int, offsets: Sequence[tuple[int, int]]) -> Fields | None:
    """The hours of the week that an instant lies in, by the local time of the place."""
    ahead = next((offset for since, offset in reversed(offsets) if since <= at_ms), offsets[0][1])
    day, rest = divmod(at_ms + ahead, _DAY_MS)
    weekday, minute = (day + _THURSDAY) % 7 + 1, rest // _MINUTE_MS
    for value in _items(price, "bands"):
        band = Fields(value, f"{price.what}.bands")
        begins, ends = _clock(band, "begins"), _clock(band, "ends")
        days = band.items("weekdays")
        yesterday = 7 if weekday == 1 else weekday - 1
        today = weekday in days and minute >= begins and (minute < ends or ends <= begins)
        over = ends <= begins and yesterday in days and minute < ends
        if today or over:
            return band
    return None


def _clock(band: Fields, name: str) -> int:
    hours, found, minutes = band.text(name).partition(":")
    if not (found and hours.isdecimal() and minutes.isdecimal()):
        raise Unusable("malformed", f"{band.what}: {name} is no time of day")
    return int(hours) * 60 + int(minutes)


def _offer(data: Fields, ended_ms: int | None) -> Offer:
    start = _ms(data, "effective_from")
    until = _ms(data, "effective_until") if data.optional_text("effective_until") else None
    return Offer(
        agreement_id=data.text("agreement_id"),
        kind=data.text("kind"),
        start_ms=start,
        end_ms=until if ended_ms is None else ended_ms,
        rank=(data.integer("precedence"), start, data.text("agreement_id")),
        data=data,
    )


def _named(event: ProvedEvent) -> tuple[str, str]:
    return event.data.text("tenant_id"), event.data.text("agreement_id")


def _items(told: Fields, name: str) -> list[Any]:
    return [] if told.raw.get(name) is None else told.items(name)


def _share(usage: Fields) -> int:
    return 1_000 if usage.raw.get("share_milli") is None else usage.integer("share_milli")


def _ms(told: Fields, name: str) -> int:
    return told.instant_ns(name) // _NS_PER_MS
