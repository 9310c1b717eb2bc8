"""A past period under other prices, on what was really used. One law: it answers and writes nothing.

A billed period is compared with its invoices, on exactly the usage records they hold; any other with the list prices
in force, on everything metered so far. Only list prices are other ones: contracts and campaigns hold on both sides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gpuaas.billing.domain.metering import Interval
from gpuaas.billing.domain.price_book import PriceBook
from gpuaas.billing.domain.rating import Line, Usage, rate
from gpuaas.billing.domain.re_rating import Difference, Part, differences
from gpuaas.billing.domain.tariff import Tariff
from gpuaas.billing.projections.charges import RECORDS_MAX
from gpuaas.billing.projections.metered_usage import Pinned
from gpuaas.billing.projections.price_agreements import Agreements
from gpuaas.billing.projections.views import Views
from gpuaas.common.errors import Rejected
from gpuaas.common.projections import Database

Against = Literal["invoices", "list-prices"]
_END: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A period, the other book, and how the question is answered."""

    period_start: datetime
    period_end: datetime
    book: PriceBook
    against: Against
    pinned: Pinned


@dataclass(frozen=True, slots=True)
class ReRated:
    """One tenant's differences."""

    tenant_id: str
    lines: tuple[Difference, ...]


class ReRatingQuestions:
    """Answers from the read models of one service."""

    def __init__(self, database: Database, views: Views) -> None:
        self._database = database
        self._views = views

    async def asked(self, period_start: datetime, period_end: datetime, book: PriceBook) -> Asked:
        """What the question is about.

        Raises:
            Invalid: the period has no length.
            Rejected: a run is writing invoices.
        """
        period = Interval.between(period_start, period_end)
        if await self._views.runs.is_running(self._database):
            raise Rejected("a billing run is writing invoices; ask again when it is done")
        billed = await self._views.runs.billed_periods(self._database)
        upto = next((each.upto for each in billed if each.period == period), None)
        pinned = Pinned(period, 0, _END if upto is None else upto)
        return Asked(period_start, period_end, book, "list-prices" if upto is None else "invoices", pinned)

    async def tenants(self, asked: Asked, after: str | None) -> dict[str, int]:
        """Tenants behind `after` that pay in the book's currency and used something, and how many records each has."""
        found = await self._views.usage.tenants_of(self._database, asked.pinned)
        currencies = await self._views.tenants.currencies_of(self._database, list(found))
        return {
            tenant_id: records
            for tenant_id, records in found.items()
            if currencies.get(tenant_id) == asked.book.currency and (after is None or tenant_id > after)
        }

    async def of(self, asked: Asked, tenant_id: str) -> ReRated:
        """A tenant's differences.

        Raises:
            Rejected: the other book (or the list) has no price for something used, or it is more than one answer holds.
        """
        found = await self._views.usage.usage_of(self._database, [tenant_id], asked.pinned)
        usages = found.get(tenant_id, [])
        if len(usages) > RECORDS_MAX:
            raise Rejected(
                f"{tenant_id} has more than {RECORDS_MAX:,} usage records in the period; ask for a shorter one"
            )
        agreed = await self._views.agreements.agreements(self._database, tenant_id=tenant_id, upto=asked.pinned.upto)
        tariff = agreed.tariff(asked.book, tenant_id)
        after = await asyncio.to_thread(_rated, usages, tariff, asked.pinned.period, "the other prices")
        before = await self._before(asked, agreed, tenant_id, usages)
        return ReRated(tenant_id, differences(before, after, asked.book.currency))

    async def _before(self, asked: Asked, agreed: Agreements, tenant_id: str, usages: Sequence[Usage]) -> list[Part]:
        if asked.against == "list-prices":
            book = (await self._views.prices.books(self._database)).get(asked.book.currency)
            if book is None:
                raise Rejected(
                    f"there are no prices in {asked.book.currency} to compare with; publish a price book in it"
                )
            tariff = agreed.tariff(book, tenant_id)
            return await asyncio.to_thread(_rated, usages, tariff, asked.pinned.period, "the list prices")
        return await self._invoiced(asked, tenant_id)

    async def _invoiced(self, asked: Asked, tenant_id: str) -> list[Part]:
        """What stands for the period: its lines, corrections among them, less what corrections gave back."""
        views, db = self._views, self._database
        lines = await views.invoices.lines_of_period(db, tenant_id, asked.period_start, asked.period_end)
        given = await views.settled.corrected_of(db, tenant_id, sorted({line["invoice_id"] for line in lines}))
        return [
            (
                line["project_id"],
                line["gpu_model"],
                int(line["quantity_us"]),
                line["amount"] - given.get((line["invoice_id"], line["line_id"]), line["amount"] * 0),
            )
            for line in lines
        ]


def _rated(usages: Sequence[Usage], tariff: Tariff, period: Interval, which: str) -> list[Part]:
    try:
        lines: Iterable[Line] = rate(usages, tariff, period)
    except Rejected as unpriced:
        raise Rejected(f"{which} do not cover what was used: {unpriced.detail}") from unpriced
    return [(line.project_id, line.gpu_model, line.gpu_us, line.amount) for line in lines]
