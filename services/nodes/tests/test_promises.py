"""What tenants were promised is in the way: of drains, of windows and of the platform's own withdrawals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from enrolled_nodes import enrolled
from gpuaas.common.clock import rfc3339
from gpuaas.common.errors import Rejected
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.nodes import NodeDrainOrdered
from gpuaas.nodes.app import build
from gpuaas.nodes.domain.axes import DrainMode
from gpuaas.nodes.domain.maintenance import MAINTENANCE, Plan, PostponeMaintenance, ScheduleMaintenance
from gpuaas.nodes.domain.orders import OrderDrain
from gpuaas.nodes.domain.promises import Kept, Offered, Room, Standing, Unkept, unkept_without
from gpuaas.nodes.settings import NodesSettings
from hypothesis import given
from hypothesis import strategies as st
from node_facts import AVAILABLE, MODEL, NOON, at, last_of
from pool_facts import booked, freed, granted, offered, returned

Headers = dict[str, str]


def machine(node_id: str, gpus: int = 8, rack: str = "r07", model: str = MODEL) -> Offered:
    return Offered(node_id, model, gpus, ("eu-central", "fra1", "p2", rack))


def kept(node_id: str, gpus: int = 8, begins: float = 60, name: str = "rsv-1", **other: Any) -> Kept:
    told = Kept(name, "acme", 0, at(begins), at(begins + 60), node_id, MODEL, gpus, None)
    return replace(told, **other)


TWO = (machine("n-1"), machine("n-2"))


def lost(room: Room, *taken: str, goes_on: bool = True) -> list[tuple[str, int]]:
    room = replace(room, places=room.machines)
    return [(each.reservation_id, each.gpus) for each in unkept_without(set(taken), room, NOON, goes_on)]


@pytest.mark.parametrize(
    ("room", "unkept"),
    [
        (Room(TWO, [kept("n-1")]), []),
        (Room(TWO[:1], [kept("n-1")]), [("rsv-1", 8)]),
        (Room(TWO, [kept("n-2")]), []),
        (Room(TWO, [kept("n-1"), kept("n-2", 1, name="rsv-2")]), [("rsv-1", 8)]),
        (Room(TWO, [kept("n-1"), kept("n-2", 1, begins=120, name="rsv-2")]), []),
        (Room(TWO, [kept("n-1")], [Standing("n-2", 1, at(61), None)]), [("rsv-1", 8)]),
        (Room(TWO, [kept("n-1")], [Standing("n-2", 1, None, None)]), [("rsv-1", 8)]),
        (Room(TWO, [kept("n-1")], [Standing("n-2", 8, at(60), None)]), []),
        (Room(TWO, [kept("n-1", 4), kept("n-1", 4, name="rsv-2"), kept("n-1", 1, name="rsv-3")]), [("rsv-3", 1)]),
        (Room((machine("n-1"), machine("n-2", model="other")), [kept("n-1")]), [("rsv-1", 8)]),
        (Room((machine("n-1"), machine("n-2", rack="r08")), [kept("n-1", level="rack")]), [("rsv-1", 8)]),
        (Room((machine("n-1"), machine("n-2", rack="r08")), [kept("n-1", level="pod")]), []),
    ],
    ids=str,
)
def test_a_promise_is_kept_where_another_machine_has_room_for_each_of_its_groups(
    room: Room, unkept: list[tuple[str, int]]
) -> None:
    assert lost(room, "n-1") == unkept


def test_what_runs_in_an_open_window_keeps_its_gpus_unless_it_is_stopped() -> None:
    running_now = Room(TWO[:1], [kept("n-1", begins=-5)], [Standing("n-1", 6, at(30), "rsv-1")])
    assert lost(running_now, "n-1") == [("rsv-1", 2)], "two of eight are still to come"
    assert lost(running_now, "n-1", goes_on=False) == [("rsv-1", 8)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8), st.integers(0, 3)), max_size=12), st.integers(0, 5))
def test_what_is_said_to_fit_elsewhere_really_fits(groups: list[tuple[int, int, int]], taken: int) -> None:
    """Compared with trying: whatever is not named is put somewhere, and no machine is ever given more than it has."""
    promised = [
        kept(f"n-{on}", gpus, begins=60 * hour, name=f"rsv-{number}") for number, (on, gpus, hour) in enumerate(groups)
    ]
    for hour in range(4):
        for on in range(6):
            there = [each.gpus for each in promised if each.node_id == f"n-{on}" and each.starts_at == at(60 * hour)]
            if sum(there) > 8:
                return  # no pool promises that
    room = Room([machine(f"n-{number}") for number in range(6)], promised)
    unkept = {name for name, _ in lost(room, f"n-{taken}")}
    for hour in range(4):
        now = [each for each in promised if each.starts_at == at(60 * hour)]
        free = sum(8 - sum(e.gpus for e in now if e.node_id == f"n-{on}") for on in range(6) if on != taken)
        moved = sum(e.gpus for e in now if e.node_id == f"n-{taken}" and e.reservation_id not in unkept)
        assert moved <= free
        if len([e for e in now if e.node_id == f"n-{taken}"]) == 1 and any(
            8 - sum(e.gpus for e in now if e.node_id == f"n-{on}") >= 8 for on in range(6) if on != taken
        ):
            assert not unkept & {e.reservation_id for e in now}, "an empty machine takes any one group"


UNKEPT = [Unkept("rsv-1", "acme", 0, at(360), at(600), 8)]


def test_a_drain_that_breaks_a_promise_is_refused_in_a_sentence_unless_it_says_so() -> None:
    drain = OrderDrain(DrainMode.NOW, 0, "coolant leak", at(1), unkept=UNKEPT)
    with pytest.raises(Rejected, match=r"reservation rsv-1, window 0 from 2026-08-03T18:00Z on.*say over_promises"):
        last_of(*AVAILABLE, drain)
    ordered = last_of(*AVAILABLE, replace(drain, over_promises=True))[0]
    assert isinstance(ordered, NodeDrainOrdered)
    assert ordered.over_promises == 1
    harmless = last_of(*AVAILABLE, replace(drain, over_promises=True, unkept=()))[0]
    assert isinstance(harmless, NodeDrainOrdered)
    assert harmless.over_promises is None


def test_a_window_is_neither_planned_nor_moved_into_a_promise_and_tenants_learn_no_names() -> None:
    plan = Plan(("n-1",), at(60), at(120), 0, "firmware", DrainMode.NOW, 86_400, 3)
    schedule = ScheduleMaintenance("mw-1", plan, NOON, UNKEPT)
    with pytest.raises(Rejected, match="rsv-1"):
        MAINTENANCE.decide(schedule, MAINTENANCE.initial)
    window = MAINTENANCE.fold(MAINTENANCE.decide(replace(schedule, over_promises=True), MAINTENANCE.initial))
    later = PostponeMaintenance(at(300), "later", at(1), None, UNKEPT)
    with pytest.raises(Rejected, match="rsv-1"):
        MAINTENANCE.decide(later, window)
    with pytest.raises(Rejected, match="the machines are promised then; choose another time") as told:
        MAINTENANCE.decide(replace(later, tenant_id="acme"), window)
    assert "rsv-1" not in told.value.detail


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[NodesSettings]:
    said: dict[str, Any] = {"upkeep_tick_s": 0.1, "withdrawal_retry_s": 0.1, "remedy_automation": False}
    async with fresh_settings(stack, NodesSettings, tmp_path / "state", **said) as settings:
        yield settings


async def faulty(client: httpx.AsyncClient, who: Headers, node_id: str, xid: int) -> str:
    body = {"slot": 1, "xid": xid, "detail": "reported"}
    answer = await client.post(f"/v1/nodes/{node_id}/faults", json=body, headers=who)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def automation(client: httpx.AsyncClient, who: Headers, service: Service) -> dict[str, Any]:
    seen = who | {"GPUaaS-At-Least": str(await service.log.last_position())}
    answer = await client.get("/v1/pools/h100-fra/automation", headers=seen)
    found: dict[str, Any] = answer.json()
    return found


async def test_a_promise_delays_the_platform_and_refuses_people_until_it_can_be_kept_elsewhere(
    settings: NodesSettings,
) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1", "n-2", "n-3")
        await offered(service.log, "n-1")
        soon = service.clock.now() + timedelta(hours=2)
        await booked(service.log, "rsv-1", soon, "n-1")
        await booked(service.log, "rsv-2", soon + timedelta(days=30), "n-1")
        shown = (await client.get("/v1/nodes/n-1/promises", params={"limit": 1}, headers=operator)).json()
        rest = {"limit": 1, "cursor": shown["next_cursor"]}
        more = (await client.get("/v1/nodes/n-1/promises", params=rest, headers=operator)).json()
        assert [(each["reservation_id"], each["not_elsewhere_gpus"]) for each in shown["items"] + more["items"]] == [
            ("rsv-1", 1),
            ("rsv-2", 0),
        ], "a month ahead there is hope"
        drain = await client.post("/v1/nodes/n-1/drain", json={"reason": "fan 3"}, headers=operator)
        assert (drain.status_code, "reservation rsv-1" in drain.json()["detail"]) == (409, True)
        plan = {"window_id": "mw-1", "node_ids": ["n-1"], "reason": "firmware", "starts_at": rfc3339(soon)}
        plan |= {"ends_at": rfc3339(soon + timedelta(hours=1))}
        window = await client.post("/v1/maintenance-windows", json=plan, headers=operator)
        assert (window.status_code, "reservation rsv-1" in window.json()["detail"]) == (409, True)
        component_id = await faulty(client, operator, "n-1", 48)

        async def withheld() -> bool:
            told = await automation(client, operator, service)
            return [(each["component_id"], each["leased"]) for each in told["withheld"]] == [(component_id, True)]

        await eventually(withheld, 20)
        assert (await automation(client, operator, service))["withdrawn"] == []
        await offered(service.log, "n-2")

        async def closed() -> bool:
            return bool((await automation(client, operator, service))["withdrawn"] == ["n-1"])

        await eventually(closed, 20)
        said = await service.log.history("events.nodes.automation.platform.h100-fra")
        kinds = [recorded.type.split(".")[2] for recorded in said]
        assert kinds == ["automatic-withdrawal-withheld", "automatic-withdrawal-granted"]


async def test_what_has_failed_is_closed_though_it_was_promised_and_budget_that_is_free_is_used(
    settings: NodesSettings,
) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1", "n-2", "n-3")
        await offered(service.log, "n-1")
        await booked(service.log, "rsv-1", service.clock.now() + timedelta(hours=2), "n-1")
        first = await faulty(client, operator, "n-1", 79)

        async def closed(*names: str) -> bool:
            return bool((await automation(client, operator, service))["withdrawn"] == list(names))

        await eventually(lambda: closed("n-1"), 20)
        await faulty(client, operator, "n-2", 79)

        async def waits() -> bool:
            told = (await automation(client, operator, service))["withheld"]
            return [(each["node_id"], each["guard"], each["leased"]) for each in told] == [
                ("n-2", "drain-budget", False)
            ]

        await eventually(waits, 20)
        proof = {"reason": "seated anew, burn-in passed"}
        await client.post(f"/v1/components/{first}/recoveries", json=proof, headers=operator)
        await eventually(lambda: closed("n-2"), 20)

        async def held() -> bool:
            holds = (await client.get("/v1/nodes/n-2", headers=operator)).json()["admission"]["holds"]
            return [hold["owner"] for hold in holds] == ["policy:health"]

        await eventually(held, 20)


async def test_a_drain_over_promises_is_recorded_as_one_and_freed_or_used_promises_are_none(
    settings: NodesSettings,
) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1", "n-2")
        for node_id in ("n-1", "n-2"):
            await offered(service.log, node_id)
        await granted(service.log, "n-2", "alloc-1")
        await booked(service.log, "rsv-1", service.clock.now() + timedelta(hours=2), "n-1")
        refused = await client.post("/v1/nodes/n-1/drain", json={"reason": "fan 3"}, headers=operator)
        assert refused.status_code == 409, "nobody knows when alloc-1 will end"
        body = {"reason": "coolant leak", "mode": "now", "over_promises": True}
        ordered = await client.post("/v1/nodes/n-1/drain", json=body, headers=operator)
        assert ordered.status_code == 202, ordered.text
        (drain,) = [
            each
            for each in await service.log.history("events.nodes.node.platform.n-1")
            if "node-drain-ordered" in each.type
        ]
        assert b'"over_promises":1' in drain.payload
        await client.post("/v1/nodes/n-1/drain/cancel", json={"reason": "it was water"}, headers=operator)
        await returned(service.log, "alloc-1")
        again = await client.post("/v1/nodes/n-1/drain", json={"reason": "fan 3"}, headers=operator)
        assert again.status_code == 202, "n-2 can keep it now"
        await freed(service.log, "rsv-1")
        seen = operator | {"GPUaaS-At-Least": str(await service.log.last_position())}
        assert (await client.get("/v1/nodes/n-1/promises", headers=seen)).json()["items"] == []
