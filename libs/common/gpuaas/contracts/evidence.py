"""Events of the service `evidence`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpuaas.common.events import Event, Part
from gpuaas.common.wire import Moment, Unique

ClaimResult = Literal["passed", "failed"]
"""What a claim says came out."""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name that can be a token of a subject and of a host name: 1 to 63 of a-z, 0-9 and inner hyphens
(RFC 1123 label).
"""

Profile = Literal["kind", "dev", "demo", "staging", "production"]
"""An environment the same code runs in."""

ReadbackLevel = Literal["R0", "R1", "R2", "R3", "R4"]
"""How far a claim was read back. R0: declared only; R1: artefacts fetched again and digests equal; R2:
facts derived again from the bytes; R3: the procedure was run again; R4: the live state was
observed.
"""

ReadbackOutcome = Literal["confirmed", "contradicted", "unreadable"]
"""What reading a claim back gave."""

RequirementKind = Literal["release", "security", "uat", "ops"]
"""Which gate a requirement is for."""

Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

Verdict = Literal["pass", "fail", "unknown"]
"""Three-valued judgement: unknown is never taken for a pass."""


class Artefact(Part):
    """A file that a claim rests on, kept by its digest."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """File name inside the claim."""

    sha256: Sha256
    """Digest of its bytes."""

    size_bytes: Annotated[int, Field(strict=True, ge=0, le=1099511627776)]
    """Its size, bytes."""

    media_type: Annotated[str, Field(min_length=3, max_length=127, pattern=r"^[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*$")]
    """What it is (RFC 6838 media type)."""


class ClaimedFact(Part):
    """A value that a claim states, with the place in an artefact where anybody can read it."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    """What the value is."""

    value: Annotated[str, Field(min_length=0, max_length=4096)]
    """The value, as text."""

    artefact: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the artefact it is in."""

    pointer: Annotated[str, Field(min_length=0, max_length=512, pattern=r"^(/[^/]*)*$")]
    """Where in the artefact (RFC 6901 JSON Pointer; empty: the whole of it)."""


class GateReason(Part):
    """What one requirement contributed to a verdict."""

    requirement_id: Label
    """The requirement."""

    verdict: Verdict
    """How it was judged."""

    why: Annotated[str, Field(min_length=1, max_length=1000)]
    """Why, in a sentence."""


class ClaimReadBack(Event):
    """Claim read back. A claim was checked against its own artefacts by somebody other than its
    author, at a stated depth.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.claim-read-back.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "claim"
    SCHEMA: ClassVar[str] = "evidence/claim-read-back.v1.json"

    claim_id: Label
    """The claim."""

    level: ReadbackLevel
    """How far it was read back."""

    outcome: ReadbackOutcome
    """What that gave."""

    detail: Annotated[str, Field(min_length=0, max_length=1000)]
    """What was compared and found."""

    read_at: Moment
    """When it was read back."""


class ClaimSubmitted(Event):
    """Claim submitted. Somebody states that a requirement was met, or was not, for an exact subject in
    one environment, and hands in the artefacts. It counts for nothing until it is read back.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.claim-submitted.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "claim"
    SCHEMA: ClassVar[str] = "evidence/claim-submitted.v1.json"

    claim_id: Label
    """The claim."""

    requirement_id: Label
    """The requirement it is about."""

    subject_sha256: Sha256
    """Digest of what was tested, such as a release."""

    profile: Profile
    """The environment it was tested in."""

    result: ClaimResult
    """What came out."""

    procedure: Annotated[str, Field(min_length=1, max_length=1000)]
    """What was done, so that somebody else can do it again."""

    scope: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=256)]
    """What was covered, fixed before the run."""

    artefacts: Annotated[tuple[Artefact, ...], Field(max_length=64)]
    """The files it rests on."""

    facts: Annotated[tuple[ClaimedFact, ...], Field(max_length=256)]
    """The values it states."""

    statement_sha256: Sha256
    """Digest of the signed statement that carries the claim."""

    expires_at: Moment
    """The first instant at which it no longer counts."""


class GateDecided(Event):
    """Gate decided. A gate judged a subject for one environment from the claims at hand. Only `pass`
    opens it; unknown, stale or unreadable is no.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.gate-decided.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "gate"
    SCHEMA: ClassVar[str] = "evidence/gate-decided.v1.json"

    gate_id: Label
    """The gate."""

    subject_sha256: Sha256
    """Digest of what was judged, such as a release."""

    profile: Profile
    """The environment it was judged for."""

    verdict: Verdict
    """The judgement."""

    reasons: Annotated[tuple[GateReason, ...], Field(max_length=256)]
    """What each requirement contributed."""

    claim_ids: Annotated[tuple[Label, ...], Field(max_length=1024), Unique]
    """The claims that were looked at."""

    decided_at: Moment
    """When it was decided."""

    inputs_sha256: Sha256
    """Digest over everything the judgement rests on, so that it can be repeated."""


class RequirementPublished(Event):
    """Requirement published. A version of something that must be shown before a gate opens, and how
    well it must be shown. A version never changes; a change is the next version.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.requirement-published.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "requirement"
    SCHEMA: ClassVar[str] = "evidence/requirement-published.v1.json"

    requirement_id: Label
    """The requirement."""

    version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Version, counted from 1; the highest one applies."""

    kind: RequirementKind
    """Which gate it is for."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    """What must be so, in a sentence."""

    predicate: Annotated[str, Field(min_length=1, max_length=4096)]
    """The condition on a claim's facts under which it holds."""

    minimum_readback: ReadbackLevel
    """How far a claim must at least have been read back."""

    max_age_s: Annotated[int, Field(strict=True, ge=1, le=31622400)]
    """How old the reading back may be, in seconds."""

    profiles: Annotated[tuple[Profile, ...], Field(min_length=1, max_length=5), Unique]
    """The environments it must be shown in."""


EVENTS: tuple[type[Event], ...] = (
    ClaimReadBack,
    ClaimSubmitted,
    GateDecided,
    RequirementPublished,
)
