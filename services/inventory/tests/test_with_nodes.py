"""nodes and inventory on one log: what is enrolled at one door is in the books behind the other, by events alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from gpuaas.common.settings import Settings
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.inventory import app as inventory
from gpuaas.nodes import app as nodes
from gpuaas.nodes.settings import NodesSettings
from machine_facts import MODEL

SCRIPT = {"deviations": {"n-7": {"gpu_count": 7}, "n-9": {"serials": {"0": "TWIN"}}, "n-8": {"serials": {"5": "TWIN"}}}}


def order(number: int) -> dict[str, Any]:
    return {
        "node_id": f"n-{number}",
        "topology": {"region": "eu-central", "site": "fra1", "pod": f"p{number % 3}", "rack": f"r{number % 9}"},
        "expected_gpu_model": MODEL,
        "expected_gpu_count": 8,
        "pool_id": "h100-fra",
    }


async def test_fifty_nodes_are_enrolled_and_every_one_is_accounted_for(stack: TestStack, tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps(SCRIPT))
    async with (
        fresh_settings(stack, NodesSettings, tmp_path / "nodes", sim_script=script) as ours,
        fresh_settings(stack, Settings, tmp_path / "inventory") as others,
    ):
        books = inventory.build(others.model_copy(update={"nats_url": ours.nats_url}))
        fleet = nodes.build(ours)
        async with running(fleet) as enrol, running(books) as ask:
            operator = await (await Identities.on(fleet.log)).operator()
            body = {"nodes": [order(number) for number in range(50)]}
            answer = await enrol.post("/v1/nodes/batch", json=body, headers=operator)
            assert {item["status"] for item in answer.json()["items"]} == {"accepted"}
            await eventually(lambda: _counts(ask, operator, accepted=48, mismatched=1))
            twins = [await _status(ask, operator, name) for name in ("n-8", "n-9")]
            assert sorted(twins) == ["accepted", "mismatched"]
            assert (await ask.get("/v1/machines/n-7", headers=operator)).status_code == 404
            (total,) = (await ask.get("/v1/capacity", params={"by": ""}, headers=operator)).json()["items"]
            assert (total["machines"], total["gpus"], total["sellable_gpus"]) == (48, 384, 384)
            await enrol.post("/v1/nodes/n-1/holds", json={"hold_id": "h", "cause": "c"}, headers=operator)
            await enrol.post("/v1/nodes/n-2/retire", json={"reason": "end of lease"}, headers=operator)
            await eventually(lambda: _total(ask, operator, machines=47, sellable_gpus=368, held_gpus=8))


async def _status(client: httpx.AsyncClient, headers: dict[str, str], machine_id: str) -> str:
    return str((await client.get(f"/v1/machines/{machine_id}", headers=headers)).json()["status"])


async def _counts(client: httpx.AsyncClient, headers: dict[str, str], **wanted: int) -> bool:
    page = (await client.get("/v1/machines", params={"limit": 500}, headers=headers)).json()
    found = [item["status"] for item in page["items"]]
    return all(found.count(status) == count for status, count in wanted.items())


async def _total(client: httpx.AsyncClient, headers: dict[str, str], **wanted: int) -> bool:
    (total,) = (await client.get("/v1/capacity", params={"by": ""}, headers=headers)).json()["items"]
    return all(total[name] == count for name, count in wanted.items())
