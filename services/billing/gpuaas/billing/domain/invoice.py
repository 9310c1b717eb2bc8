"""An invoice. One law: once final it never changes; its lines, its total and its digest say the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, TypeAlias

from gpuaas.billing.domain.canonical import sha256_of
from gpuaas.billing.domain.metering import instant_ms
from gpuaas.billing.domain.price_book import UNIT
from gpuaas.billing.domain.rating import US_PER_MS, Corrected, Line
from gpuaas.billing.domain.tariff import Step
from gpuaas.billing.domain.taxes import Credited, Tax, TaxGroup, credit_due, grouped
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.ids import derived_id
from gpuaas.common.money import minor_digits, rounded
from gpuaas.contracts.billing import (
    CorrectedLines,
    CreditNoteIssued,
    CreditNoteLine,
    CreditNoteReason,
    InvoiceFinalized,
    InvoiceLine,
    InvoicePaymentRecorded,
    LinePointer,
    PriceStep,
)
from gpuaas.contracts.billing import TaxGroup as ContractGroup

LINES_MAX: Final = 800
"""Lines of one invoice: its event must stay below the log's limit for one message."""
_UNSEALED: Final = "0" * 64
NOTHING_CREDITED: Final = Credited(Decimal(0), Decimal(0))


def invoice_id_of(run_id: str, tenant_id: str) -> str:
    """The id of the one invoice that a run writes for a tenant: a repeated run finds it again."""
    return f"inv-{derived_id(run_id, 'invoice', tenant_id)}"


@dataclass(frozen=True, slots=True)
class Terms:
    """How an invoice is taxed and by when it is due."""

    tax: Tax
    due_at: datetime
    exemption_reason: str | None = None


@dataclass(frozen=True, slots=True)
class FinalizeInvoice:
    """Order the final form of an invoice. `number`: as printed."""

    invoice_id: str
    run_id: str
    number: str
    tenant_id: str
    currency: str
    period_start: datetime
    period_end: datetime
    lines: tuple[Line, ...]
    terms: Terms | None = None

    @property
    def total(self) -> Decimal:
        """Sum of the lines' amounts, with the currency's minor digits."""
        return sum((line.amount for line in self.lines), Decimal(0).scaleb(-minor_digits(self.currency)))

    @property
    def groups(self) -> list[TaxGroup]:
        """Tax by rate, rounded once on its sum; none without terms."""
        if self.terms is None:
            return []
        return grouped([(self.terms.tax, Fraction(self.total))], self.currency)

    @property
    def gross(self) -> Decimal:
        """What is owed: the total and its taxes."""
        return self.total + sum((group.amount for group in self.groups), Decimal(0))


@dataclass(frozen=True, slots=True)
class IssueCreditNote:
    """Order that a part of an invoice is given back.

    Attributes:
        lines: (line id, how much of its amount); for a void exactly what is left of every line.
        gross: what the caller has booked for it; must be what it comes to.
    """

    credit_note_id: str
    number: str
    tenant_id: str
    reason: CreditNoteReason
    detail: str
    lines: tuple[tuple[str, Decimal], ...]
    gross: Decimal | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class RecordPayment:
    """Order the record of money that came in: `paid_amount` of `paid_currency`, at `rate` for the invoice's own.

    Attributes:
        credit: what prepaid credit has paid of this invoice; nobody pays that again.
    """

    payment_id: str
    tenant_id: str
    paid_currency: str
    paid_amount: Decimal
    rate: Decimal
    received_at: datetime
    reference: str
    credit: Decimal = Decimal(0)


InvoiceCommand: TypeAlias = FinalizeInvoice | IssueCreditNote | RecordPayment


@dataclass(frozen=True, slots=True)
class Draft:
    """Not yet written: a draft is computed whenever it is asked for, and binds nobody."""


@dataclass(frozen=True, slots=True)
class Finalized:
    """Written for ever; what follows it is counted here.

    Attributes:
        lines: amount by line id, as billed.
        credited: amount by line id that credit notes gave back.
        goodwill: how much of that was a gift.
        given: net and tax of the credit notes together.
        payments: what each settled, by its id.
    """

    invoice_id: str
    run_id: str
    number: str
    content_sha256: str
    currency: str
    gross: Decimal
    lines: Mapping[str, Decimal]
    tax: Tax | None = None
    exemption_reason: str | None = None
    credited: Mapping[str, Decimal] = field(default_factory=dict)
    goodwill: Mapping[str, Decimal] = field(default_factory=dict)
    given: Credited = NOTHING_CREDITED
    notes: frozenset[str] = frozenset()
    payments: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def owed(self) -> Decimal:
        """What is left to be paid, before prepaid credit."""
        return self.gross - self.given.gross - sum(self.payments.values(), Decimal(0))

    @property
    def creditable(self) -> dict[str, Decimal]:
        """What each line has left that can be given back."""
        left = {line_id: amount - self.credited.get(line_id, Decimal(0)) for line_id, amount in self.lines.items()}
        return {line_id: amount for line_id, amount in left.items() if amount > 0}


