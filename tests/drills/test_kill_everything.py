"""Kill -9 of every process at random under load. One law: nothing acknowledged is lost, nothing is done twice.

Seeded by GPUAAS_DRILL_SEED (a random one without it); the seed chooses victims, pauses and jobs, not what the machine
makes of it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import pytest
from gpuaas.cli.client import Refused, Suite, Unreachable
from gpuaas.cli.demo import play
from gpuaas.cli.demo.trace import WORLD_EPOCH
from gpuaas.cli.demo.world import World, beating
from gpuaas.cli.readiness import asked
from gpuaas.cli.service_table import SERVICES
from gpuaas.cli.servers import SERVER_NAMES

from tests.drills.reading import Reading, everything_holds, read_everything
from tests.drills.stage import SMALL_FLEET, nodes_file, state_folder, steady_world, unheard
from tests.drills.views import quiet, rebuilt, trail_is_complete

pytestmark = [pytest.mark.drill, pytest.mark.slow]
RATE: Final = 600.0
"""World seconds per second: a job of ten minutes runs for one."""
TENANTS: Final = ("vc-red", "vc-green", "vc-blue")
SUBMITTERS: Final = 4
PAUSE_S: Final = (0.1, 0.6)
"""Between two requests of one submitter."""
GAP_S: Final = (0.3, 1.5)
"""Between two kills."""
EXTRA_KILLS: Final = 5
RECOVERED_WITHIN_S: Final = 45.0
ENDED_WITHIN_S: Final = 60.0


def seed() -> int:
    return int(os.environ.get("GPUAAS_DRILL_SEED") or random.SystemRandom().randrange(1_000_000))


@dataclass(slots=True)
class Load:
    """Requests made while everything dies.

    Attributes:
        acknowledged: idempotency key → (allocation, position) as the door said it.
        repeats: requests made again after they were acknowledged.
        refusals: answers that were not an acknowledgement and were followed by another try.
        longest_wait_s: the longest time from the first try of a request to its acknowledgement.
    """

    tenants: Mapping[str, play.Tenant]
    chance: random.Random
    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict)
    repeats: int = 0
    refusals: int = 0
    released: int = 0
    longest_wait_s: float = 0.0
    stopped: bool = False
    _count: int = 0

    async def submit_for_ever(self) -> None:
        """One submitter: ask, sometimes ask the same again, sometimes give back; until `stopped`."""
        while not self.stopped:
            self._count += 1
            key, tenant = f"job-{self._count:05d}", self.chance.choice(TENANTS)
            place = f"/v1/tenants/{tenant}/projects/{self.chance.choice(play.PROJECTS)}/allocations"
            endless, twice = self.chance.random() < 0.15, self.chance.random() < 0.3
            client, ask = self.tenants[tenant].client, self._ask(endless)
            told = await self._until_acknowledged(client, place, ask, key)
            self.acknowledged[key] = (told["id"], told["position"])
            if twice:
                again = await self._until_acknowledged(client, place, ask, key)
                self.repeats += 1
                assert again == told | {"repeated": True}, f"{key} was answered {told} and then {again}"
            if endless:
                await asyncio.sleep(self.chance.uniform(*PAUSE_S))
                await self._until_acknowledged(client, f"{place}/{told['id']}/release", None, f"{key}-back")
                self.released += 1
            await asyncio.sleep(self.chance.uniform(*PAUSE_S))

    def _ask(self, endless: bool) -> dict[str, Any]:
        replicas, each = self.chance.choice([(1, 1), (1, 1), (1, 2), (1, 4), (2, 2), (1, 8), (2, 8), (3, 1)])
        return {
            "pool_id": play.POOL,
            "gpu_model": self.chance.choice([play.GPU_MODEL, None]),
            "replicas": replicas,
            "gpus_per_replica": each,
            "lease_s": 86_400,
            "image": "philly",
            "command": [] if endless else ["sleep", str(self.chance.randrange(0, 2_400))],
        }

    async def _until_acknowledged(self, client: Suite, path: str, body: Any, key: str) -> dict[str, Any]:
        """Send it with one key until somebody acknowledges it. A refusal for good is the drill's failure."""
        began = monotonic()
        while True:
            try:
                told: dict[str, Any] = await client.post("allocations", path, body, key=key)
            except (Unreachable, Refused) as refused:
                if isinstance(refused, Refused) and refused.status < 500 and refused.status not in (401, 429):
                    raise
                self.refusals += 1
                continue
            self.longest_wait_s = max(self.longest_wait_s, monotonic() - began)
            return told

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """Submit while the block runs; every request under way is acknowledged before it ends."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SUBMITTERS):
                group.create_task(self.submit_for_ever())
            try:
                yield
            finally:
                self.stopped = True


@dataclass(slots=True)
class Killer:
    """Kills processes of a world.

    Attributes:
        recovered_s: per kill, victim and seconds until it (a server: everybody) was ready again.
    """

    world: World
    chance: random.Random
    recovered_s: list[tuple[str, float]] = field(default_factory=list)

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
            while not all([(await asked(self.world.endpoints.ports[name])).ready for name in concerned]):
                await asyncio.sleep(0.05)
        self.recovered_s.append((victim, monotonic() - began))


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


async def all_ended(world: World, requests: int) -> None:
    """Wait until nothing waits or runs any more."""
    counts: dict[str, int] = {}
    try:
        async with asyncio.timeout(ENDED_WITHIN_S):
            while counts.get("released", 0) + counts.get("rejected", 0) < requests:
                await asyncio.sleep(play.POLL_S)
                counts = await world.operator.get("allocations", "/v1/allocation-counts", at_least=0)
    except TimeoutError:
        raise AssertionError(f"{requests} were asked for, and they do not end: {counts}") from None


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
