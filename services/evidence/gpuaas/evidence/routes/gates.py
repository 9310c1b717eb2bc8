"""Gates and their negative controls. One law: whoever asks made no claim and no waiver in it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.common.wire import Moment, Unique
from gpuaas.contracts.evidence import (
    Control,
    ControlsRun,
    GateDecided,
    GateReason,
    Label,
    Profile,
    RequirementKind,
    Sha256,
    Verdict,
)
from gpuaas.evidence.routes.desk import Desk, Pages, accepted
from pydantic import Field


class GateQuestion(Body):
    """Which gate shall judge which subject, for which profile and which kinds of requirement (none: all)."""

    gate_id: Label
    subject_sha256: Sha256
    profile: Profile
    kinds: Annotated[tuple[RequirementKind, ...], Field(max_length=4), Unique] = ()


class GateAnswer(Accepted):
    """The decision. `inputs_sha256`: everything it rests on, to be had as an artefact."""

    verdict: Verdict
    reasons: tuple[GateReason, ...]
    claim_ids: tuple[str, ...]
    decided_at: Moment
    inputs_sha256: str
    log_position: int | None = None
    statement_sha256: str | None = None


class ControlsAnswer(Accepted):
    """How the gate judged every poisoned package. `not_refused`: how many not for their own reason."""

    controls: tuple[Control, ...]
    not_refused: int


def open_gates(routes: APIRouter, desk: Desk) -> None:
    """Add the routes."""
    _gates(routes, desk)
    _controls(routes, desk)


def _gates(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/gates", status_code=201, summary="Let a gate decide about a subject, now, and record it.")
    async def decide(
        body: GateQuestion, caller: Annotated[Caller, Depends(permit("evidence.gate.decide"))]
    ) -> GateAnswer:
        about = (body.subject_sha256, body.profile, body.kinds)
        done = await desk.keeper.decide(body.gate_id, about, caller.cause(), asked_by=caller.principal.id)
        decided = next(event for event in done.events if isinstance(event, GateDecided))
        said = decided.model_dump(include=set(GateAnswer.model_fields))
        return GateAnswer(**accepted(caller, done, body.gate_id), **said)

    @routes.get("/gates", dependencies=[Depends(fresh(desk.views.gates))], summary="Decisions, newest first.")
    async def list_decisions(
        caller: Annotated[Caller, Depends(permit("evidence.gate.read"))],
        page: Pages,
        gate_id: Annotated[str | None, Query(max_length=63)] = None,
    ) -> Page:
        before = page.key(int)
        rows = await desk.views.gates.decisions(
            desk.database, limit=page.limit + 1, before_position=before, gate_id=gate_id
        )
        return page.page([dict(row) for row in rows], ["position"])


def _controls(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/control-runs", status_code=201, summary="Show the gate every poisoned package, now.")
    async def run_controls(
        caller: Annotated[Caller, Depends(permit("evidence.controls.run"))],
    ) -> ControlsAnswer:
        done = await desk.keeper.run_controls(caller.cause())
        ran = next(event for event in done.events if isinstance(event, ControlsRun))
        return ControlsAnswer(**accepted(caller, done, ran.run_id), controls=ran.controls, not_refused=ran.not_refused)

    @routes.get(
        "/control-runs",
        dependencies=[Depends(fresh(desk.views.controls))],
        summary="Runs of the negative controls, newest first.",
    )
    async def list_control_runs(
        caller: Annotated[Caller, Depends(permit("evidence.controls.read"))], page: Pages
    ) -> Page:
        rows = await desk.views.controls.listed(desk.database, limit=page.limit + 1, before_position=page.key(int))
        shown: list[dict[str, Any]] = [{**row["said"], "position": row["position"]} for row in rows]
        return page.page(shown, ["position"])
