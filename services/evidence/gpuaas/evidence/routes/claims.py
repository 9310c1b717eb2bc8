"""Claims. One law: what is covered is said before the run, what came out after it, and neither is believed unread."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from gpuaas.common.commands import Outcome
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit
from gpuaas.common.wire import Moment
from gpuaas.contracts.evidence import Artefact, ClaimedFact, ClaimSubmitted, Label, Profile, Sha256
from gpuaas.evidence.domain import claim
from gpuaas.evidence.domain.attestation import Assertion, signed
from gpuaas.evidence.domain.release import id_of
from gpuaas.evidence.domain.requirement import Published
from gpuaas.evidence.entities import CLAIM, RELEASE, REQUIREMENT
from gpuaas.evidence.ports import ArtefactStore, whole
from gpuaas.evidence.projections.claims import claim_in
from gpuaas.evidence.routes.desk import Desk, Id, Pages, accepted
from pydantic import ConfigDict, Field

READBACKS_SHOWN_MAX: Final = 500
Item = Annotated[str, Field(min_length=1, max_length=256)]


class ArtefactNamed(Artefact):
    """A stored artefact under a name of the claim's own."""

    model_config = ConfigDict(extra="forbid")


class FactStated(ClaimedFact):
    """A value, and the pointer (RFC 6901) at which anybody finds it in an artefact of the claim."""

    model_config = ConfigDict(extra="forbid")


class NewOpening(Body):
    """What the coming run will test, how, and what it covers. `procedure_id`: one that can be run again (R3)."""

    requirement_id: Label
    subject_sha256: Sha256
    profile: Profile
    procedure: Annotated[str, Field(min_length=1, max_length=1_000)]
    procedure_id: Label | None = None
    scope: Annotated[tuple[Item, ...], Field(max_length=256)]
    closes_at: Moment


class Abandonment(Body):
    """Why the run gave nothing that could be shown."""

    reason: Annotated[str, Field(min_length=1, max_length=claim.REASON_CHARS_MAX)]


class NewClaim(Assertion):
    """A claim about `subject_sha256`; its artefacts are stored already."""

    model_config = ConfigDict(extra="forbid")

    artefacts: Annotated[tuple[ArtefactNamed, ...], Field(max_length=64)]
    facts: Annotated[tuple[FactStated, ...], Field(max_length=256)] = ()


class NewReadback(Body):
    """How deep. R1: artefacts fetched; R2: facts derived; R3: the procedure run again; R4: what runs observed."""

    level: Literal["R1", "R2", "R3", "R4"] = "R2"


class StatedAccepted(Accepted):
    """`statement_sha256`: the signed statement, to be had as an artefact."""

    statement_sha256: str


class ReadbackAccepted(Accepted):
    """What reading back gave, one entry for each level recorded."""

    readbacks: list[dict[str, Any]]


def open_claims(routes: APIRouter, desk: Desk) -> None:
    """Add the routes."""
    _saying(routes, desk)
    _asking(routes, desk)


def _saying(routes: APIRouter, desk: Desk) -> None:
    @routes.post(
        "/claims/{claim_id}/opening", status_code=201, summary="Open a claim before its run: fix scope and procedure."
    )
    async def open_claim(
        claim_id: Id, body: NewOpening, caller: Annotated[Caller, Depends(permit("evidence.claim.submit"))]
    ) -> StatedAccepted:
        requirement = await _demand_requirement(desk, body.requirement_id)
        _, registered = await desk.commands.state(RELEASE, PLATFORM, id_of(body.subject_sha256))
        if registered == 0:
            raise NotFound(f"no release is registered with the root {body.subject_sha256}; POST /v1/releases first")
        order = claim.OpenClaim(
            claim_id=claim_id,
            requirement_version=requirement.newest.version,
            at=desk.clock.now(),
            by=caller.principal.id,
            **{name: getattr(body, name) for name in NewOpening.model_fields},
        )
        statement = await desk.notary.attest(claim.opened(order), [body.subject_sha256])
        order = replace(order, statement_sha256=statement)
        done = await desk.commands.execute(CLAIM, PLATFORM, claim_id, order, caller.cause(), fresh=True)
        return StatedAccepted(**accepted(caller, done, claim_id), statement_sha256=_statement_in(done))

    @routes.post(
        "/claims/{claim_id}/abandonment", status_code=201, summary="Say that the run gave nothing to show, and why."
    )
    async def abandon_claim(
        claim_id: Id, body: Abandonment, caller: Annotated[Caller, Depends(permit("evidence.claim.submit"))]
    ) -> StatedAccepted:
        order = claim.AbandonClaim(claim_id, by=caller.principal.id, reason=body.reason, at=desk.clock.now())
        order = replace(order, statement_sha256=await desk.notary.attest(claim.abandoned(order)))
        done = await desk.commands.execute(CLAIM, PLATFORM, claim_id, order, caller.cause())
        return StatedAccepted(**accepted(caller, done, claim_id), statement_sha256=_statement_in(done))

    @routes.post("/claims", status_code=201, summary="Submit a claim; it is signed, recorded and read back.")
    async def submit_claim(
        body: NewClaim, caller: Annotated[Caller, Depends(permit("evidence.claim.submit"))]
    ) -> StatedAccepted:
        await _demand_requirement(desk, body.requirement_id)
        await _demand_artefacts(desk.store, body.artefacts)
        assertion = Assertion.model_validate(body.model_dump())
        statement = signed(assertion, desk.notary.signers)
        stored = await desk.store.put(hashlib.sha256(statement).hexdigest(), whole(statement))
        order = claim.SubmitClaim(assertion=assertion, statement_sha256=stored.sha256, submitted_at=desk.clock.now())
        done = await desk.commands.execute(CLAIM, PLATFORM, body.claim_id, order, caller.cause())
        # A repeat is answered with what was recorded then, whatever its body says now.
        return StatedAccepted(**accepted(caller, done, body.claim_id), statement_sha256=_statement_in(done))

    @routes.post("/claims/{claim_id}/readbacks", status_code=201, summary="Read a claim back again, now.")
    async def read_back_claim(
        claim_id: Id, body: NewReadback, caller: Annotated[Caller, Depends(permit("evidence.claim.readback"))]
    ) -> ReadbackAccepted:
        state, _ = await desk.commands.state(CLAIM, PLATFORM, claim_id)
        submitted = getattr(state, "submitted", None)
        if not isinstance(submitted, ClaimSubmitted):
            raise NotFound(f"there is no claim {claim_id}; submit it first")
        outcomes = await desk.reader.read_back(submitted, body.level, caller.cause())
        found = [event.model_dump(mode="json") for outcome in outcomes for event in outcome.events]
        return ReadbackAccepted(**accepted(caller, outcomes[-1], claim_id), readbacks=found)