InvoiceState: TypeAlias = Draft | Finalized


def content_sha256(data: Mapping[str, Any]) -> str:
    """The digest of an invoice: SHA-256 of its event's data, as it is logged, without `content_sha256` itself."""
    return sha256_of({name: value for name, value in data.items() if name != "content_sha256"})


def decide(command: InvoiceCommand, state: InvoiceState) -> list[Event]:
    """What follows, by state and command."""
    match state, command:
        case Draft(), FinalizeInvoice() as final:
            return [_sealed(final)]
        case Finalized(number=number), FinalizeInvoice() as final:
            raise Rejected(f"invoice {final.invoice_id} is final as {number}; a correction is another invoice")
        case Draft(), _:
            raise Rejected("this invoice has not been written; only a final one is credited or paid")
        case Finalized() as final_one, IssueCreditNote() as order:
            return [credit_note(order, final_one)]
        case Finalized() as final_one, RecordPayment() as payment:
            return [_paid(payment, final_one)]
        case _:
            raise Rejected("an invoice is finalized, credited or paid")


def evolve(state: InvoiceState, event: Event) -> InvoiceState:
    """The invoice after one more event."""
    match state, event:
        case _, InvoiceFinalized() as final:
            return _final_of(final)
        case Finalized() as final_one, CreditNoteIssued() as note:
            credited, goodwill = dict(final_one.credited), dict(final_one.goodwill)
            for line in note.lines:
                credited[line.line_id] = credited.get(line.line_id, Decimal(0)) + line.amount
                if note.reason == "goodwill":
                    goodwill[line.line_id] = goodwill.get(line.line_id, Decimal(0)) + line.amount
            given = Credited(final_one.given.net + note.net, final_one.given.tax + note.gross - note.net)
            notes = final_one.notes | {note.credit_note_id}
            return replace(final_one, credited=credited, goodwill=goodwill, given=given, notes=notes)
        case Finalized() as final_one, InvoicePaymentRecorded() as payment:
            return replace(final_one, payments={**final_one.payments, payment.payment_id: payment.amount})
        case _:
            raise AssertionError(f"{type(event).__name__} is not of an invoice")


def credit_note(order: IssueCreditNote, invoice: Finalized) -> CreditNoteIssued:
    """The note that `order` asks for.

    Raises:
        Rejected: more than is left of a line, or not what the caller thought it comes to.
        Invalid: a line that is none of the invoice's, twice the same, or an amount that is nothing or too fine.
    """
    _check_note(order, invoice)
    net = sum((amount for _, amount in order.lines), Decimal(0))
    groups: list[TaxGroup] = []
    if invoice.tax is not None:
        earlier, given = {invoice.tax: Fraction(invoice.given.net)}, {invoice.tax: invoice.given}
        due = credit_due({invoice.tax: Fraction(net)}, earlier, given, invoice.currency)[invoice.tax]
        groups = [TaxGroup(invoice.tax, due.net, due.tax)]
    gross = net + sum((group.amount for group in groups), Decimal(0))
    if order.gross is not None and order.gross != gross:
        raise Rejected(f"another credit note came first; this one now comes to {gross:f}: order it again")
    unsealed = CreditNoteIssued(
        credit_note_id=order.credit_note_id,
        number=order.number,
        invoice_id=invoice.invoice_id,
        invoice_number=invoice.number,
        run_id=invoice.run_id,
        tenant_id=order.tenant_id,
        currency=invoice.currency,
        reason=order.reason,
        detail=order.detail,
        lines=tuple(CreditNoteLine(line_id=line_id, amount=amount) for line_id, amount in order.lines),
        net=net,
        taxes=_written(groups),
        gross=gross,
        cause=order.cause,
        content_sha256=_UNSEALED,
    )
    data = unsealed.model_dump(mode="json", exclude_none=True)
    return unsealed.model_copy(update={"content_sha256": content_sha256(data)})


def _check_note(order: IssueCreditNote, invoice: Finalized) -> None:
    if order.credit_note_id in invoice.notes:
        raise Rejected(f"credit note {order.credit_note_id} was issued already; give this one another id")
    if order.reason == "void" and invoice.payments:
        raise Rejected("money has come in for this invoice; credit it instead of making it void")
    if not 1 <= len(order.lines) <= LINES_MAX or len({line_id for line_id, _ in order.lines}) != len(order.lines):
        raise Invalid(
            f"a credit note names 1 to {LINES_MAX} lines of its invoice, each once; nothing is left if none is"
        )
    step = Decimal(1).scaleb(-minor_digits(invoice.currency))
    for line_id, amount in order.lines:
        if line_id not in invoice.lines:
            raise Invalid(f"invoice {invoice.number} has no line {line_id}")
        if not amount.is_finite() or amount <= 0 or amount % step:
            raise Invalid(f"{line_id}: what is given back is more than nothing and in whole {step} {invoice.currency}")
        left = invoice.lines[line_id] - invoice.credited.get(line_id, Decimal(0))
        if amount > left:
            raise Rejected(f"{line_id} has {left:f} {invoice.currency} left; no more can be given back")


