"""The door for a person's data: holds, erasures, certificates. One law: it orders; who has the key carries it out."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from gpuaas.audit.desk import Desk
from gpuaas.audit.domain.data_subjects import LiftHold, OrderErasure, PlaceHold
from gpuaas.audit.entities import DATA_SUBJECT
from gpuaas.audit.projections.person_events import demand_known, erasure_evidence
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Unavailable
from gpuaas.common.http import Accepted, Body, Caller, fresh, permit
from gpuaas.contracts.audit import ErasureBasis
from gpuaas.contracts.iam import UserRegistered
from pydantic import Field

HoldReader = Annotated[Caller, Depends(permit("audit.legal-hold.read"))]
HoldPlacer = Annotated[Caller, Depends(permit("audit.legal-hold.place"))]
HoldLifter = Annotated[Caller, Depends(permit("audit.legal-hold.lift"))]
ErasureOrderer = Annotated[Caller, Depends(permit("audit.erasure.order"))]
ErasureReader = Annotated[Caller, Depends(permit("audit.erasure.read"))]
PATH: Final = "/v1/data-subjects/{subject_id}"

_REASON: Final = "Why; it stands in the log for good, so it must name no personal data."


class NewHold(Body):
    """A case that forbids erasing a person's data."""

    matter: str = Field(description="The case, as people cite it.", min_length=1, max_length=200)
    reason: str = Field(description=_REASON, min_length=1, max_length=500)


class HoldEnd(Body):
    """The end of a hold."""

    reason: str = Field(description=_REASON, min_length=1, max_length=500)


class NewErasure(Body):
    """An erasure to carry out. It cannot be taken back."""

    basis: ErasureBasis = Field(description="What obliges or allows it.")
    reason: str = Field(description=_REASON, min_length=1, max_length=500)


def data_subject_routes(routes: APIRouter, desk: Desk) -> None:
    """Add them all."""
    _add_holds(routes, desk)
    _add_erasures(routes, desk)


def _add_holds(routes: APIRouter, desk: Desk) -> None:
    seen = Depends(fresh(desk.trail))

    @routes.get(
        PATH, summary="What stands for a person's data: legal holds, and whether it was erased.", dependencies=[seen]
    )
    async def data_subject(subject_id: str, caller: HoldReader) -> dict[str, Any]:
        await demand_known(desk.database, subject_id)
        state, version = await desk.commands.state(DATA_SUBJECT, PLATFORM, subject_id)
        return {
            "subject_id": subject_id,
            "status": state.status,
            "holds": [{"hold_id": hold_id, "matter": matter} for hold_id, matter in state.holds],
            "erasure_id": state.erasure_id or None,
            "version": version,
        }

    @routes.post(
        f"{PATH}/legal-holds",
        status_code=201,
        summary="Forbid erasing a person's data while a case is open.",
        dependencies=[seen],
    )
    async def place_hold(subject_id: str, body: NewHold, caller: HoldPlacer) -> Accepted:
        await demand_known(desk.database, subject_id)
        hold_id = caller.derived_id("hold")
        order = PlaceHold(subject_id=subject_id, hold_id=hold_id, matter=body.matter, reason=body.reason)
        outcome = await desk.commands.execute(DATA_SUBJECT, PLATFORM, subject_id, order, caller.cause("hold"))
        return caller.accepted(outcome, hold_id)

    @routes.post(f"{PATH}/legal-holds/{{hold_id}}/lift", summary="End a legal hold.")
    async def lift_hold(subject_id: str, hold_id: str, body: HoldEnd, caller: HoldLifter) -> Accepted:
        order = LiftHold(subject_id=subject_id, hold_id=hold_id, reason=body.reason)
        outcome = await desk.commands.execute(DATA_SUBJECT, PLATFORM, subject_id, order, caller.cause("lift"))
        return caller.accepted(outcome, hold_id)


def _add_erasures(routes: APIRouter, desk: Desk) -> None:
    seen = Depends(fresh(desk.trail))

    @routes.post(
        f"{PATH}/erasure",
        status_code=202,
        summary="Have a person's data erased for good; refused while a legal hold stands.",
        dependencies=[seen],
    )
    async def order_erasure(subject_id: str, body: NewErasure, caller: ErasureOrderer) -> Accepted:
        await demand_known(desk.database, subject_id)
        erasure_id = caller.derived_id("erasure")
        order = OrderErasure(subject_id=subject_id, erasure_id=erasure_id, basis=body.basis, reason=body.reason)
        outcome = await desk.commands.execute(DATA_SUBJECT, PLATFORM, subject_id, order, caller.cause("erasure"))
        return caller.accepted(outcome, erasure_id)

    @routes.get(
        f"{PATH}/erasure/certificate",
        summary="The proof that a person's data was erased, for `gpuaas-verify erasure`.",
        dependencies=[seen],
        response_class=Response,
        responses={200: {"content": {"application/json": {}}}},
    )
    async def certificate(subject_id: str, caller: ErasureReader) -> Response:
        state, version = await desk.commands.state(DATA_SUBJECT, PLATFORM, subject_id)
        if not state.erasure_id:
            raise NotFound(f"no erasure of {subject_id} was ordered")
        if not state.statement:
            raise Unavailable(f"the erasure {state.erasure_id} is not carried out yet; ask again", retry_after_s=2)
        orders = DATA_SUBJECT.subject(PLATFORM, subject_id)
        found = await erasure_evidence(desk.database, orders, subject_id, f"{UserRegistered.SERVICE}/{subject_id}")
        if len(found.orders) < version:  # the trail is behind the history that says it is done
            raise Unavailable("the trail has not seen the newest of these events yet; ask again", retry_after_s=2)
        events, heads = await desk.proved(found.all())
        if len(events) < len(found.all()):
            raise Unavailable("the newest of these events are not sealed yet; ask again", retry_after_s=3)
        document = found.document(events, {tree: head.cosigned for tree, head in heads.items()})
        content = await asyncio.to_thread(lambda: json.dumps(document, ensure_ascii=False).encode())
        name = f'attachment; filename="{subject_id}.erasure.json"'
        return Response(content, media_type="application/json", headers={"Content-Disposition": name})
