"""One bit of the log's file is flipped. One law: audit names the event, and its copy makes the log whole again.

The broker notices nothing: it is healthy, and the event is silently unreadable. On one of three servers the copy is
thrown away and comes back from the others; on a single server the log is written anew, position by position, with the
lost event from audit's copy, and everything is compared with what audit had signed.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pytest
from gpuaas.cli.audit_copy import open_audit_copy
from gpuaas.cli.backup import write_backup
from gpuaas.cli.demo import play
from gpuaas.cli.demo.world import World, beating
from gpuaas.cli.profile import load as load_profile
from gpuaas.cli.restore import restore
from gpuaas.cli.scrub import scrub

from tests.drills.load import TENANTS, Load, all_ended
from tests.drills.ordeal import RATE, lines, reckoned, report, seed
from tests.drills.stage import SMALL_FLEET, nodes_file, open_log, state_folder, steady_world, stored, unheard
from tests.drills.views import quiet

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.long]
REQUESTS: Final = 40
FOUND_WITHIN_S: Final = 60.0
DIVERGENCES: Final = "events.audit.divergence.>"


async def test_a_flipped_bit_is_found_and_the_log_is_seeded_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = seed()
    figures: dict[str, Any] = {"drill": "flipped-bit-one-server", "seed": number}
    with state_folder() as sick, state_folder() as well:
        async with steady_world(sick, RATE, restart=False) as world, beating(world, nodes_file(sick, SMALL_FLEET)):
            load = await worked(world, random.Random(number))
            position = await an_old_event(world, random.Random(number))
            await spoilt(world, "nats", sick, position)
            figures |= await found(world, position)
            async with open_log(world) as log, open_audit_copy(world.endpoints) as copy:
                began = monotonic()
                verified = await write_backup(log, sick, tmp_path / "copy", lambda *_: None, copy)
                figures["backup_mended_s"] = monotonic() - began
                assert position in copy.given
                assert verified.every_tree is True
            now = world.clock.now()
        shutil.copy2(sick / "nodes.txt", well / "nodes.txt")
        restored = await restore(
            tmp_path / "copy", well, load_profile("demo"), newest_head=None, progress=lambda *_: None
        )
        figures |= {"events": verified.manifest.last_position, "seeded_again_s": restored.whole_s}
        began = monotonic()
        async with steady_world(well, RATE, now) as world, beating(world, well / "nodes.txt"):
            figures["ready_and_rebuilt_s"] = monotonic() - began
            reading, _ = await reckoned(world, load)
            assert reading.last >= verified.manifest.last_position
    with capsys.disabled():
        print(lines(report(figures)))


async def test_a_flipped_bit_on_one_of_three_is_found_and_heals_from_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = seed()
    figures: dict[str, Any] = {"drill": "flipped-bit-one-of-three", "seed": number}
    profile = load_profile("demo", ("log.servers=3",))
    with state_folder() as folder:
        began_world = steady_world(folder, RATE, profile=profile, restart=False)
        async with began_world as world, beating(world, nodes_file(folder, SMALL_FLEET)):
            load = await worked(world, random.Random(number))
            position = await an_old_event(world, random.Random(number))
            await spoilt(world, "nats-3", folder, position)
            began = monotonic()
            port = world.endpoints.ports["nats_3"]
            assert await sick(world) == {f"nats-{port}": [position]}
            figures |= {"position": position, "scrub_of_three_copies_s": monotonic() - began}
            began = monotonic()
            await healed(world, "nats-3", folder)
            async with asyncio.timeout(FOUND_WITHIN_S):
                while await sick(world):
                    await asyncio.sleep(0.2)
            figures["healed_s"] = monotonic() - began
            await reckoned(world, load)
    with capsys.disabled():
        print(lines(report(figures)))


async def worked(world: World, chance: random.Random) -> Load:
    """Some work, done."""
    await play.enrol(world, SMALL_FLEET, unheard)
    tenants = await play.open_tenants(world, TENANTS, unheard)
    await play.publish_prices(world)
    load = Load(tenants, chance)
    async with load.under_way():
        await load.until(REQUESTS)
    await all_ended(world, len(load.acknowledged))
    await quiet(world)
    for tenant in tenants.values():
        await tenant.client.close()
    return load


async def an_old_event(world: World, chance: random.Random) -> int:
    async with open_log(world) as log:
        return chance.randrange(20, await log.last_position() - 20)


async def spoilt(world: World, server: str, folder: Path, position: int) -> None:
    """End one broker in order, flip one bit in the middle of one event in its file, start it again."""
    async with open_log(world) as log:
        event = await log.at(position)
    assert event is not None
    pid = world.stack.pid(server)
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    while world.stack.pid(server) is not None:
        await asyncio.sleep(0.02)
    flipped(folder / server / "store", event.payload)
    await world.stack.revive(server)


def flipped(store: Path, payload: bytes) -> None:
    """Flip the lowest bit of the byte in the middle of `payload`, wherever it is stored."""
    for block in sorted(store.rglob("EVENTS/msgs/*.blk")):
        content = bytearray(block.read_bytes())
        if (at := content.find(payload)) >= 0:
            content[at + len(payload) // 2] ^= 1
            block.write_bytes(content)
            return
    raise AssertionError("the event stands in no file of this server")


async def found(world: World, position: int) -> dict[str, Any]:
    """Wait until audit names the position; seconds, and what it calls it."""
    began = monotonic()
    while not await stored(world, DIVERGENCES):
        assert monotonic() - began < FOUND_WITHIN_S, f"audit does not notice that position {position} is spoilt"
        await asyncio.sleep(0.2)
    took_s = monotonic() - began
    async with open_log(world) as log:
        said = [each.envelope() for each in await log.history(DIVERGENCES)]
    named = [each for each in said if f'"{position}"'.encode() in bytes(each.data)]
    assert named, f"audit names other positions than {position}"
    return {"found_by_audit_s": took_s, "position": position}


async def sick(world: World) -> dict[str, list[int]]:
    """What a scrub of every server's copy finds."""
    async with open_log(world) as log, open_audit_copy(world.endpoints) as copy:
        return (await scrub(log, copy)).sick


async def healed(world: World, server: str, folder: Path) -> None:
    """What the runbook says: end it, throw its copy of the log away, start it; it copies from the others."""
    pid = world.stack.pid(server)
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    while world.stack.pid(server) is not None:
        await asyncio.sleep(0.02)
    for stream in (folder / server / "store").rglob("streams/EVENTS"):
        shutil.rmtree(stream)
    await world.stack.revive(server)
