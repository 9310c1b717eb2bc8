"""An invoice against the events it comes from. One law: every figure is computed again, exactly, from logged facts.

Pure: it receives events that are already proved to be in the log. Quantities are integers (GPU-milliseconds), prices
exact decimals, and the only rounding is at the line: half up, away from zero, to the currency's minor unit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from gpuaas.verify.fields import Fields
from gpuaas.verify.leaves import ProvedEvent
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.strict_json import canonical

INVOICE_FINALIZED: Final = "gpuaas.billing.invoice-finalized.v1"
USAGE_METERED: Final = "gpuaas.billing.usage-metered.v1"
PRICE_BOOK_PUBLISHED: Final = "gpuaas.billing.price-book-published.v1"
ALLOCATION_STARTED: Final = "gpuaas.allocations.allocation-started.v1"
ALLOCATION_RELEASED: Final = "gpuaas.allocations.allocation-released.v1"

MS_PER_UNIT: Final = {"gpu-hour": 3_600_000}
MINOR_DIGITS: Final = {"EUR": 2, "USD": 2, "GBP": 2, "CHF": 2, "JPY": 0, "KWD": 3}
_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Account:
    """Everything an invoice rests on.

    Attributes:
        usages: by usage id.
        facts: allocation events by event id.
        price_books: by (id, version).
        parts: usage ids by line id, as the bundle says; believed only as far as the lines' hashes agree.
    """

    tenant_id: str
    invoice: ProvedEvent
    usages: Mapping[str, ProvedEvent]
    facts: Mapping[str, ProvedEvent]
    price_books: Mapping[tuple[str, int], ProvedEvent]
    parts: Mapping[str, Sequence[str]]


def check_content(account: Account) -> str:
    """The invoice's own digest covers its content; the digest.

    `content_sha256` is SHA-256 of the RFC 8785 form of the event's data without that member.
    """
    data = account.invoice.data
    if data.text("tenant_id") != account.tenant_id:
        raise Refuted("foreign-tenant", f"the invoice is {data.text('tenant_id')}'s, not {account.tenant_id}'s")
    content = {name: value for name, value in data.raw.items() if name != "content_sha256"}
    digest = hashlib.sha256(canonical(content)).hexdigest()
    if digest != data.text("content_sha256"):
        raise Refuted("content-differs", "the invoice's content_sha256 is not the digest of its content")
    return digest


def check_usage(account: Account) -> int:
    """Every usage is what its allocation's start and end say; GPU-milliseconds in total."""
    return sum(_checked_usage(account, usage) for usage in account.usages.values())


def check_lines(account: Account) -> int:
    """Every line is the sum of its usages at a published price; how many lines there are."""
    lines = [Fields(line, f"line {number}") for number, line in enumerate(account.invoice.data.items("lines"), 1)]
    billed: set[str] = set()
    for line in lines:
        part = account.parts.get(line.text("line_id"))
        if part is None:
            raise Unusable("malformed", f"the bundle does not say which usages {line.what} is made of")
        if twice := billed.intersection(part):
            raise Refuted("billed-twice", f"the usage {min(twice)} stands on two lines")
        billed.update(part)
        _check_line(account, line, part)
    if left := set(account.usages) - billed:
        raise Refuted("wrong-usage", f"the usage {min(left)} stands on no line")
    return len(lines)


def check_total(account: Account) -> Fraction:
    """The total is the sum of the lines; the total."""
    data = account.invoice.data
    amounts = [Fields(line, "line").decimal("amount") for line in data.items("lines")]
    if sum(amounts, Fraction(0)) != data.decimal("total"):
        raise Refuted(
            "wrong-total", f"the total is {data.text('total')}, its lines sum to {_plain(sum(amounts, Fraction(0)))}"
        )
    return data.decimal("total")


def usage_digest(usage_ids: Sequence[str]) -> str:
    """The digest of a set of usages: SHA-256 of the sorted ids joined by newlines."""
    return hashlib.sha256("\n".join(sorted(usage_ids)).encode()).hexdigest()


def rounded(amount: Fraction, currency: str) -> Fraction:
    """To the currency's minor unit, half up (away from zero)."""
    if currency not in MINOR_DIGITS:
        raise Unusable("unknown-currency", f"{currency!r} is not a currency this verifier can round")
    scale = 10 ** MINOR_DIGITS[currency]
    whole, rest = divmod(abs(amount.numerator) * scale, amount.denominator)
    whole += 2 * rest >= amount.denominator
    return Fraction(whole if amount >= 0 else -whole, scale)


