"""Taxes, credit notes, payments, what is due, at the door. One law: an invoice never changes, this followed it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from gpuaas.billing.desk import Asked, Desk, page_of
from gpuaas.billing.domain.invoice import LINES_MAX, IssueCreditNote, RecordPayment
from gpuaas.billing.domain.tax_profile import SetTaxProfile
from gpuaas.billing.settling import TAX_PROFILES, UNNUMBERED, issue_note, record_payment
from gpuaas.billing.shapes import Currency, Label
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Accepted, Body, Caller, fresh, permit
from gpuaas.common.wire import ExactDecimal, Moment, NonNegativeDecimal
from pydantic import AwareDatetime, BaseModel, Field

Sentence = Annotated[str, Field(min_length=1, max_length=500)]


class NoteLineOrder(BaseModel):
    """How much of one line is given back."""

    line_id: Label
    amount: NonNegativeDecimal


class NoteOrder(Body):
    """A part of an invoice is given back."""

    credit_note_id: Label | None = Field(None, description="Made by the service when left out.")
    lines: Annotated[list[NoteLineOrder], Field(min_length=1, max_length=LINES_MAX)]
    reason: Literal["correction", "goodwill"] = "correction"
    detail: Sentence


class VoidInvoiceOrder(Body):
    """Everything that is left of an invoice is given back."""

    detail: Sentence


class PaymentOrder(Body):
    """Money that came in."""

    payment_id: Label | None = Field(None, description="Made by the service when left out.")
    amount: NonNegativeDecimal = Field(description="In the currency it was paid in.")
    currency: Currency | None = Field(None, description="Absent: the invoice's.")
    rate: NonNegativeDecimal = Field(Decimal(1), description="Units of the invoice's currency for one of the paid one.")
    received_at: AwareDatetime | None = Field(None, description="Absent: now.")
    reference: Annotated[str, Field(min_length=1, max_length=200)]


class TaxProfileOrder(Body):
    """How a tenant is taxed from the next run on."""

    category: Literal["S", "Z", "E", "AE", "O"]
    percent: NonNegativeDecimal
    exemption_reason: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    payment_days: Annotated[int, Field(ge=0, le=365)] = 30


class TaxProfileShown(BaseModel):
    """How a tenant is taxed; null everywhere: it is not."""

    tenant_id: str
    category: str | None
    percent: ExactDecimal | None
    exemption_reason: str | None
    payment_days: int | None


class TaxGroupShown(BaseModel):
    """What is taxed alike."""

    category: str
    percent: ExactDecimal
    net: ExactDecimal
    tax: ExactDecimal


class SettledShown(BaseModel):
    """One thing that lessened what is due: a credit note, a void, a payment or prepaid credit."""

    kind: str
    document_id: str
    number: str | None
    amount: ExactDecimal
    settled_at: Moment
    position: int


class SettlementShown(BaseModel):
    """What became of an invoice: due = gross - credited - paid - credit.

    Attributes:
        status: open; paid (nothing is due); void (all of it was given back).
    """

    invoice_id: str
    number: str
    currency: str
    status: Literal["open", "paid", "void"]
    net: ExactDecimal
    taxes: list[TaxGroupShown]
    gross: ExactDecimal
    credited: ExactDecimal
    paid: ExactDecimal
    credit: ExactDecimal
    due: ExactDecimal
    due_at: Moment | None
    settled_by: list[SettledShown]


class NoteShown(BaseModel):
    """A credit note as it was issued."""

    credit_note_id: str
    number: str
    invoice_id: str
    invoice_number: str
    run_id: str
    currency: str
    reason: str
    detail: str
    lines: list[NoteLineOrder]
    net: ExactDecimal
    taxes: list[TaxGroupShown]
    gross: ExactDecimal
    content_sha256: str
    issued_at: Moment
    position: int


class NotesPage(BaseModel):
    """Credit notes, newest first."""

    items: list[NoteShown]
    next_cursor: str | None


def note_routes(routes: APIRouter, desk: Desk) -> None:
    """Credit notes and voids."""
    seen = [Depends(fresh(desk.views.settled))]
    home = "/v1/tenants/{tenant_id}/invoices/{invoice_id}"

    async def issued(tenant_id: str, invoice_id: str, order: IssueCreditNote, caller: Caller) -> Accepted:
        done = await issue_note(desk.commands, desk.clock, tenant_id, invoice_id, order, caller.cause())
        return caller.accepted(done, order.credit_note_id)

    @routes.post(home + "/credit-notes", status_code=201, summary="Give a part of an invoice back.")
    async def credit_note(
        tenant_id: str,
        invoice_id: str,
        body: NoteOrder,
        caller: Annotated[Caller, Depends(permit("billing.credit-note.issue"))],
    ) -> Accepted:
        note_id = body.credit_note_id or f"cn-{caller.derived_id('credit-note')}"
        lines = tuple((line.line_id, line.amount) for line in body.lines)
        order = IssueCreditNote(note_id, UNNUMBERED, tenant_id, body.reason, body.detail, lines)
        return await issued(tenant_id, invoice_id, order, caller)

    @routes.post(home + "/void", status_code=201, summary="Give all that is left of an unpaid invoice back.")
    async def void_invoice(
        tenant_id: str,
        invoice_id: str,
        body: VoidInvoiceOrder,
        caller: Annotated[Caller, Depends(permit("billing.invoice.void", relief=True))],
    ) -> Accepted:
        note_id = f"cn-{caller.derived_id('void')}"
        order = IssueCreditNote(note_id, UNNUMBERED, tenant_id, "void", body.detail, ())
        return await issued(tenant_id, invoice_id, order, caller)

    @routes.get("/v1/tenants/{tenant_id}/credit-notes", dependencies=seen, summary="A tenant's credit notes.")
    async def credit_notes(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.credit-note.read"))], asked: Asked
    ) -> NotesPage:
        found = await desk.views.settled.notes_of(desk.database, tenant_id, asked.key(int), asked.limit + 1)
        rows, cursor = page_of(asked, found)
        return NotesPage(items=[NoteShown.model_validate(row) for row in rows], next_cursor=cursor)

    @routes.get("/v1/tenants/{tenant_id}/credit-notes/{credit_note_id}", dependencies=seen, summary="One credit note.")
    async def one_credit_note(
        tenant_id: str, credit_note_id: str, caller: Annotated[Caller, Depends(permit("billing.credit-note.read"))]
    ) -> NoteShown:
        found = await desk.views.settled.note(desk.database, tenant_id, credit_note_id)
        if found is None:
            raise NotFound(f"{tenant_id} has no credit note {credit_note_id}; see the list of its credit notes")
        return NoteShown.model_validate(found)


def payment_routes(routes: APIRouter, desk: Desk) -> None:
    """Payments, and what is due."""
    seen = [Depends(fresh(desk.views.settled))]
    home = "/v1/tenants/{tenant_id}/invoices/{invoice_id}"

    @routes.post(home + "/payments", status_code=201, dependencies=seen, summary="Record money that came in.")
    async def payment(
        tenant_id: str,
        invoice_id: str,
        body: PaymentOrder,
        caller: Annotated[Caller, Depends(permit("billing.payment.record"))],
    ) -> Accepted:
        due, _ = await desk.views.settled.of_invoice(desk.database, tenant_id, invoice_id)
        if due is None:
            raise NotFound(f"{tenant_id} has no invoice {invoice_id}; see the list of its invoices")
        payment_id = body.payment_id or f"pay-{caller.derived_id('payment')}"
        order = RecordPayment(
            payment_id=payment_id,
            tenant_id=tenant_id,
            paid_currency=body.currency or due["currency"],
            paid_amount=body.amount,
            rate=body.rate,
            received_at=body.received_at or desk.clock.now(),
            reference=body.reference,
        )
        return caller.accepted(
            await record_payment(desk.commands, tenant_id, invoice_id, order, caller.cause()), payment_id
        )

    @routes.get(home + "/settlement", dependencies=seen, summary="What is due for an invoice, and what lessened it.")
    async def settlement(
        tenant_id: str, invoice_id: str, caller: Annotated[Caller, Depends(permit("billing.invoice.read"))]
    ) -> SettlementShown:
        due, moved = await desk.views.settled.of_invoice(desk.database, tenant_id, invoice_id)
        if due is None:
            raise NotFound(f"{tenant_id} has no invoice {invoice_id}; see the list of its invoices")
        return settled(dict(due), [dict(row) for row in moved])


def tax_routes(routes: APIRouter, desk: Desk) -> None:
    """Tax profiles."""
    views, db = desk.views, desk.database

    @routes.post(
        "/v1/tenants/{tenant_id}/tax-profile",
        status_code=201,
        dependencies=[Depends(fresh(views.tenants))],
        summary="How a tenant is taxed, from the next billing run on.",
    )
    async def set_tax_profile(
        tenant_id: str, body: TaxProfileOrder, caller: Annotated[Caller, Depends(permit("billing.tax-profile.set"))]
    ) -> Accepted:
        await desk.currency_of(tenant_id)
        order = SetTaxProfile(tenant_id, body.category, body.percent, body.exemption_reason, body.payment_days)
        done = await desk.commands.execute(TAX_PROFILES, tenant_id, tenant_id, order, caller.cause())
        return caller.accepted(done, tenant_id)

    @routes.get(
        "/v1/tenants/{tenant_id}/tax-profile", dependencies=[Depends(fresh(views.taxes))], summary="How it is taxed."
    )
    async def tax_profile(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.tax-profile.read"))]
    ) -> TaxProfileShown:
        row = await views.taxes.of_tenant(db, tenant_id)
        names = ("category", "percent", "exemption_reason", "payment_days")
        shown = dict.fromkeys(names) if row is None else {name: row[name] for name in names}
        return TaxProfileShown.model_validate({"tenant_id": tenant_id, **shown})


def settled(due: dict[str, Any], moved: list[dict[str, Any]]) -> SettlementShown:
    """An invoice's settlement out of the rows of the read model."""

    def sum_of(*kinds: str) -> Decimal:
        nothing: Decimal = due["gross"] * 0
        return sum((row["amount"] for row in moved if row["kind"] in kinds), nothing)

    credited, paid, credit = sum_of("credit-note", "void"), sum_of("payment"), sum_of("credit")
    left = due["gross"] - credited - paid - credit
    void = any(row["kind"] == "void" for row in moved)
    return SettlementShown.model_validate(
        {
            **due,
            "status": "void" if void else "paid" if left <= 0 else "open",
            "credited": credited,
            "paid": paid,
            "credit": credit,
            "due": left,
            "settled_by": moved,
        }
    )
