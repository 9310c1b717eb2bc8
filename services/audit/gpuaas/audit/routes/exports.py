"""Copies of a tenant's trail. One law: the copy is recorded in the trail before its first byte leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from gpuaas.audit.adapters.heads import SealedHead
from gpuaas.audit.desk import Desk, proofs_of, row_shown
from gpuaas.audit.domain.disclosures import RecordExport
from gpuaas.audit.domain.export_formats import (
    MEDIA_TYPES,
    TAR_END,
    csv_head,
    csv_line,
    json_line,
    ocsf_line,
    tar_member,
)
from gpuaas.audit.entities import EXPORT
from gpuaas.audit.projections.trail_search import Sought, count, order_key, search
from gpuaas.audit.projections.trail_state import trail_position
from gpuaas.audit.routes.search import TrailReader, sought
from gpuaas.common.errors import Unavailable
from gpuaas.common.http import fresh
from gpuaas.common.tables import Record
from gpuaas.contracts.audit import ExportFormat

EXPORT_PAGE: Final = 500
PROOFS_PAGE: Final = 200


def export_routes(routes: APIRouter, desk: Desk) -> None:
    @routes.get(
        "/v1/tenants/{tenant_id}/export",
        summary="A copy of a tenant's trail, oldest first, streamed; the copy is recorded in the trail.",
        dependencies=[Depends(fresh(desk.trail))],
        response_class=StreamingResponse,
        responses={200: {"content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}}},
    )
    async def export(
        tenant_id: str,
        caller: TrailReader,
        asked: Annotated[Sought, Depends(sought)],
        format: Annotated[ExportFormat, Query(description="What it is written as.")] = "jsonl",  # noqa: A002
    ) -> StreamingResponse:
        await desk.looked(tenant_id, caller)
        head = await desk.heads.newest(tenant_id)
        if format == "tar" and head is None:
            raise Unavailable("nothing of this trail is sealed yet; ask again", retry_after_s=3)
        end = head.position if format == "tar" and head is not None else await trail_position(desk.database)
        whole = replace(asked, tree=tenant_id, newest_first=False, up_to_position=end)
        restricted = [f"{name}={value}" for name, value in sorted(asdict(asked).items()) if value is not None]
        order = RecordExport(
            export_id=caller.derived_id("export"),
            tenant_id=tenant_id,
            format=format,
            up_to_position=end,
            row_count=await count(desk.database, whole),
            filters=tuple(each for each in restricted if not each.startswith("newest_first=")),
        )
        await desk.commands.execute(EXPORT, tenant_id, order.export_id, order, caller.cause("export"))
        content = _tarball(desk, whole, head) if format == "tar" and head else _lines(desk, whole, format)
        name = f'attachment; filename="{tenant_id}-trail.{"ocsf.jsonl" if format == "ocsf" else format}"'
        return StreamingResponse(content, media_type=MEDIA_TYPES[format], headers={"Content-Disposition": name})


async def _pages(desk: Desk, whole: Sought, size: int) -> AsyncIterator[list[Record]]:
    """All rows, a page at a time: what arrives meanwhile is behind the end that was fixed before."""
    after: int | None = None
    while rows := await search(desk.database, whole, after, size):
        yield rows
        after = rows[-1][order_key(whole)]


async def _lines(desk: Desk, whole: Sought, format: str) -> AsyncIterator[bytes]:  # noqa: A002
    if format == "csv":
        yield csv_head()
    async for rows in _pages(desk, whole, EXPORT_PAGE):
        shown = map(row_shown, rows)
        match format:
            case "csv":
                yield b"".join(map(csv_line, shown))
            case "ocsf":
                yield b"".join(ocsf_line(row, desk.key.log) for row in shown)
            case _:
                yield b"".join(map(json_line, shown))


async def _tarball(desk: Desk, whole: Sought, head: SealedHead) -> AsyncIterator[bytes]:
    """Policy and checkpoint, and rows with their proofs in files for `gpuaas-verify rows`.

    All of it under one head: the record of the export itself is a leaf, and may be under the next head already.
    """
    moment_s = int(desk.clock.now().timestamp())
    yield tar_member("policy", (await desk.policy()).encode(), moment_s)
    yield tar_member("checkpoint", head.cosigned.encode(), moment_s)
    number = 0
    async for rows in _pages(desk, whole, PROOFS_PAGE):
        number += 1
        proofs = await proofs_of(desk, rows, head)
        items = [row_shown(row) | proofs[row["position"]] for row in rows]
        content = await asyncio.to_thread(json_line, {"items": items})
        yield tar_member(f"rows-{number:06d}.json", content, moment_s)
    yield TAR_END