def _checked_usage(account: Account, usage: ProvedEvent) -> int:
    data = usage.data
    started, ended = data.instant_ns("started_at"), data.instant_ns("ended_at")
    gpu_ms = data.integer("gpu_count") * (ended // _NS_PER_MS - started // _NS_PER_MS)
    if data.text("tenant_id") != account.tenant_id:
        raise Refuted("foreign-tenant", f"{data.what} is {data.text('tenant_id')}'s usage")
    if ended < started or data.integer("gpu_count") < 1 or gpu_ms != data.int64("gpu_ms"):
        raise Refuted("wrong-usage", f"{data.what} says {data.text('gpu_ms')} GPU-ms; its interval gives {gpu_ms}")
    begin = _fact(account, usage, "start_event_id", ALLOCATION_STARTED)
    end = _fact(account, usage, "end_event_id", ALLOCATION_RELEASED)
    if begin.data.instant_ns("started_at") != started or end.data.instant_ns("ended_at") != ended:
        raise Refuted("wrong-usage", f"{data.what} has another start or end than its allocation")
    return gpu_ms


def _fact(account: Account, usage: ProvedEvent, name: str, kind: str) -> ProvedEvent:
    """The allocation event that a usage names, which must speak of the same GPUs."""
    data = usage.data
    fact = account.facts.get(data.text(name))
    if fact is None or fact.type != kind:
        raise Refuted("missing-event", f"{data.what} names {data.text(name)} as its {name}; that {kind} is not here")
    if fact.position > usage.position:
        raise Refuted("wrong-order", f"{data.what} was metered before the event that it names happened")
    for member in ("tenant_id", "project_id", "allocation_id", "gpu_model"):
        if fact.data.text(member) != data.text(member):
            raise Refuted("wrong-usage", f"{data.what}: {member} is not that of its allocation")
    if fact.data.integer("gpu_count") != data.integer("gpu_count"):
        raise Refuted("wrong-usage", f"{data.what}: gpu_count is not that of its allocation")
    return fact


def _check_line(account: Account, line: Fields, part: Sequence[str]) -> None:
    if usage_digest(part) != line.text("usage_sha256") or len(part) != line.integer("usage_count"):
        raise Refuted("wrong-usage", f"{line.what} names another set of usages than the bundle gives")
    usages = [_usage_of(account, line, usage_id) for usage_id in part]
    gpu_ms = sum(usage.data.int64("gpu_ms") for usage in usages)
    if gpu_ms != line.int64("gpu_ms"):
        raise Refuted("wrong-line", f"{line.what} says {line.text('gpu_ms')} GPU-ms; its usages sum to {gpu_ms}")
    if line.text("unit") not in MS_PER_UNIT:
        raise Unusable("unknown-unit", f"{line.text('unit')!r} is not a unit this verifier can price")
    price = _price(account, line, usages)
    currency = account.invoice.data.text("currency")
    amount = rounded(gpu_ms * price / MS_PER_UNIT[line.text("unit")], currency)
    if amount != line.decimal("amount"):
        raise Refuted(
            "wrong-amount", f"{line.what} says {line.text('amount')} {currency}; it comes to {_plain(amount)}"
        )


def _usage_of(account: Account, line: Fields, usage_id: str) -> ProvedEvent:
    usage = account.usages.get(usage_id)
    if usage is None:
        raise Refuted("missing-event", f"{line.what} rests on the usage {usage_id}, which is not here")
    for member in ("project_id", "gpu_model"):
        if usage.data.text(member) != line.text(member):
            raise Refuted("wrong-line", f"{line.what}: the usage {usage_id} is of another {member}")
    invoice = account.invoice
    start, end = invoice.data.instant_ns("period_start"), invoice.data.instant_ns("period_end")
    if not start <= usage.data.instant_ns("ended_at") < end or usage.position > invoice.position:
        raise Refuted("wrong-period", f"{line.what}: the usage {usage_id} is not of the invoice's period")
    return usage


def _price(account: Account, line: Fields, usages: Sequence[ProvedEvent]) -> Fraction:
    """The line's unit price, which its price book must publish for this model, currency and time."""
    named = (line.text("price_book_id"), line.integer("price_book_version"))
    book = account.price_books.get(named)
    if book is None:
        raise Refuted("missing-event", f"{line.what} is priced by {named[0]} version {named[1]}, which is not here")
    data = book.data
    if data.text("currency") != account.invoice.data.text("currency") or book.position > account.invoice.position:
        raise Refuted("wrong-price", f"{line.what}: {named[0]} version {named[1]} is of another currency or came later")
    _check_effective(data, line, usages)
    for number, value in enumerate(data.items("prices"), 1):
        price = Fields(value, f"{data.what}.prices {number}")
        if (price.text("gpu_model"), price.text("unit")) == (line.text("gpu_model"), line.text("unit")):
            if price.decimal("amount") == line.decimal("unit_price"):
                return price.decimal("amount")
            raise Refuted(
                "wrong-price", f"{line.what} charges {line.text('unit_price')}; published: {price.text('amount')}"
            )
    raise Refuted("wrong-price", f"{line.what}: {named[0]} has no price for {line.text('gpu_model')}")


def _check_effective(book: Fields, line: Fields, usages: Sequence[ProvedEvent]) -> None:
    begin = book.instant_ns("effective_from")
    end = book.instant_ns("effective_until") if book.optional_text("effective_until") else None
    for usage in usages:
        moment = usage.data.instant_ns("started_at")
        if moment < begin or (end is not None and moment >= end):
            raise Refuted("wrong-price", f"{line.what}: its price was not in effect when {usage.data.what} began")


def _plain(amount: Fraction) -> str:
    return str(amount) if amount.denominator > 1000 else format(float(amount), ".3f").rstrip("0").rstrip(".")
