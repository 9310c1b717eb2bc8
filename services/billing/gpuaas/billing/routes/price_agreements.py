"""Contracts and campaigns at the door. One law: who sells makes them, and a tenant sees what it pays by."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from gpuaas.billing.desk import Asked, Desk, page_of
from gpuaas.billing.domain.agreement import (
    AGREEMENT,
    EVERYBODY,
    RULES_MAX,
    Agreement,
    AgreementCommand,
    EndAgreement,
    MakeAgreement,
    Rule,
)
from gpuaas.billing.reactions import SERVICE
from gpuaas.billing.shapes import Currency, Label, shown
from gpuaas.common.commands import Entity
from gpuaas.common.errors import NotFound
from gpuaas.common.events import Vocabulary
from gpuaas.common.http import Accepted, Body, Caller, fresh, permit
from gpuaas.common.wire import Moment, NonNegativeDecimal
from gpuaas.contracts.billing import PriceAgreementEnded, PriceAgreementMade
from pydantic import AwareDatetime, BaseModel, Field

AGREEMENTS: Final[Entity[Agreement | None, AgreementCommand]] = Entity(
    SERVICE, "price-agreement", AGREEMENT, Vocabulary(PriceAgreementMade, PriceAgreementEnded)
)
Labels = Annotated[list[Label], Field(max_length=100)]
Reason = Annotated[str, Field(min_length=1, max_length=200)]
Precedence = Annotated[int, Field(ge=0, le=1_000, description="Of several of a kind, the highest holds.")]
LabelName = Annotated[str, Field(min_length=1, max_length=63, examples=["team"])]


class RuleOrder(Body):
    """A price of one GPU-hour or a percentage off, and what it is for; what is left out is all."""

    gpu_models: Labels = Field(default_factory=list)
    project_ids: Labels = Field(default_factory=list)
    label_name: LabelName | None = None
    label_value: Annotated[str, Field(max_length=256)] | None = Field(None, description="Absent: any.")
    amount: NonNegativeDecimal | None = None
    percent_off: NonNegativeDecimal | None = Field(
        None, description="0 to 100, with one digit behind the point.", examples=["12.5"]
    )


class CampaignOrder(Body):
    """Lower prices for a time."""

    agreement_id: Label | None = Field(None, description="Made by the service when left out.")
    effective_from: AwareDatetime = Field(description="First instant it is for; not in time that is billed.")
    effective_until: AwareDatetime | None = Field(None, description="Absent: until it is ended.")
    precedence: Precedence = 0
    calculated_on: Literal["list", "contract"] = Field("contract", description="What a percentage is taken of.")
    rules: Annotated[list[RuleOrder], Field(min_length=1, max_length=RULES_MAX, description="First that fits.")]
    reason: Reason = Field(description="Name or number; it stands on the line.", examples=["Contract 4711"])


class AgreementOrder(CampaignOrder):
    """A tenant's contract, or a campaign for this tenant only."""

    kind: Literal["contract", "campaign"] = "contract"


class CurrencyCampaignOrder(CampaignOrder):
    """A campaign for every tenant that pays in a currency."""

    currency: Currency


class AgreementEnd(Body):
    """The end of an agreement."""

    ends_at: AwareDatetime | None = Field(None, description="Absent: now.")
    reason: Reason


class RuleShown(BaseModel):
    """A price or a percentage off, and what it is for."""

    gpu_models: list[str] | None = None
    project_ids: list[str] | None = None
    label_name: str | None = None
    label_value: str | None = None
    amount: NonNegativeDecimal | None = None
    percent_off: NonNegativeDecimal | None = None


class AgreementShown(BaseModel):
    """A contract or campaign; `tenant_id` platform: a campaign for all.

    Attributes:
        effective_until: as it was made.
        ends_at: where it was ended before that.
    """

    agreement_id: str
    tenant_id: str
    kind: Literal["contract", "campaign"]
    currency: str
    effective_from: Moment
    effective_until: Moment | None
    precedence: int
    calculated_on: Literal["list", "contract"] | None
    rules: list[RuleShown]
    reason: str
    ends_at: Moment | None
    end_reason: str | None
    position: int


class AgreementsPage(BaseModel):
    """Agreements in the order they were made."""

    items: list[AgreementShown]
    next_cursor: str | None


