"""Kill -9 of every process at random under load. One law: nothing acknowledged is lost, nothing is done twice.

Seeded by GPUAAS_DRILL_SEED (a random one without it); the seed chooses victims, pauses and jobs, not what the machine
makes of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import pytest
from gpuaas.cli.demo import play
from gpuaas.cli.demo.trace import WORLD_EPOCH
from gpuaas.cli.demo.world import World, beating
from gpuaas.cli.readiness import asked
from gpuaas.cli.servers import SERVER_NAMES
from gpuaas.cli.service_table import SERVICES

from tests.drills.load import TENANTS, Load, all_ended
from tests.drills.ordeal import report as kept
from tests.drills.ordeal import seed
from tests.drills.reading import Reading, everything_holds, read_everything
from tests.drills.stage import SMALL_FLEET, nodes_file, state_folder, steady_world, unheard
from tests.drills.views import quiet, rebuilt, trail_is_complete

pytestmark = [pytest.mark.drill, pytest.mark.slow]
RATE: Final = 600.0
"""World seconds per second: a job of ten minutes runs for one."""
GAP_S: Final = (0.3, 1.5)
"""Between two kills."""
EXTRA_KILLS: Final = 8
RECOVERED_WITHIN_S: Final = 45.0


@dataclass(slots=True)
class Killer:
    """Kills processes of a world.

    Attributes:
        recovered_s: per kill, victim and seconds until it (a server: everybody) was ready again.
        failures: what parts of services said of themselves meanwhile.
    """

    world: World
    chance: random.Random
    recovered_s: list[tuple[str, float]] = field(default_factory=list)
    failures: set[str] = field(default_factory=set)

    def victims(self) -> Iterator[str]:
        """Every process at least once, some services more often, in random order."""
        services = [entry.name for entry in SERVICES]
        chosen = [*services, *SERVER_NAMES, *self.chance.choices(services, k=EXTRA_KILLS)]
        self.chance.shuffle(chosen)
        yield from chosen

    async def rampage(self) -> None:
        """Kill them all; about every third time before the one before is back."""
        async with asyncio.TaskGroup() as watches:
            for victim in self.victims():
                pid = await self._running(victim)
                began = monotonic()
                await self.world.stack.kill(victim)
                watch = watches.create_task(self._recovery(victim, pid, began))
                if self.chance.random() < 0.65:
                    await watch
                await asyncio.sleep(self.chance.uniform(*GAP_S))

    async def _running(self, victim: str) -> int:
        """The victim's process; one that was killed a moment ago is waited for."""
        async with asyncio.timeout(RECOVERED_WITHIN_S):
            while (pid := self.world.stack.pid(victim)) is None:
                await asyncio.sleep(0.05)
        return pid

    async def _recovery(self, victim: str, pid: int, began: float) -> None:
        concerned = [entry.name for entry in SERVICES] if victim in SERVER_NAMES else [victim]
        async with asyncio.timeout(RECOVERED_WITHIN_S):
            while self.world.stack.pid(victim) in (None, pid):
                await asyncio.sleep(0.02)
            while not all([await self._ready(name) for name in concerned]):
                await asyncio.sleep(0.05)
        self.recovered_s.append((victim, monotonic() - began))

    async def _ready(self, name: str) -> bool:
        answer = await asked(self.world.endpoints.ports[name])
        self.failures |= {f"{name} {part}: {said}" for part, said in answer.told.get("failures", {}).items()}
        return answer.ready


async def test_everything_is_killed_and_nothing_acknowledged_is_lost_or_done_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = seed()
    print(f"seed {number}: repeat with GPUAAS_DRILL_SEED={number}")
    began = monotonic()
    with state_folder() as folder:
        async with steady_world(folder, RATE) as world, beating(world, nodes_file(folder, SMALL_FLEET)):
            load, killer = await killed_under_load(world, random.Random(number))
            await all_ended(world, len(load.acknowledged))
            await bill_while_billing_dies(world, killer)
            last = await quiet(world)
            reading = await read_everything(world)
            assert reading.last == last
            everything_holds(reading)
            nothing_acknowledged_is_lost(load, reading)
            everything_has_ended_and_is_billed(load, reading)
            assert (await world.operator.get("billing", "/v1/trial-balance"))["balanced"] is True
            await trail_is_complete(world, reading.digests)
            took = await rebuilt(world)
    figures = {
        "drill": "kill-everything",
        "seed": number,
        "took_s": monotonic() - began,
        "kills": len(killer.recovered_s),
        "slowest_recovery_s": max(took_s for _, took_s in killer.recovered_s),
        "acknowledged": len(load.acknowledged),
        "acknowledged_lost": 0,
        "held_twice": 0,
        "longest_wait_s": load.longest_wait_s,
        "events": reading.last,
        "read_models_equal_to_a_rebuild": len(took),
    }
    kept(figures)
    with capsys.disabled():
        print(report(number, monotonic() - began, load, killer, reading, took))


