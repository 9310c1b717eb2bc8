"""Trees as static files, and where they stand in the epochs. One law: a tile never changes once it is given out.

Below `/v1/tenants/{tenant_id}` (and `/v1/platform`) stand `checkpoint` and `tile/…` as C2SP tlog-tiles has them, so any
tile client can mirror a tree that it may read.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.responses import PlainTextResponse, Response
from gpuaas.audit.adapters.heads import SealedHead
from gpuaas.audit.desk import Desk
from gpuaas.audit.domain.bundles import Evidence
from gpuaas.audit.domain.checkpoints import origin_of
from gpuaas.audit.domain.entries import PLATFORM_TREE
from gpuaas.audit.domain.epochs import EPOCH_LOG
from gpuaas.audit.domain.maps import CheckpointMap, checkpoint_map, map_line, secret_of
from gpuaas.audit.domain.merkle import HASH_BYTES
from gpuaas.audit.domain.tiles import TILE_WIDTH, read_tile_path, width_at
from gpuaas.audit.entities import EPOCH
from gpuaas.audit.projections.trail_search import Sought, entries_between, evidence_in, payloads_at, search
from gpuaas.audit.projections.tree_proofs import consistency_proof, tile
from gpuaas.common.envelope import PLATFORM, decode
from gpuaas.common.errors import Invalid, NotFound, Unavailable
from gpuaas.common.http import Caller, permit, public
from gpuaas.contracts.audit import EpochSealed

IMMUTABLE: Final = "private, max-age=31536000, immutable"
"""A tile never changes; `private`, because only its tenant may read it."""
MUTABLE: Final = "private, no-cache"
EPOCHS_TRIED: Final = 5
"""Newest epochs among which one is sought that is itself under a signed head."""
EPOCH_LOOKS: Final = 10
EPOCH_PAUSE_S: Final = 0.5
"""How often, and how long apart, the newest epoch is looked at until its heads are those that it commits to."""

TreeReader = Annotated[Caller, Depends(permit("audit.tree.read", told=True))]


def tree_routes(routes: APIRouter, desk: Desk) -> None:
    read = Depends(permit("audit.tree.read"))
    octets: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}

    @routes.get(
        "/v1/tenants/{tenant_id}/checkpoint",
        summary="A tenant's tree, signed.",
        dependencies=[read],
        response_class=PlainTextResponse,
    )
    async def tenant_checkpoint(tenant_id: str) -> PlainTextResponse:
        return await _checkpoint(desk, tenant_id)

    @routes.get(
        "/v1/platform/checkpoint",
        summary="The platform's tree, signed.",
        dependencies=[read],
        response_class=PlainTextResponse,
    )
    async def platform_checkpoint() -> PlainTextResponse:
        return await _checkpoint(desk, PLATFORM_TREE)

    @routes.get(
        "/v1/tenants/{tenant_id}/tile/{path:path}",
        summary="Tiles and entries of a tenant's tree (c2sp.org/tlog-tiles).",
        responses=octets,
        response_class=Response,
    )
    async def tenant_tile(tenant_id: str, path: str, caller: TreeReader) -> Response:
        await desk.looked(tenant_id, caller)
        return await _tile(desk, tenant_id, path)

    @routes.get(
        "/v1/platform/tile/{path:path}",
        summary="Tiles and entries of the platform's tree (c2sp.org/tlog-tiles).",
        dependencies=[read],
        responses=octets,
        response_class=Response,
    )
    async def platform_tile(path: str) -> Response:
        return await _tile(desk, PLATFORM_TREE, path)

    @routes.get(
        "/v1/tenants/{tenant_id}/growth",
        summary="Consistency proof between two checkpoints of a tenant's tree: base64 hashes, one a line.",
        dependencies=[read],
        response_class=PlainTextResponse,
    )
    async def tenant_growth(
        tenant_id: str, old: Annotated[int, Query(ge=1)], new: Annotated[int, Query(ge=1)]
    ) -> PlainTextResponse:
        return await _growth(desk, tenant_id, old, new)

    @routes.get("/v1/key", summary="The log's name and public key, and a policy that trusts it.")
    @public
    async def key() -> dict[str, str]:
        return {
            "log": desk.key.log,
            "verifier_key": desk.key.verifier_key(),
            "policy": await desk.policy(),
        }


def epoch_routes(routes: APIRouter, desk: Desk) -> None:
    read = Depends(permit("audit.tree.read"))

    @routes.get(
        "/v1/tenants/{tenant_id}/epoch",
        summary="The newest epoch with its proof, and where a tenant's checkpoint stands in its blinded map.",
        dependencies=[read],
    )
    async def tenant_epoch(tenant_id: str) -> dict[str, Any]:
        event, head, epoch, heads, covering = await _mapped_epoch(desk)
        if tenant_id not in heads:
            raise NotFound(f"no epoch has sealed anything of {tenant_id} yet")
        secret = secret_of(desk.map_secret, tenant_id)
        index, path = covering.proof(map_line(secret, tenant_id, heads[tenant_id].note))
        return {
            "tenant_id": tenant_id,
            "epoch": epoch.epoch,
            "last_position": str(epoch.last_position),
            "map_root": covering.root().hex(),
            "map_size": len(covering.lines),
            "map_index": index,
            "map_path": [step.hex() for step in path],
            "secret": secret.hex(),
            "checkpoint": heads[tenant_id].note,
            "platform_checkpoint": head.cosigned,
            "sealed": event.leaf(),
        }


async def _mapped_epoch(
    desk: Desk,
) -> tuple[Evidence, SealedHead, EpochSealed, dict[str, SealedHead], CheckpointMap]:
    """The newest epoch with its proof, and the heads and the map that it commits to.

    Raises:
        Unavailable: it was replaced by the next one each time that it was looked at.
    """
    for attempt in range(EPOCH_LOOKS):
        if attempt:
            await asyncio.sleep(EPOCH_PAUSE_S)
        event, head = await _newest_epoch(desk)
        epoch = EpochSealed.model_validate_json(bytes(decode(event.payload).data))
        heads = await desk.heads.all_newest(epoch.last_position)
        covering = checkpoint_map(desk.map_secret, {tree: each.note for tree, each in heads.items()})
        if covering.root().hex() == epoch.map_root:
            return event, head, epoch, heads, covering
    raise Unavailable("the newest epoch is being replaced by the next one; ask again", retry_after_s=2)


async def _newest_epoch(desk: Desk) -> tuple[Evidence, SealedHead]:
    """The newest epoch that is under a signed head of the platform's tree itself, with its proof."""
    rows = await search(desk.database, Sought(subject=EPOCH.subject(PLATFORM, EPOCH_LOG)), None, EPOCHS_TRIED)
    bytes_of = await payloads_at(desk.database, [row["position"] for row in rows])
    proved, heads = await desk.proved([evidence_in(row, bytes_of[row["position"]]) for row in rows])
    if not proved:
        raise NotFound("no epoch is sealed yet")
    return proved[0], heads[PLATFORM_TREE]


