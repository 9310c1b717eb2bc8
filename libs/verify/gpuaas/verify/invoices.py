"""An invoice against the events it comes from. One law: every figure is computed again, exactly, from logged facts.

Pure: it receives events that are already proved to be in the log. Times become milliseconds by flooring, intervals are
half-open, quantities are integers (GPU-microseconds), prices exact decimals; the only rounding is at the line: half up,
away from zero, to the currency's minor unit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

from gpuaas.verify.fields import Fields
from gpuaas.verify.leaves import ProvedEvent
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.strict_json import canonical
from gpuaas.verify.tariffs import check_steps, expected_lines, key_of, offers_of

INVOICE_FINALIZED: Final = "gpuaas.billing.invoice-finalized.v1"
BILLING_RUN_STARTED: Final = "gpuaas.billing.billing-run-started.v1"
USAGE_METERED: Final = "gpuaas.billing.usage-metered.v1"
PRICE_BOOK_PUBLISHED: Final = "gpuaas.billing.price-book-published.v1"
PRICE_AGREEMENT_MADE: Final = "gpuaas.billing.price-agreement-made.v1"
PRICE_AGREEMENT_ENDED: Final = "gpuaas.billing.price-agreement-ended.v1"
ALLOCATION_STARTED: Final = "gpuaas.allocations.allocation-started.v1"
ALLOCATION_RELEASED: Final = "gpuaas.allocations.allocation-released.v1"

MS_PER_UNIT: Final = {"gpu-hour": 3_600_000}
MINOR_DIGITS: Final = {"EUR": 2, "USD": 2, "GBP": 2, "CHF": 2, "JPY": 0, "KWD": 3}
_NS_PER_MS: Final = 1_000_000
_US_PER_MS: Final = 1_000
_WHOLE_MILLI: Final = 1_000
"""A whole GPU in thousandths; a share of one has fewer."""
Interval: TypeAlias = tuple[int, int]
"""[start, end) in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Account:
    """Everything an invoice rests on.

    Attributes:
        run: the start of the billing run that wrote the invoice; it says up to which log position it read.
        usages: by usage id.
        facts: allocation events by event id.
        price_books: by (id, version).
        parts: usage ids by line id, as the bundle says; believed only as far as the lines' hashes agree.
        earlier: earlier invoices of the same tenant and period, whose lines this one continues.
        agreements: contracts and campaigns that may have made its prices; `agreement_ends`: where they were ended.
        later: later ones; followups: credit notes and payments of all of these; corrections: of their period.
    """

    tenant_id: str
    invoice: ProvedEvent
    run: ProvedEvent
    usages: Mapping[str, ProvedEvent]
    facts: Mapping[str, ProvedEvent]
    price_books: Mapping[tuple[str, int], ProvedEvent]
    parts: Mapping[str, Sequence[str]]
    earlier: Sequence[ProvedEvent] = ()
    agreements: Sequence[ProvedEvent] = ()
    agreement_ends: Sequence[ProvedEvent] = ()
    later: Sequence[ProvedEvent] = ()
    followups: Sequence[ProvedEvent] = ()
    corrections: Sequence[ProvedEvent] = ()


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


def check_run(account: Account) -> int:
    """The invoice is of the run that is given, for its period; the log position up to which the run read."""
    run, invoice = account.run, account.invoice
    for member in ("run_id", "period_start", "period_end"):
        if run.data.text(member) != invoice.data.text(member):
            raise Refuted("wrong-run", f"the billing run's {member} is not the invoice's")
    if not run.data.int64("log_position") <= run.position < invoice.position:
        raise Refuted("wrong-order", "the billing run started after the invoice, or read what was not there yet")
    return run.data.int64("log_position")


def check_usage(account: Account) -> None:
    """Every usage is what its allocation's start and end say."""
    for usage in account.usages.values():
        _check_usage(account, usage)


def check_lines(account: Account) -> int:
    """Every line is the sum of its usages at a published price; how many lines there are.

    A usage that crosses the period's bounds or a change of prices is cut there: each millisecond of it that lies in the
    period is on exactly one line.
    """
    lines = [Fields(line, f"line {number}") for number, line in enumerate(account.invoice.data.items("lines"), 1)]
    if len({line.text("line_id") for line in lines}) != len(lines):
        raise Refuted("repeated", "two lines of the invoice have the same id")
    if any(line.raw.get("price_key") is not None and line.raw.get("corrects") is None for line in lines):
        _check_agreed(account, lines)
        return len(lines)
    billed_ms: Counter[str] = Counter()
    for line in lines:
        part = account.parts.get(line.text("line_id"))
        if part is None:
            raise Unusable("malformed", f"the bundle does not say which usages {line.what} is made of")
        _check_line(account, line, part, billed_ms)
    for usage_id, usage in account.usages.items():
        inside = _within(_interval_ms(usage.data), _period_ms(account))
        if billed_ms[usage_id] != inside[1] - inside[0] or not billed_ms[usage_id]:
            raise Refuted("wrong-lines", f"{usage.data.what}: the lines bill {billed_ms[usage_id]} ms of it")
    return len(lines)


