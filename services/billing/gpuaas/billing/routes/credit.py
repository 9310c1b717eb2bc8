"""Prepaid credit, budgets and the spending ladder at the door. One law: what is answered is what the log says."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from gpuaas.billing.desk import Asked, Desk, page_of
from gpuaas.billing.domain.budget import THRESHOLDS_MAX, SetBudget, WithdrawBudget, month_of
from gpuaas.billing.domain.burn_down import NOTHING
from gpuaas.billing.domain.spending import SetLevel
from gpuaas.billing.domain.wallet import GrantCredit, VoidGrant
from gpuaas.billing.shapes import Currency, Label, shown
from gpuaas.billing.spending import BUDGETS, SPENDINGS, WALLETS
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Accepted, Body, Caller, fresh, permit
from gpuaas.common.wire import ExactDecimal, Moment, NonNegativeDecimal
from pydantic import AwareDatetime, BaseModel, Field

OPERATORS_SCOPE: Final = "operator"
"""The scope of what a person ordered: it stands beside the levels of credit and budgets."""


class GrantOrder(Body):
    """Prepaid credit for a tenant, in its currency."""

    grant_id: Label | None = Field(None, description="Made by the service when left out.")
    amount: NonNegativeDecimal
    kind: Literal["purchased", "promotional"] = "purchased"
    priority: Annotated[int, Field(ge=0, le=100, description="Lower burns first.")] = 50
    project_ids: Annotated[tuple[Label, ...], Field(max_length=100, description="Only for these; empty: all.")] = ()
    effective_from: AwareDatetime | None = Field(None, description="Absent: now.")
    expires_at: AwareDatetime | None = Field(None, description="What is left then lapses; absent: never.")
    reference: Annotated[str, Field(min_length=1, max_length=200, description="Order, contract or campaign.")]


class VoidOrder(Body):
    """Why what is left of a grant is taken back."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class ThresholdOrder(Body):
    """A share of a budget at which something is said."""

    percent: Annotated[int, Field(ge=1, le=1_000)]
    of: Literal["actual", "forecast"] = "actual"


class BudgetOrder(Body):
    """What a month may cost: of the tenant, of one project, or of what carries a label."""

    budget_id: Label
    project_id: Label | None = None
    label_name: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    label_value: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    amount: NonNegativeDecimal
    thresholds: Annotated[list[ThresholdOrder], Field(min_length=1, max_length=THRESHOLDS_MAX)]
    action: Literal["notify", "block"] = "notify"


class LevelOrder(Body):
    """Where an operator puts a tenant's spending."""

    level: Literal["open", "blocked", "stopping"]
    detail: Annotated[str, Field(min_length=1, max_length=500, description="Why; the tenant reads it.")]
    grace_s: Annotated[int, Field(ge=0, le=30 * 86_400, description="With `stopping`: until what runs ends.")] = 3_600


class GrantShown(BaseModel):
    """One grant: `amount` = `free` + `held` + `applied` + `lapsed`."""

    grant_id: str
    currency: str
    amount: NonNegativeDecimal
    kind: str
    priority: int
    project_ids: list[str]
    effective_from: Moment
    expires_at: Moment | None
    reference: str
    granted_at: Moment
    free: ExactDecimal
    held: ExactDecimal
    applied: ExactDecimal
    lapsed: ExactDecimal


class HoldShown(BaseModel):
    """The newest hold: what uninvoiced usage costs up to `covers_until`, and how much of it nothing covers."""

    as_of: Moment
    covers_until: Moment
    expires_at: Moment
    burn_per_hour: ExactDecimal
    uncovered: ExactDecimal


class CreditShown(BaseModel):
    """A tenant's credit as it stood at `as_of`, grants in the order they were given."""

    tenant_id: str
    currency: Currency
    as_of: Moment
    free: ExactDecimal
    held: ExactDecimal
    hold: HoldShown | None
    grants: list[GrantShown]


class MoveShown(BaseModel):
    """One movement: what the grant's free rest and what is held of it gained."""

    position: int
    grant_id: str
    kind: str
    free: ExactDecimal
    held: ExactDecimal
    project_id: str | None
    document_id: str | None
    moved_at: Moment


class MovesPage(BaseModel):
    """Movements of credit, newest first."""

    items: list[MoveShown]
    next_cursor: str | None


class LevelShown(BaseModel):
    """Where one scope stands."""

    scope_id: str
    project_id: str | None
    level: str
    cause: str
    runway_s: int | None
    grace_until: Moment | None
    detail: str | None
    changed_at: Moment


class LevelsShown(BaseModel):
    """Every scope of a tenant that was ever not open."""

    tenant_id: str
    items: list[LevelShown]


