"""From usage to invoices. One law: a rate counts only if the result is, to the last digit, what plain Python adds up.

In memory first (metering, rating, invoices), then a whole run through the log and PostgreSQL.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Final

import httpx
from gpuaas.billing.app import build
from gpuaas.billing.domain.invoice import INVOICE, FinalizeInvoice, invoice_id_of
from gpuaas.billing.domain.ledger import LEDGER
from gpuaas.billing.domain.metering import MS_PER_HOUR, Began, Ended, Interval, Meter, instant_ms, read
from gpuaas.billing.domain.price_book import PRICE_BOOK, PriceBook, PublishPrices
from gpuaas.billing.domain.rating import Line, Usage, rate
from gpuaas.billing.reactions import booking_of
from gpuaas.billing.settings import BillingSettings
from gpuaas.common.embedded.process import free_port
from gpuaas.common.events import Event
from gpuaas.common.money import rounded
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import running
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.billing import PriceBookPublished, UsageMetered
from gpuaas.contracts.iam import TenantCreated

from tests.bench.on_the_log import tell_all
from tests.bench.rows import Row, at_least, beside, no_more, rates_in_turn

AUGUST: Final = datetime(2026, 8, 1, tzinfo=UTC)
MID_AUGUST: Final = datetime(2026, 8, 16, tzinfo=UTC)
SEPTEMBER: Final = datetime(2026, 9, 1, tzinfo=UTC)
PERIOD: Final = Interval.between(AUGUST, SEPTEMBER)
MODELS: Final = ("h100", "h200", "b200", "l40s")
PROJECTS: Final = tuple(f"project-{number}" for number in range(20))
CURRENCY: Final = "EUR"
INTERVALS_PER_BLOCK: Final = 20_000
BLOCKS: Final = 7
TENANTS: Final = 10_000
USAGES_PER_TENANT: Final = 10
METERED_PER_TENANT: Final = 3
RUN_TIMEOUT_S: Final = 120.0
POLL_S: Final = 0.05

Holding = tuple[str, str, str, int, int, int]
"""allocation, project, model, GPUs, start and end in ms: what one allocation held."""


def book() -> PriceBook:
    """List prices that change in the middle of the month."""
    standing = PRICE_BOOK.initial
    for start, factor in ((AUGUST, Decimal(1)), (MID_AUGUST, Decimal("0.97"))):
        prices = tuple((model, (2 + number) * factor + Decimal("0.4995")) for number, model in enumerate(MODELS))
        standing = PRICE_BOOK.fold(
            PRICE_BOOK.decide(PublishPrices("list-eur", CURRENCY, start, None, prices), standing), standing
        )
    return standing


def holdings(count: int, seed: int = 3) -> list[Holding]:
    """What many allocations held: minutes to days, some over the price change, some over the period's ends."""
    dice = random.Random(seed)
    held: list[Holding] = []
    for number in range(count):
        start = dice.randrange(PERIOD.start_ms - 86_400_000, PERIOD.end_ms)
        length = int(dice.lognormvariate(15, 1.5))
        who = (f"al-{number}", dice.choice(PROJECTS), dice.choice(MODELS))
        held.append((*who, dice.choice((1, 1, 2, 4, 8, 64)), start, start + length))
    return held


# -- pure ------------------------------------------------------------------------------------------------------


def metered(held: Sequence[Holding]) -> list[Usage]:
    """Each holding's two facts through the meter."""
    usages: list[Usage] = []
    for name, project, model, gpus, start, end in held:
        meter = read(read(Meter(), Began(start, gpus, "e-1")), Ended(end, "e-2", start))
        span = meter.spans[0]
        usages.append(Usage(name, project, model, span.gpu_count, span.interval))
    return usages


def plain(held: Sequence[Holding], prices: PriceBook) -> dict[tuple[str, str, int], int]:
    """The baseline: GPU-ms by line with nothing but integers and a dict."""
    change = instant_ms(MID_AUGUST)
    first, second = (version.version for version in prices.versions)
    sums: defaultdict[tuple[str, str, int], int] = defaultdict(int)
    for _, project, model, gpus, start, end in held:
        start, end = max(start, PERIOD.start_ms), min(end, PERIOD.end_ms)
        if start < min(end, change):
            sums[project, model, first] += (min(end, change) - start) * gpus
        if end > max(start, change):
            sums[project, model, second] += (end - max(start, change)) * gpus
    return sums


async def metering_and_rating(_: TestStack) -> list[Row]:
    """Facts to spans, spans to lines, and both, beside plain sums; and that all lines are exact."""
    prices, held = book(), holdings(INTERVALS_PER_BLOCK)
    usages = metered(held)
    sums = plain(held, prices)
    for line in rate(usages, prices, PERIOD):
        _exact(line, sums.pop((line.project_id, line.gpu_model, line.price_book_version)))
    assert not sums, "usage without a line"

    def to_spans(_: int) -> int:
        return len(metered(held))

    def to_lines(_: int) -> int:
        rate(usages, prices, PERIOD)
        return len(usages)

    def both(_: int) -> int:
        rate(metered(held), prices, PERIOD)
        return len(held)

    def summed(_: int) -> int:
        plain(held, prices)
        return len(held)

    spans, lines, together, bare = rates_in_turn(to_spans, to_lines, both, summed, blocks=BLOCKS)
    return [
        beside("metering, facts to spans, against plain sums", spans, "intervals/s", bare),
        beside("rating, spans to invoice lines, against plain sums", lines, "intervals/s", bare),
        at_least("metering + rating, exact", together, "intervals/s", 1_000_000, bare),
    ]