def _check_agreed(account: Account, lines: Sequence[Fields]) -> None:
    """Every line of an invoice with other prices than the list's, computed again from all its usage."""
    read_up_to, currency = account.run.data.int64("log_position"), account.invoice.data.text("currency")
    for usage_id, usage in account.usages.items():
        if usage.position > read_up_to:
            raise Refuted("wrong-order", f"the usage {usage_id} was metered after the billing run read")
    books = [_book_of(account, line) for line in lines if line.raw.get("corrects") is None]
    known = [
        book
        for (book_id, _), book in account.price_books.items()
        if book.position <= read_up_to and book_id == books[0].data.text("price_book_id")
    ]
    offers = offers_of(account.tenant_id, currency, account.agreements, account.agreement_ends, read_up_to)
    expected = expected_lines(account.usages, known, offers, _period_ms(account))
    for line in lines:
        if line.text("unit") not in MS_PER_UNIT:
            raise Unusable("unknown-unit", f"{line.text('unit')!r} is not a unit this verifier can price")
        if line.raw.get("corrects") is not None:
            _check_correction(account, line, ())
            continue
        wanted = expected.pop(key_of(line), None)
        if wanted is None:
            raise Refuted("wrong-line", f"{line.what} is priced as no usage of the period is")
        if wanted.price != line.decimal("unit_price"):
            raise Refuted(
                "wrong-price", f"{line.what} charges {line.text('unit_price')}; agreed: {plain(wanted.price)}"
            )
        ids = sorted(wanted.usage_ids)
        if usage_digest(ids) != line.text("usage_sha256") or len(ids) != line.integer("usage_count"):
            raise Refuted("wrong-usage", f"{line.what} names another set of usages than was used at its price")
        if wanted.gpu_us != quantity_us(line):
            raise Refuted("wrong-line", f"{line.what} says {line.text('gpu_ms')} GPU-ms; it is {wanted.gpu_us} µs")
        check_steps(line, _book_of(account, line).data)
        _check_amount(account, line, wanted.gpu_us, wanted.price)
    if expected:
        raise Refuted("wrong-lines", f"usage priced by {next(iter(expected))} is on no line")


def check_total(account: Account) -> Fraction:
    """The total is the sum of the lines, and what is owed is it and its taxes, each rounded once; the total."""
    data = account.invoice.data
    amounts = [Fields(line, "line").decimal("amount") for line in data.items("lines")]
    if sum(amounts, Fraction(0)) != data.decimal("total"):
        raise Refuted(
            "wrong-total", f"the total is {data.text('total')}, its lines sum to {plain(sum(amounts, Fraction(0)))}"
        )
    if "gross" in data.raw or "taxes" in data.raw:
        _check_taxes(data)
    return data.decimal("total")


def _check_taxes(data: Fields) -> None:
    net = tax = Fraction(0)
    for number, value in enumerate(data.items("taxes"), 1):
        group = Fields(value, f"tax {number}")
        due = rounded(group.decimal("net") * group.decimal("percent") / 100, data.text("currency"))
        if due != group.decimal("tax"):
            raise Refuted("wrong-tax", f"{group.what} says {group.text('tax')}; it comes to {plain(due)}")
        net += group.decimal("net")
        tax += due
    if net != data.decimal("total") or net + tax != data.decimal("gross"):
        told = f"{data.text('gross')} are asked; {plain(net)} taxed with {plain(tax)} is {plain(net + tax)}"
        raise Refuted("wrong-total", told)


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


def _check_usage(account: Account, usage: ProvedEvent) -> None:
    data = usage.data
    start_ms, end_ms = _interval_ms(data)
    share = _share_of(data)
    gpu_us = data.integer("gpu_count") * share * (end_ms - start_ms)
    if data.text("tenant_id") != account.tenant_id:
        raise Refuted("foreign-tenant", f"{data.what} is {data.text('tenant_id')}'s usage")
    if end_ms < start_ms or data.integer("gpu_count") < 1 or not 1 <= share <= _WHOLE_MILLI:
        raise Refuted("wrong-usage", f"{data.what} holds GPUs for no time, or no GPUs")
    if gpu_us != quantity_us(data):
        raise Refuted("wrong-usage", f"{data.what} says {data.text('gpu_ms')} GPU-ms; its interval gives {gpu_us} µs")
    begin = _fact(account, usage, "start_event_id", ALLOCATION_STARTED)
    since_ns, start_ns = begin.data.instant_ns("started_at"), data.instant_ns("started_at")
    if since_ns > start_ns or (since_ns < start_ns and data.raw.get("part") is None):
        raise Refuted("wrong-usage", f"{data.what} has another start than its allocation")
    if data.raw.get("interim") is True:
        if data.text("end_event_id") != data.text("start_event_id"):
            raise Refuted("wrong-usage", f"{data.what} goes on and names an end")
        return
    end = _fact(account, usage, "end_event_id", ALLOCATION_RELEASED)
    if end.data.instant_ns("ended_at") != data.instant_ns("ended_at"):
        raise Refuted("wrong-usage", f"{data.what} has another end than its allocation")


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
    if fact.data.integer("gpu_count") != data.integer("gpu_count") or _share_of(fact.data) != _share_of(data):
        raise Refuted("wrong-usage", f"{data.what}: its GPUs or their share are not those of its allocation")
    return fact


