"""The door of the audit service: search, checkpoints, tiles, evidence. One law: a tenant's trail is shown to it alone.

Below `/v1/tenants/{tenant_id}` (and `/v1/platform`) stand `checkpoint` and `tile/…` as C2SP tlog-tiles has them, so any
tile client can mirror a tree that it may read.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from gpuaas.audit.adapters.heads import Heads, SealedHead
from gpuaas.audit.adapters.witnesses import Witnesses
from gpuaas.audit.domain.bundles import Evidence
from gpuaas.audit.domain.checkpoints import LogKey, origin_of
from gpuaas.audit.domain.disclosures import RecordAccess, RecordExport
from gpuaas.audit.domain.entries import PLATFORM_TREE
from gpuaas.audit.domain.epochs import EPOCH_LOG
from gpuaas.audit.domain.export_formats import (
    MEDIA_TYPES,
    TAR_END,
    csv_head,
    csv_line,
    json_line,
    ocsf_line,
    tar_member,
)
from gpuaas.audit.domain.log_keys import LOG_KEYS_ID
from gpuaas.audit.domain.maps import checkpoint_map, map_line, secret_of
from gpuaas.audit.domain.merkle import HASH_BYTES
from gpuaas.audit.domain.tiles import TILE_WIDTH, read_tile_path, width_at
from gpuaas.audit.projections.audit_trail import AuditTrail
from gpuaas.audit.projections.invoice_evidence import invoice_evidence
from gpuaas.audit.projections.trail_examination import examined
from gpuaas.audit.projections.trail_search import (
    Sought,
    count,
    entries_between,
    evidence_in,
    order_key,
    payloads_at,
    search,
)
from gpuaas.audit.projections.trail_state import trail_position
from gpuaas.audit.projections.tree_proofs import consistency_proof, inclusion_proofs, tile
from gpuaas.audit.reactions import ACCESS, EPOCH, EXPORT, LOG_KEY, Watching
from gpuaas.common.access import Scope
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Invalid, NotFound, Unavailable
from gpuaas.common.http import Caller, Page, Paging, fresh, paging, permit, public
from gpuaas.common.ids import derived_id
from gpuaas.common.log import EventLog
from gpuaas.common.tables import Database, Record
from gpuaas.contracts.audit import ExportFormat

ACCESSES_KNOWN_MAX: Final = 10_000
EXPORT_PAGE: Final = 500
LOOKS_AT_ONCE: Final = 32
PROOFS_PAGE: Final = 200
FOLLOW_POLL_S: Final = 0.25
WAIT_S_MAX: Final = 25
IMMUTABLE: Final = "private, max-age=31536000, immutable"
"""A tile never changes; `private`, because only its tenant may read it."""
MUTABLE: Final = "private, no-cache"

Outcome = Literal["success", "failure", "unknown"]
WithProof = Annotated[
    bool, Query(description="1: rows with their exact bytes and a proof (c2sp.org/tlog-proof; null until sealed).")
]

Wait = Annotated[int, Query(ge=0, le=WAIT_S_MAX, description="Seconds to wait for a row when there is none yet.")]
TreeReader = Annotated[Caller, Depends(permit("audit.tree.read"))]
BundleReader = Annotated[Caller, Depends(permit("audit.bundle.read"))]
TrailReader = Annotated[Caller, Depends(permit("audit.trail.read"))]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes work with."""

    database: Database
    commands: Commands
    heads: Heads
    key: LogKey
    map_secret: bytes
    trail: AuditTrail
    witnesses: Witnesses
    clock: Clock
    log: EventLog
    watching: Watching
    looks: dict[str, None] = field(default_factory=dict)

    async def policy(self) -> str:
        """The trust policy that we hand out: every key the log had, its witnesses and their quorum."""
        announced, _ = await self.commands.state(LOG_KEY, PLATFORM, LOG_KEYS_ID)
        return self.key.policy(self.witnesses.policy(), announced[::-1])

    async def looked(self, tenant_id: str, caller: Caller) -> None:
        """Record the look, if it is an operator's."""
        await recorded_access(tenant_id, caller, self.commands, self.looks, self.clock.now())

    async def looked_everywhere(self, rows: Sequence[Record], caller: Caller) -> None:
        """Record a look at the whole trail: in the platform's tree, and in the tree of each tenant that is shown."""
        shown = sorted({row["tree"] for row in rows} | {PLATFORM_TREE})
        now, free = self.clock.now(), asyncio.Semaphore(LOOKS_AT_ONCE)

        async def one(tree: str) -> None:
            async with free:
                await recorded_access(tree, caller, self.commands, self.looks, now)

        await asyncio.gather(*map(one, shown))

    async def proved(self, evidence: Sequence[Evidence]) -> tuple[list[Evidence], dict[str, SealedHead]]:
        """The same events with their inclusion proofs, and the heads these are for.

        Events that are not under a signed checkpoint yet are left out.
        """
        heads: dict[str, SealedHead] = {}
        paths: dict[tuple[str, int], list[bytes]] = {}
        for tree in sorted({each.tree for each in evidence}):
            head = await self.heads.newest(tree)
            if head is None:
                continue
            heads[tree] = head
            sealed = [each.index for each in evidence if each.tree == tree and each.index < head.size]
            proofs = await inclusion_proofs(self.database, tree, sealed, head.size)
            paths |= {(tree, index): path for index, path in proofs.items()}
        found = ((each, paths.get((each.tree, each.index))) for each in evidence)
        return [replace(each, path=path) for each, path in found if path is not None], heads