async def _checkpoint(desk: Desk, tree: str) -> PlainTextResponse:
    head = await desk.heads.newest(tree)
    if head is None:
        raise NotFound(f"nothing of {origin_of(desk.key.log, tree)} is sealed yet")
    return PlainTextResponse(head.cosigned, headers={"Cache-Control": MUTABLE})


async def _growth(desk: Desk, tree: str, old: int, new: int) -> PlainTextResponse:
    head = await desk.heads.newest(tree)
    if head is None or not old <= new <= head.size:
        size = 0 if head is None else head.size
        raise Invalid(f"the newest checkpoint has {size} leaves; ask for 1 ≤ old ≤ new ≤ {size}")
    proof = await consistency_proof(desk.database, tree, old, new)
    lines = "".join(f"{base64.b64encode(step).decode()}\n" for step in proof)
    return PlainTextResponse(lines, headers={"Cache-Control": IMMUTABLE})


async def _tile(desk: Desk, tree: str, path: str) -> Response:
    asked, head = read_tile_path(path), await desk.heads.newest(tree)
    wide = 0 if asked is None or head is None else width_at((asked.level or 0, asked.index), head.size)
    if asked is None or asked.width > wide:
        raise NotFound("there is no such tile under the newest checkpoint")
    if asked.level is None:
        start = asked.index * TILE_WIDTH
        entries = await entries_between(desk.database, tree, start, start + asked.width)
        content = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    else:
        stored = await tile(desk.database, tree, (asked.level, asked.index))
        content = stored[: asked.width * HASH_BYTES]
    return Response(content, media_type="application/octet-stream", headers={"Cache-Control": IMMUTABLE})