def _check_line(account: Account, line: Fields, part: Sequence[str], billed_ms: Counter[str]) -> None:
    if line.text("unit") not in MS_PER_UNIT:
        raise Unusable("unknown-unit", f"{line.text('unit')!r} is not a unit this verifier can price")
    if line.raw.get("corrects") is not None:
        _check_correction(account, line, part)
        return
    if usage_digest(part) != line.text("usage_sha256") or len(part) != line.integer("usage_count"):
        raise Refuted("wrong-usage", f"{line.what} names another set of usages than the bundle gives")
    book = _book_of(account, line)
    window = _within(_period_ms(account), _effective_ms(account, book))
    gpu_us = 0
    for usage_id in part:
        usage = _usage_of(account, line, usage_id)
        start_ms, end_ms = _within(_interval_ms(usage.data), window)
        if start_ms == end_ms:
            raise Refuted("wrong-period", f"{line.what}: nothing of the usage {usage_id} lies in its time")
        billed_ms[usage_id] += end_ms - start_ms
        gpu_us += usage.data.integer("gpu_count") * _share_of(usage.data) * (end_ms - start_ms)
    if gpu_us != quantity_us(line):
        raise Refuted("wrong-line", f"{line.what} says {line.text('gpu_ms')} GPU-ms; its usages give {gpu_us} µs")
    _check_amount(account, line, gpu_us, _price(book.data, line))


def _check_amount(account: Account, line: Fields, gpu_us: int, price: Fraction) -> None:
    """The rounded price of everything booked for this line so far, less what earlier invoices of the period took."""
    currency = account.invoice.data.text("currency")
    earlier = [
        each
        for before in account.earlier
        for each in _lines_like(account, before, line)
        if each.raw.get("corrects") is None
    ]
    total_us = gpu_us + sum(quantity_us(each) for each in earlier)
    booked = sum((each.decimal("amount") for each in earlier), Fraction(0))
    amount = rounded(total_us * price / (MS_PER_UNIT[line.text("unit")] * _US_PER_MS), currency) - booked
    if amount != line.decimal("amount"):
        raise Refuted("wrong-amount", f"{line.what} says {line.text('amount')} {currency}; it comes to {plain(amount)}")


def _check_correction(account: Account, line: Fields, part: Sequence[str]) -> None:
    """A line without usage of its own: what the lines it names should have come to at its price, less what they are.

    What credit notes had given back, and the price, are compared with the correction that says so: see `followups`.
    """
    if part or line.integer("usage_count") or quantity_us(line):
        raise Refuted("wrong-line", f"{line.what} corrects others and has usage of its own")
    corrects = line.inner("corrects")
    named = [Fields(each, f"{corrects.what}.lines") for each in corrects.items("lines")]
    wanted = {(each.text("invoice_id"), each.text("line_id")) for each in named}
    found = [
        each
        for before in account.earlier
        for each in _lines_like(account, before, line)
        if (before.data.text("invoice_id"), each.text("line_id")) in wanted
    ]
    if len(found) != len(named) or len(wanted) != len(named):
        raise Refuted("missing-event", f"{line.what} corrects lines that are not on earlier invoices of the period")
    whole_us = sum(quantity_us(each) for each in found)
    stood = sum((each.decimal("amount") for each in found), Fraction(0)) - corrects.decimal("credited")
    per_unit = MS_PER_UNIT[line.text("unit")] * _US_PER_MS
    amount = rounded(whole_us * line.decimal("unit_price") / per_unit, account.invoice.data.text("currency")) - stood
    if amount != line.decimal("amount"):
        raise Refuted("wrong-amount", f"{line.what} says {line.text('amount')}; it comes to {plain(amount)}")


