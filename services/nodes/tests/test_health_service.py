"""A fault at the door closes the machine, recovery opens it, and guards hold, on a real broker and database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gpuaas.common.projections import digest
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.nodes.app import build
from gpuaas.nodes.projections.component_health import ComponentHealth
from gpuaas.nodes.settings import NodesSettings
from node_facts import MODEL

PLACE = {"region": "eu-central", "site": "fra1", "pod": "p2", "rack": "r07"}
NAMES = [f"n-{number}" for number in range(10)]
LOST = {"slot": 1, "xid": 79, "detail": "GPU has fallen off the bus."}


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[NodesSettings]:
    # What the ladder does about a verdict by itself is tested beside; here a person proves the component.
    async with fresh_settings(stack, NodesSettings, tmp_path / "state", remedy_automation=False) as settings:
        yield settings


async def enrolled(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    body = [
        {
            "node_id": name,
            "topology": PLACE,
            "expected_gpu_model": MODEL,
            "expected_gpu_count": 8,
            "pool_id": "h100-fra",
        }
        for name in NAMES
    ]
    await client.post("/v1/nodes/batch", json={"nodes": body}, headers=headers)
    await eventually(lambda: _placeable(client, headers, 10))


async def _placeable(client: httpx.AsyncClient, headers: dict[str, str], count: int) -> bool:
    page = await client.get("/v1/nodes", params={"placeable": True}, headers=headers)
    return len(page.json()["items"]) == count


async def asked(client: httpx.AsyncClient, headers: dict[str, str], path: str) -> dict[str, Any]:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_fault_closes_its_machine_and_recovery_opens_it(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator)
        began = time.perf_counter()
        reported = await client.post("/v1/nodes/n-3/faults", json=LOST, headers=operator)
        assert reported.status_code == 202, reported.text
        component_id = reported.json()["id"]
        await eventually(lambda: _placeable(client, operator, 9))
        print(f"fault to not placeable, seen at the door: {1000 * (time.perf_counter() - began):.0f} ms")
        (hold,) = (await asked(client, operator, "/v1/nodes/n-3"))["admission"]["holds"]
        assert (hold["owner"], hold["cause"]) == ("policy:health", "off-the-bus (XID 79): reboot")
        assert await _withdrawn(client, operator, ["n-3"])
        mine = await client.post(
            f"/v1/nodes/n-3/holds/{hold['hold_id']}/lift", json={"reason": "hurry"}, headers=operator
        )
        assert mine.status_code == 409
        other = await client.post("/v1/nodes/n-4/faults", json=LOST, headers=operator)
        assert other.status_code == 202
        await eventually(lambda: _withheld(service, 1))
        assert await _placeable(client, operator, 9), "one of ten is the drain budget"
        proof = {"reason": "power cycled, burn-in passed"}
        await client.post(f"/v1/components/{component_id}/recoveries", json=proof, headers=operator)
        await eventually(lambda: _placeable(client, operator, 10))
        # The hold is lifted before its share of the budget is free again, so that the budget is never exceeded.
        await eventually(lambda: _withdrawn(client, operator, []))
        seen = operator | {"GPUaaS-At-Least": str(await service.log.last_position())}
        component = await asked(client, seen, f"/v1/components/{component_id}")
        assert (component["condition"], component["fault_count"]) == ("healthy", 1)


async def _withdrawn(client: httpx.AsyncClient, headers: dict[str, str], names: list[str]) -> bool:
    return bool((await asked(client, headers, "/v1/pools/h100-fra/automation"))["withdrawn"] == names)


async def _withheld(service: Any, count: int) -> bool:
    history = await service.log.history("events.nodes.automation.platform.h100-fra")
    return sum("automatic-withdrawal-withheld" in recorded.type for recorded in history) == count


async def test_with_automation_off_a_fault_is_judged_and_nothing_is_closed(settings: NodesSettings) -> None:
    service = build(settings.model_copy(update={"health_automation": False}))
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator)
        await client.post("/v1/nodes/n-3/faults", json=LOST, headers=operator)
        await eventually(lambda: _withheld(service, 1))
        assert await _placeable(client, operator, 10)


async def test_other_rules_are_tried_over_history_and_the_view_is_rebuilt_the_same(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator)
        for slot, xid in ((0, 13), (1, 79), (2, 48)):
            body = {"slot": slot, "xid": xid, "detail": "reported"}
            told = await client.post("/v1/nodes/n-1/faults", json=body, headers=operator)
        seen = operator | {"GPUaaS-At-Least": told.headers["GPUaaS-Position"]}
        from gpuaas.nodes.domain.faults import built_in

        rules = built_in()
        candidate: dict[str, Any] = {
            "version": "next",
            "classes": {kind: {"condition": m.condition, "action": m.action} for kind, m in rules.classes.items()},
            "attempts": dict(rules.attempts),
            "xid": {kind: [code for code, of in rules.xid.items() if of is kind] for kind in rules.classes},
        }
        candidate["classes"]["off-the-bus"] = {"condition": "failed", "action": "repair"}
        answer = await client.post("/v1/fault-rules/replays", json=candidate, headers=seen)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["turns"], answer.json()["differences"]) == (3, 1)
        assert answer.json()["items"][0]["after"] == {"condition": "failed", "action": "repair"}
        (kind,) = answer.json()["summary"]
        assert (kind["fault_class"], kind["before"]["action"], kind["verdicts"]) == ("off-the-bus", "reboot", 1)
        stricter = {
            **candidate,
            "classes": {name: {"condition": "failed", "action": "repair"} for name in rules.classes},
        }
        pages: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(pages) < 9 and (cursor or not pages):
            asked_for = {"limit": 1} | ({"cursor": cursor} if cursor else {})
            page = await client.post("/v1/fault-rules/replays", params=asked_for, json=stricter, headers=seen)
            assert (page.status_code, page.json()["differences"]) == (200, 3), page.text
            pages += page.json()["items"]
            cursor = page.json()["next_cursor"]
        assert [each["fault_class"] for each in pages] == ["application", "off-the-bus", "memory-uncorrected"]
        foreign = await client.post("/v1/fault-rules/replays?cursor=WyJ4Il0", json=stricter, headers=seen)
        assert foreign.status_code == 422
        wrong = await client.post("/v1/fault-rules/replays", json=candidate | {"classes": {}}, headers=seen)
        assert wrong.status_code == 422
        switch = candidate | {"differences_seen": 0, "reason": "no reboots for lost GPUs"}
        unseen = await client.post("/v1/fault-rules", json=switch, headers=seen)
        assert (unseen.status_code, "1 verdicts would differ" in unseen.text) == (409, True)
        done = await client.post("/v1/fault-rules", json=switch | {"differences_seen": 1}, headers=seen)
        assert done.status_code == 201, done.text
        book = await asked(client, operator, "/v1/fault-rules")
        assert (book["version"], book["classes"]["off-the-bus"]["action"]) == ("next", "repair")
        await client.post("/v1/nodes/n-2/faults", json=LOST, headers=operator)
        seen = operator | {"GPUaaS-At-Least": str(await service.log.last_position())}
        judged = (await asked(client, seen, "/v1/components?node_id=n-2"))["items"]
        assert [(each["action"], each["rule_version"]) for each in judged] == [("repair", "next")]
        health = next(p.projection for p in service._projectors.values() if isinstance(p.projection, ComponentHealth))
        live = await digest(service.database, health)
        await client.post("/v1/projections/component_health_v2/rebuild", headers=operator)

        async def rebuilt() -> bool:
            page = await asked(client, operator, "/v1/projections")
            return all(reader["rebuilding"] is None and reader["caught_up"] for reader in page["items"])

        await eventually(rebuilt)
        assert await digest(service.database, health) == live


@pytest.mark.parametrize(
    ("node_id", "body", "status"),
    [
        ("ghost", LOST, 404),
        ("n-1", LOST | {"slot": 9}, 404),
        ("n-1", LOST | {"slot": 64}, 422),
        ("n-1", {"slot": 1, "detail": "neither"}, 422),
        ("n-1", LOST | {"fault_class": "thermal"}, 422),
        ("n-1", {"slot": 1, "fault_class": "gremlins", "detail": "x"}, 422),
    ],
)
async def test_a_fault_of_nothing_is_refused(
    settings: NodesSettings, node_id: str, body: dict[str, Any], status: int
) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator)
        answer = await client.post(f"/v1/nodes/{node_id}/faults", json=body, headers=operator)
        assert answer.status_code == status