async def killed_under_load(world: World, chance: random.Random) -> tuple[Load, Killer]:
    await play.enrol(world, SMALL_FLEET, unheard)
    tenants = await play.open_tenants(world, TENANTS, unheard)
    await play.publish_prices(world)
    load, killer = Load(tenants, random.Random(chance.random())), Killer(world, chance)
    try:
        async with load.under_way():
            await killer.rampage()
        await world.stack.ready()
    finally:
        for tenant in tenants.values():
            await tenant.client.close()
    return load, killer


async def bill_while_billing_dies(world: World, killer: Killer) -> None:
    """A billing run whose process is killed as soon as it is acknowledged; the next process finishes it."""
    body = {"period_start": WORLD_EPOCH.replace(day=1).isoformat(), "period_end": "2017-11-01T00:00:00+00:00"}
    run = await world.operator.post("billing", "/v1/billing-runs", body, key="drill-run")
    pid, began = world.stack.pid("billing") or 0, monotonic()
    await world.stack.kill("billing")
    await killer._recovery("billing", pid, began)
    async with asyncio.timeout(RECOVERED_WITHIN_S):
        while (await world.operator.get("billing", f"/v1/billing-runs/{run['id']}"))["status"] == "running":
            await asyncio.sleep(play.POLL_S)
    again = await world.operator.post("billing", "/v1/billing-runs", body, key="drill-run")
    assert again == run | {"repeated": True}


def nothing_acknowledged_is_lost(load: Load, reading: Reading) -> None:
    """Every acknowledged request stands where its answer said, once; and nothing stands that nobody asked for."""
    asked_for = {allocation: [position] for allocation, position in load.acknowledged.values()}
    assert len(asked_for) == len(load.acknowledged)
    assert dict(reading.requested) == asked_for


def everything_has_ended_and_is_billed(load: Load, reading: Reading) -> None:
    assert reading.holders == {}
    assert set(reading.released) == set(reading.requested)
    assert [name for name, positions in reading.released.items() if len(positions) != 1] == []
    assert reading.gpu_ms["metered"] == reading.gpu_ms["invoiced"] > 0


def report(
    number: int, took_s: float, load: Load, killer: Killer, reading: Reading, rebuilds: Mapping[str, float]
) -> str:
    """The drill's figures, for people."""
    by_victim: dict[str, list[float]] = {}
    for victim, recovered_s in killer.recovered_s:
        by_victim.setdefault(victim, []).append(recovered_s)
    times = ", ".join(f"{name} {_times(each)}" for name, each in sorted(by_victim.items()))
    return "\n".join(
        [
            f"\nkill everything, seed {number}, {took_s:.0f} s",
            f"  kills {len(killer.recovered_s)}; seconds to recover: {times}",
            *(f"  said meanwhile: {said[:200]}" for said in sorted(killer.failures)),
            f"  requests acknowledged {len(load.acknowledged)}, made again {load.repeats}, given back {load.released}, "
            f"tries refused {load.refusals}, longest wait {load.longest_wait_s:.1f} s",
            f"  events {reading.last} in {len(reading.versions)} histories; runs {len(reading.started)}; "
            f"lost 0, doubled 0, held twice 0; metered = invoiced = {reading.gpu_ms['metered']} GPU-ms",
            f"  read models rebuilt and equal: {len(rebuilds)} in {sum(rebuilds.values()):.1f} s, "
            f"slowest {max(rebuilds, key=lambda name: rebuilds[name])} {max(rebuilds.values()):.1f} s",
        ]
    )


def _times(seconds: Sequence[float]) -> str:
    return "/".join(f"{each:.1f}" for each in seconds)
