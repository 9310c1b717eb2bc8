"""Artefacts: bytes under their digest. One law: streamed both ways, bounded, and hashed each time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from gpuaas.common.errors import NotFound, TooLarge, Unavailable
from gpuaas.common.http import Caller, permit
from gpuaas.evidence.ports import ArtefactStore, Stored
from gpuaas.evidence.routes.desk import Desk, Digest
from pydantic import BaseModel

ARTEFACTS_PATH: Final = "/v1/artefacts/"
"""Below this path bodies are streamed; the store bounds them."""
OCTETS: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class ArtefactStored(BaseModel):
    """What is filed under `sha256`."""

    sha256: str
    size_bytes: int


def open_artefacts(routes: APIRouter, desk: Desk) -> None:
    """Add the routes."""

    @routes.put(
        "/artefacts/{sha256}",
        status_code=201,
        summary="Store an artefact under its digest.",
        openapi_extra={"requestBody": {"required": True, "content": OCTETS}},
    )
    async def store_artefact(
        sha256: Digest, request: Request, caller: Annotated[Caller, Depends(permit("evidence.artefact.store"))]
    ) -> ArtefactStored:
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > desk.artefact_bytes_max:
            raise TooLarge(f"an artefact has at most {desk.artefact_bytes_max:,} bytes; this one has {announced}")
        try:
            async with asyncio.timeout(desk.upload_timeout_s):
                stored = await desk.store.put(sha256, request.stream())
        except TimeoutError:
            raise Unavailable(f"the upload took longer than {desk.upload_timeout_s:g} s; try again") from None
        return ArtefactStored(sha256=stored.sha256, size_bytes=stored.size_bytes)

    @routes.get(
        "/artefacts/{sha256}",
        summary="Fetch an artefact; damaged bytes are never sent to the end.",
        response_class=StreamingResponse,
        responses={200: {"content": OCTETS}},
    )
    async def fetch_artefact(
        sha256: Digest, caller: Annotated[Caller, Depends(permit("evidence.artefact.read"))]
    ) -> StreamingResponse:
        if (stored := await desk.store.stored(sha256)) is None:
            raise NotFound(f"no artefact is stored under {sha256}; upload it first")
        return await _download(desk.store, stored)


async def _download(store: ArtefactStore, stored: Stored) -> StreamingResponse:
    """The first piece is read before the status is sent, so damage of a small artefact is an error and no download."""
    pieces = store.read(stored.sha256)
    first = await anext(pieces)

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    digest = base64.b64encode(bytes.fromhex(stored.sha256)).decode()
    return StreamingResponse(
        all_pieces(),
        media_type="application/octet-stream",
        headers={
            "Content-Length": str(stored.size_bytes),
            "Content-Disposition": f'attachment; filename="{stored.sha256}"',
            "ETag": f'"{stored.sha256}"',
            "Repr-Digest": f"sha-256=:{digest}:",
            "X-Content-Type-Options": "nosniff",
        },
    )
