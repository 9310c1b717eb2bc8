"""Invoices as documents, and who stands on them. One law: a document shows a final invoice and writes nothing."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Response
from gpuaas.billing.desk import Desk
from gpuaas.billing.documents import focus, pdf, ubl
from gpuaas.billing.documents.facts import InvoiceFacts, LineFacts, TaxFacts
from gpuaas.billing.domain.invoice_party import INVOICE_PARTY, Party, SetParty
from gpuaas.billing.domain.rating import US_PER_MS
from gpuaas.billing.reactions import SERVICE
from gpuaas.common.commands import Entity
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.http import Accepted, Body, Caller, fresh, permit
from gpuaas.contracts.billing import InvoicePartySet
from pydantic import BaseModel, Field

PARTIES: Final[Entity[Party, SetParty]] = Entity(SERVICE, "invoice-party", INVOICE_PARTY, Vocabulary(InvoicePartySet))
Line = Annotated[str, Field(min_length=1, max_length=200)]
_ENDINGS: Final = {"pdf": "pdf", "ubl": "xml", "focus": "focus.csv"}
_BYTES: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}


class PartyOrder(Body):
    """A company as it stands on invoices written from now on."""

    legal_name: Line
    street: Line
    city: Annotated[str, Field(min_length=1, max_length=100)]
    postal_code: Annotated[str, Field(min_length=1, max_length=20)]
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1, two letters.", examples=["DE"])]
    vat_id: Annotated[str, Field(pattern=r"^[A-Z]{2}[A-Z0-9]{2,18}$")] | None = None
    registration_id: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    buyer_reference: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    iban: Annotated[str, Field(pattern=r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$")] | None = None


class PartyShown(BaseModel):
    """A company as it stands on the next invoice; empty text: not told."""

    legal_name: str
    street: str
    city: str
    postal_code: str
    country: str
    vat_id: str
    registration_id: str
    buyer_reference: str
    iban: str


def document_routes(routes: APIRouter, desk: Desk) -> None:
    """The documents of an invoice."""
    views = desk.views

    @routes.get(
        "/v1/tenants/{tenant_id}/invoices/{invoice_id}/document",
        dependencies=[Depends(fresh(view)) for view in (views.invoices, views.parties, views.settled)],
        response_class=Response,
        responses={200: {"content": {pdf.MEDIA_TYPE: _BYTES, ubl.MEDIA_TYPE: _TEXT, "text/csv": _TEXT}}},
        summary="One invoice as PDF, as UBL 2.1 (EN 16931) or as FOCUS rows.",
    )
    async def invoice_document(
        tenant_id: str,
        invoice_id: str,
        caller: Annotated[Caller, Depends(permit("billing.invoice.read"))],
        format: Annotated[Literal["pdf", "ubl", "focus"], Query(description="Which document.")] = "pdf",  # noqa: A002
    ) -> Response:
        facts = await _facts(desk, tenant_id, invoice_id)
        content, media_type = _rendered(facts, format)
        given = {"Content-Disposition": f'attachment; filename="{facts.number}.{_ENDINGS[format]}"'}
        return Response(content, media_type=media_type, headers=given)


def party_routes(routes: APIRouter, desk: Desk) -> None:
    """Who buys and who sells."""
    seen = [Depends(fresh(desk.views.parties))]

    @routes.post(
        "/v1/tenants/{tenant_id}/invoice-party", status_code=201, summary="Say who a tenant is on its next invoices."
    )
    async def set_invoice_party(
        tenant_id: str, body: PartyOrder, caller: Annotated[Caller, Depends(permit("billing.invoice-party.set"))]
    ) -> Accepted:
        await desk.currency_of(tenant_id)
        return await _set(desk, tenant_id, body, caller)

    @routes.get("/v1/tenants/{tenant_id}/invoice-party", dependencies=seen, summary="Who a tenant is on invoices.")
    async def invoice_party(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.invoice-party.read"))]
    ) -> PartyShown:
        return _shown(await desk.views.parties.newest(desk.database, tenant_id), f"nobody has said who {tenant_id} is")

    @routes.post("/v1/invoice-seller", status_code=201, summary="Say who sells, on all invoices from now on.")
    async def set_invoice_seller(
        body: PartyOrder, caller: Annotated[Caller, Depends(permit("billing.invoice-seller.set"))]
    ) -> Accepted:
        return await _set(desk, PLATFORM, body, caller)

    @routes.get("/v1/invoice-seller", dependencies=seen, summary="Who sells.")
    async def invoice_seller(
        caller: Annotated[Caller, Depends(permit("billing.invoice-seller.read"))],
    ) -> PartyShown:
        return _shown(await desk.views.parties.newest(desk.database, PLATFORM), "nobody has said who sells")


async def _set(desk: Desk, tenant_id: str, body: PartyOrder, caller: Caller) -> Accepted:
    order = SetParty(tenant_id, Party(**body.model_dump(exclude_none=True)))
    done = await desk.commands.execute(PARTIES, tenant_id, tenant_id, order, caller.cause())
    return caller.accepted(done, tenant_id)


def _shown(party: Party | None, missing: str) -> PartyShown:
    if party is None:
        raise NotFound(f"{missing} on invoices yet; set it first")
    return PartyShown(**asdict(party))


def _rendered(facts: InvoiceFacts, form: str) -> tuple[str | bytes, str]:
    match form:
        case "ubl":
            return ubl.as_ubl(facts), ubl.MEDIA_TYPE
        case "focus":
            return focus.as_focus(facts), focus.MEDIA_TYPE
        case _:
            return pdf.as_pdf(facts), pdf.MEDIA_TYPE


async def _facts(desk: Desk, tenant_id: str, invoice_id: str) -> InvoiceFacts:
    """What the documents of an invoice show.

    Raises:
        NotFound: no such invoice.
        Rejected: nobody has said who sells or who buys.
    """
    views, db = desk.views, desk.database
    row = await views.invoices.one(db, tenant_id, invoice_id)
    if row is None:
        raise NotFound(f"{tenant_id} has no invoice {invoice_id}; see the list of its invoices")
    seller = await views.parties.shown_at(db, PLATFORM, row["position"])
    if seller is None:
        raise Rejected("a document names its seller and nobody has said who sells; POST /v1/invoice-seller first")
    buyer = await views.parties.shown_at(db, tenant_id, row["position"])
    if buyer is None:
        raise Rejected(f"a document names its buyer; POST /v1/tenants/{tenant_id}/invoice-party first")
    same_line = LineFacts.__dataclass_fields__.keys() - {"gpu_us"}
    lines = [
        LineFacts(**{name: line[name] for name in same_line}, gpu_us=line["gpu_us"] or line["gpu_ms"] * US_PER_MS)
        for line in await views.invoices.lines_of(db, tenant_id, invoice_id)
    ]
    same = ("invoice_id", "run_id", "number", "tenant_id", "currency", "period_start", "period_end")
    own = {name: row[name] for name in (*same, "finalized_at", "total", "content_sha256")}
    due, _ = await views.settled.of_invoice(db, tenant_id, invoice_id)
    if due is None:
        raise Unavailable(f"what is due for {invoice_id} is not folded yet; ask again")
    terms = {"due_at": due["due_at"], "exemption_reason": due["exemption_reason"] or ""}
    taxes = [
        TaxFacts(group["category"], *(Decimal(group[name]) for name in ("percent", "net", "tax")))
        for group in due["taxes"]
    ]
    return InvoiceFacts(**own, **terms, lines=lines, seller=seller, buyer=buyer, taxes=taxes)