def _paid(payment: RecordPayment, invoice: Finalized) -> InvoicePaymentRecorded:
    if payment.payment_id in invoice.payments:
        raise Rejected(f"payment {payment.payment_id} is recorded already; a payment is recorded once")
    minor_digits(payment.paid_currency)
    if payment.paid_currency == invoice.currency and payment.rate != 1:
        raise Invalid(f"a payment in {invoice.currency} has the rate 1")
    if payment.paid_amount <= 0 or payment.rate <= 0:
        raise Invalid("a payment and its rate are more than nothing")
    amount = rounded(Fraction(payment.paid_amount) * Fraction(payment.rate), invoice.currency)
    owed = invoice.owed - payment.credit
    if not 0 < amount <= owed:
        raise Rejected(
            f"{max(owed, owed * 0):f} {invoice.currency} are owed, {amount:f} were paid; record at most that, and "
            "what is more as prepaid credit"
        )
    return InvoicePaymentRecorded(
        payment_id=payment.payment_id,
        invoice_id=invoice.invoice_id,
        tenant_id=payment.tenant_id,
        currency=invoice.currency,
        amount=amount,
        paid_currency=payment.paid_currency,
        paid_amount=payment.paid_amount,
        rate=payment.rate,
        received_at=payment.received_at,
        reference=payment.reference,
    )


def _final_of(final: InvoiceFinalized) -> Finalized:
    tax = next((Tax(group.category, group.percent) for group in final.taxes or ()), None)
    return Finalized(
        invoice_id=final.invoice_id,
        run_id=final.run_id,
        number=final.number,
        content_sha256=final.content_sha256,
        currency=final.currency,
        gross=final.total if final.gross is None else final.gross,
        lines={line.line_id: line.amount for line in final.lines},
        tax=tax,
        exemption_reason=final.exemption_reason,
    )


def _written(groups: Sequence[TaxGroup]) -> tuple[ContractGroup, ...]:
    return tuple(
        ContractGroup(category=group.tax.category, percent=group.tax.percent, net=group.net, tax=group.amount)
        for group in groups
    )


def _sealed(command: FinalizeInvoice) -> InvoiceFinalized:
    if instant_ms(command.period_end) <= instant_ms(command.period_start):
        raise Invalid("the period of an invoice ends after it starts")
    if not 1 <= len(command.lines) <= LINES_MAX:
        raise Invalid(f"an invoice has 1 to {LINES_MAX} lines, not {len(command.lines)}")
    step = Decimal(1).scaleb(-minor_digits(command.currency))
    if any(line.amount % step for line in command.lines):
        raise Invalid(f"a line is finer than {command.currency} is counted in")
    unsealed = InvoiceFinalized(
        invoice_id=command.invoice_id,
        run_id=command.run_id,
        number=command.number,
        tenant_id=command.tenant_id,
        currency=command.currency,
        period_start=command.period_start,
        period_end=command.period_end,
        lines=tuple(_line(number, line) for number, line in enumerate(command.lines, start=1)),
        total=command.total,
        taxes=_written(command.groups) if command.terms else None,
        gross=command.gross if command.terms else None,
        due_at=command.terms.due_at if command.terms else None,
        exemption_reason=command.terms.exemption_reason if command.terms else None,
        content_sha256=_UNSEALED,
    )
    data = unsealed.model_dump(mode="json", exclude_none=True)
    return unsealed.model_copy(update={"content_sha256": content_sha256(data)})


def _line(number: int, line: Line) -> InvoiceLine:
    return InvoiceLine(
        line_id=f"l-{number}",
        project_id=line.project_id,
        gpu_model=line.gpu_model,
        gpu_ms=line.gpu_ms,
        gpu_us=line.gpu_us if line.gpu_us % US_PER_MS else None,
        unit=UNIT,
        unit_price=line.unit_price,
        price_book_id=line.price_book_id,
        price_book_version=line.price_book_version,
        amount=line.amount,
        usage_count=line.usage_count,
        usage_sha256=line.usage_sha256,
        corrects=None if line.corrects is None else _corrected(line.corrects),
        list_price=line.list_price,
        price_key=line.price_key or None,
        applied=tuple(_step(step) for step in line.steps) or None,
    )


def _step(step: Step) -> PriceStep:
    return PriceStep(
        step=step.step,
        name=step.name,
        rule=step.rule,
        percent_off=step.percent_off,
        calculated_on=step.calculated_on,
        price=step.price,
        reason=step.reason,
    )


def _corrected(corrects: Corrected) -> CorrectedLines:
    return CorrectedLines(
        lines=tuple(LinePointer(invoice_id=invoice_id, line_id=line_id) for invoice_id, line_id in corrects.lines),
        credited=corrects.credited,
    )


INVOICE: Final[Decider[InvoiceState, InvoiceCommand]] = Decider(initial=Draft(), decide=decide, evolve=evolve)
