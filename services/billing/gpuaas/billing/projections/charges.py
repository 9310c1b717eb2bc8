"""What a tenant would owe if it were billed now, and what a run would meet. One law: a draft; only an invoice binds.

Questions over several read models. Quantities are exact; amounts are rounded line by line as on an invoice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from gpuaas.billing.domain.invoice import LINES_MAX
from gpuaas.billing.domain.metering import MS_PER_HOUR, Interval, instant_ms
from gpuaas.billing.domain.price_book import PriceBook
from gpuaas.billing.domain.rating import Line, LineKey, Usage, amount_of_sums, rate
from gpuaas.billing.domain.tariff import Labels, Tariff, Windows
from gpuaas.billing.domain.unbilled import unbilled_parts
from gpuaas.billing.projections.metered_usage import Demand, Pinned
from gpuaas.billing.projections.price_agreements import Agreements
from gpuaas.billing.projections.views import Views
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.money import minor_digits
from gpuaas.common.projections import Database, Record

RECORDS_MAX = 50_000
"""Usage records that are rated for one question."""


@dataclass(frozen=True, slots=True)
class Charges:
    """Lines of a draft, and their sum with the currency's minor digits."""

    lines: tuple[Line, ...]
    total: Decimal


class ChargesQuestions:
    """Answers from the read models of one service."""

    def __init__(self, database: Database, views: Views) -> None:
        self._database = database
        self._views = views

    async def tariff_of(self, tenant_id: str) -> Tariff:
        """What a tenant pays: the list prices of its currency, its contracts, and campaigns.

        Raises:
            NotFound: no such tenant.
            Rejected: nobody has published prices in its currency.
        """
        currency = (await self._views.tenants.currencies_of(self._database, [tenant_id])).get(tenant_id)
        if currency is None:
            raise NotFound(f"billing knows no tenant {tenant_id}")
        book = (await self._views.prices.books(self._database)).get(currency)
        if book is None:
            raise Rejected(f"there are no prices in {currency} yet; publish a price book in it")
        agreements = await self._views.agreements.agreements(self._database, tenant_id=tenant_id)
        return agreements.tariff(book, tenant_id)

    async def estimate(self, tenant_id: str, usage: Usage) -> tuple[PriceBook, Charges]:
        """What `usage` would cost at the prices published now."""
        tariff = await self.tariff_of(tenant_id)
        return tariff.book, _charges([usage], tariff)

    async def unbilled(self, tenant_id: str) -> tuple[PriceBook, Charges]:
        """What was metered and stands on no invoice.

        Raises:
            Rejected: more records than are rated for one question.
        """
        tariff = await self.tariff_of(tenant_id)
        billed = await self._views.runs.billed_periods(self._database)
        found = await self._views.usage.unbilled_of(self._database, tenant_id, billed, RECORDS_MAX + 1)
        _refuse_too_many(len(found), "unbilled usage records; start a billing run first")
        parts = [part for usage, position in found for part in unbilled_parts(usage, position, billed)]
        return tariff.book, await asyncio.to_thread(_charges, parts, tariff)

    async def running(self, tenant_id: str, now: datetime, since: datetime | None = None) -> tuple[PriceBook, Charges]:
        """What runs, as if it ended at `now` (and had not begun before `since`); raises as `unbilled`."""
        tariff = await self.tariff_of(tenant_id)
        since_ms = 0 if since is None else instant_ms(since)
        found = await self._views.held.held_by(self._database, tenant_id, instant_ms(now), RECORDS_MAX + 1, since_ms)
        _refuse_too_many(len(found), "running allocations; ask project by project")
        return tariff.book, await asyncio.to_thread(_charges, found, tariff)

    async def spent(self, tenant_id: str, scope: Record, period: Interval, now: datetime) -> tuple[Decimal, Decimal]:
        """What a scope (`project_id`, `label_name`, `label_value`; None: any) used in `period` until `now` costs, and
        what it spends in an hour as it runs now; raises as `unbilled`.

        Whole GPU-microseconds between price changes come from sums by the hour that are kept as usage is metered; only
        these are rated, which is exact, and no record is read unless a price changes within its first or last hour.
        """
        tariff = await self.tariff_of(tenant_id)
        now_ms = instant_ms(now)
        held = await self._views.held.held_by(self._database, tenant_id, now_ms, RECORDS_MAX + 1)
        _refuse_too_many(len(held), "running allocations; budget project by project")
        label = None if scope["label_name"] is None else (scope["label_name"], scope["label_value"])
        if label is not None:
            carrying = await self._views.labels.carrying(self._database, tenant_id, *label)
            held = [usage for usage in held if usage.usage_id in carrying]
        running = [usage for usage in held if scope["project_id"] in (None, usage.project_id)]
        windows = tariff.windows(period)
        spent = _Spent(windows)
        moments = sorted({at for window in windows.all for at in (window.part.start_ms, window.part.end_ms)})
        place = {at: number for number, at in enumerate(moments)}
        metered = (
            await self._views.usage.used_between(self._database, tenant_id, moments, scope["project_id"], label)
            if moments
            else {}
        )
        for at, window in enumerate(windows.all):
            for (project_id, gpu_model, labels), used in metered.items():
                if gpu_us := used[place[window.part.start_ms]]:
                    spent.add(at, project_id, gpu_model, labels, gpu_us)
            for usage in running:
                if (inside := usage.interval.within(window.part)) is not None:
                    gpu_us = inside.length_ms * usage.gpu_count * usage.share_milli
                    spent.add(at, usage.project_id, usage.gpu_model, usage.labels, gpu_us)
        hour = [replace(usage, interval=Interval(now_ms, now_ms + MS_PER_HOUR)) for usage in running]
        return amount_of_sums(spent.sums, spent.prices, tariff.book.currency), _charges(hour, tariff).total

    async def refuse_unbillable(self, pinned: Pinned, books: dict[str, PriceBook], agreements: Agreements) -> None:
        """Return if everything to bill has a tenant, a currency, a price and room on an invoice.

        Raises:
            Rejected: something has not; says what to do. A run that began anyway would stop half-way.
        """
        demand = await self._views.usage.demand(self._database, pinned)
        tenant_ids = sorted({each.tenant_id for each in demand})
        currencies = await self._views.tenants.currencies_of(self._database, tenant_ids)
        for tenant_id in tenant_ids:
            own = [each for each in demand if each.tenant_id == tenant_id]
            currency = currencies.get(tenant_id)
            if currency is None:
                raise Rejected(f"{tenant_id} has usage but iam has not created such a tenant; it cannot be billed")
            if (book := books.get(currency)) is None:
                raise Rejected(f"{tenant_id} pays in {currency}, which has no price book; publish one")
            tariff = agreements.tariff(book, tenant_id)
            windows = len(tariff.windows(pinned.period).all)
            fits = sum(each.projects for each in own) * windows <= LINES_MAX
            if not fits or not all(_priced_throughout(each, book) for each in own):
                # Perhaps only because nothing was used in the gap, or cuts fall on the same line: the rating says.
                usage = await self._views.usage.usage_of(self._database, [tenant_id], pinned)
                lines = await asyncio.to_thread(rate, usage[tenant_id], tariff, pinned.period)
                if len(lines) > LINES_MAX:
                    raise Rejected(f"the invoice of {tenant_id} would pass {LINES_MAX} lines; bill shorter periods")


