"""Drains, windows and custody on a real broker, database and door; the pool speaks as its owner would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from enrolled_nodes import enrolled, facts_of, node, order
from gpuaas.common.clock import rfc3339
from gpuaas.common.projections import digest
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.nodes.app import build
from gpuaas.nodes.projections.maintenance_windows import MaintenanceWindows
from gpuaas.nodes.projections.node_claims import NodeClaims
from gpuaas.nodes.settings import NodesSettings
from pool_facts import granted, offered, returned, withdrawn

Headers = dict[str, str]
REBUILT = (MaintenanceWindows, NodeClaims)


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[NodesSettings]:
    given: dict[str, Any] = {"upkeep_tick_s": 0.05, "heartbeat_tick_s": 0.5}
    async with fresh_settings(stack, NodesSettings, tmp_path / "state", **given) as settings:
        yield settings


async def post(client: httpx.AsyncClient, who: Headers, path: str, expected: int = 202, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body, headers=who)
    assert answer.status_code == expected, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def stands(client: httpx.AsyncClient, who: Headers, node_id: str, **wanted: Any) -> dict[str, Any]:
    """Wait until the node shows these values."""
    found: dict[str, Any] = {}

    async def so() -> bool:
        found.update(await node(client, who, node_id))
        return all(found[name] == value for name, value in wanted.items())

    await eventually(so)
    return found


def planned(service: Service, *node_ids: str, in_s: float, **other: Any) -> dict[str, Any]:
    starts = service.clock.now() + timedelta(seconds=in_s)
    told = {"window_id": "mw-1", "node_ids": node_ids, "reason": "firmware", "notice_s": 0}
    return {**told, "starts_at": rfc3339(starts), "ends_at": rfc3339(starts + timedelta(hours=1)), **other}


async def test_a_drained_machine_is_empty_when_the_pool_says_so(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1")
        await offered(service.log, "n-1")
        await granted(service.log, "n-1", "alloc-1")
        await post(client, operator, "/v1/nodes/n-1/drain", mode="let-finish", reason="fan 3 is loud")
        assert (await stands(client, operator, "n-1", placeable=False))["drain"]["drained_at"] is None
        claims = (await client.get("/v1/nodes/n-1/claims", headers=operator)).json()["items"]
        assert [(claim["allocation_id"], claim["tenant_id"], claim["gpus"]) for claim in claims] == [
            ("alloc-1", "acme", 1)
        ]
        await withdrawn(service.log, "n-1")
        await returned(service.log, "alloc-1")

        async def empty() -> bool:
            return (await node(client, operator, "n-1"))["drain"]["drained_at"] is not None

        await eventually(empty)
        await post(client, operator, "/v1/nodes/n-1/drain/cancel", reason="fixed while it ran")
        found = await stands(client, operator, "n-1", placeable=True, drain=None)
        assert facts_of(found)[-5:] == [
            "node-drain-ordered", "node-hold-placed", "node-drained", "node-drain-cancelled", "node-hold-lifted"
        ]  # fmt: skip
        assert (await client.post("/v1/nodes/n-9/drain", json={"reason": "x"}, headers=operator)).status_code == 404


async def test_a_window_drains_updates_validates_and_returns(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1", "n-2")
        await granted(service.log, "n-1", "alloc-1")
        goals = [{"component": "bmc", "version": "1.3"}, {"component": "gpu", "version": "97.1"}]
        await post(
            client, operator, "/v1/maintenance-windows", 201, **planned(service, "n-1", "n-2", in_s=0.2, firmware=goals)
        )
        await stands(client, operator, "n-2", placeable=True, firmware={"bmc": "1.3", "gpu": "97.1"})
        assert (await node(client, operator, "n-1"))["lifecycle"] == "available", "a tenant's work still stands on it"
        await returned(service.log, "alloc-1")
        found = await stands(client, operator, "n-1", placeable=True, firmware={"bmc": "1.3", "gpu": "97.1"})
        told = facts_of(found)
        assert told.index("node-drained") < told.index("node-maintenance-started") < told.index("node-firmware-updated")
        assert told[-4:] == [
            "node-maintenance-ended", "node-hardware-observed", "node-became-available", "node-hold-lifted"
        ]  # fmt: skip

        async def ended() -> bool:
            window = (await client.get("/v1/maintenance-windows/mw-1", headers=operator)).json()
            return (window["stage"], window["outcome"]) == ("ended", "completed")

        await eventually(ended)
        for projector in [each for each in service._projectors.values() if isinstance(each.projection, REBUILT)]:
            before = await digest(service.database, projector.projection)
            await projector.rebuild()
            assert await digest(service.database, projector.projection) == before


async def test_a_tenant_sees_accepts_and_postpones_what_touches_it_and_nothing_else(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        identities = await Identities.on(service.log)
        operator = await identities.operator()
        acme = await identities.member("acme", None, "nodes.notice.*")
        other = await identities.member("umbrella", None, "nodes.notice.*")
        await enrolled(client, operator, "n-1", "n-2")
        await granted(service.log, "n-1", "alloc-1")
        await granted(service.log, "n-2", "alloc-2", "umbrella")
        plan = planned(service, "n-1", in_s=3600, postpone_max_s=3600, postponements_max=1)
        made = await post(client, operator, "/v1/maintenance-windows", 201, **plan)
        seen = {"GPUaaS-At-Least": str(made["position"])}
        mine = (await client.get("/v1/tenants/acme/maintenance-windows", headers=acme | seen)).json()["items"]
        assert [(each["window_id"], each["postponements_left"]) for each in mine] == [("mw-1", 1)]
        assert [claim["node_id"] for claim in mine[0]["claims"]] == ["n-1"]
        theirs = await client.get("/v1/tenants/umbrella/maintenance-windows", headers=other | seen)
        assert theirs.json()["items"] == []
        stranger = await client.post("/v1/tenants/umbrella/maintenance-windows/mw-1/accept", headers=other)
        absent = await client.post("/v1/tenants/umbrella/maintenance-windows/mw-9/accept", headers=other)
        assert (stranger.status_code, stranger.json()["detail"]) == (404, absent.json()["detail"])
        early = await client.post("/v1/maintenance-windows/mw-1/start", headers=operator)
        assert (early.status_code, "1 affected" in early.json()["detail"]) == (409, True)
        later = rfc3339(service.clock.now() + timedelta(seconds=5400))
        home = "/v1/tenants/acme/maintenance-windows/mw-1"
        await post(client, acme, f"{home}/postpone", starts_at=later, reason="a run ends then")
        too_late = rfc3339(service.clock.now() + timedelta(seconds=99_000))
        refused = await client.post(f"{home}/postpone", json={"starts_at": too_late, "reason": "x"}, headers=acme)
        assert refused.status_code == 409
        await post(client, acme, f"{home}/accept")
        await post(client, operator, "/v1/maintenance-windows/mw-1/start")
        await returned(service.log, "alloc-1")
        await stands(client, operator, "n-1", lifecycle="maintenance", custody="repair")
        await post(client, operator, "/v1/maintenance-windows/mw-1/nodes/n-1/done", failed="the flash failed")
        broken = await stands(client, operator, "n-1", lifecycle="repair")
        assert broken["mismatches"][0]["observed"] == "the flash failed"


async def test_a_cancelled_window_opens_what_it_had_closed(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await enrolled(client, operator, "n-1")
        await granted(service.log, "n-1", "alloc-1")
        plan = planned(service, "n-1", in_s=60, notice_s=59)
        await post(client, operator, "/v1/maintenance-windows", 201, **plan)
        clash = await client.post("/v1/maintenance-windows", json=plan | {"window_id": "mw-2"}, headers=operator)
        assert clash.status_code == 409
        await stands(client, operator, "n-1", placeable=False)
        await post(client, operator, "/v1/maintenance-windows/mw-1/cancel", reason="parts did not come")
        await stands(client, operator, "n-1", placeable=True, drain=None)


async def test_a_machine_let_whole_is_wiped_and_validated_between_tenants(settings: NodesSettings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        body = {"nodes": [order("n-1", isolation="machine")]}
        assert (await client.post("/v1/nodes/batch", json=body, headers=operator)).status_code == 202
        await stands(client, operator, "n-1", placeable=True)
        await granted(service.log, "n-1", "alloc-1")
        taken = await stands(client, operator, "n-1", lifecycle="allocated", custody="tenant", unclean=True)
        assert [hold["hold_id"] for hold in taken["admission"]["holds"]] == ["tenancy"]
        await returned(service.log, "alloc-1")
        back = await stands(client, operator, "n-1", lifecycle="available", placeable=True, unclean=False)
        assert facts_of(back)[-7:] == [
            "node-hold-placed", "node-allocation-ended", "node-sanitizing-started", "node-wiped",
            "node-hardware-observed", "node-became-available", "node-hold-lifted",
        ]  # fmt: skip
