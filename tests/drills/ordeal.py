"""One night of a suite: work, a fault under load, more work, the reckoning. One law: the same reckoning for all.

After any fault: nothing acknowledged is lost, no GPU was held twice, the ledger balances, the trail is complete, and
every read model is what a rebuild makes of the log.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

from gpuaas.cli.demo import play
from gpuaas.cli.demo.world import World, beating
from gpuaas.cli.profile import load as load_profile
from gpuaas.cli.readiness import asked
from gpuaas.cli.service_table import SERVICES

from tests.drills.load import TENANTS, Load, all_ended
from tests.drills.reading import Reading, everything_holds, read_everything
from tests.drills.stage import SMALL_FLEET, nodes_file, state_folder, steady_world, unheard
from tests.drills.views import quiet, rebuilt, trail_is_complete

RATE: Final = 600.0
BEFORE: Final = 30
"""Requests acknowledged before the fault."""
AFTER: Final = 30
"""Requests acknowledged after it."""
RECOVERED_WITHIN_S: Final = 90.0
REPORTS: Final = "GPUAAS_DRILL_REPORTS"
"""A folder that each drill's figures are written into, as JSON."""


def seed() -> int:
    """`GPUAAS_DRILL_SEED`, or a random one."""
    return int(os.environ.get("GPUAAS_DRILL_SEED") or random.SystemRandom().randrange(1_000_000))


@dataclass(slots=True)
class Night:
    """A running suite under load, for a fault to happen to.

    Attributes:
        figures: what the fault measured, by name with its unit.
    """

    world: World
    folder: Path
    load: Load
    chance: random.Random
    figures: dict[str, Any] = field(default_factory=dict)

    async def recovered(self, since: float) -> float:
        """Wait until every service is ready; seconds since the fault."""
        deadline = monotonic() + RECOVERED_WITHIN_S
        while True:
            told = {entry.name: await asked(self.world.endpoints.ports[entry.name]) for entry in SERVICES}
            away = {name: answer.sentence() for name, answer in told.items() if not answer.ready}
            if not away:
                return monotonic() - since
            assert monotonic() < deadline, f"not ready again after {RECOVERED_WITHIN_S:g} s: {away}"
            await asyncio.sleep(0.05)

    async def acknowledged(self, more: int) -> float:
        """Wait until `more` further requests were acknowledged; seconds it took."""
        began = monotonic()
        await self.load.until(len(self.load.acknowledged) + more)
        return monotonic() - began


Fault = Callable[[Night], Awaitable[None]]


async def night(
    name: str,
    fault: Fault,
    *,
    given: tuple[str, ...] = (),
    restart: bool = True,
    prepare: Callable[[Path, AsyncExitStack], None] = lambda _folder, _open: None,
) -> dict[str, Any]:
    """Run a suite, let `fault` happen to it under load, and hold the reckoning; the drill's figures.

    Args:
        given: values on top of the demo profile, as `gpuaas up --set`.
        restart: whether what dies is started again by the suite itself.
        prepare: lays out the state folder before the suite first starts.

    Raises:
        AssertionError: something was lost, doubled, held twice, or differs; says what.
    """
    number, began = seed(), monotonic()
    print(f"seed {number}: repeat with GPUAAS_DRILL_SEED={number}")
    async with AsyncExitStack() as open_things:
        folder = open_things.enter_context(state_folder())
        prepare(folder, open_things)
        world = await open_things.enter_async_context(
            steady_world(folder, RATE, profile=load_profile("demo", given), restart=restart)
        )
        await open_things.enter_async_context(beating(world, nodes_file(folder, SMALL_FLEET)))
        passed = await _shaken(world, folder, random.Random(number), fault)
        reading, rebuilds = await reckoned(world, passed.load)
    figures = {"drill": name, "seed": number, "took_s": monotonic() - began, **passed.figures}
    figures |= {
        "acknowledged": len(passed.load.acknowledged),
        "acknowledged_lost": 0,
        "held_twice": 0,
        "tries_refused": passed.load.refusals,
        "longest_wait_s": passed.load.longest_wait_s,
        "events": reading.last,
        "read_models_equal_to_a_rebuild": len(rebuilds),
        "rebuilds_s": sum(rebuilds.values()),
    }
    return report(figures)


async def _shaken(world: World, folder: Path, chance: random.Random, fault: Fault) -> Night:
    await play.enrol(world, SMALL_FLEET, unheard)
    tenants = await play.open_tenants(world, TENANTS, unheard)
    await play.publish_prices(world)
    passed = Night(world, folder, Load(tenants, random.Random(chance.random())), chance)
    try:
        async with passed.load.under_way():
            await passed.load.until(BEFORE)
            await fault(passed)
            await passed.acknowledged(AFTER)
    finally:
        for tenant in tenants.values():
            await tenant.client.close()
    return passed


async def reckoned(world: World, load: Load) -> tuple[Reading, dict[str, float]]:
    """Let everything end, then compare the log, the ledger, the trail and every read model."""
    await all_ended(world, len(load.acknowledged), within_s=120.0)
    await quiet(world)
    reading = await read_everything(world)
    everything_holds(reading)
    wanted = {allocation: [position] for allocation, position in load.acknowledged.values()}
    assert dict(reading.requested) == wanted, "an acknowledged request is lost, or one stands that nobody made"
    assert reading.holders == {}, "a GPU is still held by nobody's allocation"
    assert (await world.operator.get("billing", "/v1/trial-balance"))["balanced"] is True
    await trail_is_complete(world, reading.digests)
    return reading, dict(await rebuilt(world))


def report(figures: dict[str, Any]) -> dict[str, Any]:
    told = {name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()}
    if (folder := os.environ.get(REPORTS)) is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{told['drill']}.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return told


def lines(figures: dict[str, Any]) -> str:
    """Figures for people."""
    rest = {name: value for name, value in figures.items() if name not in ("drill", "seed")}
    told = ", ".join(f"{name} {value}" for name, value in rest.items())
    return f"\n{figures['drill']}, seed {figures['seed']}: {told}"
