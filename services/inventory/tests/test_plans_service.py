"""Plans behind the real door: what is missing, what is there unasked, what differs, and who had the serial first."""

from __future__ import annotations

import asyncio
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
from gpuaas.contracts.nodes import Mismatch, NodeHeartbeatLost, NodeRegistered, NodeRetired, NodeValidationFailed
from gpuaas.contracts.nodes import Topology as Place
from gpuaas.inventory.app import build
from gpuaas.inventory.domain.machine import Found
from machine_facts import MODEL, NOON, available, device, found, looked_at

SKU = {
    "sku_id": "hgx-h100-8",
    "title": "eight H100 on one board",
    "gpu_model": MODEL,
    "gpu_count": 8,
    "nvlink_scope": "machine",
    "parts": [{"kind": "gpu", "part_number": "900-2G520", "count": 8}],
}


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[Settings]:
    async with fresh_settings(stack, Settings, tmp_path) as given:
        yield given


def plan(machine_id: str, **other: Any) -> dict[str, Any]:
    place = {"region": "eu-central", "site": "fra1", "pod": "p2", "rack": "r07"}
    body = {"machine_id": machine_id, "sku_id": "hgx-h100-8", "pool_id": "h100-fra", "topology": place}
    return body | {"machine_serial": f"CHASSIS-{machine_id}"} | other


async def arrived(service: Service, *machines: Found) -> None:
    for machine in machines:
        await tell(service.log, looked_at(machine), available(machine), entity_id=machine.machine_id)


async def verdict(client: httpx.AsyncClient, headers: dict[str, str], machine_id: str) -> tuple[str, str]:
    answer = await client.get(f"/v1/expectations/{machine_id}", headers=headers)
    return (answer.json()["verdict"], answer.json()["why"]) if answer.status_code == 200 else ("", "")


async def until(client: httpx.AsyncClient, headers: dict[str, str], machine_id: str, wanted: str) -> None:
    async def so() -> bool:
        return (await verdict(client, headers, machine_id))[0] == wanted

    await eventually(so)


