"""Which usages make up which line of an invoice. One law: the lines' own digests decide, or there is no evidence.

Billing's rule: times are floored to milliseconds; a usage that crosses the period's bounds or a change of prices is cut
there, and belongs to every line in whose time a part of it lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, TypeAlias

from gpuaas.common.errors import Rejected
from gpuaas.contracts.billing import InvoiceFinalized, InvoiceLine, PriceBookPublished, UsageMetered

Interval: TypeAlias = tuple[int, int]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def parts_of(
    invoice: InvoiceFinalized, usages: Sequence[UsageMetered], books: Iterable[PriceBookPublished]
) -> dict[str, list[str]]:
    """Usage ids by line id.

    Of an invoice with other prices than the list's there are none: the verifier prices every usage anew, and finds the
    parts by that.

    Args:
        usages: all usage of the tenant that the invoice's run has read.
        books: the price book versions that its lines name, with their successors where there were any.

    Raises:
        Rejected: a line is not made of these usages.
    """
    versions = {(book.price_book_id, book.version): book for book in books}
    if has_agreed_prices(invoice):
        return {line.line_id: [] for line in invoice.lines}
    parts: dict[str, list[str]] = {}
    for line in invoice.lines:
        window = _window(invoice, line, versions)
        ids = sorted(usage.usage_id for usage in usages if _is_in(usage, line, window))
        if sha256("\n".join(ids).encode()).hexdigest() != line.usage_sha256:
            raise Rejected(
                f"line {line.line_id} of invoice {invoice.invoice_id} is made of {line.usage_count} usages; the "
                f"{len(ids)} that the log holds for it are not those: the invoice cannot be proved"
            )
        parts[line.line_id] = ids
    return parts


def has_agreed_prices(invoice: InvoiceFinalized) -> bool:
    """Whether anything was applied to a list price on it, corrections apart."""
    return any(line.price_key is not None and line.corrects is None for line in invoice.lines)


def overlaps(usage: UsageMetered, invoice: InvoiceFinalized) -> bool:
    """Whether any millisecond of the usage lies in the invoice's period."""
    return _overlap(_interval(usage), (_ms(invoice.period_start), _ms(invoice.period_end)))


def _window(
    invoice: InvoiceFinalized, line: InvoiceLine, versions: dict[tuple[str, int], PriceBookPublished]
) -> Interval:
    book = versions.get((line.price_book_id, line.price_book_version))
    if book is None:
        raise Rejected(
            f"line {line.line_id} is priced by {line.price_book_id} version {line.price_book_version}, which the log "
            "does not hold: the invoice cannot be proved"
        )
    ends = [_ms(book.effective_until)] if book.effective_until else []
    successor = versions.get((book.price_book_id, book.version + 1))
    ends += [_ms(successor.effective_from)] if successor else []
    return max(_ms(invoice.period_start), _ms(book.effective_from)), min([_ms(invoice.period_end), *ends])


def _is_in(usage: UsageMetered, line: InvoiceLine, window: Interval) -> bool:
    same = (usage.project_id, usage.gpu_model) == (line.project_id, line.gpu_model)
    return same and _overlap(_interval(usage), window)


def _interval(usage: UsageMetered) -> Interval:
    return _ms(usage.started_at), _ms(usage.ended_at)


def _overlap(one: Interval, other: Interval) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MS
