"""The allocations service on a real broker, database and door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from allocations_world import World, accepted, world
from gpuaas.allocations.app import build
from gpuaas.allocations.domain.orders import RequestAllocation
from gpuaas.allocations.projections.allocations import Allocations
from gpuaas.allocations.reactions import ALLOCATION, POOL
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import Pace
from gpuaas.common.commands import Cause
from gpuaas.common.embedded.process import free_port
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.ids import new_id
from gpuaas.common.projections import decoded, digest
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import ClaimGranted, ClaimReturned
from gpuaas.contracts.inventory import MachineRemoved
from gpuaas.contracts.nodes import NodeHeartbeatLost, NodeHeartbeatRestored, NodeHoldLifted, NodeHoldPlaced
from small_fleet import gpus

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
FAST = 20_000.0


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[AllocationsSettings]:
    async with fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings:
        yield settings


@pytest.fixture
async def paced(settings: AllocationsSettings) -> AllocationsSettings:
    """A world that begins at noon and runs as fast as a test tells it to."""
    pace = Pace(time.time(), NOON, 1).encode()
    return settings.model_copy(update={"profile": "demo", "clock_pace": pace})


@pytest.fixture
async def here(settings: AllocationsSettings) -> AsyncIterator[World]:
    async with world(settings) as running_world:
        yield running_world


async def test_a_whole_life(paced: AllocationsSettings) -> None:
    async with world(paced) as here:
        await here.machines(2)
        name = await here.ask(replicas=2, command=["sleep", "3600.5"], labels={"team": "x"})
        await here.until("active", name)
        here.pace(FAST)
        found = await here.until("released", name)
        assert (found["end_reason"], found["exit_code"], found["gpu_count"]) == ("completed", 0, 16)
        assert moment(found["ended_at"]) - moment(found["started_at"]) == timedelta(seconds=3600.5)
        assert {m["node_id"] for m in found["members"]} == {"n0", "n1"}
        assert await here.said_of(name) == ["requested", "placed", "started", "released"]
        await eventually(lambda: _free(here, 16))


async def _free(here: World, count: int) -> bool:
    return (await here.pool()).book.models["h100"].free.total == count


async def test_the_queue_drains_by_priority_then_arrival(paced: AllocationsSettings) -> None:
    async with world(paced) as here:
        await here.machines(1)
        first = await here.ask(command=["sleep", "2000"])
        await here.until("active", first)
        low = [await here.ask(command=["sleep", "600"]) for _ in range(3)]
        high = await here.ask(command=["sleep", "600"], priority=9)
        waiting = await here.until("queued", *low, high)
        assert (waiting["pending_reason"], waiting["priority"]) == ("insufficient-capacity", 9)
        assert "8" in waiting["detail"]
        here.pace(FAST)
        await here.until("released", first, high, *low)
        starts = {name: moment((await here.one(name))["started_at"]) for name in (high, *low)}
        assert sorted(starts, key=lambda name: starts[name]) == [high, *low]


async def test_a_release_stops_it_at_the_time_it_was_asked_for(here: World) -> None:
    await here.machines(1)
    name = await here.ask(command=["sleep", "infinity"])
    await here.until("active", name)
    await here.release(name)
    found = await here.until("released", name)
    assert (found["end_reason"], found["exit_code"]) == ("tenant-request", 143)
    history = decoded(ALLOCATION.vocabulary, await here.service.log.history(ALLOCATION.subject("acme", name)))
    assert moment(found["ended_at"]) == history[-2].time
    await here.release(name, status=409)


async def test_a_lease_ends_it_to_the_microsecond(paced: AllocationsSettings) -> None:
    async with world(paced) as here:
        await here.machines(1)
        name = await here.ask(command=["sleep", "infinity"], lease_s=7_200)
        await here.until("active", name)
        here.pace(FAST)
        found = await here.until("released", name)
        assert found["end_reason"] == "lease-expired"
        assert moment(found["ended_at"]) - moment(found["started_at"]) == timedelta(seconds=7_200)


async def test_a_renewed_lease_ends_later_and_never_earlier(paced: AllocationsSettings) -> None:
    async with world(paced) as here:
        await here.machines(1)
        name = await here.ask(command=["sleep", "infinity"], lease_s=3_600)
        await here.until("active", name)
        path = f"/v1/tenants/acme/projects/research/allocations/{name}/renew"
        member = await here.as_member("acme")
        for lease_s, status in ((7_200, 202), (7_200, 202), (60, 409), (0, 422), (10**9, 422)):
            answer = await here.client.post(path, json={"lease_s": lease_s}, headers=member)
            assert answer.status_code == status, answer.text
        rival = await here.as_member("rival")
        assert (await here.client.post(path, json={"lease_s": 9_000}, headers=rival)).status_code == 404
        await here.until("active", name)
        assert (await here.one(name))["lease_s"] == 7_200
        here.pace(FAST)
        found = await here.until("released", name)
        assert found["end_reason"] == "lease-expired"
        assert moment(found["ended_at"]) - moment(found["started_at"]) == timedelta(seconds=7_200)


async def test_what_waits_can_be_called_off(here: World) -> None:
    await here.machines(1)
    holder, waiting = await here.ask(command=["sleep", "infinity"]), await here.ask()
    await here.until("queued", waiting)
    await here.release(waiting)
    assert (await here.until("released", waiting))["end_reason"] == "cancelled"
    await here.release(holder)
    await here.until("released", holder)
    await asyncio.sleep(0.2)
    assert (await here.one(waiting))["started_at"] is None
    assert (await here.pool()).book.claims == {}


async def test_what_can_never_be_served_is_turned_down_at_once(here: World) -> None:
    await here.machines(2)
    asks = {
        await here.ask(gpus_per_replica=16): "never-satisfiable",
        await here.ask(replicas=3): "never-satisfiable",
        await here.ask(gpu_model="b200"): "unknown-gpu-model",
        await here.ask(pool_id="nowhere"): "unknown-pool",
    }
    for name, reason in asks.items():
        found = await here.until("rejected", name)
        assert (found["end_reason"], bool(found["detail"])) == (reason, True)
    assert "2 × 8" in (await here.one(next(iter(asks))))["detail"]


@pytest.mark.parametrize(
    "bad",
    [
        {"gpus_per_replica": -8},
        {"gpus_per_replica": 0},
        {"gpus_per_replica": 1.5},
        {"gpus_per_replica": True},
        {"replicas": -1},
        {"replicas": 100_000},
        {"lease_s": -5},
        {"lease_s": 10**15},
        {"priority": 5_000},
        {"pool_id": "Bad Pool"},
        {"topology_mode": "required"},
        {"topology_level": "galaxy"},
        {"gpu_count": 8},
        {"image": ""},
        {"labels": {"": "x"}},
    ],
)
async def test_absurd_requests_are_refused_at_the_door(here: World, bad: dict[str, Any]) -> None:
    assert await here.ask(status=422, **bad) == "urn:gpuaas:invalid"


async def test_the_same_idempotency_key_asks_once(here: World) -> None:
    await here.machines(2)
    first, again = await here.ask(key="k-1"), await here.ask(key="k-1")
    other = await here.ask(key="k-2")
    assert first == again != other
    await here.until("active", first, other)
    assert (await here.said_of(first)).count("requested") == 1


async def test_another_tenant_sees_and_touches_nothing(here: World) -> None:
    await here.machines(1)
    name = await here.ask(command=["sleep", "infinity"])
    await here.until("active", name)
    rival = await here.as_member("rival")
    for path in (
        f"/v1/tenants/rival/projects/research/allocations/{name}",
        f"/v1/tenants/acme/projects/research/allocations/{name}",
        f"/v1/tenants/rival/projects/research/allocations/{name}/why",
        "/v1/tenants/acme/allocations",
    ):
        await here.get(path, rival, status=404)
    await here.release(name, tenant_id="rival", status=404)
    path = f"/v1/tenants/acme/projects/research/allocations/{name}/release"
    assert (await here.client.post(path, headers=rival)).status_code == 404
    assert (await here.get("/v1/tenants/rival/projects/research/allocations", rival))["items"] == []
    assert (await here.get("/v1/allocations", rival))["items"] == []
    await here.get("/v1/pools", rival, status=403)


async def test_why_tells_the_story_with_the_receipt(here: World) -> None:
    await here.machines(2)
    holder = await here.ask(replicas=2, command=["sleep", "infinity"])
    await here.until("active", holder)
    name = await here.ask()
    await here.until("queued", name)
    path = f"/v1/tenants/acme/projects/research/allocations/{name}/why"
    told = await here.get(path, await here.as_member("acme"))
    assert told["why"].startswith("waits (insufficient-capacity)")
    await here.release(holder)
    await here.until("active", name)
    told = await here.get(path, await here.as_member("acme"))
    kinds = [step["type"].split(".")[2] for step in told["history"]]
    assert kinds == [
        "allocation-requested",
        "allocation-queued",
        "claim-granted",
        "allocation-placed",
        "allocation-started",
    ]
    assert told["receipt"]["policy"] == "least-fragments-v1"
    assert told["receipt"]["runner_up_node_id"] == "n1"
    by_id = {step["event_id"]: step["type"].split(".")[2] for step in told["history"]}
    assert [by_id.get(step["caused_by"]) for step in told["history"][1:]] == [
        "allocation-requested",
        "allocation-requested",
        "claim-granted",
        "allocation-placed",
    ]


async def test_lists_are_paged_and_filtered(here: World) -> None:
    await here.machines(1)
    names = [await here.ask(gpus_per_replica=1, command=["sleep", "infinity"]) for _ in range(7)]
    await here.until("active", *names)
    await here.ask(tenant_id="rival", gpus_per_replica=8)
    member = await here.as_member("acme")
    path, seen, cursor = "/v1/tenants/acme/projects/research/allocations", [], None
    while True:
        page = await here.get(path, member, limit=3, state="active", **({"cursor": cursor} if cursor else {}))
        seen += [item["allocation_id"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == names[::-1]
    assert (await here.get(path, member, state="queued"))["items"] == []
    await here.get(path, member, status=422, state="asleep")
    await here.get(path, member, status=422, cursor="bm9wZQ")
    assert len((await here.get("/v1/allocations", pool_id="main"))["items"]) == 8
    assert (await here.get("/v1/allocation-counts"))["active"] == 7


async def test_pools_show_what_is_there_and_who_holds_it(here: World) -> None:
    await here.machines(2)
    await here.until("active", name := await here.ask(gpus_per_replica=3, command=["sleep", "infinity"]))
    (pool,) = (await here.get("/v1/pools"))["items"]
    assert pool == {
        "pool_id": "main",
        "gpu_model": "h100",
        "machines": 2,
        "machines_withdrawn": 0,
        "gpus": 16,
        "held": 3,
        "free": 13,
    }
    held = (await here.get("/v1/pools/main/held-devices"))["items"]
    assert [(row["device_id"], row["allocation_id"]) for row in held] == [(f"n0-g{i}", name) for i in range(3)]
    assert [row["held"] for row in (await here.get("/v1/pools/main/machines"))["items"]] == [3, 0]
    assert (await here.get("/v1/pools/main"))["allocations"]["active"] == 1
    await here.get("/v1/pools/ghost", status=404)


async def test_two_allocations_share_a_gpu_and_each_says_how_much_of_it(here: World) -> None:
    await here.machines(1, gpus=1)
    half: dict[str, Any] = {"gpus_per_replica": 1, "share_milli": 500, "command": ["sleep", "infinity"]}
    first, second = await here.ask(**half), await here.ask(**half)
    await here.until("active", first, second)
    waiting = await here.ask(**half | {"share_milli": 1})
    assert (await here.until("queued", waiting))["pending_reason"] == "insufficient-capacity"
    held = (await here.get("/v1/pools/main/held-devices"))["items"]
    assert [(row["device_id"], row["share_milli"]) for row in held] == [("n0-g0", 500)] * 2
    assert len((await here.get("/v1/pools/main/held-devices", limit=1))["items"]) == 1
    await here.release(first)
    found = await here.until("active", waiting)
    assert (found["share_milli"], found["members"][0]["share_milli"]) == (1, 1)
    assert [row["held"] for row in (await here.get("/v1/pools/main/machines"))["items"]] == [1]
    assert await here.ask(status=422, gpus_per_replica=2, share_milli=500) == "urn:gpuaas:invalid"


async def test_a_machine_on_hold_gets_no_new_claims_and_comes_back(here: World) -> None:
    await here.machines(1)
    holder = await here.ask(gpus_per_replica=2, command=["sleep", "infinity"])
    await here.until("active", holder)
    await tell(here.service.log, NodeHoldPlaced(node_id="n0", hold_id="h", owner="ops", cause="fan"), entity_id="n0")
    await tell(here.service.log, NodeHeartbeatLost(node_id="n0", last_seen_at=here.service.clock.now()), entity_id="n0")
    await eventually(lambda: _withdrawn(here, True))
    waiting = await here.ask(gpus_per_replica=1, command=["sleep", "infinity"])
    await here.until("queued", waiting)
    assert (await here.one(holder))["state"] == "active"
    (pool,) = (await here.get("/v1/pools"))["items"]
    assert (pool["free"], pool["held"], pool["machines_withdrawn"]) == (0, 2, 1)
    await tell(here.service.log, NodeHoldLifted(node_id="n0", hold_id="h", reason="fixed"), entity_id="n0")
    await asyncio.sleep(0.1)
    assert await _withdrawn(here, True)
    await tell(here.service.log, NodeHeartbeatRestored(node_id="n0", seen_at=NOON), entity_id="n0")
    await here.until("active", waiting)


async def _withdrawn(here: World, wanted: bool) -> bool:
    return ((await here.pool()).book.nodes[0].withdrawn is not None) == wanted


async def test_a_hold_placed_before_a_machine_is_accepted_counts(here: World) -> None:
    held = NodeHoldPlaced(node_id="n0", hold_id="h", owner="ops", cause="fan")
    await tell(here.service.log, held, entity_id="n0")
    await tell(here.service.log, accepted(0), entity_id="n0")
    await here.machines(1, first=1)
    assert "n0" not in (await here.pool()).book.number
    await tell(here.service.log, NodeHoldLifted(node_id="n0", hold_id="h", reason="fixed"), entity_id="n0")
    await eventually(lambda: _knows(here, "n0"))
    await tell(here.service.log, MachineRemoved(machine_id="n0", reason="sold"), entity_id="n0")
    await eventually(lambda: _closed(here, "n0"))


async def _knows(here: World, node_id: str) -> bool:
    return node_id in (await here.pool()).book.number


async def _closed(here: World, node_id: str) -> bool:
    book = (await here.pool()).book
    return book.nodes[book.number[node_id]].withdrawn is not None


async def test_what_was_asked_for_while_nobody_ran_is_placed_afterwards(paced: AllocationsSettings) -> None:
    async with world(paced) as before:
        await before.machines(1)
        active = await before.ask(command=["sleep", "36000"])
        await before.until("active", active)
        queued = await before.ask(command=["sleep", "600"])
        await before.until("queued", queued)
        started = moment((await before.one(active))["started_at"])
    late = await _asked_behind_closed_doors(paced)
    async with world(paced.model_copy(update={"http_port": free_port()})) as after:
        after.members = before.members
        after.pace(FAST)
        found = await after.until("released", active, queued, late)
        assert found["end_reason"] == "completed"
        ended = await after.one(active)
        assert moment(ended["ended_at"]) - started == timedelta(hours=10)
        assert await after.said_of(active) == ["requested", "placed", "started", "released"]
        await eventually(lambda: _free(after, 8))


async def _asked_behind_closed_doors(settings: AllocationsSettings) -> str:
    """A request that reaches the log while no worker of the service runs."""
    silent = build(settings)
    await silent.broker.start()
    command = RequestAllocation(
        allocation_id="late",
        tenant_id="acme",
        project_id="research",
        pool_id="main",
        shape=gpus(8),
        priority=0,
        lease_s=3_600,
        image="sim",
        command=("sleep", "600"),
        labels={},
    )
    cause = Cause(id=new_id(), actor="someone", actor_kind="user")
    await silent.commands.execute(ALLOCATION, "acme", "late", command, cause)
    await silent.broker.stop()
    return "late"


async def test_nobody_is_turned_down_before_the_machines_in_the_log_are_counted(settings: AllocationsSettings) -> None:
    silent = build(settings)
    await silent.broker.start()
    await tell(silent.log, accepted(0), entity_id="n0")
    await silent.broker.stop()
    late = await _asked_behind_closed_doors(settings)
    async with world(settings) as here:
        await eventually(lambda: _said(here, late, "started"))
        assert await here.said_of(late) == ["requested", "placed", "started"]


async def _said(here: World, allocation_id: str, word: str) -> bool:
    return word in await here.said_of(allocation_id)


async def test_a_claim_that_nobody_wants_any_more_goes_back(here: World) -> None:
    await here.machines(1)
    claim = ClaimGranted.model_validate(
        {
            "pool_id": "main",
            "allocation_id": "ghost",
            "tenant_id": "acme",
            "project_id": "research",
            "gpu_model": "h100",
            "members": [{"member": 0, "node_id": "n0", "device_ids": ["n0-g0"]}],
            "receipt": {"pool_version": 1, "policy": "p", "nodes_considered": 1, "exclusions": [], "score": "0"},
        }
    )
    await tell(here.service.log, claim, entity_id="main")

    async def back() -> bool:
        history = decoded(POOL.vocabulary, await here.service.log.history(POOL.subject(PLATFORM, "main")))
        return isinstance(history[-1].event, ClaimReturned)

    await eventually(back)


async def test_two_schedulers_never_hold_a_gpu_twice(paced: AllocationsSettings, stack: TestStack) -> None:
    async with world(paced) as one, stack.fresh_database() as dsn:
        other = build(paced.model_copy(update={"postgres_dsn": dsn, "http_port": free_port()}))
        async with running(other):
            await one.machines(4)
            one.pace(FAST)
            other.clock = one.service.clock
            names = []
            for number in range(120):
                size = (1, 2, 3, 8)[number % 4]
                names.append(await one.ask(gpus_per_replica=size, command=["sleep", "400"]))
            await one.until("released", *names, within_s=60)
            assert all(reader.stopped is None for reader in (*one.service._readers, *other._readers))
        history = decoded(POOL.vocabulary, await one.service.log.history(POOL.subject(PLATFORM, "main")))
        held: dict[str, str] = {}
        for fact in history:
            if isinstance(fact.event, ClaimGranted):
                for member in fact.event.members:
                    for device in member.device_ids:
                        assert device not in held
                        held[device] = fact.event.allocation_id
            elif isinstance(fact.event, ClaimReturned):
                held = {device: who for device, who in held.items() if who != fact.event.allocation_id}
        await eventually(lambda: _free(one, 32))
        for name in names:
            said = await one.said_of(name)
            assert (said.count("placed"), said.count("started"), said.count("released")) == (1, 1, 1)


async def test_a_rebuild_is_byte_identical_and_a_lost_database_says_nothing_twice(
    paced: AllocationsSettings, stack: TestStack
) -> None:
    async with world(paced) as here:
        await here.machines(2)
        here.pace(FAST)
        names = [await here.ask(gpus_per_replica=5, command=["sleep", "600"]) for _ in range(6)]
        await here.until("released", *names)
        here.pace(1)
        standing = await here.ask(command=["sleep", "infinity"])
        rejected = await here.ask(gpus_per_replica=64)
        await here.until("active", standing)
        await here.until("rejected", rejected)
        await eventually(lambda: _free(here, 8))
        last = await here.service.log.last_position()
        live = {}
        for projection in here.projections():
            await here.service.reader(projection).reached(last, 10)
            live[projection.name] = await digest(here.service.database, projection)
        for projection in here.projections():
            await here.service._projectors[projection.name].rebuild()
            assert await digest(here.service.database, projection) == live[projection.name]
    async with stack.fresh_database() as empty:
        anew = paced.model_copy(update={"postgres_dsn": empty, "http_port": free_port()})
        async with world(anew) as here:
            for projection in here.projections():
                await here.service.reader(projection).reached(last, 10)
                assert await digest(here.service.database, projection) == live[projection.name]
            await eventually(lambda: all(reader.caught_up for reader in here.service._readers))
            assert await here.said_of(standing) == ["requested", "placed", "started"]
            types = [type(p) for p in here.projections()]
            assert Allocations in types
