"""The nodes service on a real broker, database and door."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from enrolled_nodes import enrolled, facts_of, node, order
from gpuaas.common.commands import Commands
from gpuaas.common.projections import digest
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running, spoken
from gpuaas.common.testing.stack import TestStack
from gpuaas.nodes.app import build
from gpuaas.nodes.projections.nodes import Nodes
from gpuaas.nodes.settings import NodesSettings

SCRIPT = {
    "deviations": {
        "wrong-model": {"gpu_model": "nvidia-t4-16gb"},
        "seven": {"gpu_count": 7},
        "twins": {"serials": {"0": "SAME", "1": "SAME"}},
    },
    "faults": {
        "adopt/shaky": ["timeout-after", None],
        "adopt/silent": ["timeout-before"] * 9,
    },
}


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[NodesSettings]:
    script = tmp_path / "script.json"
    script.write_text(json.dumps(SCRIPT))
    given: dict[str, Any] = {
        "sim_script": script,
        "provider_attempts_max": 3,
        "provider_pause_s": 0.01,
        "heartbeat_tick_s": 0.1,
    }
    async with fresh_settings(stack, NodesSettings, tmp_path / "state", **given) as settings:
        yield settings


async def test_fifty_nodes_are_enrolled_and_become_available(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, *(f"n-{number}" for number in range(50)))
        placeable = await client.get("/v1/nodes", params={"placeable": True, "limit": 30}, headers=operator)
        rest = {"placeable": True, "cursor": placeable.json()["next_cursor"]}
        more = await client.get("/v1/nodes", params=rest, headers=operator)
        assert len(placeable.json()["items"]) + len(more.json()["items"]) == 50
        found = await node(client, operator, "n-7")
        assert facts_of(found) == [
            "node-registered",
            "node-onboarding-started",
            "node-hardware-observed",
            "node-became-available",
        ]
        assert (found["lifecycle"], found["health"], found["custody"], found["admission"]) == (
            "available",
            {"hardware": "healthy", "agent": "healthy"},
            "pool",
            {"open": True, "holds": []},
        )
        fleet = (await client.get("/v1/fleet", headers=operator)).json()["items"]
        assert [(row["lifecycle"], row["nodes"], row["gpus"]) for row in fleet] == [("available", 50, 400)]


async def test_every_way_to_be_wrong_is_a_typed_failure(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "wrong-model", "seven", "twins", "shaky", "silent", "fine")
        stands = {
            n: await node(client, operator, n) for n in ("wrong-model", "seven", "twins", "shaky", "silent", "fine")
        }
        assert [n for n, found in stands.items() if found["lifecycle"] == "available"] == ["shaky", "fine"]
        wrong = {n: [m["field"] for m in found["mismatches"]] for n, found in stands.items() if found["mismatches"]}
        assert wrong == {
            "wrong-model": ["gpu_model"],
            "seven": ["gpu_count"],
            "twins": ["observation"],
            "silent": ["provider"],
        }
        assert "SAME" in stands["twins"]["mismatches"][0]["observed"]


async def test_a_silent_machine_is_looked_at_again_on_demand(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "silent", "fine")
        unknown = await client.post("/v1/nodes/silent/observations", headers=operator)
        assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:gpuaas:unknown-machine")
        again = await client.post("/v1/nodes/fine/observations", headers=operator)
        assert again.status_code == 202
        assert len((await node(client, operator, "fine"))["history"]) == 4
        assert (await client.post("/v1/nodes/ghost/observations", headers=operator)).status_code == 404


async def test_a_batch_answers_for_each_node(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await client.post("/v1/nodes", json=order("taken"), headers=operator)
        body = {"nodes": [order("new"), order("taken", expected_gpu_count=4), order("newer")]}
        keyed = operator | {"Idempotency-Key": "batch-1"}
        answer = (await client.post("/v1/nodes/batch", json=body, headers=keyed)).json()
        assert [(i["id"], i["status"]) for i in answer["items"]] == [
            ("new", "accepted"),
            ("taken", "refused"),
            ("newer", "accepted"),
        ]
        assert answer["items"][1]["problem"]["code"] == "rejected"
        again = (await client.post("/v1/nodes/batch", json=body, headers=keyed)).json()
        assert [i["repeated"] for i in again["items"]] == [True, False, True]
        registered = await service.log.history("events.nodes.node.platform.new")
        assert sum("node-registered" in r.type for r in registered) == 1


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (order("UPPER"), "node_id"),
        (order("n", expected_gpu_count=-1), "expected_gpu_count"),
        (order("n", expected_gpu_count="8"), "expected_gpu_count"),
        (order("n", topology={"region": "r"}), "topology"),
        (order("n", colour="red"), "colour"),
        ({}, "node_id"),
    ],
)
async def test_a_malformed_order_is_told_where(settings: NodesSettings, body: dict[str, Any], where: str) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        answer = await client.post("/v1/nodes", json=body, headers=operator)
        assert answer.status_code == 422
        assert where in answer.json()["detail"]


async def test_a_batch_has_limits(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        for nodes in ([], [order("a"), order("a")], [order(f"n-{n}") for n in range(201)]):
            answer = await client.post("/v1/nodes/batch", json={"nodes": nodes}, headers=operator)
            assert answer.status_code == 422, len(nodes)


async def test_holds_belong_to_who_placed_them(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        identities = await Identities.on(service.log)
        jonas, mara = await identities.operator(), await identities.operator()
        await enrolled(client, jonas, "n-1")
        hold = {"hold_id": "firmware", "cause": "firmware update"}
        placed = await client.post("/v1/nodes/n-1/holds", json=hold, headers=jonas)
        assert placed.status_code == 201
        seen = jonas | {"GPUaaS-At-Least": placed.headers["GPUaaS-Position"]}
        found = await node(client, seen, "n-1")
        assert (found["placeable"], found["admission"]["holds"][0]["cause"]) == (False, "firmware update")
        refused = await client.post("/v1/nodes/n-1/holds/firmware/lift", json={"reason": "mine"}, headers=mara)
        assert refused.status_code == 409
        lifted = await client.post("/v1/nodes/n-1/holds/firmware/lift", json={"reason": "done"}, headers=jonas)
        seen = jonas | {"GPUaaS-At-Least": lifted.headers["GPUaaS-Position"]}
        assert (await node(client, seen, "n-1"))["placeable"] is True


async def test_a_hold_that_ran_out_is_lifted_by_the_service(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1")
        past = {"hold_id": "short", "cause": "a moment", "expires_at": "2020-01-01T00:00:00.000000Z"}
        await client.post("/v1/nodes/n-1/holds", json=past, headers=operator)

        async def open_again() -> bool:
            found = await node(client, operator, "n-1")
            return facts_of(found)[-1] == "node-hold-lifted" and found["admission"]["open"]

        await eventually(open_again)
        assert (await node(client, operator, "n-1"))["history"][-1]["data"]["reason"] == "expired"


async def test_a_retired_node_stays_retired(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1")
        retired = await client.post("/v1/nodes/n-1/retire", json={"reason": "end of lease"}, headers=operator)
        assert retired.status_code == 200
        assert (await client.post("/v1/nodes", json=order("n-1"), headers=operator)).status_code == 409
        late = {"hold_id": "h", "cause": "late"}
        assert (await client.post("/v1/nodes/n-1/holds", json=late, headers=operator)).status_code == 409


async def test_the_door_asks_for_rights(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        identities = await Identities.on(service.log)
        reader = await identities.operator("nodes.node.read")
        member = await identities.member("acme")
        assert (await client.post("/v1/nodes", json=order("n"), headers=reader)).status_code == 403
        assert (await client.get("/v1/nodes", headers=reader)).status_code == 200
        assert (await client.get("/v1/nodes", headers=member)).status_code == 403
        assert (await client.get("/v1/nodes")).status_code == 401
        assert (await client.get("/v1/nodes/ghost", headers=reader)).status_code == 404


async def test_what_was_begun_before_a_restart_is_finished_after_it(settings: NodesSettings) -> None:
    first = build(settings)
    await first.broker.start()
    try:
        operator_commands = Commands(first.log, first.clock, "nodes", settings.profile)
        await _registered(operator_commands, "n-1", "n-2")
    finally:
        await first.broker.stop()
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1", "n-2")
        assert len((await node(client, operator, "n-1"))["history"]) == 4


async def test_a_rebuild_of_everything_is_byte_identical_and_says_nothing_twice(
    settings: NodesSettings, stack: TestStack
) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "a", "b", "seven", "twins", "silent")
        await client.post("/v1/nodes/a/holds", json={"hold_id": "h", "cause": "c"}, headers=operator)
        await client.post("/v1/nodes/b/retire", json={"reason": "gone"}, headers=operator)
        last = await spoken(service.log)
        await service.reader(_nodes_of(service)).reached(last, 10)
        live = await digest(service.database, _nodes_of(service))
        await client.post("/v1/projections/nodes_v4/rebuild", headers=operator)

        async def rebuilt() -> bool:
            page = (await client.get("/v1/projections", headers=operator)).json()["items"]
            return all(reader["rebuilding"] is None and reader["caught_up"] for reader in page)

        await eventually(rebuilt)
        assert await digest(service.database, _nodes_of(service)) == live
    async with stack.fresh_database() as empty:
        anew = build(settings.model_copy(update={"postgres_dsn": empty}))
        async with running(anew):
            await anew.reader(_nodes_of(anew)).reached(last, 10)
            assert await digest(anew.database, _nodes_of(anew)) == live
            assert await spoken(anew.log) == last


async def test_enrolment_is_fast(settings: NodesSettings) -> None:
    """No timed assertion: prints what 200 nodes cost, for whoever reads."""
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        began, cpu = time.perf_counter(), time.process_time()
        await enrolled(client, operator, *(f"n-{number}" for number in range(200)))
        spent = time.process_time() - cpu
        print(f"200 nodes: {time.perf_counter() - began:.2f} s, {1000 * spent / 200:.2f} ms CPU each, test included")


def _nodes_of(service: Service) -> Nodes:
    return next(p.projection for p in service._projectors.values() if isinstance(p.projection, Nodes))


async def _registered(commands: Commands, *node_ids: str) -> None:
    from gpuaas.common.commands import Cause
    from gpuaas.nodes.domain.orders import RegisterNode
    from gpuaas.nodes.reactions import NODE_ENTITY
    from node_facts import ORDER

    for node_id in node_ids:
        cause = Cause(id=f"cause-{node_id}", actor="tester", actor_kind="user")
        await commands.execute(NODE_ENTITY, "platform", node_id, RegisterNode(node_id, ORDER), cause)
