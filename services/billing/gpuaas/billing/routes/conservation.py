"""Conservation at the door. One law: it compares what is there, and hides no difference."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from gpuaas.billing.desk import Desk
from gpuaas.billing.projections.conservation import ConservationQuestions
from gpuaas.common.http import Caller, fresh, permit
from gpuaas.common.wire import ExactDecimal
from pydantic import BaseModel


class DifferenceShown(BaseModel):
    """Two sums that should be equal.

    Attributes:
        check: lines-invoice (an invoice's lines, its total); invoice-receivable (its total, what it booked);
            balance-entries (an account, its entries); trial-balance (a currency over all accounts, zero);
            usage-product (a record's GPU-ms, GPUs × interval); sold-twice (two records of one allocation overlap:
            where the later begins and the earlier ends, in milliseconds since 1970).
    """

    check: Literal[
        "lines-invoice", "invoice-receivable", "balance-entries", "trial-balance", "usage-product", "sold-twice"
    ]
    tenant_id: str
    thing: str
    left: ExactDecimal
    right: ExactDecimal


class ConservationShown(BaseModel):
    """Whether everything billed is owed once and nothing is sold twice, over all tenants; up to 100 differences."""

    conserved: bool
    invoices: int
    usage_records: int
    transfers: int
    differences: list[DifferenceShown]


def conservation_routes(routes: APIRouter, desk: Desk) -> None:
    """The one question."""
    views = desk.views
    seen = [Depends(fresh(view)) for view in (views.invoices, views.settled, views.ledger, views.usage)]

    @routes.get(
        "/v1/conservation", dependencies=seen, summary="Lines, invoices, receivables, balances and usage compared."
    )
    async def conservation(
        caller: Annotated[Caller, Depends(permit("billing.conservation.read"))],
    ) -> ConservationShown:
        sums = await ConservationQuestions(desk.database).sums()
        return ConservationShown(
            conserved=not sums.differences,
            invoices=sums.invoices,
            usage_records=sums.usage_records,
            transfers=sums.transfers,
            differences=[DifferenceShown.model_validate(each, from_attributes=True) for each in sums.differences],
        )
