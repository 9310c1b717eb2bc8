"""Where GPU time went, asked at the real door: it adds up, also in the past, and billing comes to the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from gpuaas.common.settings import Settings
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import (
    AllocationReleased,
    AllocationStarted,
    ClaimGranted,
    ClaimReturned,
    Member,
    Receipt,
)
from gpuaas.contracts.billing import UsageMetered
from gpuaas.contracts.nodes import NodeHeartbeatLost, NodeHoldPlaced, NodeRetired
from gpuaas.inventory.app import build
from machine_facts import MODEL, NOON, available, found, looked_at


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[Settings]:
    async with fresh_settings(stack, Settings, tmp_path) as given:
        yield given


MEMBERS = (Member(member=0, node_id="m-0", device_ids=tuple(d.device_id for d in found("m-0").devices[:2])),)
WHO: dict[str, Any] = {
    "allocation_id": "a-1",
    "tenant_id": "acme",
    "project_id": "ml",
    "pool_id": "h100-fra",
    "gpu_model": MODEL,
}
RECEIPT = Receipt(pool_version=1, policy="p", nodes_considered=1, exclusions=(), score="1")


async def asked(client: httpx.AsyncClient, headers: dict[str, str], path: str, **params: Any) -> Any:
    answer = await client.get(path, params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_every_gpu_millisecond_is_somewhere(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        for number in range(3):
            machine = found(f"m-{number}")
            await tell(service.log, looked_at(machine), available(machine), entity_id=machine.machine_id)

        async def known() -> bool:
            return bool((await asked(client, operator, "/v1/conservation"))["total"]["gpus"] == 24)

        await eventually(known)
        before = datetime.now(UTC)
        began, ended = before + timedelta(hours=1), before + timedelta(hours=3, milliseconds=7)
        sold: dict[str, Any] = {**WHO, "gpu_count": 2, "started_at": began}
        # The allocation speaks before its pool does, and the pool's return comes before its end.
        await tell(service.log, AllocationStarted(**sold, members=MEMBERS), tenant_id="acme", entity_id="a-1")
        await tell(service.log, ClaimGranted(**WHO, members=MEMBERS, receipt=RECEIPT), entity_id="h100-fra")
        await tell(
            service.log, ClaimReturned(pool_id="h100-fra", allocation_id="a-1", reason="r"), entity_id="h100-fra"
        )
        released = AllocationReleased(**sold, ended_at=ended, end_reason="completed")
        await tell(service.log, released, tenant_id="acme", entity_id="a-1")
        gpu_ms = 2 * (2 * 3_600_000 + 7)
        metered = UsageMetered(
            usage_id="u",
            tenant_id="acme",
            project_id="ml",
            allocation_id="a-1",
            gpu_model=MODEL,
            gpu_count=2,
            started_at=began,
            ended_at=ended,
            gpu_ms=gpu_ms,
            start_event_id="s",
            end_event_id="e",
        )
        await tell(service.log, metered, tenant_id="acme", entity_id="a-1")
        hold = NodeHoldPlaced(node_id="m-1", hold_id="h", owner="u", cause="c")
        await tell(service.log, hold, entity_id="m-1")
        await tell(service.log, NodeHeartbeatLost(node_id="m-2", last_seen_at=NOON), entity_id="m-2")
        last = await service.log.last_position()
        operator |= {"GPUaaS-At-Least": str(last)}
        after = datetime.now(UTC)
        until = (before + timedelta(hours=4)).isoformat()
        answer = await asked(client, operator, "/v1/conservation", until=until, by="rack")
        total = {name: int(value) for name, value in answer["total"].items()}
        assert total["difference_us"] == 0
        assert total["sold_us"] == total["ended_sales_us"] == total["metered_us"] == gpu_ms * 1000
        assert total["elapsed_us"] == sum(total[f"{part}_us"] for part in ("sold", "idle", "reserved", "held", "down"))
        assert total["held_us"] >= 8 * 3 * 3_600_000_000 <= total["down_us"]
        assert len(answer["items"]) == 1
        page = await asked(client, operator, "/v1/conservation/gpus", until=until, limit=20)
        rest = await asked(client, operator, "/v1/conservation/gpus", until=until, cursor=page["next_cursor"])
        assert sum(int(gpu["sold_us"]) for gpu in page["items"] + rest["items"]) == total["sold_us"]
        assert {gpu["difference_us"] for gpu in page["items"] + rest["items"]} == {"0"}
        moments = {
            "then": (before, {"gpus": 24, "idle_milli": 24_000}),
            "now": (after, {"gpus": 24, "idle_milli": 8_000, "held_milli": 8_000, "down_milli": 8_000}),
            "sold": (began, {"gpus": 24, "sold_milli": 2_000, "idle_milli": 6_000}),
        }
        for at, wanted in moments.values():
            (item,) = (await asked(client, operator, "/v1/capacity/moment", at=at.isoformat(), by=""))["items"]
            assert wanted.items() <= item.items()
        long_ago = await asked(client, operator, "/v1/capacity/moment", at="2001-01-01T00:00:00Z")
        assert long_ago["items"] == []


async def test_a_machine_that_leaves_takes_no_time_with_it(settings: Settings) -> None:
    service = build(settings)
    async with running(service) as client:
        operator = await (await Identities.on(service.log)).operator()
        await tell(service.log, looked_at(found("m-0")), available(found("m-0")), entity_id="m-0")

        async def known(gpus: int) -> bool:
            (item,) = (await asked(client, operator, "/v1/capacity/moment", by=""))["items"] or [{"gpus": 0}]
            return bool(item["gpus"] == gpus)

        await eventually(lambda: known(8))
        await tell(service.log, NodeRetired(node_id="m-0", reason="end"), entity_id="m-0")
        await eventually(lambda: known(0))
        total = (await asked(client, operator, "/v1/conservation"))["total"]
        later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        assert (await asked(client, operator, "/v1/conservation", until=later))["total"] == total
        assert (total["gpus"], total["difference_us"]) == (8, "0")
        for bad in ({"since": later}, {"by": "colour"}, {"since": "0001-01-01T00:00:00Z"}, {"since": "2026-01-01"}):
            assert (await client.get("/v1/conservation", params=bad, headers=operator)).status_code == 422