def _asking(routes: APIRouter, desk: Desk) -> None:
    view = desk.views.claims
    seen = [Depends(fresh(view))]

    @routes.get("/claims", dependencies=seen, summary="Claims, newest first.")
    async def list_claims(
        caller: Annotated[Caller, Depends(permit("evidence.claim.read"))],
        page: Pages,
        subject_sha256: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$")] = None,
        requirement_id: Annotated[str | None, Query(max_length=63)] = None,
    ) -> Page:
        rows = await view.listed(
            desk.database,
            limit=page.limit + 1,
            before_position=page.key(int),
            subject_sha256=subject_sha256,
            requirement_id=requirement_id,
        )
        return page.page([dict(row) for row in rows], ["position"])

    @routes.get("/openings", dependencies=seen, summary="Claims that were opened and not submitted yet, newest first.")
    async def list_openings(caller: Annotated[Caller, Depends(permit("evidence.claim.read"))], page: Pages) -> Page:
        rows = await view.open(desk.database, limit=page.limit + 1, before_position=page.key(int))
        shown = [{**row["said"], "position": row["position"], "opened_by": row["opened_by"]} for row in rows]
        return page.page(shown, ["position"])

    @routes.get("/claims/{claim_id}", dependencies=seen, summary="A claim, how it was opened, and its readbacks.")
    async def show_claim(
        claim_id: Id, caller: Annotated[Caller, Depends(permit("evidence.claim.read"))]
    ) -> dict[str, Any]:
        if (row := await view.one(desk.database, claim_id)) is None:
            raise NotFound(f"there is no claim {claim_id}; GET /v1/claims lists those there are")
        found = await view.readbacks(desk.database, [claim_id], limit=READBACKS_SHOWN_MAX)
        opening = (await view.openings(desk.database, [claim_id])).get(claim_id)
        return {
            **claim_in(row).model_dump(mode="json"),
            **{name: row[name] for name in ("position", "submitted_at", "submitted_by", "status", "level")},
            "opened": opening and {"position": opening[0], **opening[1].model_dump(mode="json")},
            "readbacks": [{"position": one.position, **one.readback.model_dump(mode="json")} for one in found],
        }


def _statement_in(done: Outcome[Any]) -> str:
    """The digest in what was recorded; a repeat is answered with what was recorded then."""
    return next(str(event.statement_sha256) for event in done.events if hasattr(event, "statement_sha256"))


async def _demand_requirement(desk: Desk, requirement_id: str) -> Published:
    state, _ = await desk.commands.state(REQUIREMENT, PLATFORM, requirement_id)
    if not isinstance(state, Published):
        raise NotFound(f"there is no requirement {requirement_id}; publish it before anything is claimed about it")
    return state


async def _demand_artefacts(store: ArtefactStore, artefacts: Sequence[Artefact]) -> None:
    for artefact in artefacts:
        if (stored := await store.stored(artefact.sha256)) is None:
            raise Rejected(f"{artefact.name} is not stored; PUT /v1/artefacts/{artefact.sha256} first")
        if stored.size_bytes != artefact.size_bytes:
            raise Rejected(f"{artefact.name} has {stored.size_bytes} bytes, the claim says {artefact.size_bytes}")
