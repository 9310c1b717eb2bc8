"""Three brokers, and the log's leader dies, hangs or steps down under load. One law: two of three are enough.

The time without a leader is compiled into the broker (an election takes 4 to 9 s); GPUs run on meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from time import monotonic
from typing import Any, Final
from urllib.request import urlopen

import nats
import pytest
from gpuaas.cli.demo.world import World

from tests.drills.ordeal import Night, lines, night

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.long]
MEMBERS: Final = ("nats", "nats-2", "nats-3")
PAUSE_S: Final = 15.0


def leader(world: World) -> str:
    """Which broker leads the log now; empty while none does."""
    ports = world.stack.endpoints.ports
    for name in MEMBERS:
        try:
            with urlopen(
                f"http://127.0.0.1:{ports[name.replace('-', '_') + '_monitor']}/jsz?streams=1&accounts=1&raft=1",
                timeout=2,
            ) as answer:
                told: dict[str, Any] = json.load(answer)
        except OSError:
            continue
        for account in told.get("account_details", ()):
            for stream in account.get("stream_detail", ()):
                if stream["name"] == "EVENTS" and stream.get("cluster", {}).get("leader"):
                    port = stream["cluster"]["leader"].removeprefix("nats-")
                    return next((each for each in MEMBERS if str(ports[each.replace("-", "_")]) == port), "")
    return ""


async def known_leader(world: World) -> str:
    async with asyncio.timeout(60):
        while not (found := await asyncio.to_thread(leader, world)):
            await asyncio.sleep(0.1)
    return found


async def the_leader_is_killed(passing: Night) -> None:
    victim, began = await known_leader(passing.world), monotonic()
    await passing.world.stack.kill(victim)
    passing.figures["killed_leader_first_acknowledgement_s"] = await passing.acknowledged(1)
    passing.figures["killed_leader_recovered_s"] = await passing.recovered(began)


async def the_leader_hangs(passing: Night) -> None:
    victim, began = await known_leader(passing.world), monotonic()
    pid = passing.world.stack.pid(victim)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        passing.figures["hung_leader_first_acknowledgement_s"] = await passing.acknowledged(1)
        await asyncio.sleep(max(0.0, PAUSE_S - (monotonic() - began)))
    finally:
        os.kill(pid, signal.SIGCONT)
    passing.figures["hung_leader_recovered_s"] = await passing.recovered(began)


async def the_leader_steps_down(passing: Night) -> None:
    before, began = await known_leader(passing.world), monotonic()
    connection = await nats.connect(passing.world.endpoints.nats_url_of("provisioner").split(","))
    await connection.request("$JS.API.STREAM.LEADER.STEPDOWN.EVENTS", b"", timeout=10)
    await connection.close()
    passing.figures["step_down_first_acknowledgement_s"] = await passing.acknowledged(1)
    passing.figures["step_down_recovered_s"] = await passing.recovered(began)
    passing.figures["step_down_from"] = before


async def test_the_logs_leader_dies_hangs_and_steps_down_under_load(capsys: pytest.CaptureFixture[str]) -> None:
    async def fault(passing: Night) -> None:
        for each in (the_leader_steps_down, the_leader_is_killed, the_leader_hangs):
            await each(passing)
            await passing.acknowledged(10)

    figures = await night("three-servers", fault, given=("log.servers=3",))
    with capsys.disabled():
        print(lines(figures))
