"""Runs that are cut off, doubled or crossed. One law tested: no invoice, number or booking twice, none missing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from billing_world import AUGUST, HOUR, OCTOBER, SEPTEMBER, World, released, settings_on, started, world_on
from gpuaas.billing import api
from gpuaas.billing.app import OwnReaders
from gpuaas.billing.desk import Desk
from gpuaas.billing.domain.billing_run import StartRun
from gpuaas.billing.domain.price_book import digest_of
from gpuaas.billing.domain.rating import RATING_VERSION
from gpuaas.billing.ports import Standing
from gpuaas.billing.projections.views import Views
from gpuaas.billing.reactions import RUNS, SERVICE, BillTenants, Metering, groups
from gpuaas.billing.settings import BillingSettings
from gpuaas.common.commands import Cause, Commands, Order
from gpuaas.common.embedded.process import free_port
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.ids import new_id
from gpuaas.common.log import EventLog
from gpuaas.common.projections import Database
from gpuaas.common.reactions import Reactor
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import LogAddress

TENANTS = [f"t-{number}" for number in range(5)]


@pytest.fixture
def settings(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> BillingSettings:
    return settings_on(log_address.url, database_dsn, tmp_path)


class CutOff(BillTenants):
    """A run whose process dies at its `at`-th batch: before it is sent, or after it was acknowledged."""

    def __init__(
        self,
        commands: Commands,
        log: EventLog,
        database: Database,
        views: Views,
        standing: Standing,
        *,
        at: int,
        acknowledged: bool,
    ) -> None:
        super().__init__(commands, log, database, views, standing, tenants_at_once=1)
        self._left = at
        self._acknowledged = acknowledged

    async def _write(self, run: Any, bills: Sequence[Any]) -> None:
        self._left -= 1
        if self._left == 0 and not self._acknowledged:
            raise ConnectionError("the process died before the batch was sent")
        await super()._write(run, bills)
        if self._left == 0:
            raise ConnectionError("the process died after the batch was acknowledged")


def dying(settings: BillingSettings, at: int, acknowledged: bool) -> Service:
    """Billing with nothing but what a run needs, and a run that dies once."""
    service = Service(SERVICE, settings)
    views = Views()
    service.project(*views.all())
    metering = Reactor(Metering(service.commands, service.log), service.log, service.database)
    service.follow(metering)
    standing = OwnReaders(metering, [service.reader(view) for view in views.all()], 5.0)
    parts = service.commands, service.log, service.database, views, standing
    service.react(CutOff(*parts, at=at, acknowledged=acknowledged))
    service.serve(api.router(Desk(service.commands, service.log, service.clock, service.database, views, standing)))
    return service


async def said(log: EventLog) -> dict[str, list[dict[str, Any]]]:
    """Data of all billing events by kind, in log order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for position in range(1, await log.last_position() + 1):
        recorded = await log.at(position)
        assert recorded is not None
        if recorded.type.startswith("gpuaas.billing."):
            found.setdefault(recorded.type.split(".")[2], []).append(msgspec.json.decode(recorded.envelope().data))
    return found


async def assert_billed_once(log: EventLog, tenants: Sequence[str]) -> None:
    """Exactly one invoice, number and booking for each tenant, one completion, and the sums agree."""
    billing = await said(log)
    invoices = billing["invoice-finalized"]
    numbers = billing["invoice-number-assigned"]
    assert Counter(each["tenant_id"] for each in invoices) == Counter(tenants)
    assert [each["number"] for each in numbers] == list(range(1, len(tenants) + 1))
    assert [each["invoice_id"] for each in numbers] == [each["invoice_id"] for each in invoices]
    assert [each["number"] for each in invoices] == [f"INV-2026-{each['number']:06d}" for each in numbers]
    booked = {each["cause"]: each["entries"][0]["amount"] for each in billing["ledger-transfer-posted"]}
    assert booked == {each["invoice_id"]: each["total"] for each in invoices}
    assert len(billing["ledger-transfer-posted"]) == len(invoices)
    (completed,) = billing["billing-run-completed"]
    total = sum(Decimal(each["total"]) for each in invoices)
    assert (completed["invoices"], completed["total_by_currency"]) == (len(tenants), {"EUR": str(total)})


async def a_month(world: World, tenants: Sequence[str]) -> None:
    await world.publish("2.49")
    for tenant in tenants:
        await world.tenant(tenant)
        await world.used(tenant, f"a-{tenant}", AUGUST, AUGUST + HOUR)


@pytest.mark.parametrize("acknowledged", [False, True], ids=["before its batch", "after its batch"])
@pytest.mark.parametrize("at", [1, 3, 5])
async def test_a_run_that_dies_goes_on_without_a_gap_or_a_double(
    settings: BillingSettings, at: int, acknowledged: bool
) -> None:
    async with world_on(settings, lambda given: dying(given, at, acknowledged)) as world:
        await a_month(world, TENANTS)
        await world.bill()
        await assert_billed_once(world.service.log, TENANTS)


async def test_a_run_that_went_on_in_other_groups_loses_nobody(settings: BillingSettings) -> None:
    """The first process writes one tenant at a time and dies; the next one takes all that are left at once."""
    async with world_on(settings, lambda given: dying(given, 2, True)) as world:
        await a_month(world, TENANTS)
        run = await world.start_run()
        await eventually(lambda: _written(world, 2))
    async with world_on(settings) as world:
        await world.done(run["id"])
        await assert_billed_once(world.service.log, TENANTS)


