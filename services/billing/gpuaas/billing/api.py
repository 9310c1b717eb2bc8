"""The door of billing. One law: a tenant sees its own and nobody else's; every list has a limit and a next page."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from gpuaas.billing.cutting import cut_at
from gpuaas.billing.desk import Asked, Desk, page_of
from gpuaas.billing.domain.billing_run import StartRun, Unstarted
from gpuaas.billing.domain.metering import Interval
from gpuaas.billing.domain.price_book import digest_of
from gpuaas.billing.domain.rating import RATING_VERSION
from gpuaas.billing.projections.metered_usage import Pinned
from gpuaas.billing.reactions import RUNS
from gpuaas.billing.routes.closing import closing_routes
from gpuaas.billing.routes.conservation import conservation_routes
from gpuaas.billing.routes.corrections import correction_routes
from gpuaas.billing.routes.credit import balance_routes, budget_routes, credit_routes, spending_routes
from gpuaas.billing.routes.documents import document_routes, focus_routes, party_routes
from gpuaas.billing.routes.ledger import journal_routes, ledger_routes
from gpuaas.billing.routes.meters import meter_routes, report_routes
from gpuaas.billing.routes.price_agreements import agreement_routes, campaign_routes
from gpuaas.billing.routes.prices import estimate_routes, price_routes
from gpuaas.billing.routes.re_ratings import re_rating_routes
from gpuaas.billing.routes.settling import note_routes, payment_routes, tax_routes
from gpuaas.billing.shapes import (
    ChargesShown,
    Draft,
    InvoiceLineShown,
    InvoiceShown,
    InvoicesPage,
    InvoiceWithLines,
    RunProgress,
    RunShown,
    RunsPage,
    StartBillingRun,
    UsagePage,
    UsageShown,
    as_csv,
    draft,
    shown,
    totals,
)
from gpuaas.common.commands import Cause
from gpuaas.common.decisions import Reach
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.http import Accepted, Caller, Paging, fresh, permit

CSV: Final = "text/csv; charset=utf-8; header=present"


def router(desk: Desk) -> APIRouter:
    """All routes of billing."""
    routes = APIRouter()
    for part in (
        price_routes,
        estimate_routes,
        agreement_routes,
        meter_routes,
        report_routes,
        campaign_routes,
        _tenant_usage,
        _invoices,
        document_routes,
        focus_routes,
        party_routes,
        ledger_routes,
        journal_routes,
        _runs,
        credit_routes,
        balance_routes,
        spending_routes,
        budget_routes,
        conservation_routes,
        closing_routes,
        re_rating_routes,
        correction_routes,
        note_routes,
        payment_routes,
        tax_routes,
    ):
        part(routes, desk)
    return routes


def _tenant_usage(routes: APIRouter, desk: Desk) -> None:
    views, db = desk.views, desk.database
    seen = [Depends(fresh(views.usage))]

    async def usage_page(tenant_id: str, reach: Reach, asked: Paging) -> UsagePage:
        found = await views.usage.used_by(db, tenant_id, reach, asked.key(int) or 0, asked.limit + 1)
        rows, cursor = page_of(asked, found)
        return UsagePage(items=shown(UsageShown, rows), next_cursor=cursor)

    @routes.get("/v1/tenants/{tenant_id}/usage", dependencies=seen, summary="A tenant's usage, as far as you may see.")
    async def usage_of_tenant(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.usage.read", in_part=True))], asked: Asked
    ) -> UsagePage:
        return await usage_page(tenant_id, caller.reach, asked)

    @routes.get(
        "/v1/tenants/{tenant_id}/projects/{project_id}/usage", dependencies=seen, summary="A project's usage records."
    )
    async def usage_of_project(
        tenant_id: str,
        project_id: str,
        caller: Annotated[Caller, Depends(permit("billing.usage.read"))],
        asked: Asked,
    ) -> UsagePage:
        return await usage_page(tenant_id, caller.reach, asked)

    @routes.get(
        "/v1/tenants/{tenant_id}/charges",
        dependencies=[*seen, Depends(fresh(views.invoices)), Depends(fresh(views.runs)), Depends(fresh(views.held))],
        summary="What the tenant would owe if it were billed now.",
    )
    async def charges(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.charge.read"))]
    ) -> ChargesShown:
        now = desk.clock.now()
        book, unbilled = await desk.charges.unbilled(tenant_id)
        _, running = await desk.charges.running(tenant_id, now)
        parts = draft(unbilled), draft(running)
        return ChargesShown(
            tenant_id=tenant_id,
            currency=book.currency,
            as_of=now,
            unbilled=parts[0],
            running=parts[1],
            per_hour=await _next_hour(desk, tenant_id, now),
            total=parts[0].total + parts[1].total,
        )


async def _next_hour(desk: Desk, tenant_id: str, now: datetime) -> Draft | None:
    try:
        _, hour = await desk.charges.running(tenant_id, now + timedelta(hours=1), now)
    except Rejected:
        # The list may end within the hour: what is owed by now is known all the same.
        return None
    return draft(hour)


def _invoices(routes: APIRouter, desk: Desk) -> None:
    views, db = desk.views, desk.database
    seen = [Depends(fresh(views.invoices))]

    @routes.get("/v1/tenants/{tenant_id}/invoices", dependencies=seen, summary="A tenant's invoices, newest first.")
    async def invoices(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.invoice.read"))], asked: Asked
    ) -> InvoicesPage:
        found = await views.invoices.of_tenant(db, tenant_id, asked.key(int), asked.limit + 1)
        rows, cursor = page_of(asked, found)
        return InvoicesPage(items=shown(InvoiceShown, rows), next_cursor=cursor)

    @routes.get(
        "/v1/tenants/{tenant_id}/invoices/{invoice_id}",
        dependencies=seen,
        response_model=InvoiceWithLines,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
        summary="One invoice with its lines, as JSON or CSV.",
    )
    async def invoice(
        tenant_id: str,
        invoice_id: str,
        caller: Annotated[Caller, Depends(permit("billing.invoice.read"))],
        accept: Annotated[str, Header(max_length=1_024)] = "application/json",
        format: Annotated[Literal["json", "csv"] | None, Query(description="Goes before `Accept`.")] = None,  # noqa: A002
    ) -> InvoiceWithLines | Response:
        row = await views.invoices.one(db, tenant_id, invoice_id)
        if row is None:
            raise NotFound(f"{tenant_id} has no invoice {invoice_id}; see the list of its invoices")
        lines = shown(InvoiceLineShown, await views.invoices.lines_of(db, tenant_id, invoice_id))
        whole = InvoiceWithLines(**shown(InvoiceShown, [row])[0].model_dump(), lines=lines)
        if format == "csv" or (format is None and accept.strip().startswith("text/csv")):
            given = {"Content-Disposition": f'attachment; filename="{whole.number}.csv"'}
            return Response(as_csv(whole), media_type=CSV, headers=given)
        return whole


def _runs(routes: APIRouter, desk: Desk) -> None:
    views, db = desk.views, desk.database
    seen = [Depends(fresh(views.runs)), Depends(fresh(views.invoices))]

    @routes.post("/v1/billing-runs", status_code=202, summary="Bill a period; the work goes on behind this answer.")
    async def start_billing_run(
        body: StartBillingRun, caller: Annotated[Caller, Depends(permit("billing.run.start"))]
    ) -> Accepted:
        run_id = body.run_id or f"run-{caller.derived_id('run')}"
        order = await _start_order(desk, run_id, body, caller.cause())
        done = await desk.commands.execute(RUNS, PLATFORM, run_id, order, caller.cause())
        return caller.accepted(done, run_id)

    @routes.get("/v1/billing-runs", dependencies=seen, summary="Billing runs, newest first.")
    async def billing_runs(caller: Annotated[Caller, Depends(permit("billing.run.read"))], asked: Asked) -> RunsPage:
        rows, cursor = page_of(asked, await views.runs.runs(db, asked.key(int), asked.limit + 1))
        return RunsPage(items=shown(RunShown, rows), next_cursor=cursor)

    @routes.get("/v1/billing-runs/{run_id}", dependencies=seen, summary="One billing run and how far it is.")
    async def billing_run(run_id: str, caller: Annotated[Caller, Depends(permit("billing.run.read"))]) -> RunProgress:
        row = await views.runs.one(db, run_id)
        if row is None:
            raise NotFound(f"there is no billing run {run_id}")
        period = Interval.between(row["period_start"], row["period_end"])
        tenants = await views.usage.tenants_of(db, Pinned(period, row["since_position"], row["log_position"]))
        written = await views.invoices.written_by(db, run_id)
        return RunProgress(
            **shown(RunShown, [row])[0].model_dump(),
            tenants=len(tenants) if row["status"] != "void" else 0,
            invoices=sum(each["invoices"] for each in written),
            total_by_currency=totals(written),
        )


async def _start_order(desk: Desk, run_id: str, body: StartBillingRun, cause: Cause) -> StartRun:
    """The order to start a run, with everything pinned.

    Every release that the log held when the request came has been metered, and what still runs is metered up to the end
    of the period if that has passed; the run bills the usage records up to the position the log has then.

    Raises:
        Unavailable: metering or a view is too far behind; nothing was started.
        Rejected: the period crosses an earlier run's, or something in it cannot be billed.
    """
    views, db = desk.views, desk.database
    period = Interval.between(body.period_start, body.period_end)
    await desk.standing.metered(await desk.log.last_position())
    await desk.standing.folded(await desk.log.last_position())
    known, _ = await desk.commands.state(RUNS, PLATFORM, run_id)
    if isinstance(known, Unstarted):
        await views.runs.refuse_void(db, body.period_start, body.period_end)
        await cut_at(desk, body.period_end, cause)
    position = await desk.log.last_position()
    await desk.standing.folded(position)
    books = await views.prices.books(db, upto=position)
    agreements = await views.agreements.agreements(db, upto=position)
    order = StartRun(
        run_id=run_id,
        period_start=body.period_start,
        period_end=body.period_end,
        log_position=position,
        price_book_sha256=digest_of(list(books.values()), agreements.spelled()),
        code_version=RATING_VERSION,
    )
    if isinstance(known, Unstarted):
        await desk.charges.refuse_unbillable(Pinned(period, 0, position), books, agreements)
    return order