class BudgetShown(BaseModel):
    """One budget and how far it is this month."""

    budget_id: str
    project_id: str | None
    label_name: str | None
    label_value: str | None
    currency: str
    amount: NonNegativeDecimal
    thresholds: list[ThresholdOrder]
    action: str
    month: str
    spent: ExactDecimal
    per_hour: ExactDecimal


class BudgetsShown(BaseModel):
    """The budgets of a tenant that count."""

    items: list[BudgetShown]


class CrossingShown(BaseModel):
    """One threshold that was reached."""

    budget_id: str
    month: str
    percent: int
    of: str
    currency: str
    amount: NonNegativeDecimal
    spent: ExactDecimal
    forecast: ExactDecimal
    crossed_at: Moment
    position: int


class CrossingsPage(BaseModel):
    """Thresholds that were reached, newest first."""

    items: list[CrossingShown]
    next_cursor: str | None


def credit_routes(routes: APIRouter, desk: Desk) -> None:
    """Give credit and take it back."""
    views, db = desk.views, desk.database
    seen = [Depends(fresh(views.wallets))]

    @routes.post(
        "/v1/tenants/{tenant_id}/credits",
        status_code=201,
        dependencies=[Depends(fresh(views.tenants))],
        summary="Grant prepaid credit.",
    )
    async def grant_credit(
        tenant_id: str, body: GrantOrder, caller: Annotated[Caller, Depends(permit("billing.credit.grant"))]
    ) -> Accepted:
        grant_id = body.grant_id or f"grant-{caller.derived_id('grant')}"
        order = GrantCredit(
            grant_id=grant_id,
            tenant_id=tenant_id,
            currency=await desk.open_currency_of(tenant_id),
            amount=body.amount,
            kind=body.kind,
            priority=body.priority,
            project_ids=tuple(sorted(set(body.project_ids))),
            effective_from=body.effective_from or desk.clock.now(),
            expires_at=body.expires_at,
            reference=body.reference,
        )
        return caller.accepted(
            await desk.commands.execute(WALLETS, tenant_id, tenant_id, order, caller.cause()), grant_id
        )

    @routes.post(
        "/v1/tenants/{tenant_id}/credits/{grant_id}/void",
        dependencies=seen,
        summary="Take back what is left of a grant; what is held or applied stays.",
    )
    async def void_grant(
        tenant_id: str,
        grant_id: str,
        body: VoidOrder,
        caller: Annotated[Caller, Depends(permit("billing.credit.void", relief=True))],
    ) -> Accepted:
        if grant_id not in {row["grant_id"] for row in await views.wallets.grants_of(db, tenant_id, None)}:
            raise NotFound(f"{tenant_id} has no grant {grant_id}; see the list of its credit")
        order = VoidGrant(tenant_id, grant_id, body.reason)
        return caller.accepted(
            await desk.commands.execute(WALLETS, tenant_id, tenant_id, order, caller.cause()), grant_id
        )


def balance_routes(routes: APIRouter, desk: Desk) -> None:
    """What there is of credit, and how it came to be so."""
    views, db = desk.views, desk.database
    seen = [Depends(fresh(views.wallets))]

    @routes.get(
        "/v1/tenants/{tenant_id}/credits",
        dependencies=[*seen, Depends(fresh(views.tenants))],
        summary="A tenant's prepaid credit, now or as it was.",
    )
    async def credit(
        tenant_id: str,
        caller: Annotated[Caller, Depends(permit("billing.credit.read"))],
        at: Annotated[AwareDatetime | None, Query(description="As it stood then; absent: now.")] = None,
    ) -> CreditShown:
        grants = await views.wallets.grants_of(db, tenant_id, at)
        hold = await views.wallets.hold_of(db, tenant_id)
        return CreditShown(
            tenant_id=tenant_id,
            currency=await desk.currency_of(tenant_id),
            as_of=at or desk.clock.now(),
            free=sum((row["free"] for row in grants), NOTHING),
            held=sum((row["held"] for row in grants), NOTHING),
            hold=HoldShown.model_validate(dict(hold)) if hold is not None and at is None else None,
            grants=shown(GrantShown, grants),
        )

    @routes.get(
        "/v1/tenants/{tenant_id}/credit-movements", dependencies=seen, summary="Every movement of a tenant's credit."
    )
    async def movements(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.credit.read"))], asked: Asked
    ) -> MovesPage:
        rows = await views.wallets.moves_of(db, tenant_id, asked.key(int), asked.limit + 1)
        positions = sorted({row["position"] for row in rows}, reverse=True)
        page = asked.page([{"position": position} for position in positions], ["position"])
        kept = {item["position"] for item in page.items}
        items = shown(MoveShown, [row for row in rows if row["position"] in kept])
        return MovesPage(items=items, next_cursor=page.next_cursor)


