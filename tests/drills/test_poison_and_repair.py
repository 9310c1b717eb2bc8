"""An event that this release cannot read, and the next one can. One law: the repair is a roll-out, and nothing by hand.

A text in it is longer than this release's contract allows; the next release's contract is wider. Whoever wrote it was
ahead of the readers: the order of a roll-out gone wrong.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Final

import nats
import pytest
from gpuaas import contracts
from gpuaas.cli.demo import play
from gpuaas.cli.demo.world import World, beating
from gpuaas.cli.readiness import asked
from gpuaas.common.clock import rfc3339
from gpuaas.common.envelope import CONTENT_TYPE, CONTENT_TYPE_HEADER, TYPE_HEADER
from gpuaas.common.ids import new_id

from tests.drills.load import TENANTS, Load
from tests.drills.ordeal import RATE, lines, reckoned, report, seed
from tests.drills.stage import SMALL_FLEET, nodes_file, second_process, state_folder, steady_world, unheard

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.long]
TYPE: Final = "gpuaas.inventory.gpu-model-defined.v1"
SUBJECT: Final = "events.inventory.gpu-model.platform.too-new"
LONGEST: Final = 500
READER: Final = "projection gpu_models_v1"
WITHIN_S: Final = 30.0
REQUESTS: Final = 40


def wider_release(folder: Path) -> dict[str, str]:
    """The environment of processes whose contracts allow longer texts."""
    copy = folder / "wider" / "gpuaas" / "contracts"
    shutil.copytree(next(iter(contracts.__path__)), copy, ignore=shutil.ignore_patterns("__pycache__"))
    for module in copy.glob("*.py"):
        text = module.read_text("utf-8")
        module.write_text(re.sub(rf"max_length={LONGEST}\b", f"max_length={2 * LONGEST}", text), "utf-8")
    return {"PYTHONPATH": str(folder / "wider")}


async def test_an_event_ahead_of_its_readers_stops_them_by_name_until_they_are_rolled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = seed()
    figures: dict[str, Any] = {"drill": "poison-and-repair", "seed": number}
    with state_folder() as folder:
        async with steady_world(folder, RATE) as world, beating(world, nodes_file(folder, SMALL_FLEET)):
            await play.enrol(world, SMALL_FLEET, unheard)
            tenants = await play.open_tenants(world, TENANTS, unheard)
            await play.publish_prices(world)
            load = Load(tenants, random.Random(number))
            async with load.under_way():
                await load.until(REQUESTS // 2)
                figures["position"] = position = await written_ahead(world)
                began = monotonic()
                await until(world, lambda readers: bool(readers[READER]["stopped"]), "it does not stop")
                figures["stopped_by_name_s"] = monotonic() - began
                await load.until(REQUESTS)
                began = monotonic()
                async with second_process(world, "inventory", wider_release(folder)) as (_, address):
                    port = int(address.rpartition(":")[2])
                    await until(world, lambda readers: past(readers, position), "it does not go on", port)
                    figures["rolled_and_past_it_s"] = monotonic() - began
                    await load.until(REQUESTS + 10)
                    ours = world.endpoints
                    world.endpoints = replace(ours, ports={**ours.ports, "inventory": port})
                    services = dict(world.operator._addresses)
                    world.operator._addresses["inventory"] = address
                    await world.stack.stop_service("inventory")
                    load.stopped = True
                    reading, _ = await reckoned(world, load)
                    assert reading.types[TYPE] >= 1
                    world.operator._addresses.update(services)
                    world.endpoints = ours
            for tenant in tenants.values():
                await tenant.client.close()
    with capsys.disabled():
        print(lines(report(figures)))


def past(readers: dict[str, Any], position: int) -> bool:
    return readers[READER]["position"] >= position and not readers[READER]["stopped"]


async def until(world: World, true: Callable[[dict[str, Any]], bool], otherwise: str, port: int | None = None) -> None:
    """Ask inventory how its readers stand until it is so."""
    deadline = monotonic() + WITHIN_S
    while True:
        told = (await asked(port or world.endpoints.ports["inventory"])).told
        readers = {reader["name"]: reader for reader in told.get("readers", ())}
        if readers and true(readers):
            return
        assert monotonic() < deadline, f"{otherwise}: {readers.get(READER)}"
        await asyncio.sleep(0.05)


async def written_ahead(world: World) -> int:
    """Append the event as a release would that is ahead; its position."""
    payload = json.dumps(
        {
            "specversion": "1.0",
            "id": new_id(),
            "source": "gpuaas/inventory",
            "type": TYPE,
            "subject": "gpu-model/platform/too-new",
            "time": rfc3339(world.clock.now()),
            "datacontenttype": "application/json",
            "dataschema": "gpuaas:events/inventory/gpu-model-defined.v1",
            "tenantid": "platform",
            "actor": "operator",
            "actorkind": "service-account",
            "causationid": new_id(),
            "correlationid": new_id(),
            "sequence": "0000000001",
            "profile": "demo",
            "data": {
                "gpu_model": "too-new",
                "vendor": "ACME",
                "memory_mib": 1,
                "interconnect": "none",
                "description": "x" * (LONGEST + 1),
            },
        }
    ).encode()
    connection = await nats.connect(world.endpoints.nats_url_of("provisioner"))
    try:
        headers = {CONTENT_TYPE_HEADER: CONTENT_TYPE, TYPE_HEADER: TYPE}
        reply = await connection.request(SUBJECT, payload, headers=headers, timeout=2)
        return int(json.loads(reply.data)["seq"])
    finally:
        await connection.close()
