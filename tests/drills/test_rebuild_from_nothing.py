"""PostgreSQL is destroyed and comes back from the log. One law: all of it is rebuilt, and nothing is done again.

What an operator does: stop, remove the folder of PostgreSQL, start.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Final

import pytest
from gpuaas.cli.client import Suite
from gpuaas.cli.demo import evidence, play
from gpuaas.cli.demo.world import World, beating

from tests.drills.load import LEASE_S, TENANTS, Load, all_ended
from tests.drills.ordeal import report
from tests.drills.reading import everything_holds, read_everything
from tests.drills.stage import (
    SMALL_FLEET,
    admin_key,
    member,
    nodes_file,
    open_log,
    state_folder,
    steady_world,
    unheard,
)
from tests.drills.views import digests, quiet, trail_is_complete

pytestmark = [pytest.mark.drill, pytest.mark.slow]
RATE: Final = 600.0
RATE_AFTER: Final = 60.0
"""Slower: what is done every few hours (negative controls) is not due while it is watched that nothing is done."""
REQUESTS: Final = 60
SEALED: Final = "gpuaas.audit.epoch-sealed.v1"
WITHIN_S: Final = 30.0
ANSWERS: Final = (
    ("iam", "/v1/tenants"),
    ("nodes", "/v1/nodes"),
    ("inventory", "/v1/machines"),
    ("inventory", "/v1/gpu-models"),
    ("allocations", "/v1/pools"),
    ("allocations", "/v1/allocations"),
    ("allocations", "/v1/allocation-counts"),
    ("billing", "/v1/price-books"),
    ("billing", "/v1/billing-runs"),
    ("billing", "/v1/trial-balance"),
    ("evidence", "/v1/claims"),
)
"""What the operator asks; the answers must be the same afterwards."""
OF_TENANT: Final = (
    ("billing", "invoices"),
    ("billing", "usage"),
    ("billing", "ledger/transfers"),
    ("audit", "trail"),
    ("audit", "checkpoint"),
)
"""What each tenant asks about itself."""


@dataclass(frozen=True, slots=True)
class Before:
    """The suite before its databases were destroyed.

    Attributes:
        views: read model → digest.
        answers: question → answer.
        running: tenant → path of an allocation that runs meanwhile.
        keys: tenant → API key of its admin.
    """

    last: int
    views: dict[str, str]
    answers: dict[str, bytes]
    running: dict[str, str]
    keys: dict[str, str]
    now: datetime


async def test_the_databases_are_destroyed_and_come_back_from_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with state_folder() as folder:
        before = await lived(folder)
        databases_destroyed(folder / "postgres")
        began = monotonic()
        async with steady_world(folder, RATE_AFTER, before.now) as world, beating(world, folder / "nodes.txt"):
            ready_s = monotonic() - began
            await quiet(world)
            appended = await appended_after(world, before.last)
            assert set(appended) <= {SEALED}, "something was done again"
            assert unsealed(await digests(world), appended) == unsealed(before.views, appended)
            assert await answers(world, before.keys) == before.answers
            await life_goes_on(world, before)
            reading = await read_everything(world)
            everything_holds(reading)
            await trail_is_complete(world, reading.digests)
    report({"drill": "rebuild-from-nothing", "seed": 0, "events": before.last, "ready_and_rebuilt_s": ready_s})
    with capsys.disabled():
        print(
            f"\nrebuild from nothing: {before.last} events, {len(before.views)} read models and {len(before.answers)} "
            f"answers equal; everything ready {ready_s:.1f} s after the start; appended: {dict(appended) or 'nothing'}"
        )


async def lived(folder: Path) -> Before:
    """A suite that has enrolled, run, billed, proved, and still runs something; stopped in order."""
    async with steady_world(folder, RATE) as world, beating(world, nodes_file(folder, SMALL_FLEET)):
        await play.enrol(world, SMALL_FLEET, unheard)
        tenants = await play.open_tenants(world, TENANTS, unheard)
        await play.publish_prices(world)
        load = Load(tenants, random.Random(0))
        async with load.under_way():
            await load.until(REQUESTS)
        await all_ended(world, len(load.acknowledged))
        await billed(world)
        opened = await evidence.open_claim(world, TENANTS)
        await evidence.record(world, opened, {"tenants": {}, "totals": dict.fromkeys(evidence.FACTS, 0)})
        keys = {name: await admin_key(world, name) for name in TENANTS}
        running = {name: await begun(tenants[name].client, name) for name in TENANTS}
        await quiet(world)
        for tenant in tenants.values():
            await tenant.client.close()
        now = world.clock.now()
    # Stopped in order, every service has told of refusals and visits from above what it had not told yet.
    async with steady_world(folder, RATE_AFTER, now) as world, beating(world, folder / "nodes.txt"):
        last = await quiet(world)
        before = Before(last, await digests(world), await answers(world, keys), running, keys, world.clock.now())
        assert await quiet(world) == last, "asking has changed something"
    return before


async def billed(world: World) -> None:
    """A billing run over all that was used, finished."""
    body = {"period_start": "2017-10-01T00:00:00+00:00", "period_end": "2017-11-01T00:00:00+00:00"}
    path = f"/v1/billing-runs/{(await world.operator.post('billing', '/v1/billing-runs', body))['id']}"
    async with asyncio.timeout(WITHIN_S):
        while (await world.operator.get("billing", path))["status"] == "running":
            await asyncio.sleep(play.POLL_S)


async def begun(client: Suite, tenant: str) -> str:
    """The path of a new allocation without an end, which is active."""
    place = f"/v1/tenants/{tenant}/projects/research/allocations"
    body = {"pool_id": play.POOL, "gpus_per_replica": 2, "image": "philly", "lease_s": LEASE_S}
    path = f"{place}/{(await client.post('allocations', place, body))['id']}"
    await until_state(client, path, "active")
    return path


async def until_state(client: Suite, path: str, state: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while (await client.get("allocations", path))["state"] != state:
            await asyncio.sleep(play.POLL_S)


def databases_destroyed(folder: Path) -> None:
    """`rm -rf`, as an operator would; where PostgreSQL's data had to go elsewhere, there too."""
    elsewhere = folder / "data-is-in"
    if elsewhere.exists():
        shutil.rmtree(elsewhere.read_text("utf-8").strip())
    shutil.rmtree(folder)