async def recorded_access(
    tenant_id: str, caller: Caller, commands: Commands, said: dict[str, None], now: datetime
) -> None:
    """Have an operator's look recorded in the tenant's own tree, once an hour, before anything is shown."""
    everywhere = caller.access.check(caller.principal, caller.decision.permission, Scope(), datetime.now(UTC))
    if not everywhere.allowed:
        return
    hour = now.replace(minute=0, second=0, microsecond=0)
    who, permission = caller.principal, caller.decision.permission
    access_id = derived_id("operator-access", tenant_id, who.kind, who.id, permission, hour.isoformat())
    if access_id in said:
        return
    order = RecordAccess(access_id, tenant_id, who.id, who.kind, permission, hour)
    cause = Cause(id=access_id, actor=who.id, actor_kind=who.kind, step="look")
    await commands.execute(ACCESS, tenant_id, access_id, order, cause)
    said[access_id] = None
    while len(said) > ACCESSES_KNOWN_MAX:
        said.pop(next(iter(said)))


def sought(
    type: Annotated[str | None, Query(max_length=255, description="Event type.")] = None,  # noqa: A002
    subject: Annotated[str | None, Query(max_length=512, description="One entity's subject in the log.")] = None,
    resource: Annotated[
        str | None, Query(max_length=127, description="One entity as `<kind>/<id>`, such as `allocation/al-1`.")
    ] = None,
    actor: Annotated[str | None, Query(max_length=255)] = None,
    project: Annotated[str | None, Query(max_length=63)] = None,
    correlation: Annotated[str | None, Query(max_length=255)] = None,
    event: Annotated[str | None, Query(max_length=255, description="CloudEvents id.")] = None,
    outcome: Annotated[Outcome | None, Query(description="How it ended, by the event's type.")] = None,
    since: Annotated[datetime | None, Query(description="Happened at or after.")] = None,
    until: Annotated[datetime | None, Query(description="Happened before.")] = None,
    order: Annotated[str, Query(pattern="^(newest|oldest)$")] = "newest",
    after_position: Annotated[int | None, Query(ge=0, description="Only what stands behind it in the log.")] = None,
) -> Sought:
    """Dependency: what a search asks for."""
    return Sought(
        type=type,
        subject=subject,
        resource=resource,
        actor=actor,
        project_id=project,
        correlation_id=correlation,
        event_id=event,
        outcome=outcome,
        happened_from=since,
        happened_until=until,
        newest_first=order == "newest",
        after_position=after_position,
    )


