"""An invoice. One law: once final it never changes; its lines, its total and its digest say the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

from gpuaas.billing.domain.canonical import sha256_of
from gpuaas.billing.domain.metering import instant_ms
from gpuaas.billing.domain.price_book import UNIT
from gpuaas.billing.domain.rating import Line
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.ids import derived_id
from gpuaas.common.money import minor_digits
from gpuaas.contracts.billing import InvoiceFinalized, InvoiceLine

LINES_MAX: Final = 800
"""Lines of one invoice: its event must stay below the log's limit for one message."""
_UNSEALED: Final = "0" * 64


def invoice_id_of(run_id: str, tenant_id: str) -> str:
    """The id of the one invoice that a run writes for a tenant: a repeated run finds it again."""
    return f"inv-{derived_id(run_id, 'invoice', tenant_id)}"


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

    @property
    def total(self) -> Decimal:
        """Sum of the lines' amounts, with the currency's minor digits."""
        return sum((line.amount for line in self.lines), Decimal(0).scaleb(-minor_digits(self.currency)))


@dataclass(frozen=True, slots=True)
class Draft:
    """Not yet written: a draft is computed whenever it is asked for, and binds nobody."""


@dataclass(frozen=True, slots=True)
class Finalized:
    """Written for ever."""

    number: str
    content_sha256: str


InvoiceState: TypeAlias = Draft | Finalized


def content_sha256(data: Mapping[str, Any]) -> str:
    """The digest of an invoice: SHA-256 of its event's data, as it is logged, without `content_sha256` itself."""
    return sha256_of({name: value for name, value in data.items() if name != "content_sha256"})


def decide(command: FinalizeInvoice, state: InvoiceState) -> list[Event]:
    """The final invoice, or a refusal."""
    match state:
        case Draft():
            return [_sealed(command)]
        case Finalized(number=number):
            raise Rejected(f"invoice {command.invoice_id} is final as {number}; a correction is another invoice")


def evolve(state: InvoiceState, event: Event) -> InvoiceState:
    """The invoice after its one event."""
    match event:
        case InvoiceFinalized() as final:
            return Finalized(number=final.number, content_sha256=final.content_sha256)
        case _:
            raise AssertionError(f"{type(event).__name__} is not of an invoice")


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
        unit=UNIT,
        unit_price=line.unit_price,
        price_book_id=line.price_book_id,
        price_book_version=line.price_book_version,
        amount=line.amount,
        usage_count=line.usage_count,
        usage_sha256=line.usage_sha256,
    )


INVOICE: Final[Decider[InvoiceState, FinalizeInvoice]] = Decider(initial=Draft(), decide=decide, evolve=evolve)
