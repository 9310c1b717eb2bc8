"""Reservations on real servers: promised, used, lost, given up; and requests that have a time of their own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from allocations_world import MODEL, World, world
from gpuaas.allocations.reactions import RESERVATION
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.clock import Pace
from gpuaas.common.projections import decoded
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually, fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.nodes import MaintenanceEnded, MaintenanceScheduled, NodeHoldPlaced

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOME = "/v1/tenants/acme/projects/research"


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    pace = {"profile": "demo", "clock_pace": Pace(time.time(), NOON, 1).encode()}
    async with (
        fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings,
        world(settings.model_copy(update=pace)) as opened,
    ):
        yield opened


async def _reserve(here: World, begins: timedelta, length: timedelta, status: int = 201, **more: Any) -> Any:
    starts_at = here.service.clock.now() + begins
    body = {
        "pool_id": "main",
        "gpu_model": MODEL,
        "gpus_per_replica": 8,
        "starts_at": starts_at.isoformat(),
        "ends_at": (starts_at + length).isoformat(),
        "reason": "a course",
        **more,
    }
    answer = await here.client.post(f"{HOME}/reservations", json=body, headers=await here.as_member("acme"))
    assert answer.status_code == status, answer.text
    here.position = max(here.position, int(answer.headers.get("GPUaaS-Position", 0)))
    return answer.json()["id"] if status == 201 else answer.json()


async def _shown(here: World, name: str) -> Any:
    here.position = await here.service.log.last_position()
    return await here.get(f"{HOME}/reservations/{name}", await here.as_member("acme"))


async def _checked(here: World, **more: Any) -> Any:
    body = {"pool_id": "main", "gpus_per_replica": 8, **more}
    answer = await here.client.post(f"{HOME}/allocation-checks", json=body, headers=await here.as_member("acme"))
    return answer.json()


async def test_a_reservation_is_kept_free_used_by_its_project_and_over_in_time(here: World) -> None:
    await here.machines(1)
    name = await _reserve(here, HOUR, HOUR * 4)
    refused = await _reserve(here, HOUR * 1.5, HOUR, status=409)
    assert "not to be had" in refused["detail"]
    long = await here.ask(command=["sleep", "infinity"], lease_s=7_200)
    waits = await here.until("queued", long)
    assert "promised to others" in waits["detail"]
    inside = await here.ask(command=["sleep", "infinity"], lease_s=86_400, reservation_id=name)
    deferred = await here.until("queued", inside)
    assert (deferred["pending_reason"], deferred["deferred_until"] is not None) == ("reservation-not-open", True)
    short = await here.ask(command=["sleep", "600"], lease_s=1_200)
    await here.until("active", short)
    here.pace(3_000)
    ended = await here.until("released", short, inside, long, within_s=60)
    assert (await here.one(short))["end_reason"] == "completed"
    used = await here.one(inside)
    window = (await _shown(here, name))["windows"][0]
    assert datetime.fromisoformat(window["starts_at"]) <= datetime.fromisoformat(used["started_at"])
    assert (used["end_reason"], used["ended_at"]) == ("lease-expired", window["ends_at"])
    assert ended["started_at"] >= window["ends_at"]

    async def over() -> bool:
        return bool((await _shown(here, name))["state"] == "ended")

    await eventually(over)
    assert not (await here.pool()).calendar


async def test_a_window_that_loses_its_machine_moves_and_one_that_cannot_says_what_is_missing(here: World) -> None:
    await here.machines(2)
    name = await _reserve(here, HOUR, HOUR)
    booking = (await here.pool()).calendar.bookings[name]
    (first,) = booking.windows[0].masks()
    await _hold(here, f"n{first}")

    async def moved() -> bool:
        return list((await here.pool()).calendar.bookings[name].windows[0].masks()) == [1 - first]

    await eventually(moved)
    await _hold(here, f"n{1 - first}")

    async def short() -> bool:
        return bool((await _shown(here, name))["windows"][0]["missing_gpus"] == 8)

    await eventually(short)
    history = await here.service.log.history(RESERVATION.subject("acme", name))
    said = [fact.envelope.type.split(".")[2] for fact in decoded(RESERVATION.vocabulary, history)]
    assert said == ["reservation-made", "reservation-impaired"]


async def _hold(here: World, node_id: str) -> None:
    hold = NodeHoldPlaced(node_id=node_id, hold_id=f"h-{node_id}", owner="ops", cause="a fan")
    await tell(here.service.log, hold, entity_id=node_id)


async def test_a_reservation_that_is_given_up_frees_its_gpus_at_once(here: World) -> None:
    await here.machines(1)
    name = await _reserve(here, HOUR, HOUR, every_days=1, occurrences=3)
    assert (await _checked(here, lease_s=86_400))["reason"] == "promised-to-others"
    assert (await _checked(here, lease_s=600))["verdict"] == "fits-now"
    assert (await _checked(here, reservation_id=name))["reason"] == "reservation-not-open"
    assert (await _checked(here, lease_s=7_200))["gpu_hours_max"] == "16.000000"
    assert (await _checked(here, lease_s=-1))["field"] == "lease_s"
    shown = await _shown(here, name)
    assert [window["window"] for window in shown["windows"]] == [0, 1, 2]
    long = await here.ask(lease_s=86_400)
    await here.until("queued", long)
    member = await here.as_member("acme")
    path = f"{HOME}/reservations/{name}/end"
    for _ in range(2):
        answer = await here.client.post(path, json={"reason": "not needed"}, headers=member)
        assert answer.status_code == 202, answer.text
    await here.until("active", long)
    assert (await _shown(here, name))["state"] == "cancelled"
    foreign = await here.as_member("kyoto")
    answer = await here.client.get(f"{HOME}/reservations/{name}", headers=foreign)
    assert answer.status_code in (403, 404)


async def test_absurd_reservations_are_refused_with_the_field(here: World) -> None:
    for change, field in (
        ({"starts_at": "2026-08-05T11:59:00Z"}, "starts_at"),
        ({"starts_at": "2040-01-01T00:00:00Z", "ends_at": "2040-01-02T00:00:00Z"}, "starts_at"),
        ({"ends_at": "2026-08-01T00:00:00Z"}, "ends_at"),
        ({"every_days": 1}, "every_days"),
        ({"every_days": 0, "occurrences": 2}, "every_days"),
        ({"every_days": 1, "occurrences": 10**12}, "occurrences"),
        ({"every_days": 300, "occurrences": 64}, "starts_at"),
        ({"replicas": 0}, "replicas"),
        ({"gpus_per_replica": -8}, "gpus_per_replica"),
    ):
        told = await _reserve(here, HOUR, HOUR, status=422, **change)
        assert told.get("field") == field, told


async def test_a_request_waits_for_its_own_start_and_a_ceiling_cuts_its_lease(here: World) -> None:
    await here.machines(2)
    later = await here.ask(start_at=(NOON + HOUR).isoformat())
    waits = await here.until("queued", later)
    assert (waits["pending_reason"], waits["deferred_until"]) == ("not-before", "2026-08-05T13:00:00Z")
    cut = await here.ask(command=["sleep", "infinity"], lease_s=86_400, gpu_hours_max="4")
    assert (await here.until("active", cut))["lease_s"] == 1_800
    renew = await here.client.post(
        f"{HOME}/allocations/{cut}/renew", json={"lease_s": 1_801}, headers=await here.as_member("acme")
    )
    assert (renew.status_code, "ceiling" in renew.text) == (409, True)
    await here.ask(gpu_hours_max="0.001", status=422)
    await here.ask(start_at="2999-12-31T23:59:59Z", status=422)
    past = await here.ask(start_at="1999-01-01T00:00:00+10:00")
    await here.until("active", past)
    here.pace(2_000)
    started = await here.until("released", later)
    assert datetime.fromisoformat(started["started_at"]) >= NOON + HOUR


async def test_a_lease_is_renewed_as_far_as_the_calendar_allows_and_its_end_is_announced(here: World) -> None:
    await here.machines(1)
    name = await here.ask(command=["sleep", "infinity"], lease_s=3_600)
    await here.until("active", name)
    await _reserve(here, HOUR * 2, HOUR)
    member = await here.as_member("acme")
    for lease_s, status in ((86_400, 409), (7_000, 202), (-(10**30), 422)):
        answer = await here.client.post(f"{HOME}/allocations/{name}/renew", json={"lease_s": lease_s}, headers=member)
        assert answer.status_code == status, answer.text
    here.pace(1_000)
    ended = await here.until("released", name)
    assert (ended["end_reason"], ended["notice_ends_at"]) == ("lease-expired", ended["ended_at"])
    assert (await here.said_of(name)).count("notified") == 1


async def test_a_machine_that_joins_its_pool_while_a_plan_for_it_stands_is_closed(here: World) -> None:
    await here.machines(1)
    plan = MaintenanceScheduled(
        window_id="mw-2",
        node_ids=("n0", "n1"),
        starts_at=NOON + HOUR,
        ends_at=NOON + HOUR * 2,
        notice_s=0,
        reason="new firmware",
        mode="notice-then-stop",
        postpone_max_s=0,
        postponements_max=0,
    )
    await tell(here.service.log, plan, entity_id="mw-2")

    async def closed(machines: int) -> bool:
        closure = (await here.pool()).calendar.closures.get("mw-2")
        return closure is not None and len(closure.nodes) == machines

    await eventually(lambda: closed(1))
    await here.machines(2)
    await eventually(lambda: closed(2))


async def test_what_nodes_plans_is_on_the_calendar_and_the_calendar_is_asked_as_of_any_time(here: World) -> None:
    await here.machines(2)
    before = await here.service.log.last_position()
    plan = MaintenanceScheduled(
        window_id="mw-1",
        node_ids=("n0",),
        starts_at=NOON + HOUR,
        ends_at=NOON + HOUR * 2,
        notice_s=0,
        reason="new firmware",
        mode="notice-then-stop",
        postpone_max_s=0,
        postponements_max=0,
    )
    await tell(here.service.log, plan, entity_id="mw-1")

    async def closed() -> bool:
        return "mw-1" in (await here.pool()).calendar.closures

    await eventually(closed)
    name = await _reserve(here, HOUR * 3, HOUR)
    span: dict[str, Any] = {"from": (NOON + HOUR / 2).isoformat(), "until": (NOON + HOUR * 5).isoformat()}
    whole = await here.get("/v1/pools/main/calendar", **span)
    assert [item["closed_gpus"] for item in whole["items"]][:3] == [0, 8, 0]
    assert whole["items"][1]["closures"][0]["detail"] == "new firmware"
    first = await here.get("/v1/pools/main/calendar", limit=2, **span)
    rest = await here.get("/v1/pools/main/calendar", limit=20, cursor=first["next_cursor"], **span)
    assert first["items"] + rest["items"] == whole["items"]
    then = await here.get("/v1/pools/main/calendar", as_of=before, **span)
    assert [item["free_gpus"] for item in then["items"]] == [16]
    mine = await here.get(f"{HOME}/calendar", await here.as_member("acme"), pool_id="main", **span)
    kept = [item for item in mine["items"] if item["own_reservation_ids"] == [name]]
    assert sum(item["own_reserved_gpus"] for item in kept) == 8 * len(kept) > 0
    theirs = await here.get(
        "/v1/tenants/kyoto/projects/research/calendar", await here.as_member("kyoto"), pool_id="main"
    )
    assert all(item["own_reservation_ids"] == [] for item in theirs["items"])
    await here.get("/v1/pools/main/calendar", status=422, until="2026-08-01T00:00:00Z")
    end = MaintenanceEnded(
        window_id="mw-1", node_ids=("n0",), ended_at=NOON, outcome="cancelled", returned_node_ids=(), reason="not now"
    )
    await tell(here.service.log, end, entity_id="mw-1")

    async def opened() -> bool:
        return not (await here.pool()).calendar.closures

    await eventually(opened)
