"""Full disks and cut power, under the log and under the databases. One law: neither breaks a promise.

A full log takes no new work; a full database stops readers, which wait. After a power cut the log has every
acknowledged event where the profile says `always`, and a database that lost its newest transactions is folded on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import Any, Final

import httpx
import nats
import pytest
from gpuaas.cli.client import Suite
from gpuaas.cli.demo import play
from gpuaas.cli.demo.world import World

from tests.drills.disks import FragileDisk, SmallDisk, fragile_disk, small_disk
from tests.drills.load import LEASE_S, TENANTS
from tests.drills.ordeal import Night, lines, night

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.long]
LOG_MIB: Final = 768
DATABASE_MIB: Final = 320
FULL_S: Final = 6.0
FILLING: Final = 300
FILLING_BYTES: Final = 1_000_000
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


async def test_a_nearly_full_log_ends_work_and_begins_none(capsys: pytest.CaptureFixture[str]) -> None:
    async def fault(passing: Night) -> None:
        world, tenant = passing.world, TENANTS[0]
        client, place = passing.load.tenants[tenant].client, f"/v1/tenants/{tenant}/projects/research/allocations"
        ask = {"pool_id": play.POOL, "gpus_per_replica": 1, "image": "philly", "lease_s": LEASE_S}
        kept = await client.post("allocations", place, ask, key="kept")
        passing.load.acknowledged["kept"] = (kept["id"], kept["position"])
        connection = await nats.connect(world.endpoints.nats_url_of("provisioner"))
        began = monotonic()
        try:
            ballast = json.dumps({"name": "BALLAST", "subjects": ["ballast"], "storage": "file"}).encode()
            await connection.request("$JS.API.STREAM.CREATE.BALLAST", ballast, timeout=10)
            for _ in range(FILLING):
                await connection.request("ballast", bytes(FILLING_BYTES), timeout=10)
            while not await refused(world, client, place, ask):
                await asyncio.sleep(0.2)
            passing.figures["new_work_refused_after_s"] = monotonic() - began
            began = monotonic()
            await client.post("allocations", f"{place}/{kept['id']}/release")
            passing.figures["released_while_full_s"] = monotonic() - began
            await connection.request("$JS.API.STREAM.DELETE.BALLAST", b"", timeout=10)
        finally:
            await connection.close()
        began = monotonic()
        passing.figures["taken_again_after_s"] = await passing.acknowledged(1)
        passing.figures["recovered_s"] = await passing.recovered(began)

    figures = await night("log-nearly-full", fault, given=("log.file_store_mib=300",))
    with capsys.disabled():
        print(lines(figures))


async def refused(world: World, client: Suite, place: str, ask: dict[str, Any]) -> bool:
    """Whether one try at new work is answered 503. It is one that was done already, so nothing comes of a yes."""
    headers = {"Authorization": f"Bearer {await client._bearer()}", "Idempotency-Key": "kept"}
    async with httpx.AsyncClient(headers=headers) as http:
        answer = await http.post(world.endpoints.services["allocations"] + place, json=ask)
    return answer.status_code == 503
