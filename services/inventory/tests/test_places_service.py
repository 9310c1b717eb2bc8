"""The tree down to single GPUs, a GPU's life by serial number, and instances as capacity, at the real door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gpuaas.common.service import Service
from gpuaas.common.settings import Settings
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import AllocationStarted, Member
from gpuaas.contracts.nodes import NodeFaultReported, NodeHealthChanged
from gpuaas.inventory.app import build
from gpuaas.inventory.domain.machine import Found
from machine_facts import MODEL, NOON, available, device, found, looked_at

TREE = {"region": "eu-central", "site": "fra1", "pod": "p2", "rack": "r07"}


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[Settings]:
    async with fresh_settings(stack, Settings, tmp_path) as given:
        yield given


async def asked(client: httpx.AsyncClient, headers: dict[str, str], path: str, **params: Any) -> Any:
    answer = await client.get(path, params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def arrived(service: Service, client: httpx.AsyncClient, headers: dict[str, str], *machines: Found) -> None:
    for machine in machines:
        await tell(service.log, looked_at(machine), available(machine), entity_id=machine.machine_id)

    async def known() -> bool:
        found = await asked(client, headers, "/v1/machines", limit=500)
        serials = {(item["machine_id"], item["gpu_count"]) for item in found["items"] if item["status"] == "accepted"}
        return serials >= {(machine.machine_id, len(machine.devices)) for machine in machines}

    await eventually(known, 40)


def fault(machine_id: str, serial: str, count: int) -> tuple[NodeFaultReported, NodeHealthChanged]:
    who: dict[str, Any] = {"component_id": f"gpu-{serial.lower()}", "node_id": machine_id, "serial": serial}
    reported = NodeFaultReported(
        **who, fault_class="off-the-bus", code="XID 79", source="agent", detail="gone", observed_at=NOON
    )
    changed = NodeHealthChanged(
        **who,
        condition="failed",
        previous="healthy",
        action="reboot",
        fault_class="off-the-bus",
        fault_count=count,
        rule_version="1",
        reason="XID 79",
        decided_at=NOON,
    )
    return reported, changed


async def test_the_tree_goes_down_to_single_gpus_page_by_page(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        place = found().topology
        machines = [
            found(f"m-{n}", topology=place.model_copy(update={"rack": f"r{n % 2}"}), pool_id=f"pool-{n % 2}")
            for n in range(4)
        ]
        await arrived(service, client, operator, *machines)
        operator |= {"GPUaaS-At-Least": str(await service.log.last_position())}
        top = await asked(client, operator, "/v1/topology/below")
        whole = {"level": "region", "name": "eu-central", "machines": 4, "gpus": 32, "mismatched_gpus": 0}
        assert top["items"] == [whole]
        path = {"region": "eu-central", "site": "fra1", "pod": "p2"}
        first = await asked(client, operator, "/v1/topology/below", **path, limit=1)
        rest = await asked(client, operator, "/v1/topology/below", **path, cursor=first["next_cursor"])
        assert [(item["name"], item["gpus"]) for item in first["items"] + rest["items"]] == [("r0", 16), ("r1", 16)]
        only = await asked(client, operator, "/v1/topology/below", **path, pool_id="pool-1")
        assert [item["name"] for item in only["items"]] == ["r1"]
        rack = path | {"rack": "r0"}
        domains = (await asked(client, operator, "/v1/topology/below", **rack))["items"]
        assert [(item["level"], item["name"]) for item in domains] == [
            ("nvlink_domain", "m-0"),
            ("nvlink_domain", "m-2"),
        ]
        inside = rack | {"nvlink_domain": "m-0", "machine_id": "m-0"}
        gpus = (await asked(client, operator, "/v1/topology/below", **inside))["items"]
        assert [(item["level"], item["name"]) for item in gpus] == [("gpu", f"m-0-{slot}") for slot in range(8)]
        gap = await client.get("/v1/topology/below", params={"rack": "r0"}, headers=operator)
        assert (gap.status_code, "name the region too" in gap.json()["detail"]) == (422, True)


async def test_faults_follow_a_gpu_from_machine_to_machine(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await arrived(service, client, operator, found("m-1"), found("m-2"))
        await tell(service.log, *fault("m-1", "m-1-0", 1), entity_id="gpu-m-1-0")
        await arrived(service, client, operator, found("m-1", devices=found("m-1").devices[1:]))
        moved = found("m-2", devices=(device(0, "m-1-0"), *found("m-2").devices[1:], device(9, "NEW")))
        await arrived(service, client, operator, moved)
        await tell(service.log, *fault("m-2", "m-1-0", 2), entity_id="gpu-m-1-0")
        seen = operator | {"GPUaaS-At-Least": str(await service.log.last_position())}
        told = await asked(client, seen, "/v1/devices/m-1-0/faults", limit=1)
        more = await asked(client, seen, "/v1/devices/m-1-0/faults", cursor=told["next_cursor"])
        assert [item["machine_id"] for item in told["items"] + more["items"]] == ["m-1", "m-2"]
        stays = (await asked(client, seen, "/v1/devices/m-1-0"))["stays"]
        assert [stay["machine_id"] for stay in stays] == ["m-1", "m-2"]
        (health,) = (await asked(client, seen, "/v1/fleet-health", by=""))["items"]
        assert {name: health[name] for name in ("gpus", "failed", "healthy", "repeat_offenders", "faults")} == {
            "gpus": 16,
            "failed": 1,
            "healthy": 15,
            "repeat_offenders": 1,
            "faults": 2,
        }
        assert (await asked(client, seen, "/v1/devices/m-1-1/faults"))["items"] == []
        assert (await client.get("/v1/devices/no-such/faults", headers=seen)).status_code == 404
        assert (await client.get("/v1/fleet-health", params={"by": "colour"}, headers=seen)).status_code == 422


async def test_a_gpu_seen_in_its_new_machine_before_it_is_gone_from_the_old_one_arrives(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await arrived(service, client, operator, found("m-1"), found("m-2"))
        moved = found("m-2", devices=(device(0, "m-1-0"), *found("m-2").devices[1:]))
        await tell(service.log, looked_at(moved), available(moved), entity_id="m-2")

        async def waits() -> bool:
            return bool((await asked(client, operator, "/v1/machines/m-2"))["status"] == "mismatched")

        await eventually(waits)
        left = found("m-1", devices=found("m-1").devices[1:])
        await tell(service.log, looked_at(left), available(left), entity_id="m-1")

        async def there() -> bool:
            return bool((await asked(client, operator, "/v1/devices/m-1-0"))["machine_id"] == "m-2")

        await eventually(there)


async def test_instances_are_capacity_of_what_is_idle(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await arrived(service, client, operator, found("m-1"))
        members = (Member(member=0, node_id="m-1", device_ids=tuple(d.device_id for d in found("m-1").devices[:3])),)
        started = AllocationStarted(
            allocation_id="a-1",
            tenant_id="acme",
            project_id="ml",
            pool_id="h100-fra",
            gpu_model=MODEL,
            gpu_count=3,
            started_at=NOON,
            members=members,
        )
        await tell(service.log, started, tenant_id="acme", entity_id="a-1")
        seen = operator | {"GPUaaS-At-Least": str(await service.log.last_position())}
        tables = (await asked(client, {}, "/v1/partitionings"))["items"]
        h100 = next(table for table in tables if table["gpu_model"] == MODEL)
        assert (h100["version"], "NVIDIA" in h100["source"], len(h100["profiles"])) == (1, True, 6)
        rooms = (await asked(client, seen, "/v1/capacity/partitions"))["items"]
        assert {room["profile"]: room["instances"] for room in rooms} == {
            "1g-10gb": 35,
            "1g-20gb": 20,
            "2g-20gb": 15,
            "3g-40gb": 10,
            "4g-40gb": 5,
            "7g-80gb": 5,
        }
        assert (await asked(client, seen, "/v1/capacity/partitions", pool_id="other"))["items"] == []
