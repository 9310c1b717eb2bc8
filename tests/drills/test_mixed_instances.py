"""Two processes of one service race on one log and one database. One law: the log's guards decide, not who is first.

Both schedule the same pool and carry the same allocations on; one is killed in the middle of it, and the other goes on.
"""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import httpx
import pytest
from gpuaas.cli.client import Suite
from gpuaas.cli.demo import play
from gpuaas.cli.demo.world import World, beating

from tests.drills.load import TENANTS, Load, all_ended
from tests.drills.ordeal import report
from tests.drills.reading import Reading, everything_holds, read_everything
from tests.drills.stage import (
    SMALL_FLEET,
    admin_key,
    nodes_file,
    second_process,
    state_folder,
    steady_world,
    unheard,
)
from tests.drills.views import quiet, rebuilt, trail_is_complete

pytestmark = [pytest.mark.drill, pytest.mark.slow]
RATE: Final = 600.0
EACH: Final = 80
"""Requests at each of the two doors while both live."""
AFTERWARDS: Final = 30
"""Requests at the door of the one that is left."""
SHARED: Final = 12
"""Requests that are sent to both doors at once, with one key."""
SCHEDULED: Final = re.compile(r'^gpuaas_commands_total\{entity="pool",outcome="done"\} (\S+)', re.MULTILINE)


@dataclass(slots=True)
class Race:
    """What was asked of whom.

    Attributes:
        pool_commands: what each process did to the pool while both lived.
        shared: what both doors answered to the requests that both were sent.
    """

    first: Load
    second: Load
    afterwards: Load
    pool_commands: list[int] = field(default_factory=list)
    shared: list[list[dict[str, Any]]] = field(default_factory=list)

    @property
    def asked_for(self) -> dict[str, list[int]]:
        """Allocation → where its request stands, by all answers."""
        loads = (self.first, self.second, self.afterwards)
        told = [place for load in loads for place in load.acknowledged.values()]
        told += [(answers[0]["id"], answers[0]["position"]) for answers in self.shared]
        return {allocation: [position] for allocation, position in told}


async def test_two_schedulers_of_one_pool_hold_no_gpu_twice_and_end_everything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = monotonic()
    with state_folder() as folder:
        async with steady_world(folder, RATE) as world, beating(world, nodes_file(folder, SMALL_FLEET)):
            race = await raced(world)
            await all_ended(world, len(race.asked_for))
            await quiet(world)
            reading = await read_everything(world)
            everything_holds(reading)
            nothing_is_left_or_doubled(race, reading)
            await trail_is_complete(world, reading.digests)
            await rebuilt(world)
    pool_commands = "/".join(map(str, race.pool_commands))
    report({"drill": "mixed-instances", "seed": 0, "acknowledged": len(race.asked_for), "pool_commands": pool_commands})
    with capsys.disabled():
        print(
            f"\nmixed instances, {monotonic() - began:.0f} s: {len(race.asked_for)} requests, {reading.last} events; "
            f"pool commands by process while both lived: {race.pool_commands}; held twice 0, lost 0, doubled 0"
        )


async def raced(world: World) -> Race:
    await play.enrol(world, SMALL_FLEET, unheard)
    tenants = await play.open_tenants(world, TENANTS, unheard)
    keys = {name: await admin_key(world, name) for name in TENANTS}
    async with AsyncExitStack() as open_clients, second_process(world, "allocations") as (process, address):
        doors: list[dict[str, play.Tenant]] = []
        for addresses in (world.endpoints.services, {**world.endpoints.services, "allocations": address}):
            clients = {name: await open_clients.enter_async_context(Suite(addresses, keys[name])) for name in TENANTS}
            for client in clients.values():
                client.position = world.operator.position
            doors.append({name: play.Tenant(name, client) for name, client in clients.items()})
        first, second, afterwards = (
            Load(door, random.Random(name), name)
            for door, name in ((doors[0], "first"), (doors[1], "second"), (doors[0], "afterwards"))
        )
        race = Race(first, second, afterwards)
        async with first.under_way(), second.under_way():
            race.shared = await sent_to_both(doors)
            await asyncio.gather(first.until(EACH), second.until(EACH))
            race.pool_commands = [await pool_commands(each) for each in (world.stack.urls["allocations"], address)]
        async with afterwards.under_way():
            await afterwards.until(AFTERWARDS // 3)
            process.kill()
            await afterwards.until(AFTERWARDS)
    for tenant in tenants.values():
        await tenant.client.close()
    return race


async def sent_to_both(doors: list[dict[str, play.Tenant]]) -> list[list[dict[str, Any]]]:
    """The same requests with the same keys at both doors at the same time."""
    body = {"pool_id": play.POOL, "gpus_per_replica": 1, "image": "philly", "command": ["sleep", "60"]}
    place = f"/v1/tenants/{TENANTS[0]}/projects/research/allocations"
    return [
        await asyncio.gather(
            *(door[TENANTS[0]].client.post("allocations", place, body, key=f"shared-{number}") for door in doors)
        )
        for number in range(SHARED)
    ]


async def pool_commands(address: str) -> int:
    """How often this process has changed a pool."""
    async with httpx.AsyncClient() as client:
        told = SCHEDULED.search((await client.get(f"{address}/metrics")).text)
    return int(float(told[1])) if told else 0


def nothing_is_left_or_doubled(race: Race, reading: Reading) -> None:
    assert all(count > 0 for count in race.pool_commands), "only one of the two has scheduled: there was no race"
    for answers in race.shared:
        assert len({(each["id"], each["position"]) for each in answers}) == 1, "one key made two allocations"
    assert dict(reading.requested) == race.asked_for
    assert set(reading.released) == set(reading.requested)
    assert [name for name, positions in reading.released.items() if len(positions) != 1] == []
    assert reading.holders == {}