def _exact(line: Line, gpu_ms: int) -> None:
    assert line.gpu_ms == gpu_ms, line
    assert line.amount == rounded(Fraction(line.unit_price) * gpu_ms / MS_PER_HOUR, CURRENCY), line


async def invoice_rating(_: TestStack) -> list[Row]:
    """10,000 tenants' invoices and bookings decided in memory, from usage to final events."""
    prices = book()
    by_tenant = [metered(holdings(USAGES_PER_TENANT, seed)) for seed in range(TENANTS)]
    total = Decimal(0)
    began = time.perf_counter()
    for number, usages in enumerate(by_tenant):
        tenant = f"t-{number}"
        lines = rate(usages, prices, PERIOD)
        final = FinalizeInvoice(
            invoice_id_of("run", tenant), "run", f"2026-{number}", tenant, CURRENCY, AUGUST, SEPTEMBER, lines
        )
        INVOICE.decide(final, INVOICE.initial)
        LEDGER.decide(booking_of(final), LEDGER.initial)
        total += final.total
    took = time.perf_counter() - began
    assert total > 0
    return [no_more(f"invoices of 10,000 tenants, {USAGES_PER_TENANT} records each, in memory", took, "s", 60)]


# -- through the log and PostgreSQL --------------------------------------------------------------------------


def _told() -> Iterator[tuple[Event, str, str]]:
    """A price book, 10,000 tenants, and what each has been metered."""
    prices = [{"gpu_model": model, "unit": "gpu-hour", "amount": "2.4995"} for model in MODELS]
    published = {"price_book_id": "list-eur", "version": 1, "currency": CURRENCY, "effective_from": AUGUST}
    yield PriceBookPublished.model_validate({**published, "prices": prices}), "platform", "list-eur"
    for number in range(TENANTS):
        tenant = f"t-{number}"
        yield TenantCreated(tenant_id=tenant, display_name=tenant, billing_currency=CURRENCY), tenant, tenant
    for number in range(TENANTS * METERED_PER_TENANT):
        tenant, name = f"t-{number // METERED_PER_TENANT}", f"al-{number}"
        start = AUGUST + timedelta(minutes=number % 20_000)
        used = UsageMetered(
            usage_id=name,
            tenant_id=tenant,
            project_id=PROJECTS[number % METERED_PER_TENANT],
            allocation_id=name,
            gpu_model=MODELS[number % len(MODELS)],
            gpu_count=8,
            started_at=start,
            ended_at=start + timedelta(hours=7, seconds=number),
            gpu_ms=8 * (7 * 3_600 + number) * 1_000,
            start_event_id="e-1",
            end_event_id="e-2",
        )
        yield used, tenant, name


async def invoice_run(stack: TestStack) -> list[Row]:
    """A billing run of the service itself over 10,000 tenants, whose usage is metered: from the order to the end."""
    async with AsyncExitStack() as opened:
        address = await opened.enter_async_context(stack.fresh_log())
        dsn = await opened.enter_async_context(stack.fresh_database())
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="gpuaas-bench-"))
        settings = BillingSettings(
            nats_url=address.url,
            postgres_dsn=dsn,
            http_port=free_port(),
            state_dir=Path(folder),
            log_level="ERROR",
            requests_per_s=1_000_000,
            ready_timeout_s=30.0,
        )
        service = build(settings)
        client = await opened.enter_async_context(running(service))
        headers = await (await Identities.on(service.log)).operator()
        position = await tell_all(service.log, _told())
        for reader in service._readers:
            await reader.reached(position, RUN_TIMEOUT_S)
        took, run = await _run(service, client, headers)
    assert run["invoices"] == TENANTS, run
    return [no_more(f"billing run, 10,000 tenants, {METERED_PER_TENANT} records each, durable", took, "s", 60)]


async def _run(service: Service, client: httpx.AsyncClient, headers: dict[str, str]) -> tuple[float, dict[str, int]]:
    """Seconds from ordering a run to its end, and the run."""
    began = time.perf_counter()
    body = {"period_start": AUGUST.isoformat(), "period_end": SEPTEMBER.isoformat()}
    ordered = await client.post("/v1/billing-runs", json=body, headers=headers)
    assert ordered.status_code == 202, ordered.text
    async with asyncio.timeout(RUN_TIMEOUT_S):
        while True:
            await asyncio.sleep(POLL_S)
            answer = await client.get(f"/v1/billing-runs/{ordered.json()['id']}", headers=headers)
            run: dict[str, int] = answer.json()
            if answer.status_code == 200 and run["completed_at"]:
                return time.perf_counter() - began, run
