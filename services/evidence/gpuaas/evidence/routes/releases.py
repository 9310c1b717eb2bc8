"""Releases, how they stand, and what runs here. One law: a status is judged when it is asked for, and not recorded."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Body, Caller, Page, fresh, permit
from gpuaas.common.wire import Moment
from gpuaas.contracts.evidence import (
    ClaimSubmitted,
    Component,
    GateReason,
    Profile,
    RequirementKind,
    Verdict,
)
from gpuaas.evidence.domain import release
from gpuaas.evidence.domain.inputs import Inputs, demand_of
from gpuaas.evidence.domain.judgement import decide_gate
from gpuaas.evidence.entities import RELEASE
from gpuaas.evidence.keeping import GATES_MAX
from gpuaas.evidence.projections import gates, releases
from gpuaas.evidence.routes.claims import StatedAccepted
from gpuaas.evidence.routes.desk import Desk, Digest, Pages, accepted
from pydantic import BaseModel, ConfigDict, Field

Standing = Literal["satisfied", "waived", "unknown", "violated"]


class ComponentNamed(Component):
    """One thing that is shipped, by its digest."""

    model_config = ConfigDict(extra="forbid")


class NewRelease(Body):
    """Everything that is shipped; its root digest becomes the release's name for claims and gates."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    commit: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    components: Annotated[tuple[ComponentNamed, ...], Field(min_length=1, max_length=512)]


class ReleaseAccepted(StatedAccepted):
    """`root_sha256`: the subject of claims and gates about this release."""

    root_sha256: str


class RequirementStanding(BaseModel):
    """How one requirement stands: judged, in one word, why, and where the bytes are (`/v1/artefacts/<digest>`)."""

    requirement_id: str
    title: str | None
    kind: str | None
    standing: Standing
    why: str
    waiver_id: str | None
    minimum_readback: str | None
    predicate: str | None
    claim_id: str | None
    statement_sha256: str | None
    artefacts: list[dict[str, Any]]


class ReleaseStatus(BaseModel):
    """What is shown, unknown, violated or waived about a subject at `judged_at`, and what gates have decided before."""

    subject_sha256: str
    profile: Profile
    verdict: Verdict
    reasons: tuple[GateReason, ...]
    claim_ids: tuple[str, ...]
    judged_at: Moment
    decisions: list[dict[str, Any]]
    release: dict[str, Any] | None
    requirements: list[RequirementStanding]
    waivers: list[dict[str, Any]]
    revocations: list[dict[str, Any]]


def open_releases(routes: APIRouter, desk: Desk) -> None:
    """Add the routes."""
    _registering(routes, desk)
    _standing(routes, desk)
    _observing(routes, desk)


def _registering(routes: APIRouter, desk: Desk) -> None:
    view = desk.views.releases

    @routes.post("/releases", status_code=201, summary="Register a release by the digests of everything it ships.")
    async def register_release(
        body: NewRelease, caller: Annotated[Caller, Depends(permit("evidence.release.register"))]
    ) -> ReleaseAccepted:
        order = release.RegisterRelease(body.name, body.commit, body.components, desk.clock.now())
        draft = release.registered(order)
        about = [draft.root_sha256, *dict.fromkeys(one.sha256 for one in draft.components)]
        order = replace(order, statement_sha256=await desk.notary.attest(draft, about))
        done = await desk.commands.execute(RELEASE, PLATFORM, draft.release_id, order, caller.cause())
        # Registered before, it keeps the statement that it was registered with.
        said = done.state.said if isinstance(done.state, release.Registered) else draft
        return ReleaseAccepted(
            **accepted(caller, done, draft.release_id),
            statement_sha256=said.statement_sha256,
            root_sha256=draft.root_sha256,
        )

    @routes.get("/releases", dependencies=[Depends(fresh(view))], summary="Releases, newest first.")
    async def list_releases(caller: Annotated[Caller, Depends(permit("evidence.release.read"))], page: Pages) -> Page:
        rows = await view.listed(desk.database, limit=page.limit + 1, before_position=page.key(int))
        return page.page([releases.shown(row) for row in rows], ["position"])

    @routes.get(
        "/releases/{words}", dependencies=[Depends(fresh(view))], summary="A release by root digest, id or name."
    )
    async def show_release(
        words: Annotated[str, Path(min_length=1, max_length=128)],
        caller: Annotated[Caller, Depends(permit("evidence.release.read"))],
    ) -> dict[str, Any]:
        row = None if "\x00" in words else await view.found(desk.database, words)
        if row is None:
            raise NotFound(f"there is no release {words!r}; GET /v1/releases lists those there are")
        return releases.shown(row)