def router(desk: Desk) -> APIRouter:
    """All routes."""
    routes = APIRouter()
    for add in (_add_search, _add_exports, _add_examination, _add_trees, _add_bundles, _add_epochs):
        add(routes, desk)
    return routes


def _add_search(routes: APIRouter, desk: Desk) -> None:
    seen = Depends(fresh(desk.trail))

    @routes.get(
        "/v1/tenants/{tenant_id}/trail", summary="What happened in a tenant, newest first.", dependencies=[seen]
    )
    async def tenant_trail(
        tenant_id: str,
        caller: TrailReader,
        asked: Annotated[Sought, Depends(sought)],
        page: Annotated[Paging, Depends(paging)],
        proof: WithProof = False,
        wait_s: Wait = 0,
    ) -> Page:
        await desk.looked(tenant_id, caller)
        return await _page(desk, replace(asked, tree=tenant_id), page, proof, wait_s)

    @routes.get("/v1/trail", summary="What happened anywhere, newest first.", dependencies=[seen])
    async def trail(
        caller: TrailReader,
        asked: Annotated[Sought, Depends(sought)],
        page: Annotated[Paging, Depends(paging)],
        proof: WithProof = False,
        wait_s: Wait = 0,
    ) -> Page:
        return await _page(desk, asked, page, proof, wait_s, caller)


def _add_exports(routes: APIRouter, desk: Desk) -> None:
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
        content = _tarball(desk, whole) if format == "tar" else _lines(desk, whole, format)
        name = f'attachment; filename="{tenant_id}-trail.{"ocsf.jsonl" if format == "ocsf" else format}"'
        return StreamingResponse(content, media_type=MEDIA_TYPES[format], headers={"Content-Disposition": name})


def _add_examination(routes: APIRouter, desk: Desk) -> None:
    @routes.get(
        "/v1/examination",
        summary="Is the trail whole: epochs' balances, gaps, divergences with both versions, witnesses.",
        dependencies=[Depends(permit("audit.trail.read"))],
    )
    async def examination() -> dict[str, Any]:
        told = await examined(desk.database, desk.watching.standing)
        for each in told["divergences"]:
            now = await desk.log.at(int(each["position"]))
            each["log_holds"] = None if now is None else base64.b64encode(now.payload).decode()
        return told | {"witnesses": desk.witnesses.told(), "quorum": desk.witnesses.quorum}


def _add_trees(routes: APIRouter, desk: Desk) -> None:
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


def _add_bundles(routes: APIRouter, desk: Desk) -> None:
    seen = Depends(fresh(desk.trail))

    @routes.get(
        "/v1/tenants/{tenant_id}/bundles/invoices/{invoice_id}",
        summary="Everything an invoice rests on, to be verified offline with gpuaas-verify.",
        dependencies=[seen],
        response_class=Response,
        responses={200: {"content": {"application/json": {}}}},
    )
    async def invoice_bundle(tenant_id: str, invoice_id: str, caller: BundleReader) -> Response:
        await desk.looked(tenant_id, caller)
        found = await invoice_evidence(desk.database, tenant_id, invoice_id)
        events, heads = await desk.proved(found.all())
        if len(events) < len(found.all()):
            raise Unavailable("the newest of the invoice's events are not sealed yet; ask again", retry_after_s=3)
        document = found.proved_by(events).document({tree: head.cosigned for tree, head in heads.items()})
        content = await asyncio.to_thread(lambda: json.dumps(document, ensure_ascii=False).encode())
        name = f'attachment; filename="{invoice_id}.bundle.json"'
        return Response(content, media_type="application/json", headers={"Content-Disposition": name})


