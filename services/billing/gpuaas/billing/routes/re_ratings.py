"""What-if at the door: a past period under other prices. One law: a question; nothing is written or corrected by it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends
from gpuaas.billing.desk import Asked, Desk
from gpuaas.billing.domain.price_book import PRICES_MAX
from gpuaas.billing.domain.re_rating import OtherPrices, book_of
from gpuaas.billing.projections.charges import RECORDS_MAX
from gpuaas.billing.projections.re_ratings import Against, ReRated, ReRatingQuestions
from gpuaas.billing.reactions import groups
from gpuaas.billing.shapes import Currency, PriceOrder
from gpuaas.common.http import Body, Caller, encode_cursor, fresh, permit
from gpuaas.common.wire import Count64, ExactDecimal
from pydantic import AwareDatetime, BaseModel, Field


class OtherPricesOrder(Body):
    """Prices for a part of the time."""

    effective_from: AwareDatetime | None = Field(None, description="Absent: from the period's start.")
    effective_until: AwareDatetime | None = Field(None, description="Absent: until a later version begins.")
    prices: Annotated[list[PriceOrder], Field(min_length=1, max_length=PRICES_MAX)]


class TenantReRating(Body):
    """A period, and prices that it is rated by anew."""

    period_start: AwareDatetime
    period_end: AwareDatetime
    versions: Annotated[list[OtherPricesOrder], Field(min_length=1, max_length=100)]


class ReRating(TenantReRating):
    """The same for every tenant that pays in a currency."""

    currency: Currency


class DifferenceShown(BaseModel):
    """One project and GPU model.

    Attributes:
        before: on invoices, or by the list prices; `before_gpu_ms` is what it is for.
        after: under the other prices, for `gpu_ms`.
        difference: after − before.
    """

    project_id: str
    gpu_model: str
    before_gpu_ms: Count64
    gpu_ms: Count64
    before: ExactDecimal
    after: ExactDecimal
    difference: ExactDecimal


class ReRatedShown(BaseModel):
    """A tenant's period under the other prices, against its invoices or (not billed yet) the list prices."""

    tenant_id: str
    currency: str
    against: Against
    before: ExactDecimal
    after: ExactDecimal
    difference: ExactDecimal
    lines: list[DifferenceShown]


class ReRatedPage(BaseModel):
    """Tenants by id."""

    items: list[ReRatedShown]
    next_cursor: str | None


def re_rating_routes(routes: APIRouter, desk: Desk) -> None:
    """For one tenant, and for all."""
    views = desk.views
    seen = [
        Depends(fresh(view))
        for view in (views.usage, views.invoices, views.runs, views.prices, views.tenants, views.settled)
    ]
    questions = ReRatingQuestions(desk.database, views)

    @routes.post(
        "/v1/tenants/{tenant_id}/re-ratings", dependencies=seen, summary="What a past period costs under other prices."
    )
    async def re_rate_tenant(
        tenant_id: str, body: TenantReRating, caller: Annotated[Caller, Depends(permit("billing.re-rating.read"))]
    ) -> ReRatedShown:
        currency = await desk.currency_of(tenant_id)
        asked = await questions.asked(body.period_start, body.period_end, book_of(currency, _versions(body)))
        return _shown(await questions.of(asked, tenant_id), currency, asked.against)

    @routes.post("/v1/re-ratings", dependencies=seen, summary="The same for all tenants of a currency.")
    async def re_rate_all(
        body: ReRating, caller: Annotated[Caller, Depends(permit("billing.re-rating.read"))], page: Asked
    ) -> ReRatedPage:
        book = book_of(body.currency, _versions(body))
        asked = await questions.asked(body.period_start, body.period_end, book)
        left = await questions.tenants(asked, page.key(str))
        chosen = next(groups(left, page.limit, RECORDS_MAX), [])
        items = [_shown(await questions.of(asked, each), body.currency, asked.against) for each in chosen]
        return ReRatedPage(items=items, next_cursor=encode_cursor([chosen[-1]]) if len(chosen) < len(left) else None)


def _versions(body: TenantReRating) -> list[OtherPrices]:
    return [
        OtherPrices(
            effective_from=each.effective_from or body.period_start,
            effective_until=each.effective_until,
            prices=tuple((price.gpu_model, price.amount) for price in each.prices),
        )
        for each in body.versions
    ]


def _shown(found: ReRated, currency: str, against: Against) -> ReRatedShown:
    lines = [
        DifferenceShown(
            project_id=line.project_id,
            gpu_model=line.gpu_model,
            before_gpu_ms=line.before_gpu_ms,
            gpu_ms=line.gpu_ms,
            before=line.before,
            after=line.after,
            difference=line.difference,
        )
        for line in found.lines
    ]
    before, after = (sum((getattr(line, side) for line in lines), Decimal(0)) for side in ("before", "after"))
    return ReRatedShown(
        tenant_id=found.tenant_id,
        currency=currency,
        against=against,
        before=before,
        after=after,
        difference=after - before,
        lines=lines,
    )
