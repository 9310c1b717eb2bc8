"""Credit notes and payments put together. One law: number, note and booking are one batch, decided on one state."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from gpuaas.billing.domain.invoice import Finalized, IssueCreditNote, RecordPayment, credit_note
from gpuaas.billing.domain.invoice_series import AssignNumbers, note_series_of, printed
from gpuaas.billing.domain.ledger import REVENUE, TAX, Entry, PostTransfer, receivable_of, transfer_of
from gpuaas.billing.domain.tax_profile import TAX_PROFILE, SetTaxProfile
from gpuaas.billing.domain.wallet import RestoreCredit
from gpuaas.billing.reactions import INVOICES, LEDGERS, SERIES, SERVICE
from gpuaas.billing.spending import WALLETS
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Entity, Order, Outcome
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.billing import CreditNoteIssued, TaxProfileSet

TAX_PROFILES: Final[Entity[TaxProfileSet | None, SetTaxProfile]] = Entity(
    SERVICE, "tax-profile", TAX_PROFILE, Vocabulary(TaxProfileSet)
)
ATTEMPTS_MAX: Final = 8
"""Credit notes that others may number while this one is decided."""
UNNUMBERED: Final = "CN-0"


async def issue_note(
    commands: Commands, clock: Clock, tenant_id: str, invoice_id: str, order: IssueCreditNote, cause: Cause
) -> Outcome[Any]:
    """Number, note and booking in one batch. A void names no lines: it takes what is left of each.

    Raises:
        NotFound: no such invoice.
        Rejected, Invalid: see `domain.invoice.credit_note`.
    """
    for _ in range(ATTEMPTS_MAX):
        invoice, _version = await commands.state(INVOICES, tenant_id, invoice_id)
        if not isinstance(invoice, Finalized):
            raise NotFound(f"{tenant_id} has no invoice {invoice_id}; see the list of its invoices")
        lines = order.lines if order.reason != "void" else tuple(invoice.creditable.items())
        series = note_series_of(clock.now())
        last = (await commands.state(SERIES, PLATFORM, series))[0].last
        numbered = replace(order, lines=lines, number=printed(series, last + 1))
        if order.credit_note_id in invoice.notes:
            # A repeat: what was said then is found by its cause.
            return await commands.execute(INVOICES, tenant_id, invoice_id, numbered, cause)
        note = credit_note(numbered, invoice)
        orders: list[Order[Any, Any]] = [
            Order(INVOICES, tenant_id, invoice_id, replace(numbered, gross=note.gross)),
            Order(SERIES, PLATFORM, series, AssignNumbers(series, last + 1, (order.credit_note_id,))),
            Order(LEDGERS, tenant_id, tenant_id, booking_of_note(note)),
        ]
        try:
            return (await commands.execute_together(orders, cause))[0]
        except Rejected as overtaken:
            refused = overtaken
    raise Unavailable(f"credit notes are being numbered faster than this one is decided ({refused.detail})")


async def record_payment(
    commands: Commands, tenant_id: str, invoice_id: str, payment: RecordPayment, cause: Cause
) -> Outcome[Any]:
    """The payment, whose booking follows by reaction.

    Raises:
        NotFound: no such invoice.
        Rejected, Invalid: see `domain.invoice`.
    """
    invoice, _ = await commands.state(INVOICES, tenant_id, invoice_id)
    if not isinstance(invoice, Finalized):
        raise NotFound(f"{tenant_id} has no invoice {invoice_id}; see the list of its invoices")
    wallet, _ = await commands.state(WALLETS, tenant_id, tenant_id)
    credit = sum((part.amount for part in wallet.applied.get(invoice_id, ())), Decimal(0))
    return await commands.execute(INVOICES, tenant_id, invoice_id, replace(payment, credit=credit), cause)


def booking_of_note(note: CreditNoteIssued) -> PostTransfer:
    """A note takes from what the tenant owes, from what we earned, and from the tax on it."""
    tax = note.gross - note.net
    entries = (Entry(receivable_of(note.tenant_id), -note.gross), Entry(REVENUE, note.net), Entry(TAX, tax))
    return PostTransfer(
        transfer_id=transfer_of(note.credit_note_id),
        tenant_id=note.tenant_id,
        currency=note.currency,
        entries=tuple(entry for entry in entries if entry.amount),
        description=f"credit note {note.number} for {note.invoice_number}",
        cause=note.credit_note_id,
    )


class GiveCreditBack(Reaction):
    """A credit note for what prepaid credit had paid for gives that credit back."""

    name = "credit-restorations"
    reads = (CreditNoteIssued,)

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def react(self, fact: Fact) -> None:
        assert isinstance(fact.event, CreditNoteIssued)
        note = fact.event
        wallet, version = await self._commands.state(WALLETS, fact.tenant_id, fact.tenant_id)
        paid = sum((part.amount for part in wallet.applied.get(note.invoice_id, ())), Decimal(0))
        invoice, _ = await self._commands.state(INVOICES, fact.tenant_id, note.invoice_id)
        if not version or not isinstance(invoice, Finalized):
            return
        too_much = min(paid, paid - invoice.owed)
        if too_much > 0:
            order = RestoreCredit(fact.tenant_id, note.invoice_id, note.credit_note_id, too_much)
            cause = Cause.of(fact, actor=SERVICE, step="restore")
            await self._commands.execute(WALLETS, fact.tenant_id, fact.tenant_id, order, cause)