@dataclass(slots=True)
class _Spent:
    """Quantities by line, with the price of each."""

    windows: Windows
    sums: Counter[LineKey] = field(default_factory=Counter)
    prices: dict[LineKey, Decimal] = field(default_factory=dict)

    def add(self, at: int, project_id: str, gpu_model: str, labels: Labels, gpu_us: int) -> None:
        """A quantity of the window at `at`.

        Raises:
            Rejected: the list has no price for the model.
        """
        version = self.windows.all[at].version.version
        if (priced := self.windows.price(at, gpu_model, project_id, labels)) is None:
            raise Rejected(f"version {version} of the list has no price for {gpu_model}; publish one that has")
        key = (project_id, gpu_model, version, priced.key)
        self.sums[key] += gpu_us
        self.prices[key] = priced.unit_price


def _priced_throughout(demand: Demand, book: PriceBook) -> bool:
    windows = book.windows(demand.span)
    priced = sum(part.length_ms for part, version in windows if demand.gpu_model in version.prices)
    return priced == demand.span.length_ms


def _charges(usages: Sequence[Usage], tariff: Tariff, period: Interval | None = None) -> Charges:
    lines: tuple[Line, ...] = ()
    if usages:
        first = min(usage.interval.start_ms for usage in usages)
        whole = Interval(first, max(usage.interval.end_ms for usage in usages))
        lines = rate(usages, tariff, period or whole)
    nothing = Decimal(0).scaleb(-minor_digits(tariff.book.currency))
    return Charges(lines, sum((line.amount for line in lines), nothing))


def _refuse_too_many(count: int, what: str) -> None:
    if count > RECORDS_MAX:
        raise Rejected(f"there are more than {RECORDS_MAX:,} {what}")
