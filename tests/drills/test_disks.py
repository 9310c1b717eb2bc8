"""Full disks and cut power, under the log and under the databases. One law: neither breaks a promise.

A full log takes no new work; a full database stops readers, which wait. After a power cut the log has every
acknowledged event where the profile says `always`, and a database that lost its newest transactions is folded on.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import Final

import pytest

from tests.drills.disks import FragileDisk, SmallDisk, fragile_disk, small_disk
from tests.drills.ordeal import Night, lines, night

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.long]
LOG_MIB: Final = 192
DATABASE_MIB: Final = 320
FULL_S: Final = 6.0
CUT_AFTER: Final = 15
"""Requests acknowledged between two cuts."""


async def test_the_logs_disk_fills_up_and_is_relieved(capsys: pytest.CaptureFixture[str]) -> None:
    disks: list[SmallDisk] = []

    def prepare(folder: Path, open_things: AsyncExitStack) -> None:
        disks.append(open_things.enter_context(small_disk(folder / "nats" / "store", LOG_MIB)))

    async def fault(passing: Night) -> None:
        refused = passing.load.refusals
        passing.figures["ballast_mib"] = disks[0].fill() >> 20
        began = monotonic()
        await asyncio.sleep(FULL_S)
        passing.figures["refused_while_full"] = passing.load.refusals - refused
        disks[0].relieve()
        await passing.world.stack.kill("nats")  # freed space alone does not thaw a stream
        await passing.world.stack.revive("nats")
        passing.figures["recovered_s"] = await passing.recovered(began)

    figures = await night("disk-full-log", fault, restart=False, prepare=prepare)
    with capsys.disabled():
        print(lines(figures))


async def test_the_databases_disk_fills_up_and_is_relieved(capsys: pytest.CaptureFixture[str]) -> None:
    disks: list[SmallDisk] = []

    def prepare(folder: Path, open_things: AsyncExitStack) -> None:
        disks.append(open_things.enter_context(small_disk(folder / "postgres", DATABASE_MIB)))

    async def fault(passing: Night) -> None:
        disks[0].fill()
        began = monotonic()
        passing.figures["acknowledged_while_full_s"] = await passing.acknowledged(3)
        await asyncio.sleep(FULL_S)
        disks[0].relieve()
        if passing.world.stack.pid("postgres") is None:
            await passing.world.stack.revive("postgres")
        passing.figures["recovered_s"] = await passing.recovered(began)

    figures = await night("disk-full-database", fault, restart=False, prepare=prepare)
    with capsys.disabled():
        print(lines(figures))


@pytest.mark.parametrize(
    ("what", "folder_of", "given"),
    [
        ("log", "nats/store", ("log.sync=always",)),
        ("database", "postgres", ("database.fsync=true",)),
    ],
)
async def test_the_power_is_cut_under_load(
    what: str, folder_of: str, given: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    server = {"log": "nats", "database": "postgres"}[what]
    disks: list[FragileDisk] = []

    def prepare(folder: Path, open_things: AsyncExitStack) -> None:
        disks.append(open_things.enter_context(fragile_disk(folder / folder_of, folder / "disk.img", 512)))

    async def fault(passing: Night) -> None:
        for number in (1, 2):
            began = monotonic()
            pid = passing.world.stack.pid(server)
            assert pid is not None
            disks[0].cut()
            os.kill(pid, signal.SIGKILL)  # by hand: its owner would tidy up on a disk that is gone
            while passing.world.stack.pid(server) is not None:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(disks[0].back)
            await passing.world.stack.revive(server)
            passing.figures[f"cut_{number}_recovered_s"] = await passing.recovered(began)
            await passing.acknowledged(CUT_AFTER)

    figures = await night(f"power-cut-{what}", fault, given=given, restart=False, prepare=prepare)
    with capsys.disabled():
        print(lines(figures))