def _add_epochs(routes: APIRouter, desk: Desk) -> None:
    read = Depends(permit("audit.tree.read"))

    @routes.get(
        "/v1/tenants/{tenant_id}/epoch",
        summary="The newest epoch, and where a tenant's checkpoint stands in its blinded map.",
        dependencies=[read],
    )
    async def tenant_epoch(tenant_id: str) -> dict[str, Any]:
        sealed, _ = await desk.commands.state(EPOCH, PLATFORM, EPOCH_LOG)
        heads = await desk.heads.all_newest(sealed.last_position)
        if tenant_id not in heads:
            raise NotFound(f"no epoch has sealed anything of {tenant_id} yet")
        covering = checkpoint_map(desk.map_secret, {tree: head.note for tree, head in heads.items()})
        secret = secret_of(desk.map_secret, tenant_id)
        index, path = covering.proof(map_line(secret, tenant_id, heads[tenant_id].note))
        return {
            "epoch": sealed.epoch,
            "last_position": str(sealed.last_position),
            "map_root": covering.root().hex(),
            "map_size": len(covering.lines),
            "map_index": index,
            "map_path": [step.hex() for step in path],
            "secret": secret.hex(),
            "checkpoint": heads[tenant_id].note,
        }


async def _page(
    desk: Desk, asked: Sought, page: Paging, with_proof: bool, wait_s: int, everywhere: Caller | None = None
) -> Page:
    """The page; `everywhere`: who looks at all trees, which is recorded before anything is shown."""
    after = page.key(int)
    rows = await search(desk.database, asked, after, page.limit + 1)
    until = asyncio.get_running_loop().time() + wait_s
    while not rows and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(FOLLOW_POLL_S)
        rows = await search(desk.database, asked, after, page.limit + 1)
    if everywhere is not None:
        await desk.looked_everywhere(rows[: page.limit], everywhere)
    shown = page.page([dict(row) for row in rows], [order_key(asked)])
    items = [_shown(row) for row in rows[: page.limit]]
    if with_proof:
        proofs = await _proofs(desk, rows[: page.limit])
        for item in items:
            item |= proofs.get(item["position"], {"proof": None})
    return Page(items=items, next_cursor=shown.next_cursor)


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
        shown = map(_shown, rows)
        match format:
            case "csv":
                yield b"".join(map(csv_line, shown))
            case "ocsf":
                yield b"".join(ocsf_line(row, desk.key.log) for row in shown)
            case _:
                yield b"".join(map(json_line, shown))


async def _tarball(desk: Desk, whole: Sought) -> AsyncIterator[bytes]:
    """Policy and checkpoint, and rows with their proofs in files for `gpuaas-verify rows`."""
    moment_s = int(desk.clock.now().timestamp())
    head = await desk.heads.newest(whole.tree or PLATFORM_TREE)
    yield tar_member("policy", (await desk.policy()).encode(), moment_s)
    yield tar_member("checkpoint", b"" if head is None else head.cosigned.encode(), moment_s)
    number = 0
    async for rows in _pages(desk, whole, PROOFS_PAGE):
        number += 1
        proofs = await _proofs(desk, rows)
        items = [_shown(row) | proofs[row["position"]] for row in rows]
        content = await asyncio.to_thread(json_line, {"items": items})
        yield tar_member(f"rows-{number:06d}.json", content, moment_s)
    yield TAR_END


async def _proofs(desk: Desk, rows: Sequence[Record]) -> dict[int, dict[str, Any]]:
    """The provable part of each row by position; of rows that are not sealed yet, none."""
    bytes_of = await payloads_at(desk.database, [row["position"] for row in rows])
    events, heads = await desk.proved([evidence_in(row, bytes_of[row["position"]]) for row in rows])
    return {event.entry.position: event.row(heads[event.tree].cosigned) for event in events}


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


def _shown(row: Record) -> dict[str, Any]:
    item = dict(row)
    item["payload_sha256"] = row["payload_sha256"].hex()
    item["tenant_id"] = None if row["tree"] == PLATFORM_TREE else row["tree"]
    return item