async def answers(world: World, keys: dict[str, str]) -> dict[str, bytes]:
    """Every question's answer as it is."""
    told = {path: await world.operator.get_bytes(service, path) for service, path in ANSWERS}
    for tenant, key in keys.items():
        async with member(world, key) as client:
            for service, what in OF_TENANT:
                path = f"/v1/tenants/{tenant}/{what}"
                answer = await client.get_bytes(service, path)
                told[path] = signed_by_the_log(answer) if what == "checkpoint" else answer
    return told


def signed_by_the_log(checkpoint: bytes) -> bytes:
    """The tree head and the log's own signature, word for word; witnesses sign again, with the time they do it."""
    head, _, signatures = checkpoint.partition(b"\n\n")
    return head + signatures.splitlines()[0]


async def appended_after(world: World, position: int) -> Counter[str]:
    """Event types that stand in the log after `position`."""
    types: Counter[str] = Counter()
    async with open_log(world) as log:
        for each in range(position + 1, await log.last_position() + 1):
            recorded = await log.at(each)
            assert recorded is not None
            types[recorded.type] += 1
    return types


def unsealed(views: dict[str, str], appended: Counter[str]) -> dict[str, str]:
    """The digests; without the trail's when the trail has honestly grown meanwhile."""
    return {name: digest for name, digest in views.items() if not (appended and name.startswith("audit "))}


async def life_goes_on(world: World, before: Before) -> None:
    """What ran all the while is given back with the old keys and ends; something new runs."""
    for tenant, path in before.running.items():
        async with member(world, before.keys[tenant]) as client:
            assert (await client.get("allocations", path))["state"] == "active"
            await client.post("allocations", f"{path}/release")
            await until_state(client, path, "released")
            assert await begun(client, tenant) not in before.running.values()
    await quiet(world)
