"""What the routes of billing work with. One law: it holds, it looks up, and it decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from gpuaas.billing.ports import Standing
from gpuaas.billing.projections.charges import ChargesQuestions
from gpuaas.billing.projections.views import Views
from gpuaas.common.clock import Clock, rfc3339
from gpuaas.common.commands import Commands
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.http import Paging, paging
from gpuaas.common.log import EventLog
from gpuaas.common.projections import Database, Record

Asked = Annotated[Paging, Depends(paging)]


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything a route may reach for."""

    commands: Commands
    log: EventLog
    clock: Clock
    database: Database
    views: Views
    standing: Standing

    @property
    def charges(self) -> ChargesQuestions:
        return ChargesQuestions(self.database, self.views)

    async def currency_of(self, tenant_id: str) -> str:
        """In which currency a tenant pays.

        Raises:
            NotFound: no such tenant.
        """
        found = await self.views.tenants.currencies_of(self.database, [tenant_id])
        if tenant_id not in found:
            raise NotFound(f"billing knows no tenant {tenant_id}")
        return found[tenant_id]

    async def open_currency_of(self, tenant_id: str) -> str:
        """In which currency a tenant pays to whose books something new may be added.

        Raises:
            NotFound: no such tenant.
            Rejected: it is closed.
        """
        row = await self.views.tenants.one(self.database, tenant_id)
        if row is None:
            raise NotFound(f"billing knows no tenant {tenant_id}")
        if row["closed_at"] is not None:
            raise Rejected(
                f"{tenant_id} was closed at {rfc3339(row['closed_at'])}; what it used is still billed, and its books "
                "take no new credit, budget or agreement"
            )
        currency: str = row["currency"]
        return currency


def page_of(asked: Paging, found: Sequence[Mapping[str, Any] | Record]) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of the page out of up to `limit + 1`, and the cursor of the next."""
    page = asked.page([dict(row) for row in found], ["position"])
    return page.items, page.next_cursor
