"""What every form of an invoice or credit note shows. One law: taken from the final paper, nothing is computed anew.

The renderings beside this file are pure functions of it: the same invoice gives the same bytes whenever it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gpuaas.billing.domain.invoice_party import Party
from gpuaas.common.money import minor_digits, plain


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What was applied to a price: `step` is band, contract or campaign; `price` is the one after it."""

    step: str
    name: str
    price: Decimal
    reason: str

    @property
    def told(self) -> str:
        """In one phrase."""
        return f"{self.step} {self.name}: {plain(self.price)} ({self.reason})"


@dataclass(frozen=True, slots=True)
class LineFacts:
    """One line: `gpu_us` GPU-microseconds at `unit_price` for a GPU-hour.

    Attributes:
        published: the price in the book; None: the unit price is it.
        steps: from there to the unit price.
    """

    line_id: str
    project_id: str
    gpu_model: str
    gpu_us: int
    unit_price: Decimal
    price_book_id: str
    price_book_version: int
    amount: Decimal
    usage_count: int
    usage_sha256: str
    published: Decimal | None = None
    steps: Sequence[StepFacts] = ()

    @property
    def list_price(self) -> Decimal:
        """What anybody pays at that hour: the published price, by its band of the week where it has one."""
        return self._after("band")

    @property
    def contract_price(self) -> Decimal:
        """What the tenant's contracts make of it, before campaigns."""
        return self._after("band", "contract")

    @property
    def band(self) -> str:
        """The band of the week that it was used in; empty: none."""
        return next((each.name for each in self.steps if each.step == "band"), "")

    def _after(self, *steps: str) -> Decimal:
        found = [each.price for each in self.steps if each.step in steps]
        first = self.unit_price if self.published is None else self.published
        return found[-1] if found else first

    @property
    def is_correction(self) -> bool:
        """Whether it has no usage of its own, and is the rest of what earlier lines should have come to."""
        return self.usage_count == 0


@dataclass(frozen=True, slots=True)
class TaxFacts:
    """What is taxed alike: `category` by UN/CEFACT 5305, `percent`, the net sum and the tax on it."""

    category: str
    percent: Decimal
    net: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFacts:
    """What an invoice and a credit note have in common.

    Attributes:
        total: sum of the lines, without tax; on a credit note what is given back.
        taxes: empty: no tax is shown, the paper is outside the scope of tax.
        period_start, period_end: of what was billed.
    """

    invoice_id: str
    run_id: str
    number: str
    tenant_id: str
    currency: str
    period_start: datetime
    period_end: datetime
    issued_at: datetime
    total: Decimal
    content_sha256: str
    seller: Party
    buyer: Party
    taxes: Sequence[TaxFacts] = ()
    exemption_reason: str = ""

    @property
    def tax(self) -> Decimal:
        """All tax, with the currency's minor digits."""
        return sum((each.tax for each in self.taxes), Decimal(0).scaleb(-minor_digits(self.currency)))

    @property
    def gross(self) -> Decimal:
        """What is to be paid, or is given back."""
        return self.total + self.tax

    @property
    def untaxed_reason(self) -> str:
        """Why no tax is due, where none is."""
        return self.exemption_reason or "Not subject to VAT"


@dataclass(frozen=True, slots=True)
class Preceding:
    """An invoice that a paper points to: as printed, and when it was issued."""

    number: str
    issued_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceFacts(PaperFacts):
    """A final invoice.

    Attributes:
        due_at: None: on receipt.
        corrects: the invoices whose lines some of its own correct.
    """

    lines: Sequence[LineFacts]
    due_at: datetime | None = None
    corrects: Sequence[Preceding] = ()


@dataclass(frozen=True, slots=True)
class NoteLineFacts:
    """How much of an invoice's line is given back."""

    line: LineFacts
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteFacts(PaperFacts):
    """A credit note; `invoice_id`, `run_id` and the lines point to what it lessens.

    Attributes:
        reason: correction, goodwill or void.
        detail: why, as the tenant reads it.
    """

    credit_note_id: str
    invoice: Preceding
    reason: str
    detail: str
    lines: Sequence[NoteLineFacts]
