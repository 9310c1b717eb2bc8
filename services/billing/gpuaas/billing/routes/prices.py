"""List prices at the door, and what they would make of a wish. One law: a version is published once, whole."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from gpuaas.billing.desk import Asked, Desk, page_of
from gpuaas.billing.domain.bands import Band, minute_of
from gpuaas.billing.domain.metering import WHOLE_MILLI, Interval, instant_ms
from gpuaas.billing.domain.price_book import PRICE_BOOK, PRICES_MAX, PriceBook, PublishPrices, list_book_of
from gpuaas.billing.domain.rating import Usage
from gpuaas.billing.reactions import SERVICE
from gpuaas.billing.shapes import Currency, Draft, Label, PriceOrder, draft, shown
from gpuaas.billing.time_zones import offsets_of
from gpuaas.common.commands import Entity
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.events import Vocabulary
from gpuaas.common.http import Accepted, Body, Caller, fresh, permit
from gpuaas.common.wire import Moment, NonNegativeDecimal
from gpuaas.contracts.billing import PriceBookPublished
from pydantic import AwareDatetime, BaseModel, Field

PRICE_BOOKS: Final[Entity[PriceBook, PublishPrices]] = Entity(
    SERVICE, "price-book", PRICE_BOOK, Vocabulary(PriceBookPublished)
)
YEAR_S: Final = 366 * 24 * 3600
BANDS_MAX: Final = 24
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["22:00"])]
Weekday = Annotated[int, Field(ge=1, le=7)]


class BandOrder(Body):
    """Hours of the week with a price of their own, by local time."""

    band_id: Label
    weekdays: Annotated[list[Weekday], Field(min_length=1, max_length=7)] = Field(
        default_factory=lambda: [1, 2, 3, 4, 5, 6, 7], description="On which it begins; 1 is Monday. Absent: every day."
    )
    begins: Clock
    ends: Clock = Field(description="First minute behind it; not later than `begins`: on the next day.")
    amount: NonNegativeDecimal


class ListPriceOrder(PriceOrder):
    """The price of one GPU-hour of one model, and of hours of the week that cost another."""

    bands: Annotated[list[BandOrder], Field(max_length=BANDS_MAX)] = Field(default_factory=list)


class PublishPriceBook(Body):
    """The next version of a currency's list prices."""

    currency: Currency
    price_book_id: Label | None = Field(None, description="`list-<currency>`; may be left out.")
    effective_from: AwareDatetime = Field(description="First instant the prices are for.")
    effective_until: AwareDatetime | None = Field(None, description="Absent: until a later version begins.")
    time_zone: Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])] | None = Field(
        None, description="Where bands count their hours; an IANA name."
    )
    prices: Annotated[list[ListPriceOrder], Field(min_length=1, max_length=PRICES_MAX)]


class EstimateOrder(Body):
    """What it would cost to hold GPUs for a time."""

    gpu_model: Label
    gpu_count: Annotated[int, Field(ge=1, le=65_536)]
    share_milli: Annotated[int, Field(ge=1, le=WHOLE_MILLI, description="Thousandths of each GPU.")] = WHOLE_MILLI
    seconds: Annotated[int, Field(ge=1, le=10 * YEAR_S)]
    starts_at: AwareDatetime | None = Field(None, description="Absent: now.")
    project_id: Label | None = Field(None, description="Whose: a contract or campaign may be for some projects only.")
    labels: Annotated[dict[str, str], Field(max_length=32)] = Field(default_factory=dict, description="It would carry.")


class BandShown(BaseModel):
    """Hours of the week with a price of their own."""

    band_id: str
    weekdays: list[int]
    begins: str
    ends: str
    amount: NonNegativeDecimal


class PriceShown(BaseModel):
    """The price of one GPU-hour of one model."""

    gpu_model: str
    unit: str
    amount: NonNegativeDecimal
    bands: list[BandShown] | None = None


class PriceVersionShown(BaseModel):
    """One immutable version of a price book."""

    price_book_id: str
    version: int
    currency: str
    effective_from: Moment
    effective_until: Moment | None
    time_zone: str | None = None
    prices: list[PriceShown]
    position: int


class PriceVersionsPage(BaseModel):
    """Price book versions in the order they were published."""

    items: list[PriceVersionShown]
    next_cursor: str | None


class EstimateShown(Draft):
    """What it would cost at the prices published now, cut where they change."""

    currency: str


def price_routes(routes: APIRouter, desk: Desk) -> None:
    """Publish list prices, and read them."""
    views, db = desk.views, desk.database

    @routes.post(
        "/v1/price-books",
        status_code=201,
        dependencies=[Depends(fresh(views.runs))],
        summary="Publish the next version of a currency's list prices.",
    )
    async def publish_prices(
        body: PublishPriceBook, caller: Annotated[Caller, Depends(permit("billing.price-book.publish"))]
    ) -> Accepted:
        book_id = body.price_book_id or list_book_of(body.currency)
        bands = {price.gpu_model: tuple(_band(band) for band in price.bands) for price in body.prices if price.bands}
        zone = body.time_zone if bands else None
        order = PublishPrices(
            price_book_id=book_id,
            currency=body.currency,
            effective_from=body.effective_from,
            effective_until=body.effective_until,
            prices=tuple((price.gpu_model, price.amount) for price in body.prices),
            billed_until=await views.runs.billed_until(db),
            bands=bands,
            time_zone=zone,
            offsets=offsets_of(zone, body.effective_from, body.effective_until) if zone else (),
        )
        done = await desk.commands.execute(PRICE_BOOKS, PLATFORM, book_id, order, caller.cause())
        return caller.accepted(done, book_id)

    @routes.get(
        "/v1/price-books", dependencies=[Depends(fresh(views.prices))], summary="All versions of all price books."
    )
    async def price_books(
        caller: Annotated[Caller, Depends(permit("billing.price-book.read"))], asked: Asked
    ) -> PriceVersionsPage:
        rows, cursor = page_of(asked, await views.prices.versions(db, asked.key(int) or 0, asked.limit + 1))
        return PriceVersionsPage(items=shown(PriceVersionShown, rows), next_cursor=cursor)


def estimate_routes(routes: APIRouter, desk: Desk) -> None:
    """What it would cost."""
    views = desk.views
    seen = [Depends(fresh(view)) for view in (views.prices, views.agreements, views.tenants)]

    @routes.post(
        "/v1/tenants/{tenant_id}/estimates", dependencies=seen, summary="What it would cost to hold GPUs for a time."
    )
    async def estimate(
        tenant_id: str, body: EstimateOrder, caller: Annotated[Caller, Depends(permit("billing.estimate.read"))]
    ) -> EstimateShown:
        start_ms = instant_ms(body.starts_at or desk.clock.now())
        usage = Usage(
            usage_id="estimate",
            project_id=body.project_id or "estimate",
            gpu_model=body.gpu_model,
            gpu_count=body.gpu_count,
            interval=Interval(start_ms, start_ms + body.seconds * 1_000),
            share_milli=body.share_milli,
            labels=tuple(sorted(body.labels.items())),
        )
        book, charges = await desk.charges.estimate(tenant_id, usage)
        return EstimateShown(currency=book.currency, **draft(charges).model_dump())


def _band(told: BandOrder) -> Band:
    return Band(told.band_id, frozenset(told.weekdays), minute_of(told.begins), minute_of(told.ends), told.amount)
