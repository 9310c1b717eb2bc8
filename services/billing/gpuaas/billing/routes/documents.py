"""Invoices and credit notes as documents, and who stands on them. One law: a document shows a paper and writes none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from gpuaas.billing.desk import Desk
from gpuaas.billing.documents import focus, note_csv, pdf, ubl
from gpuaas.billing.documents.facts import InvoiceFacts, NoteFacts
from gpuaas.billing.domain.invoice_party import INVOICE_PARTY, Party, SetParty
from gpuaas.billing.papers import invoice_facts, note_facts, papers_of
from gpuaas.billing.reactions import SERVICE
from gpuaas.common.commands import Entity
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.events import Vocabulary
from gpuaas.common.http import Accepted, Body, Caller, fresh, permit
from gpuaas.contracts.billing import InvoicePartySet
from pydantic import AwareDatetime, BaseModel, Field

PARTIES: Final[Entity[Party, SetParty]] = Entity(SERVICE, "invoice-party", INVOICE_PARTY, Vocabulary(InvoicePartySet))
Line = Annotated[str, Field(min_length=1, max_length=200)]
NoteForm = Literal["pdf", "ubl", "focus", "csv"]
_ENDINGS: Final = {"pdf": "pdf", "ubl": "xml", "focus": "focus.csv", "csv": "csv"}
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
    """The documents of invoices and credit notes."""
    views = desk.views
    seen = [Depends(fresh(view)) for view in (views.invoices, views.parties, views.settled)]

    @routes.get(
        "/v1/tenants/{tenant_id}/invoices/{invoice_id}/document",
        dependencies=seen,
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
        return _rendered(await invoice_facts(desk, tenant_id, invoice_id), format)

    @routes.get(
        "/v1/tenants/{tenant_id}/credit-notes/{credit_note_id}/document",
        dependencies=seen,
        response_class=Response,
        responses={200: {"content": {pdf.MEDIA_TYPE: _BYTES, ubl.MEDIA_TYPE: _TEXT, "text/csv": _TEXT}}},
        summary="One credit note as PDF, as UBL 2.1 (EN 16931), as FOCUS rows or as CSV.",
    )
    async def credit_note_document(
        tenant_id: str,
        credit_note_id: str,
        caller: Annotated[Caller, Depends(permit("billing.credit-note.read"))],
        format: Annotated[NoteForm, Query(description="Which document.")] = "pdf",  # noqa: A002
    ) -> Response:
        return _rendered(await note_facts(desk, tenant_id, credit_note_id), format)


def focus_routes(routes: APIRouter, desk: Desk) -> None:
    """All papers of a tenant in one table."""
    views = desk.views

    @routes.get(
        "/v1/tenants/{tenant_id}/focus",
        dependencies=[Depends(fresh(view)) for view in (views.invoices, views.parties, views.settled)],
        response_class=StreamingResponse,
        responses={200: {"content": {"text/csv": _TEXT}}},
        summary="A tenant's invoices and their credit notes as FOCUS rows, streamed: what they sum to is owed.",
    )
    async def focus_rows(
        tenant_id: str,
        caller: Annotated[Caller, Depends(permit("billing.invoice.read"))],
        since: Annotated[AwareDatetime | None, Query(description="Only periods that begin here or later.")] = None,
        until: Annotated[AwareDatetime | None, Query(description="Only periods that end here or before.")] = None,
    ) -> StreamingResponse:
        papers = papers_of(desk, tenant_id, since, until)
        # The first is put together before anything is sent: what cannot be written is refused with a sentence.
        first = await anext(papers, None)
        given = {"Content-Disposition": f'attachment; filename="{tenant_id}.focus.csv"'}
        return StreamingResponse(_table(first, papers), media_type=focus.MEDIA_TYPE, headers=given)


async def _table(
    first: InvoiceFacts | NoteFacts | None, rest: AsyncIterator[InvoiceFacts | NoteFacts]
) -> AsyncIterator[str]:
    yield focus.as_focus([] if first is None else [first])
    async for paper in rest:
        yield focus.as_focus([paper], heading=False)


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


def _rendered(facts: InvoiceFacts | NoteFacts, form: str) -> Response:
    match facts, form:
        case NoteFacts(), "ubl":
            content, media_type = ubl.as_ubl_note(facts), ubl.MEDIA_TYPE
        case NoteFacts(), "pdf":
            content, media_type = pdf.as_pdf_note(facts), pdf.MEDIA_TYPE
        case NoteFacts(), "csv":
            return _file(note_csv.as_csv_note(facts), note_csv.MEDIA_TYPE, facts.number, form)
        case InvoiceFacts(), "ubl":
            content, media_type = ubl.as_ubl(facts), ubl.MEDIA_TYPE
        case InvoiceFacts(), "pdf":
            content, media_type = pdf.as_pdf(facts), pdf.MEDIA_TYPE
        case _:
            return _file(focus.as_focus([facts]), focus.MEDIA_TYPE, facts.number, form)
    return _file(content, media_type, facts.number, form)


def _file(content: str | bytes, media_type: str, name: str, form: str) -> Response:
    given = {"Content-Disposition": f'attachment; filename="{name}.{_ENDINGS[form]}"'}
    return Response(content, media_type=media_type, headers=given)