def _lines_like(account: Account, before: ProvedEvent, line: Fields) -> list[Fields]:
    """The lines of an earlier invoice of the same period for the same usage and price."""
    invoice, other = account.invoice, before.data
    for member in ("tenant_id", "currency", "period_start", "period_end"):
        if other.text(member) != invoice.data.text(member):
            raise Refuted("wrong-period", f"{other.what} is of another {member} and cannot be set off")
    if before.position >= account.run.position:
        raise Refuted("wrong-order", f"{other.what} came after the billing run began")
    lines = (Fields(each, f"{other.what}, a line") for each in other.items("lines"))
    return [each for each in lines if key_of(each) == key_of(line)]


def unit_us(unit: str) -> int:
    """GPU-microseconds in one unit of a price."""
    return MS_PER_UNIT[unit] * _US_PER_MS


def _usage_of(account: Account, line: Fields, usage_id: str) -> ProvedEvent:
    usage = account.usages.get(usage_id)
    if usage is None:
        raise Refuted("missing-event", f"{line.what} rests on the usage {usage_id}, which is not here")
    for member in ("project_id", "gpu_model"):
        if usage.data.text(member) != line.text(member):
            raise Refuted("wrong-line", f"{line.what}: the usage {usage_id} is of another {member}")
    if usage.position > account.run.data.int64("log_position"):
        raise Refuted("wrong-order", f"{line.what}: the usage {usage_id} was metered after the billing run read")
    return usage


def _book_of(account: Account, line: Fields) -> ProvedEvent:
    named = (line.text("price_book_id"), line.integer("price_book_version"))
    book = account.price_books.get(named)
    if book is None:
        raise Refuted("missing-event", f"{line.what} is priced by {named[0]} version {named[1]}, which is not here")
    same_currency = book.data.text("currency") == account.invoice.data.text("currency")
    if not same_currency or book.position > account.run.data.int64("log_position"):
        raise Refuted("wrong-price", f"{line.what}: {named[0]} version {named[1]} is of another currency or came later")
    return book


def _effective_ms(account: Account, book: ProvedEvent) -> Interval:
    """When a price book version is in force: until its own end, and not beyond its successor's start."""
    data = book.data
    start_ms = data.instant_ns("effective_from") // _NS_PER_MS
    ends = [data.instant_ns("effective_until") // _NS_PER_MS] if data.optional_text("effective_until") else []
    successor = account.price_books.get((data.text("price_book_id"), data.integer("version") + 1))
    if successor is not None and successor.position <= account.run.data.int64("log_position"):
        ends.append(successor.data.instant_ns("effective_from") // _NS_PER_MS)
    return start_ms, min([_period_ms(account)[1], *ends])


def _price(book: Fields, line: Fields) -> Fraction:
    """The line's unit price, which its price book must publish for this model and unit."""
    for number, value in enumerate(book.items("prices"), 1):
        price = Fields(value, f"{book.what}.prices {number}")
        if (price.text("gpu_model"), price.text("unit")) == (line.text("gpu_model"), line.text("unit")):
            if price.decimal("amount") == line.decimal("unit_price"):
                return price.decimal("amount")
            told = f"{line.what} charges {line.text('unit_price')}; published: {price.text('amount')}"
            raise Refuted("wrong-price", told)
    raise Refuted("wrong-price", f"{line.what}: {book.text('price_book_id')} has no price for {line.text('gpu_model')}")


def _share_of(held: Fields) -> int:
    return _WHOLE_MILLI if held.raw.get("share_milli") is None else held.integer("share_milli")


def quantity_us(told: Fields) -> int:
    """The exact quantity of a usage or a line: `gpu_us` where `gpu_ms` is floored."""
    if told.raw.get("gpu_us") is None:
        return told.int64("gpu_ms") * _US_PER_MS
    exact = told.int64("gpu_us")
    if exact // _US_PER_MS != told.int64("gpu_ms"):
        raise Refuted("wrong-usage", f"{told.what} says {told.text('gpu_ms')} GPU-ms and {exact} GPU-µs")
    return exact


def _interval_ms(usage: Fields) -> Interval:
    return usage.instant_ns("started_at") // _NS_PER_MS, usage.instant_ns("ended_at") // _NS_PER_MS


def _period_ms(account: Account) -> Interval:
    data = account.invoice.data
    return data.instant_ns("period_start") // _NS_PER_MS, data.instant_ns("period_end") // _NS_PER_MS


def _within(inner: Interval, outer: Interval) -> Interval:
    """The part of one interval in another; an empty one when there is none."""
    start_ms, end_ms = max(inner[0], outer[0]), min(inner[1], outer[1])
    return (start_ms, end_ms) if start_ms < end_ms else (start_ms, start_ms)


def plain(amount: Fraction) -> str:
    """An amount of money as people write it."""
    whole, rest = divmod(abs(amount) * 1000, 1)
    text = f"{int(whole) // 1000}.{int(whole) % 1000:03d}".removesuffix("0")
    return ("-" if amount < 0 else "") + text + ("…" if rest else "")
