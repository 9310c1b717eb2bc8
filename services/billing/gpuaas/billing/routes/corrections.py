"""Corrections of billed periods at the door. One law: the difference is told once, in documents that point back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from gpuaas.billing.correcting import Wanted, issue_correction
from gpuaas.billing.desk import Asked, Desk, page_of
from gpuaas.billing.domain.correction import OtherPrice
from gpuaas.billing.domain.price_book import PRICES_MAX
from gpuaas.billing.shapes import DiscrepanciesPage, DiscrepancyShown, Label, shown
from gpuaas.common.http import Accepted, Body, Caller, fresh, permit
from gpuaas.common.wire import Count64, ExactDecimal, Moment, NonNegativeDecimal
from pydantic import AwareDatetime, BaseModel, Field


class CorrectedPrice(BaseModel):
    """What a GPU-hour of a model should have cost."""

    gpu_model: Label
    amount: NonNegativeDecimal
    price_book_version: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="Only where this version of the list priced it; absent: in the whole period."
    )


class CorrectionOrder(Body):
    """A billed period is rated again: too much is credited, what is missing is invoiced, in one step."""

    correction_id: Label | None = Field(None, description="Made by the service when left out.")
    period_start: AwareDatetime
    period_end: AwareDatetime
    prices: Annotated[list[CorrectedPrice], Field(min_length=1, max_length=PRICES_MAX)]
    detail: Annotated[str, Field(min_length=1, max_length=500, description="Why; the tenant reads it.")]


class ChangeShown(BaseModel):
    """Lines of one project, GPU model and price book version."""

    project_id: str
    gpu_model: str
    price_book_id: str
    price_book_version: int
    gpu_ms: Count64
    gpu_us: Count64 | None = Field(
        None, description="The exact quantity in GPU-microseconds, where `gpu_ms` is floored."
    )
    unit_price: NonNegativeDecimal
    before: ExactDecimal
    after: ExactDecimal


class CorrectionShown(BaseModel):
    """A correction.

    Attributes:
        run_id: the newest run that billed the period.
        credit_note_ids, invoice_id: the documents that tell the difference.
    """

    correction_id: str
    currency: str
    period_start: Moment
    period_end: Moment
    run_id: str
    detail: str
    changes: list[ChangeShown]
    difference: ExactDecimal
    credit_note_ids: list[str]
    invoice_id: str | None
    issued_at: Moment
    position: int


class CorrectionsPage(BaseModel):
    """Corrections, newest first."""

    items: list[CorrectionShown]
    next_cursor: str | None


def correction_routes(routes: APIRouter, desk: Desk) -> None:
    """Order a correction, and the list of them."""
    seen = [Depends(fresh(desk.views.corrections))]

    @routes.post(
        "/v1/tenants/{tenant_id}/corrections",
        status_code=201,
        summary="Rate a billed period again and issue the credit notes and the invoice for the difference.",
    )
    async def correct(
        tenant_id: str, body: CorrectionOrder, caller: Annotated[Caller, Depends(permit("billing.correction.issue"))]
    ) -> Accepted:
        correction_id = body.correction_id or f"cor-{caller.derived_id('correction')}"
        prices = [OtherPrice(price.gpu_model, price.amount, price.price_book_version) for price in body.prices]
        wanted = Wanted(correction_id, tenant_id, body.period_start, body.period_end, prices, body.detail)
        return caller.accepted(await issue_correction(desk, wanted, caller.cause()), correction_id)

    @routes.get(
        "/v1/tenants/{tenant_id}/usage-discrepancies",
        dependencies=[Depends(fresh(desk.views.discrepancies))],
        summary="Where what was metered and another account of it disagree.",
    )
    async def usage_discrepancies(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.usage.read"))], asked: Asked
    ) -> DiscrepanciesPage:
        found = await desk.views.discrepancies.of_tenant(desk.database, tenant_id, asked.key(int), asked.limit + 1)
        rows, cursor = page_of(asked, found)
        return DiscrepanciesPage(items=shown(DiscrepancyShown, rows), next_cursor=cursor)

    @routes.get("/v1/tenants/{tenant_id}/corrections", dependencies=seen, summary="A tenant's corrections.")
    async def corrections(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.correction.read"))], asked: Asked
    ) -> CorrectionsPage:
        found = await desk.views.corrections.of_tenant(desk.database, tenant_id, asked.key(int), asked.limit + 1)
        rows, cursor = page_of(asked, found)
        return CorrectionsPage(items=shown(CorrectionShown, rows), next_cursor=cursor)