def _all_go_on(world: World) -> bool:
    return not [reader.name for reader in world.service._readers if reader.stopped]


async def _written(world: World, least: int) -> bool:
    return len((await said(world.service.log)).get("invoice-finalized", [])) >= least


async def test_two_processes_write_one_run(settings: BillingSettings) -> None:
    async with world_on(settings) as one, world_on(settings) as other:
        other.position = one.position
        await a_month(one, TENANTS)
        await one.bill()
        await assert_billed_once(one.service.log, TENANTS)
        for world in (one, other):
            await eventually(partial(_all_go_on, world))


@pytest.mark.parametrize(
    ("end", "why"),
    [(OCTOBER, "the period crosses that of run first"), (SEPTEMBER, "run first is still billing this period")],
    ids=["crossing", "the same"],
)
async def test_of_two_runs_that_started_at_once_the_later_writes_nothing(
    settings: BillingSettings, end: datetime, why: str
) -> None:
    """The door refuses the second; if two doors are asked at the same time, the order of the log decides."""
    async with world_on(settings) as world:
        await a_month(world, TENANTS[:1])
        await world.service._projectors["metered_usage_v3"].reached(world.position + 1, 5)
        position = await world.service.log.last_position()
        books = await Views().prices.books(world.service.database)
        pinned = (position, digest_of(list(books.values())), RATING_VERSION)
        cause = Cause(id=new_id(), actor="tester", actor_kind="user")
        orders: list[Order[Any, Any]] = [
            Order(RUNS, PLATFORM, run_id, StartRun(run_id, AUGUST, until, *pinned))
            for run_id, until in (("first", SEPTEMBER), ("second", end))
        ]
        await world.service.commands.execute_together(orders, cause)
        first, second = await world.done("first"), await world.done("second")
        assert (first["status"], first["invoices"]) == ("completed", 1)
        assert (second["status"], second["invoices"], second["tenants"]) == ("void", 0, 0)
        assert why in second["void_reason"]
        assert len((await said(world.service.log))["invoice-finalized"]) == 1


async def test_a_history_that_contradicts_itself_stops_metering_by_name(settings: BillingSettings) -> None:
    async with world_on(settings) as world:
        await world.tenant("acme")
        begun = started("acme", "a-1", AUGUST)
        wrong = released(begun, AUGUST + HOUR).model_copy(update={"started_at": AUGUST + HOUR / 2})
        await tell(world.service.log, begun, wrong, tenant_id="acme", entity_id="a-1")
        (metering,) = [reader for reader in world.service._readers if reader.name == "reaction metering"]
        await eventually(lambda: metering.stopped is not None)
        assert "one of the two is wrong" in str(metering.stopped)
        answer = await world.start_run(status=503)
        assert "reaction metering" in answer["detail"]
        assert "it has stopped" in answer["detail"]


def test_tenants_are_grouped_by_number_and_by_records() -> None:
    tenants = {"a": 1, "b": 1, "c": 1, "d": 100, "e": 9, "f": 2}
    assert list(groups(tenants, 2, 10)) == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]
    assert list(groups(tenants, 50, 20_000)) == [list(tenants)]
    assert list(groups({}, 2, 10)) == []


@asynccontextmanager
async def process(settings: BillingSettings) -> AsyncIterator[asyncio.subprocess.Process]:
    """The real program; killed at the end if it still runs."""
    given = {
        "GPUAAS_NATS_URL": settings.nats_url,
        "GPUAAS_POSTGRES_DSN": settings.postgres_dsn,
        "GPUAAS_HTTP_PORT": str(free_port()),
        "GPUAAS_STATE_DIR": str(settings.state_dir),
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from gpuaas.billing.app import main; main()", env=os.environ | given
    )
    try:
        yield program
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()


@pytest.mark.drill
@pytest.mark.slow
async def test_a_killed_process_goes_on_where_the_log_says(settings: BillingSettings) -> None:
    tenants = [f"t-{number:03d}" for number in range(300)]
    async with world_on(settings) as world:
        await a_month(world, tenants)
        log = world.service.log
        await world.service._projectors["metered_usage_v3"].reached(await log.last_position(), 30)
        # From here on only the program below writes invoices: this process keeps its door and its voice.
        for task in list(world.service._tasks):
            if "billing-runs" in task.get_name():
                task.cancel()
        await world.start_run()
        async with process(settings) as program:
            await _first_numbers(log)
            program.send_signal(signal.SIGKILL)
            await program.wait()
        begun = len(await log.history(NUMBERS))
        async with process(settings):
            await eventually(lambda: _completed(log), 60)
        await assert_billed_once(log, tenants)
        assert 0 < begun < len(tenants), f"the kill came too late to prove anything: {begun} of {len(tenants)}"


NUMBERS = "events.billing.invoice-series.platform.inv-2026"


async def _first_numbers(log: EventLog) -> None:
    """Wait for the first batch of a run, as closely as one can."""
    async with asyncio.timeout(60):
        while not await log.history(NUMBERS):
            await asyncio.sleep(0)


async def _completed(log: EventLog) -> bool:
    return "billing-run-completed" in await said(log)