def agreement_routes(routes: APIRouter, desk: Desk) -> None:
    """With one tenant."""
    views, db = desk.views, desk.database
    home = "/v1/tenants/{tenant_id}/price-agreements"

    @routes.post(
        home,
        status_code=201,
        dependencies=[Depends(fresh(views.runs)), Depends(fresh(views.tenants))],
        summary="Agree on a tenant's prices: its contract, or a campaign for it.",
    )
    async def make_agreement(
        tenant_id: str, body: AgreementOrder, caller: Annotated[Caller, Depends(permit("billing.price-agreement.make"))]
    ) -> Accepted:
        return await _make(desk, caller, tenant_id, body, (body.kind, await desk.open_currency_of(tenant_id)))

    @routes.get(
        home, dependencies=[Depends(fresh(views.agreements))], summary="What a tenant pays by, and campaigns for all."
    )
    async def agreements(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.price-agreement.read"))], asked: Asked
    ) -> AgreementsPage:
        found = await views.agreements.of_tenant(db, tenant_id, asked.key(int) or 0, asked.limit + 1, everybodys=True)
        rows, cursor = page_of(asked, found)
        return AgreementsPage(items=shown(AgreementShown, rows), next_cursor=cursor)

    @routes.post(
        home + "/{agreement_id}/end",
        status_code=201,
        dependencies=[Depends(fresh(views.runs))],
        summary="End an agreement before its time.",
    )
    async def end_agreement(
        tenant_id: str,
        agreement_id: str,
        body: AgreementEnd,
        caller: Annotated[Caller, Depends(permit("billing.price-agreement.end"))],
    ) -> Accepted:
        return await _end(desk, caller, tenant_id, agreement_id, body)


def campaign_routes(routes: APIRouter, desk: Desk) -> None:
    """For every tenant."""
    views, db = desk.views, desk.database

    @routes.post(
        "/v1/price-campaigns",
        status_code=201,
        dependencies=[Depends(fresh(views.runs))],
        summary="Lower prices for every tenant that pays in a currency.",
    )
    async def make_campaign(
        body: CurrencyCampaignOrder, caller: Annotated[Caller, Depends(permit("billing.price-campaign.make"))]
    ) -> Accepted:
        return await _make(desk, caller, EVERYBODY, body, ("campaign", body.currency))

    @routes.get("/v1/price-campaigns", dependencies=[Depends(fresh(views.agreements))], summary="Campaigns for all.")
    async def campaigns(
        caller: Annotated[Caller, Depends(permit("billing.price-campaign.read"))], asked: Asked
    ) -> AgreementsPage:
        found = await views.agreements.of_tenant(db, EVERYBODY, asked.key(int) or 0, asked.limit + 1, everybodys=True)
        rows, cursor = page_of(asked, found)
        return AgreementsPage(items=shown(AgreementShown, rows), next_cursor=cursor)

    @routes.post(
        "/v1/price-campaigns/{agreement_id}/end",
        status_code=201,
        dependencies=[Depends(fresh(views.runs))],
        summary="End a campaign before its time.",
    )
    async def end_campaign(
        agreement_id: str, body: AgreementEnd, caller: Annotated[Caller, Depends(permit("billing.price-campaign.end"))]
    ) -> Accepted:
        return await _end(desk, caller, EVERYBODY, agreement_id, body)


async def _make(desk: Desk, caller: Caller, tenant_id: str, body: CampaignOrder, kind: tuple[Any, str]) -> Accepted:
    """`kind`: of which kind, and in which currency."""
    agreement = Agreement(
        agreement_id=body.agreement_id or f"pa-{caller.derived_id('agreement')}",
        tenant_id=tenant_id,
        kind=kind[0],
        currency=kind[1],
        effective_from=body.effective_from,
        effective_until=body.effective_until,
        precedence=body.precedence,
        rules=tuple(_rule(rule) for rule in body.rules),
        reason=body.reason,
        calculated_on=body.calculated_on,
    )
    order = MakeAgreement(agreement, await desk.views.runs.billed_until(desk.database))
    done = await desk.commands.execute(AGREEMENTS, tenant_id, agreement.agreement_id, order, caller.cause())
    return caller.accepted(done, agreement.agreement_id)


async def _end(desk: Desk, caller: Caller, tenant_id: str, agreement_id: str, body: AgreementEnd) -> Accepted:
    stands, _ = await desk.commands.state(AGREEMENTS, tenant_id, agreement_id)
    if stands is None:
        raise NotFound(f"there is no agreement {agreement_id}; see the list of them")
    billed_until = await desk.views.runs.billed_until(desk.database)
    order = EndAgreement(body.ends_at or desk.clock.now(), body.reason, billed_until)
    done = await desk.commands.execute(AGREEMENTS, tenant_id, agreement_id, order, caller.cause())
    return caller.accepted(done, agreement_id)


def _rule(told: RuleOrder) -> Rule:
    return Rule(
        gpu_models=frozenset(told.gpu_models),
        project_ids=frozenset(told.project_ids),
        label_name=told.label_name,
        label_value=told.label_value,
        amount=told.amount,
        percent_off=told.percent_off,
    )
