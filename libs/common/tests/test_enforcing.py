"""How fresh the rights are that decide. One law: a right that was revoked does nothing dangerous once more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from gpuaas.common.access import Access
from gpuaas.common.enforcing import CHANGE_AGE_MAX_S, AccessReader, class_of
from gpuaas.common.errors import Unavailable
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.contracts import iam

READ, CHANGE, DANGEROUS = "billing.invoice.read", "billing.budget.set", "iam.binding.create"


class Fickle(MemoryLog):
    """A log that can fall silent."""

    silent = False

    async def newest(self, subjects: Sequence[str]) -> int:
        if self.silent:
            raise Unavailable("the log does not answer")
        return await super().newest(subjects)


class World:
    def __init__(self) -> None:
        self.log = Fickle()
        self.seconds = 0.0
        self.access = Access("dev")
        self.reader = AccessReader(self.access, self.log, lambda: self.seconds)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reader.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await (await Identities.on(made.log)).member("acme", "vision")
    async with made.reading():
        await made.reader.confirm()
        yield made


def test_every_permission_has_a_class() -> None:
    assert [class_of(each) for each in (READ, CHANGE, DANGEROUS)] == ["question", "change", "dangerous"]
    assert class_of("iam.binding.read") == "question"
    assert class_of("allocations.workload.execute") == "dangerous"


async def test_a_change_is_decided_on_rights_known_to_be_the_newest_not_long_ago(world: World) -> None:
    assert not await world.reader.demand_fresh(CHANGE)
    world.log.silent, world.seconds = True, CHANGE_AGE_MAX_S
    assert not await world.reader.demand_fresh(CHANGE), "within the bound nobody asks"
    world.seconds += 1
    with pytest.raises(Unavailable, match="changes are refused until"):
        await world.reader.demand_fresh(CHANGE)
    assert not await world.reader.demand_fresh(READ), "a question goes on"
    assert world.reader.enforced().age_s == CHANGE_AGE_MAX_S + 1
    world.log.silent = False
    assert await world.reader.demand_fresh(CHANGE)
    assert world.reader.enforced().age_s == 0


async def test_what_is_dangerous_asks_the_log_each_time(world: World) -> None:
    world.log.silent = True
    with pytest.raises(Unavailable):
        await world.reader.demand_fresh(DANGEROUS)


async def test_what_was_said_before_a_dangerous_request_is_enforced_when_it_is_decided(world: World) -> None:
    event = iam.TenantSuspended(tenant_id="acme", reason="for a test")
    said = await tell(world.log, event, tenant_id="acme", entity_id="acme")
    assert await world.reader.demand_fresh(DANGEROUS)
    assert "acme" in world.access.rights.suspended_tenants
    assert world.reader.enforced().revision == said


async def test_an_event_that_cannot_be_read_freezes_and_is_never_skipped(world: World) -> None:
    before = world.reader.enforced().revision
    again = iam.TenantCreated(tenant_id="acme", display_name="Acme", billing_currency="EUR")
    await tell(world.log, again, tenant_id="acme", entity_id="another")
    after = iam.TenantSuspended(tenant_id="acme", reason="for a test")
    await tell(world.log, after, tenant_id="acme", entity_id="acme")
    async with asyncio.timeout(60):
        while world.access.frozen is None:
            await asyncio.sleep(0.01)
    enforced = world.reader.enforced()
    assert (enforced.revision, "tenant" in str(enforced.frozen)) == (before, True)
    assert not world.access.rights.suspended_tenants
