"""What is left to do until a tenant's books are closed. One law: it tells what stands, and closes nothing by itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends
from gpuaas.billing.desk import Desk
from gpuaas.billing.domain.ledger import receivable_of
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Caller, fresh, permit
from gpuaas.common.wire import ExactDecimal, Moment
from pydantic import BaseModel


class ClosingShown(BaseModel):
    """A tenant's books on the way to their end.

    Attributes:
        closed_at: when the tenant was closed; None: it is open.
        running: what is held right now and not metered, counted up to `as_of`.
        unbilled: metered, and on no invoice.
        owed: by invoices and bookings, after notes, payments and prepaid credit.
        credit_left: prepaid credit that nothing holds.
        last_invoice: the number of the newest one.
        done: the tenant is closed, and nothing of this is left.
        left_to_do: what is, as sentences.
    """

    tenant_id: str
    currency: str
    as_of: Moment
    closed_at: Moment | None
    running: ExactDecimal
    unbilled: ExactDecimal
    owed: ExactDecimal
    credit_left: ExactDecimal
    last_invoice: str | None
    done: bool
    left_to_do: list[str]


def closing_routes(routes: APIRouter, desk: Desk) -> None:
    """The one question."""
    views, db = desk.views, desk.database
    asked = (views.tenants, views.usage, views.held, views.runs, views.invoices, views.ledger, views.wallets)

    @routes.get(
        "/v1/tenants/{tenant_id}/closing",
        dependencies=[Depends(fresh(view)) for view in asked],
        summary="What is left to do until a tenant's books are closed.",
    )
    async def closing(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.closing.read"))]
    ) -> ClosingShown:
        tenant = await views.tenants.one(db, tenant_id)
        if tenant is None:
            raise NotFound(f"billing knows no tenant {tenant_id}")
        now = desk.clock.now()
        _, unbilled = await desk.charges.unbilled(tenant_id)
        _, running = await desk.charges.running(tenant_id, now)
        balances = await views.ledger.balances_of(db, tenant_id)
        nothing = unbilled.total * 0
        account = receivable_of(tenant_id)
        owed = sum((row["balance"] for row in balances if row["account"] == account), nothing)
        credit = sum((grant["free"] for grant in await views.wallets.grants_of(db, tenant_id, None)), nothing)
        invoices = await views.invoices.of_tenant(db, tenant_id, None, 1)
        left = _left(tenant["currency"], running.total if running.lines else None, unbilled.total, (owed, credit))
        if unbilled.lines and not unbilled.total:
            left.append("usage that rounds to nothing is on no invoice: bill its period too")
        return ClosingShown(
            tenant_id=tenant_id,
            currency=tenant["currency"],
            as_of=now,
            closed_at=tenant["closed_at"],
            running=running.total,
            unbilled=unbilled.total,
            owed=owed,
            credit_left=credit,
            last_invoice=invoices[0]["number"] if invoices else None,
            done=tenant["closed_at"] is not None and not left,
            left_to_do=left,
        )


def _left(currency: str, running: Decimal | None, unbilled: Decimal, rest: tuple[Decimal, Decimal]) -> list[str]:
    """`running`: what it has come to; None: nothing runs. `rest`: what is owed, and credit that is left."""
    owed, credit = rest
    found = []
    if running is not None:
        found.append(f"something still runs, for {running:f} {currency} so far: release it")
    if unbilled:
        found.append(f"{unbilled:f} {currency} are metered and on no invoice: bill the period")
    if owed:
        found.append(f"{owed:f} {currency} are owed: record the payment, or credit them")
    if credit:
        found.append(f"{credit:f} {currency} of prepaid credit are left: pay them out and void the grants")
    return found