async def test_every_machine_is_as_planned_or_it_is_said_why_not(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        assert (await client.post("/v1/skus", json=SKU, headers=operator)).status_code == 201
        names = ["m-1", "m-2", "m-3", "m-4", "m-5"]
        answer = await client.post("/v1/machine-plans/batch", json={"plans": [*map(plan, names)]}, headers=operator)
        assert {item["status"] for item in answer.json()["items"]} == {"accepted"}
        place = Place(**dict(found().topology))
        registered = NodeRegistered(
            node_id="m-2", topology=place, expected_gpu_model=MODEL, expected_gpu_count=8, pool_id="h100-fra"
        )
        difference = Mismatch(field="gpu_count", expected="8", observed="7")
        await tell(
            service.log, registered, NodeValidationFailed(node_id="m-2", mismatches=(difference,)), entity_id="m-2"
        )
        await arrived(service, found("m-1"), found("m-3", devices=found("m-3").devices[:7]), found("m-4"), found("m-9"))
        await tell(service.log, NodeHeartbeatLost(node_id="m-4", last_seen_at=NOON), entity_id="m-4")
        wanted = {"m-1": "as-planned", "m-3": "mismatched", "m-4": "silent", "m-5": "missing", "m-9": "unplanned"}
        for name, said in wanted.items():
            await until(client, operator, name, said)
        assert await verdict(client, operator, "m-2") == (
            "missing",
            "registered, and not usable: gpu_count: 8 expected, 7 found",
        )
        assert (await verdict(client, operator, "m-5"))[1] == "planned, and never registered"
        assert (await verdict(client, operator, "m-3"))[1] == "gpu_count: 8 expected, 7 found"
        counts = (await client.get("/v1/expectation-counts", headers=operator)).json()
        assert counts == {"as-planned": 1, "unplanned": 1, "mismatched": 1, "silent": 1, "missing": 2, "gone": 0}
        page = await client.get("/v1/expectations", params={"verdict": "missing", "limit": 1}, headers=operator)
        rest = {"verdict": "missing", "cursor": page.json()["next_cursor"]}
        more = await client.get("/v1/expectations", params=rest, headers=operator)
        ids = [item["machine_id"] for item in page.json()["items"] + more.json()["items"]]
        assert ids == ["m-2", "m-5"]


async def test_a_plan_that_changes_is_compared_with_what_stands_there(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await client.post("/v1/skus", json=SKU, headers=operator)
        await arrived(service, found("m-1"))
        await until(client, operator, "m-1", "unplanned")
        wrong = plan("m-1", machine_serial="ANOTHER")
        await client.post("/v1/machine-plans", json=wrong, headers=operator)
        await until(client, operator, "m-1", "mismatched")
        await client.post("/v1/machine-plans", json=plan("m-1"), headers=operator)
        await until(client, operator, "m-1", "as-planned")
        withdrawn = await client.post("/v1/machine-plans/m-1/withdraw", json={"reason": "sold"}, headers=operator)
        assert withdrawn.status_code == 200
        await until(client, operator, "m-1", "unplanned")
        await tell(service.log, NodeRetired(node_id="m-1", reason="end"), entity_id="m-1")
        await until(client, operator, "m-1", "gone")


async def test_a_machine_that_registers_again_with_other_hardware_is_told(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await arrived(service, found("m-1"))
        await until(client, operator, "m-1", "unplanned")
        other = found("m-1", machine_serial="ANOTHER-CHASSIS", devices=(device(0, "OTHER"),))
        difference = Mismatch(field="machine_serial", expected="CHASSIS-m-1", observed="ANOTHER-CHASSIS")
        failed = NodeValidationFailed(node_id="m-1", mismatches=(difference,))
        await tell(service.log, looked_at(other), failed, entity_id="m-1")
        await until(client, operator, "m-1", "mismatched")
        assert "ANOTHER-CHASSIS found" in (await verdict(client, operator, "m-1"))[1]
        await arrived(service, found("m-1"))
        await until(client, operator, "m-1", "unplanned")


async def test_of_many_plans_at_once_for_one_serial_or_slot_one_is_made(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await client.post("/v1/skus", json=SKU, headers=operator)
        for same in ({"machine_serial": "TWIN"}, {"rack_slot": 3}):
            answers = await asyncio.gather(
                *(
                    client.post("/v1/machine-plans", json=plan(f"t-{number}", **same), headers=operator)
                    for number in range(8)
                )
            )
            codes = sorted(answer.status_code for answer in answers)
            assert codes == [202] + [409] * 7
            refusal = next(answer for answer in answers if answer.status_code == 409).json()
            assert "is planned for t-" in refusal["detail"]
            winner = next(answer for answer in answers if answer.status_code == 202).json()["id"]
            gone = await client.post(f"/v1/machine-plans/{winner}/withdraw", json={"reason": "x"}, headers=operator)
            assert gone.status_code == 200
            again = plan("t-9", **same)
            assert (await client.post("/v1/machine-plans", json=again, headers=operator)).status_code == 202
            await client.post("/v1/machine-plans/t-9/withdraw", json={"reason": "x"}, headers=operator)


async def test_skus_are_listed_by_version_and_retired_by_version(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        for title in ("one", "two", "two", "three"):
            assert (await client.post("/v1/skus", json=SKU | {"title": title}, headers=operator)).status_code == 201
        retired = await client.post(
            "/v1/skus/hgx-h100-8/retirements", json={"version": 1, "reason": "old"}, headers=operator
        )
        seen = {"GPUaaS-At-Least": retired.headers["GPUaaS-Position"]}
        page = (await client.get("/v1/skus", params={"limit": 2}, headers=seen)).json()
        rest = (await client.get("/v1/skus", params={"cursor": page["next_cursor"]})).json()
        listed = [(item["version"], item["title"], item["retired_because"]) for item in page["items"] + rest["items"]]
        assert listed == [(1, "one", "old"), (2, "two", None), (3, "three", None)]
        unknown = SKU | {"gpu_model": "acme-x9"}
        refused = await client.post("/v1/skus", json=unknown, headers=operator)
        assert (refused.status_code, "no GPU model acme-x9" in refused.json()["detail"]) == (409, True)
        short = plan("m-1", sku_id="no-such-sku")
        assert (await client.post("/v1/machine-plans", json=short, headers=operator)).status_code == 404
        old = await client.post("/v1/machine-plans", json=plan("m-1", sku_version=1), headers=operator)
        assert (old.status_code, "newest that takes plans is 3" in old.json()["detail"]) == (409, True)