def _standing(routes: APIRouter, desk: Desk) -> None:
    @routes.get(
        "/releases/{subject_sha256}/status",
        dependencies=[Depends(fresh(desk.views.gates))],
        summary="What is shown, unknown, violated or waived about a subject, judged now and not recorded.",
    )
    async def release_status(
        subject_sha256: Digest,
        profile: Profile,
        caller: Annotated[Caller, Depends(permit("evidence.release.read"))],
        kind: Annotated[list[RequirementKind] | None, Query(max_length=4)] = None,
    ) -> ReleaseStatus:
        inputs = await desk.keeper.inputs(subject_sha256, profile, kind or ())
        judged = decide_gate(inputs)
        views, database = desk.views, desk.database
        decisions = await views.gates.newest_about(database, subject_sha256, profile, limit=GATES_MAX)
        return ReleaseStatus(
            subject_sha256=subject_sha256,
            profile=profile,
            verdict=judged.verdict,
            reasons=judged.reasons,
            claim_ids=judged.claim_ids,
            judged_at=inputs.now,
            decisions=[gates.shown(row) for row in decisions],
            release=inputs.release and inputs.release.registered.model_dump(mode="json", exclude_none=True),
            requirements=[_standing_of(reason, inputs) for reason in judged.reasons],
            waivers=await views.waivers.listed(database, limit=GATES_MAX, subject_sha256=subject_sha256),
            revocations=await views.gates.revocations(database, subject_sha256, limit=GATES_MAX),
        )


def _observing(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/live-state", summary="What runs here now: services, contracts, rights in force, positions.")
    async def live_state(
        caller: Annotated[Caller, Depends(permit("evidence.live-state.read"))],
    ) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await desk.installation.observe())
        return told

    @routes.get("/procedures", summary="Procedures that may be run again (R3).")
    async def list_procedures(caller: Annotated[Caller, Depends(permit("evidence.procedure.read"))]) -> Page:
        return Page(items=[{"procedure_id": name} for name in sorted(desk.procedures.known())])

    @routes.get("/signing-keys", summary="Public keys (Ed25519, raw, base64url) whose signatures count here.")
    async def signing_keys(caller: Annotated[Caller, Depends(permit("evidence.signing-key.read"))]) -> Page:
        return Page(
            items=[
                {
                    "key_id": key_id,
                    "algorithm": "Ed25519",
                    "public_key": base64.urlsafe_b64encode(key).decode().rstrip("="),
                    "signs": key_id in desk.notary.signers,
                }
                for key_id, key in sorted(desk.public_keys.items())
            ]
        )


def _standing_of(reason: GateReason, inputs: Inputs) -> RequirementStanding:
    words: dict[str, Standing] = {"pass": "satisfied", "fail": "violated", "unknown": "unknown"}
    required = next(
        (one.published for one in inputs.requirements if one.published.requirement_id == reason.requirement_id), None
    )
    demand = demand_of(required, inputs.profile) if required is not None else None
    newest = _newest_claim(reason.requirement_id, inputs)
    return RequirementStanding(
        requirement_id=reason.requirement_id,
        title=required and required.title,
        kind=required and required.kind,
        standing="waived" if reason.waiver_id else words[reason.verdict],
        why=reason.why,
        waiver_id=reason.waiver_id,
        minimum_readback=demand and demand.minimum_readback,
        predicate=demand and demand.predicate,
        claim_id=newest and newest.claim_id,
        statement_sha256=newest and newest.statement_sha256,
        artefacts=[one.model_dump(mode="json") for one in newest.artefacts] if newest else [],
    )


def _newest_claim(requirement_id: str, inputs: Inputs) -> ClaimSubmitted | None:
    mine = [
        one.claim
        for one in inputs.claims
        if one.claim.requirement_id == requirement_id
        and one.claim.subject_sha256 == inputs.subject_sha256
        and one.claim.profile == inputs.profile
    ]
    return mine[-1] if mine else None
