"""Meters at the door: define, report, read what it comes to. One law: a source's word under one id stands once."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from gpuaas.billing.desk import Asked, Desk, page_of
from gpuaas.billing.domain.budget import month_of
from gpuaas.billing.domain.metering import instant_ms
from gpuaas.billing.domain.meters import (
    METER,
    REPORT,
    DefineMeter,
    Meters,
    ReportUsage,
    Value,
    amount_of,
    quantity_of,
)
from gpuaas.billing.projections.charges import RECORDS_MAX
from gpuaas.billing.reactions import SERVICE
from gpuaas.billing.shapes import Currency, Label, shown
from gpuaas.common.commands import Entity, Order
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.events import Vocabulary
from gpuaas.common.http import Accepted, Body, Caller, fresh, permit
from gpuaas.common.wire import Count64, ExactDecimal, Moment, NonNegativeDecimal
from gpuaas.contracts.billing import MeterDefined, MeterTier, UsageReported
from pydantic import AwareDatetime, BaseModel, Field

METERS: Final[Entity[Meters, DefineMeter]] = Entity(SERVICE, "meter", METER, Vocabulary(MeterDefined))
REPORTS: Final[Entity[UsageReported | None, ReportUsage]] = Entity(
    SERVICE, "usage-report", REPORT, Vocabulary(UsageReported)
)
REPORTS_AT_ONCE: Final = 100
Aggregation = Literal["sum", "max", "time-weighted"]
PriceModel = Literal["per-unit", "graduated", "volume", "package"]


class TierOrder(Body):
    """Units above the tier before, up to and including `up_to`."""

    up_to: Count64 | None = Field(None, description="Its last unit; absent: without end.")
    unit: NonNegativeDecimal = Field(description="Price of one unit, or of a package.")
    flat: NonNegativeDecimal | None = Field(None, description="Owed once when the tier is entered.")


class MeterOrder(Body):
    """The next version of a meter."""

    meter_id: Label
    unit: Annotated[str, Field(min_length=1, max_length=40, examples=["GB-hour"])]
    aggregation: Aggregation
    per_unit: Count64 = Field(description="How much of what is reported one sold unit is; of a level, times ms.")
    currency: Currency
    price_model: PriceModel = "per-unit"
    package: Count64 | None = Field(None, description="Sold units in a package.")
    free: Count64 | None = Field(None, description="Sold units of a month that cost nothing.")
    tiers: Annotated[list[TierOrder], Field(min_length=1, max_length=20)]
    effective_from: AwareDatetime = Field(description="The start of a calendar month (UTC).")


class ReportOrder(Body):
    """What a source says was used."""

    meter_id: Label
    source: Label
    source_event_id: Annotated[str, Field(min_length=1, max_length=128, examples=["req-000017"])]
    used_at: AwareDatetime
    value: Count64
    subject: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None, description="What it is about, such as a volume; a level holds for it until its next value."
    )


class ReportsOrder(Body):
    """Reports that are taken together or not at all."""

    reports: Annotated[list[ReportOrder], Field(min_length=1, max_length=REPORTS_AT_ONCE)]


class ReportTaken(BaseModel):
    """`repeated`: it stood already."""

    report_id: str
    repeated: bool


class ReportsTaken(BaseModel):
    """What was done with each report, in their order."""

    position: int
    items: list[ReportTaken]


class TierShown(BaseModel):
    """One tier of a meter."""

    up_to: Count64 | None = None
    unit: NonNegativeDecimal
    flat: NonNegativeDecimal | None = None


class MeterShown(BaseModel):
    """One immutable version of a meter."""

    meter_id: str
    version: int
    unit: str
    aggregation: Aggregation
    per_unit: Count64
    currency: str
    price_model: PriceModel
    package: Count64 | None = None
    free: Count64 | None = None
    tiers: list[TierShown]
    effective_from: Moment
    position: int


class MetersPage(BaseModel):
    """Meter versions in the order they were defined."""

    items: list[MeterShown]
    next_cursor: str | None


class ReportShown(BaseModel):
    """One report."""

    report_id: str
    project_id: str
    meter_id: str
    source: str
    source_event_id: str
    subject: str
    used_at: Moment
    value: Count64
    position: int


class ReportsPage(BaseModel):
    """Reports in log order."""

    items: list[ReportShown]
    next_cursor: str | None


class MeteredShown(BaseModel):
    """A project's month on one meter: `quantity` of what it counts, which costs `amount`."""

    project_id: str
    meter_id: str
    meter_version: int
    unit: str
    per_unit: Count64
    quantity: Annotated[str, Field(description="A whole number.")]
    currency: str
    amount: ExactDecimal
    reports: int


class MeteredPage(BaseModel):
    """By project and meter, of one month so far."""

    month: str
    as_of: Moment
    items: list[MeteredShown]
    next_cursor: str | None


def meter_routes(routes: APIRouter, desk: Desk) -> None:
    """Define meters, and read them."""
    views, db = desk.views, desk.database

    @routes.post("/v1/meters", status_code=201, summary="Define the next version of a meter.")
    async def define_meter(
        body: MeterOrder, caller: Annotated[Caller, Depends(permit("billing.meter.define"))]
    ) -> Accepted:
        wanted = MeterDefined(
            **{name: getattr(body, name) for name in MeterOrder.model_fields if name != "tiers"},
            version=1,
            tiers=tuple(MeterTier(up_to=tier.up_to, unit=tier.unit, flat=tier.flat) for tier in body.tiers),
        )
        done = await desk.commands.execute(METERS, PLATFORM, body.meter_id, DefineMeter(wanted), caller.cause())
        return caller.accepted(done, body.meter_id)

    @routes.get("/v1/meters", dependencies=[Depends(fresh(views.reported))], summary="All versions of all meters.")
    async def meters(caller: Annotated[Caller, Depends(permit("billing.meter.read"))], asked: Asked) -> MetersPage:
        rows, cursor = page_of(asked, await views.reported.versions(db, asked.key(int) or 0, asked.limit + 1))
        return MetersPage(items=shown(MeterShown, rows), next_cursor=cursor)


