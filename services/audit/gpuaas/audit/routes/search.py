"""Searching the trail. One law: a page stays exact while new rows arrive, and a tenant's trail is shown to it alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from gpuaas.audit.desk import Desk, proofs_of, row_shown
from gpuaas.audit.projections.trail_search import Sought, order_key, search
from gpuaas.common.http import Caller, Page, Paging, fresh, paging, permit
from pydantic import AwareDatetime

FOLLOW_POLL_S: Final = 0.25
WAIT_S_MAX: Final = 25

Outcome = Literal["success", "failure", "unknown"]
WithProof = Annotated[
    bool, Query(description="1: rows with their exact bytes and a proof (c2sp.org/tlog-proof; null until sealed).")
]
Wait = Annotated[int, Query(ge=0, le=WAIT_S_MAX, description="Seconds to wait for a row when there is none yet.")]
TrailReader = Annotated[Caller, Depends(permit("audit.trail.read", told=True))]


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
    since: Annotated[AwareDatetime | None, Query(description="Happened at or after; with a time zone.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Happened before; with a time zone.")] = None,
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


def search_routes(routes: APIRouter, desk: Desk) -> None:
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
    items = [row_shown(row) for row in rows[: page.limit]]
    if with_proof:
        proofs = await proofs_of(desk, rows[: page.limit])
        for item in items:
            item |= proofs.get(item["position"], {"proof": None})
    return Page(items=items, next_cursor=shown.next_cursor)
