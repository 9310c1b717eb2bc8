"""The inventory service on a real broker, database and door; nodes speaks as a neighbour."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gpuaas.common.commands import Cause
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.projections import Projection, digest
from gpuaas.common.service import Service
from gpuaas.common.settings import Settings
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.common.testing.running import eventually, fresh_settings, running, spoken
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.nodes import NodeHeartbeatLost, NodeHeartbeatRestored, NodeHoldLifted, NodeHoldPlaced, NodeRetired
from gpuaas.inventory.app import build
from gpuaas.inventory.domain.gpu_model import built_in
from gpuaas.inventory.domain.machine import EnterMachine, Found
from gpuaas.inventory.domain.partitioning import built_in as tables
from gpuaas.inventory.entities import MACHINE_ENTITY
from machine_facts import MEMORY_MIB, MODEL, NOON, available, device, found, looked_at


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[Settings]:
    async with fresh_settings(stack, Settings, tmp_path) as given:
        yield given


async def validated(service: Service, *machines: Found) -> None:
    """nodes says that it looked at these machines and accepted them."""
    for machine in machines:
        await tell(service.log, looked_at(machine), available(machine), entity_id=machine.machine_id)


async def entered(client: httpx.AsyncClient, headers: dict[str, str], status: str, *machine_ids: str) -> None:
    async def stand() -> bool:
        page = (await client.get("/v1/machines", params={"status": status, "limit": 500}, headers=headers)).json()
        return set(machine_ids) <= {item["machine_id"] for item in page["items"]}

    await eventually(stand)


async def asked(client: httpx.AsyncClient, headers: dict[str, str], path: str, **params: Any) -> Any:
    answer = await client.get(path, params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def total(client: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, int]:
    (row,) = (await asked(client, headers, "/v1/capacity", by=""))["items"]
    return {name: count for name, count in row.items() if count}


async def test_validated_machines_are_in_the_books_with_their_devices(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        machines = [found(f"m-{number}") for number in range(50)]
        await validated(service, *machines)
        await entered(client, operator, "accepted", *(m.machine_id for m in machines))
        await eventually(lambda: _is(total(client, operator), {"machines": 50, "gpus": 400, "sellable_gpus": 400}))
        machine = await asked(client, operator, "/v1/machines/m-7")
        assert (machine["machine_serial"], machine["gpu_count"]) == ("CHASSIS-m-7", 8)
        assert [d["serial"] for d in machine["devices"]] == [f"m-7-{slot}" for slot in range(8)]
        assert (await asked(client, operator, "/v1/devices/m-7-3"))["slot"] == 3
        first = await asked(client, operator, "/v1/devices", limit=300)
        rest = await asked(client, operator, "/v1/devices", limit=300, cursor=first["next_cursor"])
        assert len(first["items"]) + len(rest["items"]) == 400


async def _is(question: Any, wanted: Any) -> bool:
    return bool(await question == wanted)


async def test_a_serial_that_another_machine_has_is_a_mismatch(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        stolen = found("m-2", devices=(device(0, "m-1-5"), device(1, "m-2-1")))
        await validated(service, found("m-1"), stolen, found("m-3", machine_serial="CHASSIS-m-1"))
        await entered(client, operator, "accepted", "m-1")
        await entered(client, operator, "mismatched", "m-2", "m-3")
        machine = await asked(client, operator, "/v1/machines/m-2")
        assert machine["mismatches"] == [
            {
                "field": "devices.serial",
                "expected": "a serial number of this machine alone",
                "observed": "m-1-5 of m-1",
            }
        ]
        assert (await asked(client, operator, "/v1/devices/m-1-5"))["machine_id"] == "m-1"


async def test_two_machines_entered_at_once_with_one_serial_are_settled_by_the_log(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        for name in ("early", "late"):
            machine = found(name, devices=(device(0, "ONE"), device(1, f"{name}-1")))
            cause = Cause(id=f"another-process-{name}", actor="inventory", actor_kind="service")
            order = EnterMachine(machine, MEMORY_MIB)
            await service.commands.execute(MACHINE_ENTITY, PLATFORM, name, order, cause)
        await entered(client, operator, "mismatched", "late")
        await entered(client, operator, "accepted", "early")
        assert (await asked(client, operator, "/v1/devices/ONE"))["machine_id"] == "early"


async def test_unknown_models_wait_for_the_catalogue(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await validated(service, found("m-1", gpu_model="acme-x1-80gb"))
        await entered(client, operator, "mismatched", "m-1")
        model = {
            "gpu_model": "acme-x1-80gb",
            "vendor": "ACME",
            "memory_mib": 81_000,
            "interconnect": "pcie-5",
            "description": "a new one",
        }
        assert (await client.post("/v1/gpu-models", json=model, headers=operator)).status_code == 201
        again = await client.post("/v1/machines/m-1/comparisons", headers=operator)
        assert again.status_code == 202
        seen = operator | {"GPUaaS-At-Least": again.headers["GPUaaS-Position"]}
        assert (await asked(client, seen, "/v1/machines/m-1"))["status"] == "accepted"


async def test_a_device_is_followed_from_machine_to_machine(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await validated(service, found("m-1"), found("m-2"))
        await entered(client, operator, "accepted", "m-1", "m-2")
        repaired = found("m-1", devices=(device(0, "SPARE"), *found("m-1").devices[1:]))
        await validated(service, repaired)
        await eventually(lambda: _exists(client, operator, "/v1/devices/SPARE"))
        moved = found("m-2", devices=(device(0, "m-1-0"), *found("m-2").devices[1:]))
        await validated(service, moved)

        async def arrived() -> bool:
            return bool((await asked(client, operator, "/v1/devices/m-1-0"))["machine_id"] == "m-2")

        await eventually(arrived)
        followed = await asked(client, operator, "/v1/devices/m-1-0")
        assert [(s["machine_id"], s["slot"], s["until"] is None) for s in followed["stays"]] == [
            ("m-1", 0, False),
            ("m-2", 0, True),
        ]
        assert (await asked(client, operator, "/v1/devices/m-2-0"))["machine_id"] is None


async def _exists(client: httpx.AsyncClient, headers: dict[str, str], path: str) -> bool:
    return (await client.get(path, headers=headers)).status_code == 200


async def test_every_gpu_is_sellable_held_down_or_mismatched(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await validated(service, *(found(f"m-{n}") for n in range(4)))
        await entered(client, operator, "accepted", *(f"m-{n}" for n in range(4)))
        hold = NodeHoldPlaced(node_id="m-0", hold_id="h", owner="u", cause="c")
        await tell(service.log, hold, entity_id="m-0")
        lost = NodeHeartbeatLost(node_id="m-1", last_seen_at=NOON)
        await tell(service.log, lost, entity_id="m-1")
        await validated(service, found("m-2", machine_serial="CHASSIS-m-3"))
        wanted = {"machines": 4, "gpus": 32, "sellable_gpus": 8, "held_gpus": 8, "down_gpus": 8, "mismatched_gpus": 8}
        await eventually(lambda: _is(total(client, operator), wanted))
        await tell(service.log, NodeHoldLifted(node_id="m-0", hold_id="h", reason="r"), entity_id="m-0")
        await tell(service.log, NodeHeartbeatRestored(node_id="m-1", seen_at=NOON), entity_id="m-1")
        await tell(service.log, NodeRetired(node_id="m-3", reason="end of lease"), entity_id="m-3")
        wanted = {"machines": 3, "gpus": 24, "sellable_gpus": 16, "mismatched_gpus": 8}
        await eventually(lambda: _is(total(client, operator), wanted))
        removed = await asked(client, operator, "/v1/machines/m-3")
        assert (removed["status"], removed["reason"]) == ("removed", "node retired: end of lease")


async def test_capacity_and_topology_add_up_at_every_level(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        place = found().topology
        machines = [
            found(f"m-{n}", topology=place.model_copy(update={"pod": f"p{n % 2}", "rack": f"r{n % 4}"}))
            for n in range(8)
        ]
        await validated(service, *machines)
        await eventually(lambda: _is(total(client, operator), {"machines": 8, "gpus": 64, "sellable_gpus": 64}))
        by_pod = (await asked(client, operator, "/v1/capacity", by="pod"))["items"]
        assert [(row["pod"], row["gpus"]) for row in by_pod] == [("p0", 32), ("p1", 32)]
        tree = await asked(client, operator, "/v1/topology")
        (region,) = tree["children"]
        (site,) = region["children"]
        assert [(pod["name"], pod["gpus"], len(pod["children"])) for pod in site["children"]] == [
            ("p0", 32, 2),
            ("p1", 32, 2),
        ]
        for bad in ("colour", "pod,pod"):
            assert (await client.get("/v1/capacity", params={"by": bad}, headers=operator)).status_code == 422


async def test_the_catalogue_is_published_once_whatever_the_restarts(settings: Settings) -> None:
    for _ in range(3):
        service = build(settings)
        async with running(service) as client:
            page = (await client.get("/v1/gpu-models", params={"limit": 500})).json()
            assert len(page["items"]) == len(built_in())
            assert await service.log.last_position() == len(built_in()) + len(tables())
    assert {item["gpu_model"] for item in page["items"]} >= {MODEL, "nvidia-a100-sxm4-80gb"}


async def test_a_device_under_a_known_name_cannot_become_another(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        known = (await client.get(f"/v1/gpu-models/{MODEL}")).json()
        body = {name: known[name] for name in ("gpu_model", "vendor", "memory_mib", "interconnect", "description")}
        assert (await client.post("/v1/gpu-models", json=body, headers=operator)).status_code == 201
        other = await client.post("/v1/gpu-models", json=body | {"memory_mib": 1}, headers=operator)
        assert other.status_code == 409
        assert (
            await client.post("/v1/gpu-models", json=body | {"memory_mib": "1"}, headers=operator)
        ).status_code == 422
        assert (await client.post("/v1/gpu-models", json=body)).status_code == 401


async def test_the_door_asks_for_rights(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        identities = await Identities.on(service.log)
        member = await identities.member("acme")
        reader = await identities.operator("inventory.machine.read")
        for path in ("/v1/machines", "/v1/devices", "/v1/capacity", "/v1/topology"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers=member)).status_code == 403
        assert (await client.get("/v1/machines/ghost", headers=reader)).status_code == 404
        assert (await client.post("/v1/machines/m/comparisons", headers=reader)).status_code == 403


async def test_repeats_and_restarts_enter_a_machine_once(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await validated(service, found("m-1"))
        await entered(client, operator, "accepted", "m-1")
        await validated(service, found("m-1"))
        await asyncio.sleep(0.3)
        assert len(await service.log.history("events.inventory.machine.platform.m-1")) == 1


async def test_every_read_model_is_byte_identical_after_a_rebuild(settings: Settings, stack: TestStack) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await validated(service, *(found(f"m-{n}") for n in range(6)))
        await entered(client, operator, "accepted", *(f"m-{n}" for n in range(6)))
        await validated(service, found("m-1", devices=(device(0, "SPARE"), *found("m-1").devices[1:])))
        await validated(service, found("m-2", machine_serial="CHASSIS-m-3"))
        await tell(service.log, NodeHeartbeatLost(node_id="m-4", last_seen_at=NOON), entity_id="m-4")
        await tell(service.log, NodeRetired(node_id="m-5", reason="gone"), entity_id="m-5")
        await entered(client, operator, "removed", "m-5")
        await entered(client, operator, "mismatched", "m-2")
        last = await spoken(service.log)
        live = await _digests(service, last)
        for projection in live:
            await client.post(f"/v1/projections/{projection}/rebuild", headers=operator)

        async def rebuilt() -> bool:
            page = (await asked(client, operator, "/v1/projections"))["items"]
            return all(reader["rebuilding"] is None and reader["caught_up"] for reader in page)

        await eventually(rebuilt)
        assert await _digests(service, last) == live
    async with stack.fresh_database() as empty:
        anew = build(settings.model_copy(update={"postgres_dsn": empty}))
        async with running(anew):
            assert await _digests(anew, last) == live
            assert await spoken(anew.log) == last


def _projections(service: Service) -> list[Projection]:
    return [projector.projection for projector in service._projectors.values()]


async def _digests(service: Service, position: int) -> dict[str, str]:
    for projection in _projections(service):
        await service.reader(projection).reached(position, 10)
    return {projection.name: await digest(service.database, projection) for projection in _projections(service)}


async def test_entering_is_fast(settings: Settings) -> None:
    """No timed assertion: prints what 400 machines cost, for whoever reads."""
    service = build(settings)
    await service.broker.start()
    machines = [found(f"m-{number}") for number in range(400)]
    await validated(service, *machines)
    await service.broker.stop()
    service = build(settings)
    began, cpu = time.perf_counter(), time.process_time()
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        wanted = {"machines": 400, "gpus": 3200, "sellable_gpus": 3200}
        await eventually(lambda: _is(total(client, operator), wanted))
        await eventually(lambda: _caught_up(client, operator))
        spent = time.process_time() - cpu
        print(f"400 machines: {time.perf_counter() - began:.2f} s, {1000 * spent / 400:.2f} ms CPU each, test included")


async def _caught_up(client: httpx.AsyncClient, headers: dict[str, str]) -> bool:
    page = (await asked(client, headers, "/v1/projections"))["items"]
    return all(reader["caught_up"] for reader in page)
