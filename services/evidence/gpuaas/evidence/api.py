"""The door of evidence. One law: what is asked for is recorded, what is answered was looked up, nothing is believed.

Digests are SHA-256 in lower-case hex. Times are UTC.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import StreamingResponse
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected, TooLarge, Unavailable
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.projections import Database
from gpuaas.common.wire import Moment, Unique
from gpuaas.contracts.evidence import (
    Artefact,
    ClaimedFact,
    ClaimSubmitted,
    GateDecided,
    GateReason,
    Label,
    Profile,
    ReadbackLevel,
    RequirementKind,
    Sha256,
    Verdict,
)
from gpuaas.evidence.domain.attestation import Assertion, signed
from gpuaas.evidence.domain.claim import SubmitClaim
from gpuaas.evidence.domain.dsse import Sign
from gpuaas.evidence.domain.judgement import decide_gate
from gpuaas.evidence.domain.requirement import DECIDER, Published, PublishRequirement
from gpuaas.evidence.ports import ArtefactStore, Stored, whole
from gpuaas.evidence.projections import gates, requirements
from gpuaas.evidence.projections.claims import Claims, claim_in
from gpuaas.evidence.projections.gates import Gates
from gpuaas.evidence.projections.requirements import Requirements
from gpuaas.evidence.reactions import CLAIM, GATES_MAX, REQUIREMENT, ClaimReader, Gatekeeper
from pydantic import BaseModel, ConfigDict, Field

READBACKS_SHOWN_MAX: Final = 500
VERSIONS_SHOWN_MAX: Final = 100
ARTEFACTS_PATH: Final = "/v1/artefacts/"
"""Below this path bodies are streamed; the store bounds them."""

OCTETS: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hex.")]
Id = Annotated[str, Path(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Pages = Annotated[Paging, Depends(paging)]


class ArtefactNamed(Artefact):
    """A stored artefact under a name of the claim's own."""

    model_config = ConfigDict(extra="forbid")


class FactStated(ClaimedFact):
    """A value, and the pointer (RFC 6901) at which anybody finds it in an artefact of the claim."""

    model_config = ConfigDict(extra="forbid")


class NewRequirement(Body):
    """A requirement's newest version. `predicate`: comparisons of facts joined by `&&`, such as `failed == 0`."""

    requirement_id: Label
    kind: RequirementKind
    title: Annotated[str, Field(min_length=1, max_length=200)]
    predicate: Annotated[str, Field(min_length=1, max_length=4_096)]
    minimum_readback: ReadbackLevel
    max_age_s: Annotated[int, Field(strict=True, ge=1, le=31_622_400)]
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1, max_length=5), Unique]


class NewClaim(Assertion):
    """A claim about `subject_sha256`; its artefacts are stored already."""

    model_config = ConfigDict(extra="forbid")

    artefacts: Annotated[tuple[ArtefactNamed, ...], Field(max_length=64)]
    facts: Annotated[tuple[FactStated, ...], Field(max_length=256)] = ()


class NewReadback(Body):
    """How deep to read: R1 fetches every artefact again, R2 also derives every fact again."""

    level: Literal["R1", "R2"] = "R2"


class GateQuestion(Body):
    """Which gate shall judge which subject, for which profile."""

    gate_id: Label
    subject_sha256: Sha256
    profile: Profile


class ArtefactStored(BaseModel):
    """What is filed under `sha256`."""

    sha256: str
    size_bytes: int


class RequirementAccepted(Accepted):
    """`version`: the one that this request published, or that already said the same."""

    version: int


class ClaimAccepted(Accepted):
    """`statement_sha256`: the signed statement, to be had as an artefact."""

    statement_sha256: str


class ReadbackAccepted(Accepted):
    """What reading back gave, one entry for each level recorded."""

    readbacks: list[dict[str, Any]]


class GateAnswer(Accepted):
    """The decision. `inputs_sha256`: everything it rests on, to be had as an artefact."""

    verdict: Verdict
    reasons: tuple[GateReason, ...]
    claim_ids: tuple[str, ...]
    decided_at: Moment
    inputs_sha256: str


