"""The check of conservation, on real servers. One law tested: it is silent when all is well, and only then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from billing_world import AUGUST, HOUR, MODEL, World, settings_on, world_on
from gpuaas.billing.books import BooksWatch
from gpuaas.common.log import EventLog
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import LogAddress
from gpuaas.contracts.billing import ImbalanceFound, UsageMetered


@pytest.fixture
async def world(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(settings_on(log_address.url, database_dsn, tmp_path)) as made:
        yield made


async def test_a_billed_month_is_conserved_and_each_kind_of_loss_is_named(world: World) -> None:
    await world.publish("2.49")
    for tenant in ("acme", "umbrella"):
        await world.tenant(tenant)
        await world.used(tenant, f"a-{tenant}", AUGUST, AUGUST + HOUR)
    await world.bill()
    told = await world.get("/v1/conservation")
    assert (told["conserved"], told["invoices"], told["usage_records"], told["differences"]) == (True, 2, 2, [])

    again = UsageMetered(
        usage_id="a-acme-again",
        tenant_id="acme",
        project_id="vision",
        allocation_id="a-acme",
        gpu_model=MODEL,
        gpu_count=8,
        started_at=AUGUST + HOUR / 2,
        ended_at=AUGUST + HOUR,
        gpu_ms=1,
        start_event_id="e-1",
        end_event_id="e-2",
    )
    world.position = await tell(world.service.log, again, tenant_id="acme", entity_id="a-acme-again")
    async with world.service.database.writing() as rows:
        await rows.execute("UPDATE invoice_lines_v3 SET amount = amount + 1 WHERE tenant_id = 'umbrella'")
        await rows.execute("UPDATE ledger_balances_v1 SET balance = balance - 1 WHERE account = 'receivable:acme'")
        await rows.execute("UPDATE ledger_entries_v1 SET amount = amount - 1 WHERE account = 'receivable:umbrella'")

    async def named() -> bool:
        found = (await world.get("/v1/conservation"))["differences"]
        return {each["check"] for each in found} == {
            "lines-invoice",
            "invoice-receivable",
            "balance-entries",
            "trial-balance",
            "usage-product",
            "sold-twice",
        }

    await eventually(named)
    assert (await world.get("/v1/conservation"))["conserved"] is False


async def test_sums_that_differ_in_two_looks_are_told_once(world: World) -> None:
    service = world.service
    watch = BooksWatch(service.commands, service.log, service.database, Folded(service), 60.0)
    await world.publish("2.49")
    await world.tenant("acme")
    await world.used("acme", "a-1", AUGUST, AUGUST + HOUR)
    await world.bill()
    assert [await watch.look(), await watch.look()] == [0, 0]
    async with service.database.writing() as rows:
        await rows.execute("UPDATE ledger_balances_v1 SET balance = balance - 1 WHERE account = 'receivable:acme'")
    await world.tenant("umbrella")
    assert [await watch.look(), await watch.look(), await watch.look()] == [0, 2, 0]
    told = [event async for event in imbalances(service.log)]
    assert sorted((each["check"], each["thing"]) for each in told) == [
        ("balance-entries", "receivable:acme"),
        ("trial-balance", "EUR"),
    ]
    async with service.database.writing() as rows:
        await rows.execute("UPDATE ledger_balances_v1 SET balance = balance + 1 WHERE account = 'receivable:acme'")
    assert [await watch.look(), await watch.look()] == [0, 0]


class Folded:
    """`ports.Standing` over the views of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def metered(self, position: int) -> None:
        """Nobody waits for metering here."""

    async def folded(self, position: int) -> None:
        for view in self._service._projectors.values():
            await view.reached(position, 60.0)


async def imbalances(log: EventLog) -> AsyncIterator[dict[str, Any]]:
    for position in range(1, await log.last_position() + 1):
        recorded = await log.at(position)
        assert recorded is not None
        if recorded.type == ImbalanceFound.TYPE:
            yield msgspec.json.decode(recorded.envelope().data)
