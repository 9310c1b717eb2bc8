"""Waivers. One law: one person asks, another approves, and everybody can read why."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Body, Caller, Page, fresh, permit
from gpuaas.common.wire import Moment
from gpuaas.contracts.evidence import Label, Profile, Sha256
from gpuaas.evidence.domain import waiver
from gpuaas.evidence.domain.requirement import Published
from gpuaas.evidence.entities import REQUIREMENT, WAIVER
from gpuaas.evidence.routes.claims import StatedAccepted
from gpuaas.evidence.routes.desk import Desk, Id, Pages, accepted, kind_of
from pydantic import Field


class NewWaiver(Body):
    """Which requirement shall be waived for which release, where, until when, and why."""

    waiver_id: Label
    requirement_id: Label
    subject_sha256: Sha256
    profile: Profile
    reason: Annotated[str, Field(min_length=10, max_length=1_000)]
    expires_at: Moment


class Withdrawal(Body):
    """Why it is refused or taken back."""

    reason: Annotated[str, Field(min_length=1, max_length=1_000)]


def open_waivers(routes: APIRouter, desk: Desk) -> None:
    """Add the routes."""
    _asking_for_one(routes, desk)
    _answering(routes, desk)

    @routes.get("/waivers", dependencies=[Depends(fresh(desk.views.waivers))], summary="Waivers, newest first.")
    async def list_waivers(
        caller: Annotated[Caller, Depends(permit("evidence.waiver.read"))],
        page: Pages,
        subject_sha256: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$")] = None,
    ) -> Page:
        rows = await desk.views.waivers.listed(
            desk.database,
            limit=page.limit + 1,
            before_position=page.key(int),
            subject_sha256=subject_sha256,
        )
        return page.page(rows, ["position"])


def _asking_for_one(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/waivers", status_code=201, summary="Ask that a release may pass without a requirement for a while.")
    async def request_waiver(
        body: NewWaiver, caller: Annotated[Caller, Depends(permit("evidence.waiver.request"))]
    ) -> StatedAccepted:
        state, _ = await desk.commands.state(REQUIREMENT, PLATFORM, body.requirement_id)
        if not isinstance(state, Published):
            raise NotFound(f"there is no requirement {body.requirement_id}; GET /v1/requirements lists those there are")
        order = waiver.RequestWaiver(
            requirement_version=state.newest.version,
            by=caller.principal.id,
            by_kind=kind_of(caller),
            claimers=await desk.keeper.claimers(body.subject_sha256, body.requirement_id),
            at=desk.clock.now(),
            **{name: getattr(body, name) for name in NewWaiver.model_fields},
        )
        statement = await desk.notary.attest(waiver.requested(order), [body.subject_sha256])
        order = replace(order, statement_sha256=statement)
        done = await desk.commands.execute(WAIVER, PLATFORM, body.waiver_id, order, caller.cause())
        return StatedAccepted(**accepted(caller, done, body.waiver_id), statement_sha256=statement)


def _answering(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/waivers/{waiver_id}/approval", status_code=201, summary="Be the second person behind a waiver.")
    async def approve_waiver(
        waiver_id: Id, caller: Annotated[Caller, Depends(permit("evidence.waiver.approve"))]
    ) -> StatedAccepted:
        state, _ = await desk.commands.state(WAIVER, PLATFORM, waiver_id)
        if not isinstance(state, waiver.Asked):
            raise NotFound(f"there is no waiver {waiver_id} to approve; GET /v1/waivers lists those there are")
        order = waiver.ApproveWaiver(
            waiver_id=waiver_id,
            by=caller.principal.id,
            by_kind=kind_of(caller),
            claimers=await desk.keeper.claimers(state.said.subject_sha256, state.said.requirement_id),
            at=desk.clock.now(),
        )
        statement = await desk.notary.attest(waiver.approved(state, order), [state.said.subject_sha256])
        order = replace(order, statement_sha256=statement)
        done = await desk.commands.execute(WAIVER, PLATFORM, waiver_id, order, caller.cause())
        return StatedAccepted(**accepted(caller, done, waiver_id), statement_sha256=statement)

    @routes.post("/waivers/{waiver_id}/withdrawal", status_code=201, summary="Refuse a waiver, or take it back.")
    async def withdraw_waiver(
        waiver_id: Id,
        body: Withdrawal,
        caller: Annotated[Caller, Depends(permit("evidence.waiver.withdraw", relief=True))],
    ) -> StatedAccepted:
        order = waiver.WithdrawWaiver(waiver_id, caller.principal.id, body.reason, desk.clock.now())
        statement = await desk.notary.attest(waiver.withdrawn(order))
        order = replace(order, statement_sha256=statement)
        done = await desk.commands.execute(WAIVER, PLATFORM, waiver_id, order, caller.cause())
        return StatedAccepted(**accepted(caller, done, waiver_id), statement_sha256=statement)
