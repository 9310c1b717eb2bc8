"""Two releases of every service on one log, forward and back. One law: each reads the other, and nobody is refused.

The next release has a changed contract: every event may carry one field more, and it writes it. Each service is rolled
as an orchestrator rolls it: the new process beside the old one until it is ready, then the old one drains; later the
same way back. Work goes on all the while through an address that stays.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from gpuaas import contracts
from gpuaas.cli.client import Suite
from gpuaas.cli.demo import play
from gpuaas.cli.demo.world import World, beating
from gpuaas.cli.service_table import SERVICES
from gpuaas.common.envelope import Recorded

from tests.drills.front import Front, fronted
from tests.drills.load import TENANTS, Load, all_ended
from tests.drills.ordeal import RATE, lines, report, seed
from tests.drills.reading import everything_holds, read_everything
from tests.drills.stage import SMALL_FLEET, nodes_file, second_process, state_folder, steady_world, unheard
from tests.drills.views import quiet, rebuilt, trail_is_complete

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.long]
SAID: Final = "written by the next release"
TOGETHER: Final = 8
"""Requests acknowledged while both releases of a service work together."""
DRAIN_S: Final = 15.0


def next_release(folder: Path) -> dict[str, str]:
    """The environment of processes whose contracts have one optional field more in every event."""
    root = folder / "next"
    copy = root / "gpuaas" / "contracts"
    shutil.copytree(next(iter(contracts.__path__)), copy, ignore=shutil.ignore_patterns("__pycache__"))
    for module in copy.glob("*.py"):
        text = module.read_text("utf-8")
        field = f'    note_of_the_next_release: str | None = "{SAID}"\n'
        module.write_text(re.sub(r"(^    SCHEMA: ClassVar\[str\] = .*\n)", rf"\1{field}", text, flags=re.M), "utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


async def test_old_and_new_work_together_forward_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    number = seed()
    figures: dict[str, Any] = {"drill": "mixed-versions", "seed": number}
    with state_folder() as folder:
        began_world = steady_world(folder, RATE, restart=False)
        async with AsyncExitStack() as held:
            first = await held.enter_async_context(began_world)
            await held.enter_async_context(beating(first, nodes_file(folder, SMALL_FLEET)))
            fronts = {
                entry.name: await held.enter_async_context(fronted(first.stack.urls[entry.name])) for entry in SERVICES
            }
            world = await held.enter_async_context(_Through(first, fronts))
            load = await rolled_under_load(world, fronts, next_release(folder), random.Random(number), figures)
            await all_ended(world, len(load.acknowledged), within_s=120.0)
            await quiet(world)
            written = Written()
            reading = await read_everything(world, written.take)
            everything_holds(reading)
            wanted = {allocation: [position] for allocation, position in load.acknowledged.values()}
            assert dict(reading.requested) == wanted
            await trail_is_complete(world, reading.digests)
            figures["read_models_equal_to_a_rebuild"] = len(await rebuilt(world))
    figures |= {
        "acknowledged": len(load.acknowledged),
        "events_of_the_next_release": written.by_next,
        "events_of_this_release": written.by_this,
        "services_that_wrote_in_both": len(written.next_services & written.this_services),
        "answers": sum(front.answers for front in fronts.values()),
        "refused_5xx": sum(front.refused for front in fronts.values()),
    }
    assert written.by_next > 0
    assert len(written.next_services & written.this_services) >= 3
    assert figures["refused_5xx"] == 0
    with capsys.disabled():
        print(lines(report(figures)))


class Written:
    """Which release wrote what."""

    def __init__(self) -> None:
        self.by_next = self.by_this = 0
        self.next_services: set[str] = set()
        self.this_services: set[str] = set()

    def take(self, recorded: Recorded) -> None:
        service = recorded.subject.split(".")[1]
        if json.loads(recorded.payload)["data"].get("note_of_the_next_release") == SAID:
            self.by_next += 1
            self.next_services.add(service)
        else:
            self.by_this += 1
            self.this_services.add(service)


class _Through:
    """The world as clients behind the fronts see it."""

    def __init__(self, world: World, fronts: dict[str, Front]) -> None:
        self._world = world
        self._services = {name: f"http://127.0.0.1:{front.port}" for name, front in fronts.items()}
        self._operator = Suite(self._services, world.stack.operator_key)

    async def __aenter__(self) -> World:
        ports = dict(self._world.endpoints.ports) | {
            name: urlsplit(address).port or 0 for name, address in self._services.items()
        }
        endpoints = replace(self._world.endpoints, services=self._services, ports=ports)
        return World(self._world.stack, endpoints, self._operator, self._world.clock)

    async def __aexit__(self, *_: object) -> None:
        await self._operator.close()


async def rolled_under_load(
    world: World, fronts: dict[str, Front], next_env: dict[str, str], chance: random.Random, figures: dict[str, Any]
) -> Load:
    await play.enrol(world, SMALL_FLEET, unheard)
    tenants = await play.open_tenants(world, TENANTS, unheard)
    await play.publish_prices(world)
    load = Load(tenants, chance)
    try:
        async with load.under_way():
            for entry in SERVICES:
                await there_and_back(world, entry.name, fronts[entry.name], next_env, load)
            figures["longest_wait_s"] = load.longest_wait_s
            figures["tries_refused"] = load.refusals
    finally:
        for tenant in tenants.values():
            await tenant.client.close()
    return load


async def there_and_back(world: World, name: str, front: Front, next_env: dict[str, str], load: Load) -> None:
    """Roll one service to the next release and back."""
    old = front.backends[0]

    async def worked() -> None:
        await load.until(len(load.acknowledged) + TOGETHER)

    async with second_process(world, name, next_env) as (process, address):
        new = urlsplit(address).port or 0
        front.backends[:] = [old, new]
        await worked()
        front.backends[:] = [new]
        await world.stack.stop_service(name)
        await worked()
        await world.stack.start_service(name)
        front.backends[:] = [new, old]
        await worked()
        front.backends[:] = [old]
        began = monotonic()
        process.terminate()
        await asyncio.wait_for(process.wait(), DRAIN_S)
        assert process.returncode == 0, f"{name} did not end in order"
        assert monotonic() - began < DRAIN_S
    await worked()
