"""A closed period under other prices. One law: the difference is told once, by line, and the first invoices stay.

Each line of the period, with what earlier corrections did to it, is rated again from its own exact quantity: what is
too much is credited on the invoices it stands on, newest first; what is missing becomes a line of one more invoice.
Goodwill is a gift: it is neither taken back nor given twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from gpuaas.billing.domain.canonical import sha256_of_ids
from gpuaas.billing.domain.metering import instant_ms
from gpuaas.billing.domain.rating import US_PER_MS, Booked, Corrected, Line, amount_due
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.ids import derived_id
from gpuaas.contracts.billing import CorrectionChange, CorrectionIssued


@dataclass(frozen=True, slots=True)
class StandingLine:
    """A line of an invoice of the period.

    Attributes:
        gpu_us: its own quantity; 0 on a line that is itself a correction.
        credited: what credit notes gave back of it, goodwill apart.
        left: what can still be given back of it.
    """

    invoice_id: str
    line_id: str
    project_id: str
    gpu_model: str
    price_book_id: str
    price_book_version: int
    gpu_us: int
    amount: Decimal
    credited: Decimal
    left: Decimal
    price_key: str = ""

    @property
    def kind(self) -> tuple[str, str, str, int, str]:
        """Lines of a kind were priced alike."""
        return self.project_id, self.gpu_model, self.price_book_id, self.price_book_version, self.price_key


@dataclass(frozen=True, slots=True)
class OtherPrice:
    """What a GPU-hour of a model should have cost, contract and campaigns included.

    `price_book_version`: only where that version priced it.
    """

    gpu_model: str
    amount: Decimal
    price_book_version: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One project, model and version: what stood, and what it comes to."""

    project_id: str
    gpu_model: str
    price_book_id: str
    price_book_version: int
    gpu_us: int
    unit_price: Decimal
    before: Decimal
    after: Decimal
    price_key: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a correction does.

    Attributes:
        credits: by invoice: (line id, how much is given back).
        extra: the lines of the additional invoice.
    """

    changes: tuple[Change, ...]
    credits: Mapping[str, tuple[tuple[str, Decimal], ...]]
    extra: tuple[Line, ...]

    @property
    def difference(self) -> Decimal:
        """More (positive) or less to pay, net."""
        return sum((change.after - change.before for change in self.changes), Decimal(0))


def corrections_of(period_start: datetime, period_end: datetime) -> str:
    """The id under which all corrections of one period of a tenant are one history."""
    return f"p-{derived_id('corrections', instant_ms(period_start), instant_ms(period_end))}"


def planned(standing: Sequence[StandingLine], prices: Sequence[OtherPrice], currency: str) -> Plan:
    """What the other prices change on these lines, which stand in the order they were written.

    Raises:
        Rejected: nothing.
        Invalid: a model is priced twice for the same version, or less than nothing is asked.
    """
    _check(prices)
    kinds: defaultdict[tuple[str, str, str, int, str], list[StandingLine]] = defaultdict(list)
    for each in standing:
        kinds[each.kind].append(each)
    changes: list[Change] = []
    given_back: defaultdict[str, list[tuple[str, Decimal]]] = defaultdict(list)
    extra: list[Line] = []
    for _, lines in sorted(kinds.items()):
        price = _price_of(lines[0], prices)
        if price is None:
            continue
        change = _changed(lines, price, currency)
        missing = change.after - change.before
        if missing == 0:
            continue
        changes.append(change)
        if missing > 0:
            extra.append(_extra(change, lines))
            continue
        for line, amount in _given_back(lines, -missing):
            given_back[line.invoice_id].append((line.line_id, amount))
    if not given_back and not extra:
        raise Rejected("under these prices every line of the period stands as it is; there is nothing to correct")
    return Plan(tuple(changes), {invoice_id: tuple(given) for invoice_id, given in given_back.items()}, tuple(extra))


def _check(prices: Sequence[OtherPrice]) -> None:
    named = [(price.gpu_model, price.price_book_version) for price in prices]
    if len(set(named)) != len(named):
        raise Invalid("a GPU model is priced twice; give it one price for each version")
    if any(not price.amount.is_finite() or price.amount < 0 for price in prices):
        raise Invalid("a price is zero or more")


def _price_of(line: StandingLine, prices: Iterable[OtherPrice]) -> Decimal | None:
    """The price for exactly this version goes before the one for all."""
    fitting = [
        price
        for price in prices
        if price.gpu_model == line.gpu_model and price.price_book_version in (None, line.price_book_version)
    ]
    return max(fitting, key=lambda price: price.price_book_version or 0).amount if fitting else None


def _changed(lines: Sequence[StandingLine], price: Decimal, currency: str) -> Change:
    first = lines[0]
    quantity_us = sum(line.gpu_us for line in lines)
    return Change(
        project_id=first.project_id,
        gpu_model=first.gpu_model,
        price_book_id=first.price_book_id,
        price_book_version=first.price_book_version,
        gpu_us=quantity_us,
        unit_price=price,
        before=sum((line.amount - line.credited for line in lines), Decimal(0)),
        after=amount_due(price, quantity_us, Booked(), currency),
        price_key=first.price_key,
    )


def _extra(change: Change, lines: Sequence[StandingLine]) -> Line:
    return Line(
        project_id=change.project_id,
        gpu_model=change.gpu_model,
        price_book_id=change.price_book_id,
        price_book_version=change.price_book_version,
        unit_price=change.unit_price,
        gpu_us=0,
        amount=change.after - change.before,
        usage_count=0,
        usage_sha256=sha256_of_ids([]),
        corrects=Corrected(
            lines=tuple((line.invoice_id, line.line_id) for line in lines),
            credited=sum((line.credited for line in lines), Decimal(0)),
        ),
        price_key=change.price_key,
    )


def _given_back(lines: Sequence[StandingLine], amount: Decimal) -> list[tuple[StandingLine, Decimal]]:
    """`amount` spread over the lines, newest first, as far as there is something left of them."""
    parts: list[tuple[StandingLine, Decimal]] = []
    for line in reversed(lines):
        part = min(amount, line.left)
        if part > 0:
            parts.append((line, part))
            amount -= part
    return parts


@dataclass(frozen=True, slots=True)
class IssueCorrection:
    """Order the record of a correction. `known`: corrections of the period that it was planned on."""

    correction_id: str
    tenant_id: str
    currency: str
    period_start: datetime
    period_end: datetime
    run_id: str
    detail: str
    plan: Plan
    credit_note_ids: tuple[str, ...]
    invoice_id: str | None
    known: int


@dataclass(frozen=True, slots=True)
class Corrections:
    """The corrections of one period of a tenant, in order."""

    ids: tuple[str, ...] = ()


def decide(command: IssueCorrection, corrections: Corrections) -> list[Event]:
    """The record, or a refusal if the plan is not about what stands now."""
    if command.correction_id in corrections.ids:
        raise Rejected(f"correction {command.correction_id} was issued already; give this one another id")
    if command.known != len(corrections.ids):
        raise Rejected("another correction of this period came first; order it again")
    return [
        CorrectionIssued(
            correction_id=command.correction_id,
            period_id=corrections_of(command.period_start, command.period_end),
            tenant_id=command.tenant_id,
            currency=command.currency,
            period_start=command.period_start,
            period_end=command.period_end,
            run_id=command.run_id,
            detail=command.detail,
            changes=tuple(_written(change) for change in command.plan.changes),
            difference=command.plan.difference,
            credit_note_ids=command.credit_note_ids,
            invoice_id=command.invoice_id,
        )
    ]


def evolve(corrections: Corrections, event: Event) -> Corrections:
    """One more."""
    assert isinstance(event, CorrectionIssued)
    return Corrections((*corrections.ids, event.correction_id))


def _written(change: Change) -> CorrectionChange:
    return CorrectionChange(
        project_id=change.project_id,
        gpu_model=change.gpu_model,
        price_book_id=change.price_book_id,
        price_book_version=change.price_book_version,
        gpu_ms=change.gpu_us // US_PER_MS,
        gpu_us=change.gpu_us if change.gpu_us % US_PER_MS else None,
        unit_price=change.unit_price,
        before=change.before,
        after=change.after,
        price_key=change.price_key or None,
    )


CORRECTION: Final[Decider[Corrections, IssueCorrection]] = Decider(initial=Corrections(), decide=decide, evolve=evolve)