def spending_routes(routes: APIRouter, desk: Desk) -> None:
    """Levels of the ladder, and an operator's own word."""
    views, db = desk.views, desk.database

    @routes.get(
        "/v1/tenants/{tenant_id}/spending",
        dependencies=[Depends(fresh(views.budgets))],
        summary="How much more may be spent: the level of every scope.",
    )
    async def spending(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.spending.read"))]
    ) -> LevelsShown:
        items = shown(LevelShown, await views.budgets.levels_of(db, tenant_id))
        return LevelsShown(tenant_id=tenant_id, items=items)

    @routes.post(
        "/v1/tenants/{tenant_id}/spending",
        dependencies=[Depends(fresh(views.tenants))],
        summary="Block a tenant's spending, stop it, or open it again, by an operator's word.",
    )
    async def order_level(
        tenant_id: str,
        body: LevelOrder,
        caller: Annotated[Caller, Depends(permit("billing.spending.order", relief=True))],
    ) -> Accepted:
        await desk.currency_of(tenant_id)
        ends: datetime | None = None
        if body.level == "stopping":
            ends = desk.clock.now() + timedelta(seconds=body.grace_s)
        order = SetLevel(OPERATORS_SCOPE, tenant_id, None, body.level, "operator", body.detail, grace_until=ends)
        done = await desk.commands.execute(SPENDINGS, tenant_id, OPERATORS_SCOPE, order, caller.cause())
        return caller.accepted(done, OPERATORS_SCOPE)


def budget_routes(routes: APIRouter, desk: Desk) -> None:
    """Budgets and their crossings."""
    views, db = desk.views, desk.database
    seen = [Depends(fresh(views.budgets))]

    @routes.post(
        "/v1/tenants/{tenant_id}/budgets",
        status_code=201,
        dependencies=[Depends(fresh(views.tenants))],
        summary="Set a budget, or another in its place.",
    )
    async def set_budget(
        tenant_id: str, body: BudgetOrder, caller: Annotated[Caller, Depends(permit("billing.budget.set"))]
    ) -> Accepted:
        named, valued = body.label_name, body.label_value
        order = SetBudget(
            budget_id=body.budget_id,
            tenant_id=tenant_id,
            project_id=body.project_id,
            label=(named, valued) if named is not None and valued is not None else None,
            currency=await desk.open_currency_of(tenant_id),
            amount=body.amount,
            thresholds=tuple((each.percent, each.of) for each in body.thresholds),
            action=body.action,
        )
        done = await desk.commands.execute(BUDGETS, tenant_id, body.budget_id, order, caller.cause())
        return caller.accepted(done, body.budget_id)

    @routes.post(
        "/v1/tenants/{tenant_id}/budgets/{budget_id}/withdraw", dependencies=seen, summary="A budget counts no more."
    )
    async def withdraw_budget(
        tenant_id: str,
        budget_id: str,
        body: VoidOrder,
        caller: Annotated[Caller, Depends(permit("billing.budget.withdraw", relief=True))],
    ) -> Accepted:
        if budget_id not in {row["budget_id"] for row in await views.budgets.of_tenant(db, tenant_id)}:
            raise NotFound(f"{tenant_id} has no budget {budget_id}; see the list of its budgets")
        order = WithdrawBudget(budget_id, tenant_id, body.reason)
        done = await desk.commands.execute(BUDGETS, tenant_id, budget_id, order, caller.cause())
        return caller.accepted(done, budget_id)

    @routes.get("/v1/tenants/{tenant_id}/budgets", dependencies=seen, summary="Budgets, and how far they are.")
    async def budgets(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.budget.read"))]
    ) -> BudgetsShown:
        now = desk.clock.now()
        month, bounds = month_of(now)
        items: list[BudgetShown] = []
        for row in await views.budgets.of_tenant(db, tenant_id):
            spent, per_hour = await desk.charges.spent(tenant_id, row, bounds, now)
            items.append(_budget(dict(row), month, spent, per_hour))
        return BudgetsShown(items=items)

    @routes.get(
        "/v1/tenants/{tenant_id}/budget-crossings",
        dependencies=seen,
        summary="Thresholds of budgets that were reached.",
    )
    async def crossings(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.budget.read"))], asked: Asked
    ) -> CrossingsPage:
        rows, cursor = page_of(asked, await views.budgets.crossings_of(db, tenant_id, asked.key(int), asked.limit + 1))
        return CrossingsPage(items=shown(CrossingShown, rows), next_cursor=cursor)


def _budget(row: dict[str, Any], month: str, spent: Decimal, per_hour: Decimal) -> BudgetShown:
    return BudgetShown.model_validate(row | {"month": month, "spent": spent, "per_hour": per_hour})
