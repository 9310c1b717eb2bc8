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
from gpuaas.audit.projections.trail_search import Sought, count, entries_between, order_key, search, subjects_of
from gpuaas.audit.projections.trail_state import trail_position
from gpuaas.audit.routes.search import TrailReader, sought
from gpuaas.common.errors import Invalid, Unavailable
from gpuaas.common.http import fresh
from gpuaas.common.tables import Record
from gpuaas.contracts.audit import ExportFormat

COMPLETE: Final = (
    "With format=tar: carry the entry of every leaf of the tree, so that `gpuaas-verify export --complete` can tell "
    "that nothing asked for was left out. Only for what a leaf holds: type, subject, resource, event, since, until, "
    "after_position."
)
EXPORT_PAGE: Final = 500
PROOFS_PAGE: Final = 200
ENTRIES_PAGE: Final = 4_096


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
        complete: Annotated[bool, Query(description=COMPLETE)] = False,
    ) -> StreamingResponse:
        if complete:
            _check_decidable(asked, format)
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
        content = _tarball(desk, whole, head, complete) if format == "tar" and head else _lines(desk, whole, format)
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


def _check_decidable(asked: Sought, format: str) -> None:  # noqa: A002
    """What is asked for can be told by leaves alone.

    Raises:
        Invalid: it cannot, or nothing would carry the leaves.
    """
    if format != "tar":
        raise Invalid("only a tarball carries what shows that it is complete: ask for format=tar", field="complete")
    by_bytes = {"actor": asked.actor, "project": asked.project_id, "correlation": asked.correlation_id}
    by_bytes |= {"outcome": asked.outcome}
    if told := [name for name, value in by_bytes.items() if value is not None]:
        raise Invalid(
            f"no leaf holds the {told[0]} of its event, so an export by it cannot show that it is complete: "
            "ask by type, subject, resource, event, since, until or after_position, or without complete",
            field="complete",
        )


def _question(whole: Sought) -> dict[str, object]:
    """What was asked for, as `gpuaas-verify` reads it."""
    subjects = [whole.subject] if whole.subject is not None else None
    if whole.resource is not None:
        of_resource = subjects_of(whole.resource, str(whole.tree))
        subjects = of_resource if subjects is None else [each for each in subjects if each in of_resource]
    asked: dict[str, object] = {
        "type": whole.type,
        "subjects": subjects,
        "event": whole.event_id,
        "since": whole.happened_from.isoformat() if whole.happened_from else None,
        "until": whole.happened_until.isoformat() if whole.happened_until else None,
        "after_position": None if whole.after_position is None else str(whole.after_position),
    }
    return {name: value for name, value in asked.items() if value is not None}


async def _entries(desk: Desk, head: SealedHead) -> AsyncIterator[bytes]:
    """The entries of all leaves under a head, each behind its length, some thousand at a time."""
    for start in range(0, head.size, ENTRIES_PAGE):
        entries = await entries_between(desk.database, head.tree, start, min(start + ENTRIES_PAGE, head.size))
        yield b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


async def _tarball(desk: Desk, whole: Sought, head: SealedHead, complete: bool) -> AsyncIterator[bytes]:
    """Policy and checkpoint, and rows with their proofs in files for `gpuaas-verify rows`.

    With `complete` also the question and every leaf's entry, for `gpuaas-verify export --complete`.

    All of it under one head: the record of the export itself is a leaf, and may be under the next head already.
    """
    moment_s = int(desk.clock.now().timestamp())
    yield tar_member("policy", (await desk.policy()).encode(), moment_s)
    yield tar_member("checkpoint", head.cosigned.encode(), moment_s)
    number = 0
    if complete:
        yield tar_member("asked.json", json_line(_question(whole)), moment_s)
        async for entries in _entries(desk, head):
            number += 1
            yield tar_member(f"entries-{number:06d}", entries, moment_s)
    number = 0
    async for rows in _pages(desk, whole, PROOFS_PAGE):
        number += 1
        proofs = await proofs_of(desk, rows, head)
        items = [row_shown(row) | proofs[row["position"]] for row in rows]
        content = await asyncio.to_thread(json_line, {"items": items})
        yield tar_member(f"rows-{number:06d}.json", content, moment_s)
    yield TAR_END
