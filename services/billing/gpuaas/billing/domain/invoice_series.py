"""A series of invoice numbers. One law: 1, 2, 3 … without a gap, each decided on the series' own history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.billing import InvoiceNumberAssigned

INVOICES_AT_ONCE_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class AssignNumbers:
    """Order numbers from `first` on for these invoices, in their order.

    Attributes:
        first: what the caller has printed on the first of them; must be the series' next.
    """

    series: str
    first: int
    invoice_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """The last number given, 0 before the first."""

    last: int = 0


def series_of(period_end: datetime) -> str:
    """The series of the invoices for a period: one for each calendar year (UTC) in which periods end."""
    return f"inv-{(period_end.astimezone(UTC) - timedelta(microseconds=1)).year}"


def note_series_of(moment: datetime) -> str:
    """The series of credit notes issued at `moment`: one for each calendar year (UTC)."""
    return f"cn-{moment.astimezone(UTC).year}"


def printed(series: str, number: int) -> str:
    """A number as it stands on the invoice, such as `INV-2026-000017`."""
    return f"{series.upper()}-{number:06d}"


def decide(command: AssignNumbers, series: Series) -> list[Event]:
    """The numbers, or a refusal if someone took `first` meanwhile."""
    if not 1 <= len(command.invoice_ids) <= INVOICES_AT_ONCE_MAX:
        raise Invalid(f"1 to {INVOICES_AT_ONCE_MAX} invoices are numbered at once, not {len(command.invoice_ids)}")
    if len(set(command.invoice_ids)) != len(command.invoice_ids):
        raise Invalid("an invoice gets one number; name each once")
    if command.first != series.last + 1:
        raise Rejected(f"the next number of {command.series} is {series.last + 1}, not {command.first}; read it again")
    return [
        InvoiceNumberAssigned(series=command.series, number=number, invoice_id=invoice_id)
        for number, invoice_id in enumerate(command.invoice_ids, start=command.first)
    ]


def evolve(series: Series, event: Event) -> Series:
    """The series after one more number."""
    match event:
        case InvoiceNumberAssigned() as assigned:
            return Series(last=assigned.number)
        case _:
            raise AssertionError(f"{type(event).__name__} is not of an invoice series")


INVOICE_SERIES: Final = Decider(initial=Series(), decide=decide, evolve=evolve)