class ReleaseStatus(BaseModel):
    """What is shown, unknown or violated about a subject at `judged_at`, and what gates have decided before."""

    subject_sha256: str
    profile: Profile
    verdict: Verdict
    reasons: tuple[GateReason, ...]
    claim_ids: tuple[str, ...]
    judged_at: Moment
    decisions: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes work with.

    Attributes:
        signers: key id → signing callable; every statement is signed by all of them.
        public_keys: key id → raw public key whose signatures count.
    """

    commands: Commands
    database: Database
    clock: Clock
    store: ArtefactStore
    requirements: Requirements
    claims: Claims
    gates: Gates
    reader: ClaimReader
    keeper: Gatekeeper
    signers: Mapping[str, Sign]
    public_keys: Mapping[str, bytes]
    artefact_bytes_max: int
    upload_timeout_s: float


def router(desk: Desk) -> APIRouter:
    """Every route of this service."""
    routes = APIRouter(prefix="/v1")
    _storing(routes, desk)
    _requiring(routes, desk)
    _claiming(routes, desk)
    _asking_for_claims(routes, desk)
    _deciding(routes, desk)
    _asking_for_releases(routes, desk)
    return routes


def _storing(routes: APIRouter, desk: Desk) -> None:
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


def _requiring(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/requirements", status_code=201, summary="Publish a requirement, or its next version.")
    async def publish_requirement(
        body: NewRequirement, caller: Annotated[Caller, Depends(permit("evidence.requirement.publish"))]
    ) -> RequirementAccepted:
        order = PublishRequirement(**{name: getattr(body, name) for name in NewRequirement.model_fields})
        done = await desk.commands.execute(REQUIREMENT, PLATFORM, body.requirement_id, order, caller.cause())
        state = DECIDER.fold(done.events, done.state)
        version = state.newest.version if isinstance(state, Published) else 0
        return RequirementAccepted(**_accepted(caller, done, body.requirement_id), version=version)

    @routes.get("/requirements", dependencies=[Depends(fresh(desk.requirements))], summary="Newest versions, by id.")
    async def list_requirements(
        caller: Annotated[Caller, Depends(permit("evidence.requirement.read"))], page: Pages
    ) -> Page:
        rows = await desk.requirements.newest(desk.database, limit=page.limit + 1, after_id=page.key(str))
        return page.page([requirements.shown(row) for row in rows], ["requirement_id"])

    @routes.get(
        "/requirements/{requirement_id}",
        dependencies=[Depends(fresh(desk.requirements))],
        summary="The versions of a requirement, newest first.",
    )
    async def show_requirement(
        requirement_id: Id, caller: Annotated[Caller, Depends(permit("evidence.requirement.read"))]
    ) -> dict[str, Any]:
        rows = await desk.requirements.versions(desk.database, requirement_id, limit=VERSIONS_SHOWN_MAX)
        if not rows:
            raise NotFound(f"there is no requirement {requirement_id}; GET /v1/requirements lists those there are")
        return {"requirement_id": requirement_id, "versions": [requirements.shown(row) for row in rows]}


def _claiming(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/claims", status_code=201, summary="Submit a claim; it is signed, recorded and read back.")
    async def submit_claim(
        body: NewClaim, caller: Annotated[Caller, Depends(permit("evidence.claim.submit"))]
    ) -> ClaimAccepted:
        await _demand_requirement(desk, body.requirement_id)
        await _demand_artefacts(desk.store, body.artefacts)
        assertion = Assertion.model_validate(body.model_dump())
        statement = signed(assertion, desk.signers)
        stored = await desk.store.put(hashlib.sha256(statement).hexdigest(), whole(statement))
        order = SubmitClaim(assertion=assertion, statement_sha256=stored.sha256, submitted_at=desk.clock.now())
        done = await desk.commands.execute(CLAIM, PLATFORM, body.claim_id, order, caller.cause(), fresh=True)
        # A repeat is answered with what was recorded then, whatever its body says now.
        [said] = [event for event in done.events if isinstance(event, ClaimSubmitted)]
        return ClaimAccepted(**_accepted(caller, done, body.claim_id), statement_sha256=said.statement_sha256)

    @routes.post("/claims/{claim_id}/readbacks", status_code=201, summary="Read a claim back again, now.")
    async def read_back_claim(
        claim_id: Id, body: NewReadback, caller: Annotated[Caller, Depends(permit("evidence.claim.readback"))]
    ) -> ReadbackAccepted:
        state, _ = await desk.commands.state(CLAIM, PLATFORM, claim_id)
        if (submitted := getattr(state, "submitted", None)) is None:
            raise NotFound(f"there is no claim {claim_id}; submit it first")
        outcomes = await desk.reader.read_back(submitted, body.level, caller.cause())
        found = [event.model_dump(mode="json") for outcome in outcomes for event in outcome.events]
        return ReadbackAccepted(**_accepted(caller, outcomes[-1], claim_id), readbacks=found)


def _asking_for_claims(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/claims", dependencies=[Depends(fresh(desk.claims))], summary="Claims, newest first.")
    async def list_claims(
        caller: Annotated[Caller, Depends(permit("evidence.claim.read"))],
        page: Pages,
        subject_sha256: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$")] = None,
        requirement_id: Annotated[str | None, Query(max_length=63)] = None,
    ) -> Page:
        rows = await desk.claims.listed(
            desk.database,
            limit=page.limit + 1,
            before_position=page.key(int),
            subject_sha256=subject_sha256,
            requirement_id=requirement_id,
        )
        return page.page([dict(row) for row in rows], ["position"])

    @routes.get("/claims/{claim_id}", dependencies=[Depends(fresh(desk.claims))], summary="A claim and its readbacks.")
    async def show_claim(
        claim_id: Id, caller: Annotated[Caller, Depends(permit("evidence.claim.read"))]
    ) -> dict[str, Any]:
        if (row := await desk.claims.one(desk.database, claim_id)) is None:
            raise NotFound(f"there is no claim {claim_id}; GET /v1/claims lists those there are")
        found = await desk.claims.readbacks(desk.database, [claim_id], limit=READBACKS_SHOWN_MAX)
        return {
            **claim_in(row).model_dump(mode="json"),
            **{name: row[name] for name in ("position", "submitted_at", "submitted_by", "status", "level")},
            "readbacks": [{"position": one.position, **one.readback.model_dump(mode="json")} for one in found],
        }


def _deciding(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/gates", status_code=201, summary="Let a gate decide about a subject, now, and record it.")
    async def decide(
        body: GateQuestion, caller: Annotated[Caller, Depends(permit("evidence.gate.decide"))]
    ) -> GateAnswer:
        done = await desk.keeper.decide(body.gate_id, body.subject_sha256, body.profile, caller.cause())
        [decided] = [event for event in done.events if isinstance(event, GateDecided)]
        said = decided.model_dump(include=set(GateAnswer.model_fields))
        return GateAnswer(**_accepted(caller, done, body.gate_id), **said)

    @routes.get("/gates", dependencies=[Depends(fresh(desk.gates))], summary="Decisions, newest first.")
    async def list_decisions(
        caller: Annotated[Caller, Depends(permit("evidence.gate.read"))],
        page: Pages,
        gate_id: Annotated[str | None, Query(max_length=63)] = None,
    ) -> Page:
        before = page.key(int)
        rows = await desk.gates.decisions(desk.database, limit=page.limit + 1, before_position=before, gate_id=gate_id)
        return page.page([dict(row) for row in rows], ["position"])


def _asking_for_releases(routes: APIRouter, desk: Desk) -> None:
    @routes.get(
        "/releases/{subject_sha256}/status",
        dependencies=[Depends(fresh(desk.gates))],
        summary="What is shown, unknown or violated about a subject, judged now and not recorded.",
    )
    async def release_status(
        subject_sha256: Digest,
        profile: Profile,
        caller: Annotated[Caller, Depends(permit("evidence.release.read"))],
    ) -> ReleaseStatus:
        inputs = await desk.keeper.inputs(subject_sha256, profile)
        judged = decide_gate(inputs)
        decisions = await desk.gates.newest_about(desk.database, subject_sha256, profile, limit=GATES_MAX)
        return ReleaseStatus(
            subject_sha256=subject_sha256,
            profile=profile,
            verdict=judged.verdict,
            reasons=judged.reasons,
            claim_ids=judged.claim_ids,
            judged_at=inputs.now,
            decisions=[gates.shown(row) for row in decisions],
        )

    @routes.get("/signing-keys", summary="Public keys (Ed25519, raw, base64url) whose signatures count here.")
    async def signing_keys(caller: Annotated[Caller, Depends(permit("evidence.signing-key.read"))]) -> Page:
        return Page(
            items=[
                {
                    "key_id": key_id,
                    "algorithm": "Ed25519",
                    "public_key": base64.urlsafe_b64encode(key).decode().rstrip("="),
                    "signs": key_id in desk.signers,
                }
                for key_id, key in sorted(desk.public_keys.items())
            ]
        )


def _accepted(caller: Caller, done: Any, thing_id: str) -> dict[str, Any]:
    return caller.accepted(done, thing_id).model_dump()


async def _demand_requirement(desk: Desk, requirement_id: str) -> None:
    _, version = await desk.commands.state(REQUIREMENT, PLATFORM, requirement_id)
    if version == 0:
        raise NotFound(f"there is no requirement {requirement_id}; publish it before anything is claimed about it")


async def _demand_artefacts(store: ArtefactStore, artefacts: Sequence[Artefact]) -> None:
    for artefact in artefacts:
        if (stored := await store.stored(artefact.sha256)) is None:
            raise Rejected(f"{artefact.name} is not stored; PUT /v1/artefacts/{artefact.sha256} first")
        if stored.size_bytes != artefact.size_bytes:
            raise Rejected(f"{artefact.name} has {stored.size_bytes} bytes, the claim says {artefact.size_bytes}")


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
