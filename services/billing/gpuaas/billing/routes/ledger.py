"""Ledgers at the door: now, as they were, and as a journal for others. One law: what is shown sums to zero."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from gpuaas.billing.desk import Asked, Desk, page_of
from gpuaas.billing.documents import journal
from gpuaas.billing.projections.ledger_history import (
    Stretch,
    accounts_of,
    balances_as_of,
    balances_before,
    newest_position,
    transfers_of,
)
from gpuaas.billing.shapes import (
    BalanceShown,
    BalancesShown,
    TransferShown,
    TransfersPage,
    TrialBalanceShown,
    TrialBalancesShown,
    shown,
)
from gpuaas.common.errors import Invalid
from gpuaas.common.http import Caller, fresh, permit
from pydantic import AwareDatetime

Since = Annotated[AwareDatetime | None, Query(description="First instant; what was before is brought forward.")]
Until = Annotated[AwareDatetime | None, Query(description="First instant behind it; absent: up to now.")]
_STREAMED: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def ledger_routes(routes: APIRouter, desk: Desk) -> None:
    """Balances, transfers, and the trial balance."""
    views, db = desk.views, desk.database
    seen = [Depends(fresh(views.ledger))]

    @routes.get(
        "/v1/tenants/{tenant_id}/ledger/balances", dependencies=seen, summary="Every account of a tenant's ledger."
    )
    async def balances(
        tenant_id: str,
        caller: Annotated[Caller, Depends(permit("billing.ledger.read"))],
        at: Annotated[AwareDatetime | None, Query(description="As it stood at this moment.")] = None,
    ) -> BalancesShown:
        if at is None:
            found = await views.ledger.balances_of(db, tenant_id)
        else:
            found = await balances_as_of(db, tenant_id, at, await newest_position(db))
        return BalancesShown(tenant_id=tenant_id, items=shown(BalanceShown, found))

    @routes.get(
        "/v1/tenants/{tenant_id}/ledger/transfers", dependencies=seen, summary="A tenant's transfers, newest first."
    )
    async def transfers(
        tenant_id: str, caller: Annotated[Caller, Depends(permit("billing.ledger.read"))], asked: Asked
    ) -> TransfersPage:
        found = await views.ledger.transfers_of(db, tenant_id, asked.key(int), asked.limit + 1)
        rows, cursor = page_of(asked, found)
        return TransfersPage(items=shown(TransferShown, rows), next_cursor=cursor)

    @routes.get("/v1/trial-balance", dependencies=seen, summary="All ledgers together, by currency: zero.")
    async def trial_balance(
        caller: Annotated[Caller, Depends(permit("billing.trial-balance.read"))],
    ) -> TrialBalancesShown:
        items = shown(TrialBalanceShown, await views.ledger.trial_balance(db))
        return TrialBalancesShown(balanced=all(item.difference == 0 for item in items), items=items)


def journal_routes(routes: APIRouter, desk: Desk) -> None:
    """The journal, of one tenant or of all."""
    seen = [Depends(fresh(desk.views.ledger))]

    async def written(tenant_id: str | None, since: datetime | None, until: datetime | None) -> StreamingResponse:
        if since is not None and until is not None and until <= since:
            raise Invalid("a journal ends behind its beginning: `until` must be later than `since`")
        stretch = Stretch(tenant_id, await newest_position(desk.database), since, until)
        name = f'attachment; filename="{tenant_id or "platform"}.beancount"'
        given = {"Content-Disposition": name}
        return StreamingResponse(_journal(desk, stretch), media_type=journal.MEDIA_TYPE, headers=given)

    @routes.get(
        "/v1/tenants/{tenant_id}/ledger/journal",
        dependencies=seen,
        response_class=StreamingResponse,
        responses=_STREAMED,
        summary="A tenant's ledger as a beancount journal, streamed.",
    )
    async def tenant_journal(
        tenant_id: str,
        caller: Annotated[Caller, Depends(permit("billing.ledger.read"))],
        since: Since = None,
        until: Until = None,
    ) -> StreamingResponse:
        return await written(tenant_id, since, until)

    @routes.get(
        "/v1/ledger/journal",
        dependencies=seen,
        response_class=StreamingResponse,
        responses=_STREAMED,
        summary="All ledgers as one beancount journal, streamed.",
    )
    async def whole_journal(
        caller: Annotated[Caller, Depends(permit("billing.ledger.read"))], since: Since = None, until: Until = None
    ) -> StreamingResponse:
        return await written(None, since, until)


async def _journal(desk: Desk, stretch: Stretch) -> AsyncIterator[str]:
    db = desk.database
    first, ends = await accounts_of(db, stretch)
    yield journal.heading(f"Ledger of {stretch.tenant_id or 'all tenants'}", sorted({row["currency"] for row in ends}))
    if not ends:
        return
    begins = stretch.since or first or desk.clock.now()
    last = begins = begins.astimezone(UTC)
    yield journal.opened(begins.date(), [(row["currency"], row["account"]) for row in ends])
    yield journal.brought_forward(begins.date(), await balances_before(db, stretch))
    async for page in transfers_of(db, stretch):
        last = max(last, *(row["posted_at"] for row in page))
        yield "".join(map(journal.transaction, page))
    yield journal.asserted(last.date(), ends)