def report_routes(routes: APIRouter, desk: Desk) -> None:
    """Report usage, read it, and what it comes to."""
    views, db = desk.views, desk.database
    seen = [Depends(fresh(views.reported))]

    @routes.post(
        "/v1/tenants/{tenant_id}/projects/{project_id}/usage-reports",
        status_code=201,
        dependencies=[*seen, Depends(fresh(views.tenants))],
        summary="Say what was used, once for ever by (source, source_event_id).",
    )
    async def report_usage(
        tenant_id: str,
        project_id: str,
        body: ReportsOrder,
        caller: Annotated[Caller, Depends(permit("billing.usage-report.make"))],
    ) -> ReportsTaken:
        await desk.currency_of(tenant_id)
        known, now_ms = await views.reported.meters(db), instant_ms(desk.clock.now())
        orders = [_order(tenant_id, project_id, told, now_ms) for told in body.reports]
        if stray := sorted({order.meter_id for order in orders} - set(known)):
            raise NotFound(f"there is no meter {stray[0]}; see the list of meters")
        if len({order.report_id for order in orders}) != len(orders):
            raise Invalid("two of the reports have the same source and id; send each once")
        together = [Order(REPORTS, tenant_id, order.report_id, order) for order in orders]
        done = await desk.commands.execute_together(together, caller.cause())
        return ReportsTaken(
            position=max(each.position for each in done),
            items=[
                ReportTaken(report_id=order.report_id, repeated=each.repeated or not each.events)
                for order, each in zip(orders, done, strict=True)
            ],
        )

    @routes.get("/v1/tenants/{tenant_id}/usage-reports", dependencies=seen, summary="What sources said, in log order.")
    async def reports(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.usage-report.read"))], asked: Asked
    ) -> ReportsPage:
        rows, cursor = page_of(
            asked, await views.reported.of_tenant(db, tenant_id, asked.key(int) or 0, asked.limit + 1)
        )
        return ReportsPage(items=shown(ReportShown, rows), next_cursor=cursor)

    @routes.get(
        "/v1/tenants/{tenant_id}/metered-charges",
        dependencies=seen,
        summary="What reported usage of a month comes to, by project and meter.",
    )
    async def metered_charges(
        tenant_id: str,
        caller: Annotated[Caller, Depends(permit("billing.metered-charge.read"))],
        asked: Asked,
        month: Annotated[
            str | None, Query(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$", description="Absent: this one.")
        ] = None,
    ) -> MeteredPage:
        now = desk.clock.now()
        moment = now if month is None else datetime.fromisoformat(f"{month}-01T00:00:00").replace(tzinfo=UTC)
        name, found = await _metered(desk, tenant_id, moment, now)
        after = asked.key(str)
        left = [row for row in found if after is None or str(row["key"]) > after]
        page = asked.page(left[: asked.limit + 1], ["key"])
        return MeteredPage(month=name, as_of=now, items=shown(MeteredShown, page.items), next_cursor=page.next_cursor)


def _order(tenant_id: str, project_id: str, told: ReportOrder, now_ms: int) -> ReportUsage:
    return ReportUsage(
        tenant_id=tenant_id,
        project_id=project_id,
        meter_id=told.meter_id,
        source=told.source,
        source_event_id=told.source_event_id,
        used_at=told.used_at,
        value=told.value,
        subject=told.subject,
        now_ms=now_ms,
    )


async def _metered(desk: Desk, tenant_id: str, moment: datetime, now: datetime) -> tuple[str, list[dict[str, object]]]:
    """The month's name, and a row for each project and meter, in their order."""
    name, month = month_of(moment)
    meters = await desk.views.reported.meters(desk.database)
    values = await desk.views.reported.values_of(desk.database, tenant_id, month, RECORDS_MAX + 1)
    if len(values) > RECORDS_MAX:
        raise Rejected(f"there are more than {RECORDS_MAX:,} reports in {name}; let sources report sums")
    kinds: defaultdict[tuple[str, str], list[Value]] = defaultdict(list)
    for value in values:
        kinds[value.project_id, value.meter_id].append(value)
    rows: list[dict[str, object]] = []
    for (project_id, meter_id), own in sorted(kinds.items()):
        meter = meters[meter_id].in_force(month.start_ms)
        if meter is None:
            raise Rejected(f"{meter_id} was used in {name}, before its first version; there is no price for it")
        quantity = quantity_of(meter.aggregation, own, month, instant_ms(now))
        inside = sum(1 for each in own if each.used_ms >= month.start_ms)
        if inside == 0 and quantity == 0:
            continue
        row: dict[str, object] = {"key": f"{project_id}/{meter_id}", "project_id": project_id, "meter_id": meter_id}
        row |= {"meter_version": meter.version, "unit": meter.unit, "per_unit": meter.per_unit}
        row |= {"quantity": str(quantity), "currency": meter.currency, "amount": amount_of(meter, quantity)}
        rows.append(row | {"reports": inside})
    return name, rows
