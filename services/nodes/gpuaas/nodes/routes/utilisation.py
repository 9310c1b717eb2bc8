"""The door to what GPUs do now. One law: a sample that is not fresh is not shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Caller, permit
from gpuaas.nodes.adapters.sample_stream import FRESH_S, SampleStream


def utilisation_router(samples: SampleStream) -> APIRouter:
    """The route about utilisation."""
    door = APIRouter(prefix="/v1", tags=["nodes"])

    @door.get("/nodes/{node_id}/utilisation", summary="What the machine's GPUs do now, by its agent; not billed.")
    async def get_utilisation(
        node_id: Annotated[str, Path(max_length=63)],
        caller: Annotated[Caller, Depends(permit("nodes.node.read"))],
    ) -> dict[str, Any]:
        if (heard := samples.newest(node_id)) is None:
            raise NotFound(f"the agent of {node_id} sent no sample in the last {FRESH_S:g} s", node_id=node_id)
        told: dict[str, Any] = msgspec.to_builtins(heard.sample)
        return {**told, "received_at": datetime.fromtimestamp(heard.received_s, UTC)}

    return door
