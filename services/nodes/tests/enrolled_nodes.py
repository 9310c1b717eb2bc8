"""Nodes at the door of a running service: asked for, waited for, looked at."""

from __future__ import annotations

from typing import Any

import httpx
from gpuaas.common.testing.running import eventually
from node_facts import MODEL

PLACE = {"region": "eu-central", "site": "fra1", "pod": "p2", "rack": "r07"}


def order(node_id: str, **other: Any) -> dict[str, Any]:
    told = {
        "node_id": node_id,
        "topology": PLACE,
        "expected_gpu_model": MODEL,
        "expected_gpu_count": 8,
        "pool_id": "h100-fra",
    }
    return told | other


async def enrolled(client: httpx.AsyncClient, headers: dict[str, str], *node_ids: str) -> None:
    """Register the nodes and wait until each is available or in repair."""
    answer = await client.post("/v1/nodes/batch", json={"nodes": [order(n) for n in node_ids]}, headers=headers)
    assert answer.status_code == 202, answer.text

    async def settled() -> bool:
        page = (await client.get("/v1/nodes", params={"limit": 500}, headers=headers)).json()
        stand = {item["node_id"]: item["lifecycle"] for item in page["items"]}
        return all(stand.get(n) in ("available", "repair") for n in node_ids)

    await eventually(settled)


async def node(client: httpx.AsyncClient, headers: dict[str, str], node_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/nodes/{node_id}", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def facts_of(found: dict[str, Any]) -> list[str]:
    return [event["type"].removeprefix("gpuaas.nodes.").removesuffix(".v1") for event in found["history"]]
