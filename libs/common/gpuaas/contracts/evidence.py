"""Events of the service `evidence`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpuaas.common.events import Event, Part
from gpuaas.common.wire import Count64, Moment, Unique

Actor = Annotated[str, Field(min_length=1, max_length=128)]
"""The id of a principal of iam, or the name of a service."""

ActorKind = Literal["user", "service-account", "workload", "service"]
"""What kind of principal that is."""

ClaimResult = Literal["passed", "failed"]
"""What a claim says came out."""

ComponentKind = Literal["wheel", "image", "source", "schema", "lock", "document"]
"""What a component of a release is."""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name that can be a token of a subject and of a host name: 1 to 63 of a-z, 0-9 and inner hyphens
(RFC 1123 label).
"""

PrincipalKind = Literal["user", "service-account"]
"""What acts: a person, or a program with an account of its own."""

Profile = Literal["kind", "dev", "demo", "staging", "production"]
"""An environment the same code runs in."""

ReadbackLevel = Literal["R0", "R1", "R2", "R3", "R4"]
"""How far a claim was read back. R0: declared only; R1: artefacts fetched again and digests equal; R2:
facts derived again from the bytes; R3: the procedure was run again; R4: the live state was
observed.
"""

ReadbackOutcome = Literal["confirmed", "contradicted", "unreadable"]
"""What reading a claim back gave."""

RefusalCause = Literal["no-credential", "not-valid", "over", "ended", "suspended", "no-right", "not-held", "rule", "nothing-there"]
"""Why something was refused."""

RequirementKind = Literal["release", "security", "uat", "ops"]
"""Which gate a requirement is for."""

Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

Verdict = Literal["pass", "fail", "unknown"]
"""Three-valued judgement: unknown is never taken for a pass."""


class AccessUse(Part):
    """Uses of one kind."""

    principal_kind: PrincipalKind
    """What kind of principal it was."""

    principal_id: Label
    """Who it was."""

    permission: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$")]
    """What it takes: `service.resource.verb`."""

    project_id: Label | None = None
    """The project it was about; absent: the tenant itself."""

    count: Annotated[int, Field(strict=True, ge=1, le=2147483647)]
    """How often."""


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


class Component(Part):
    """One thing that a release ships, by its digest."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """Its name in the release."""

    kind: ComponentKind
    """What it is."""

    sha256: Sha256
    """Digest of its bytes."""

    size_bytes: Annotated[int, Field(strict=True, ge=0, le=1099511627776)]
    """Its size, bytes."""


class Control(Part):
    """One poisoned package."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    """What is wrong with it."""

    expected: Annotated[str, Field(min_length=1, max_length=64)]
    """The one word for which it must be refused."""

    found: Annotated[str, Field(min_length=1, max_length=64)]
    """The word for which it was refused; `pass` where it was let through."""


class GateReason(Part):
    """What one requirement contributed to a verdict."""

    requirement_id: Label
    """The requirement."""

    verdict: Verdict
    """How it was judged."""

    why: Annotated[str, Field(min_length=1, max_length=1000)]
    """Why, in a sentence."""

    waiver_id: Label | None = None
    """The waiver because of which it counts as met."""


class Refusal(Part):
    """Refusals of one kind."""

    principal_kind: PrincipalKind | None = None
    """What kind of principal asked; absent: nobody who was believed."""

    principal_id: Label | None = None
    """Who asked; absent: nobody who was believed."""

    permission: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$")] | None = None
    """What it takes: `service.resource.verb`."""

    project_id: Label | None = None
    """The project of the trail's tenant that was asked about; absent: the tenant itself, the platform,
    or nothing that who asked may know of.
    """

    why: RefusalCause
    """Why it was refused. Not believed: `no-credential`, `not-valid`, `over` (its time), `ended`
    (revoked, signed out), `suspended`. Believed: `no-right`, `not-held` (would hand on what they do
    not hold), `rule` (the thing itself does not allow it to them), `nothing-there` (no such place,
    or none they may know of).
    """

    count: Annotated[int, Field(strict=True, ge=1, le=2147483647)]
    """How many."""

    decision_id: Annotated[str, Field(min_length=4, max_length=1280, pattern=r"^[a-z][0-9]\.[A-Za-z0-9_-]+$")]
    """The newest decision among them, as the answer named it; iam explains it."""


class Strength(Part):
    """How a requirement is stronger or weaker in one environment."""

    profile: Profile
    """The environment."""

    predicate: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """The condition there, instead of the general one."""

    minimum_readback: ReadbackLevel | None = None
    """The readback level there, instead of the general one."""

    max_age_s: Annotated[int, Field(strict=True, ge=1, le=31622400)] | None = None
    """How old the reading back may be there, in seconds."""

    waivable: Annotated[bool, Field(strict=True)] | None = None
    """Whether it may be waived there."""


class AccessesRefused(Event):
    """Accesses refused. Requests to evidence that were refused because who asked was not believed or
    may not, counted over at most a minute so that nobody can fill the log. They stand in the trail
    of the tenant that was asked about; where who asked may not know of it, in that of the tenant
    they are at home in, else in the platform's.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.accesses-refused.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "evidence/accesses-refused.v1.json"

    tenant_id: Label
    """Whose trail this stands in; `platform` for the platform's."""

    first_at: Moment
    """The first of them (real time)."""

    last_at: Moment
    """The last of them (real time)."""

    refusals: Annotated[tuple[Refusal, ...], Field(min_length=1, max_length=50)]
    """What was refused, by who asked and for what."""

    others: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many more were refused that no row names, because there were too many kinds of them."""


class OperatorAccessUsed(Event):
    """Operator access used. Somebody asked evidence about, or changed, what is a tenant's, by a right
    that they hold on the platform and not in the tenant. Counted over at most a minute; it stands
    in the tenant's own trail.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.operator-access-used.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "evidence/operator-access-used.v1.json"

    tenant_id: Label
    """The tenant whose things were accessed."""

    first_at: Moment
    """The first time (real time)."""

    last_at: Moment
    """The last time (real time)."""

    uses: Annotated[tuple[AccessUse, ...], Field(min_length=1, max_length=50)]
    """What was used, by whom and for what."""

    others: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many more uses no row names, because there were too many kinds of them."""


class ClaimAbandoned(Event):
    """Claim abandoned. The run that a claim was opened for gave nothing that could be shown. Nothing
    can be submitted under it any more, and a gate that finds no other claim says so, with the
    reason.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.claim-abandoned.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "claim"
    SCHEMA: ClassVar[str] = "evidence/claim-abandoned.v1.json"

    claim_id: Label
    """The claim."""

    abandoned_by: Actor
    """Who gave it up."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why the run gave nothing, for whoever reads the gate's decision."""

    abandoned_at: Moment
    """When this happened."""

    statement_sha256: Sha256
    """Digest of the signed in-toto statement that says the same."""


class ClaimOpened(Event):
    """Claim opened. Somebody says, before the run, what will be tested, how, and what it must cover.
    What is submitted later has to be the same.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.claim-opened.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "claim"
    SCHEMA: ClassVar[str] = "evidence/claim-opened.v1.json"

    claim_id: Label
    """The claim."""

    requirement_id: Label
    """The requirement it will be about."""

    requirement_version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """The version of the requirement that was in force, counted from 1."""

    subject_sha256: Sha256
    """Root digest of the release that will be tested."""

    profile: Profile
    """The environment it will be tested in."""

    procedure: Annotated[str, Field(min_length=1, max_length=1000)]
    """What was done, so that somebody else can do it again."""

    procedure_id: Label | None = None
    """The allow-listed procedure by which it can be run again, if there is one."""

    scope: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=256)]
    """What was covered, fixed before the run."""

    opened_at: Moment
    """When it was opened, before the run."""

    closes_at: Moment
    """The first instant at which nothing can be submitted any more."""

    statement_sha256: Sha256
    """Digest of the signed in-toto statement that says the same."""


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

    statement_sha256: Sha256 | None = None
    """Digest of the signed in-toto statement that says the same."""


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

    procedure_id: Label | None = None
    """The allow-listed procedure by which it can be run again, if there is one."""


class ControlsRun(Event):
    """Negative controls run. The gate was shown packages that are poisoned on purpose, to prove that
    it can say no, each time for the right reason.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.controls-run.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "controls"
    SCHEMA: ClassVar[str] = "evidence/controls-run.v1.json"

    run_id: Label
    """This run of the negative controls."""

    rules: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """The edition of the judging rules that was tried, counted from 1."""

    controls: Annotated[tuple[Control, ...], Field(min_length=1, max_length=256)]
    """Every poisoned package that was tried."""

    not_refused: Annotated[int, Field(strict=True, ge=0, le=256)]
    """How many were let through, or refused for another reason than their own."""

    ran_at: Moment
    """When this happened."""

    statement_sha256: Sha256
    """Digest of the signed in-toto statement that says the same."""


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

    kinds: Annotated[tuple[RequirementKind, ...], Field(min_length=1, max_length=4), Unique] | None = None
    """The kinds of requirement the gate asked for; absent: all."""

    log_position: Count64 | None = None
    """The end of the log when the inputs were gathered; the claims up to there are all in them."""

    statement_sha256: Sha256 | None = None
    """Digest of the signed in-toto statement that says the same."""


class GateRevoked(Event):
    """Gate revoked. A gate that had let a release through no longer does: its evidence was
    contradicted, went stale, expired, was lost or was outvoted.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.gate-revoked.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "gate"
    SCHEMA: ClassVar[str] = "evidence/gate-revoked.v1.json"

    gate_id: Label
    """The gate."""

    subject_sha256: Sha256
    """Root digest of the release it had let through."""

    profile: Profile
    """For which environment."""

    revoked_inputs_sha256: Sha256
    """`inputs_sha256` of the decision that had passed."""

    inputs_sha256: Sha256
    """`inputs_sha256` of the decision that took it back."""

    cause: Annotated[str, Field(min_length=1, max_length=1000)]
    """What it no longer rests on: the first requirement that is not met, and why."""

    revoked_at: Moment
    """When this happened."""

    statement_sha256: Sha256 | None = None
    """Digest of the signed in-toto statement that says the same."""


class ReleaseRegistered(Event):
    """Release registered. A release was named by the digests of everything that it ships. It never
    changes; other bytes are another release.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.release-registered.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "release"
    SCHEMA: ClassVar[str] = "evidence/release-registered.v1.json"

    release_id: Label
    """The release: the first 40 digits of its root digest."""

    root_sha256: Sha256
    """SHA-256 of the list of its components in one spelling; claims and gates name the release by it."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    """What people call it."""

    commit: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The source revision it was built from, where there is one."""

    components: Annotated[tuple[Component, ...], Field(min_length=1, max_length=512)]
    """Everything that is shipped."""

    registered_at: Moment
    """When it was registered here."""

    statement_sha256: Sha256
    """Digest of the signed in-toto statement that says the same."""


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

    covers: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=256), Unique] | None = None
    """What the scope of a claim must contain, all of it."""

    waivable: Annotated[bool, Field(strict=True)] | None = None
    """Whether two people may waive it; absent: yes."""

    strengths: Annotated[tuple[Strength, ...], Field(max_length=5)] | None = None
    """What differs in single environments."""

    statement_sha256: Sha256 | None = None
    """Digest of the signed in-toto statement that says the same."""


class WaiverApproved(Event):
    """Waiver approved. A second person approves a waiver; from now until it expires the requirement
    counts as waived.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.waiver-approved.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "waiver"
    SCHEMA: ClassVar[str] = "evidence/waiver-approved.v1.json"

    waiver_id: Label
    """The waiver."""

    approved_by: Actor
    """Who approved it: neither who asked for it nor who made a claim about the requirement."""

    approved_by_kind: ActorKind
    """What kind of principal that is."""

    approved_at: Moment
    """When it was approved."""

    statement_sha256: Sha256
    """Digest of the signed in-toto statement that says the same."""


class WaiverRequested(Event):
    """Waiver requested. Somebody asks that a release may pass without a requirement, for a limited
    time. It counts for nothing until a second person approves it.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.waiver-requested.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "waiver"
    SCHEMA: ClassVar[str] = "evidence/waiver-requested.v1.json"

    waiver_id: Label
    """The waiver."""

    requirement_id: Label
    """The requirement that is to be waived."""

    requirement_version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """The version of the requirement, counted from 1; the next version is not waived."""

    subject_sha256: Sha256
    """Root digest of the one release it is for."""

    profile: Profile
    """The one environment it is for."""

    reason: Annotated[str, Field(min_length=10, max_length=1000)]
    """Why it may be done without, and what is done instead."""

    requested_by: Actor
    """Who asked for it: the first of at least two people."""

    requested_by_kind: ActorKind
    """What kind of principal that is."""

    requested_at: Moment
    """When it was asked for."""

    expires_at: Moment
    """The first instant at which it no longer counts."""

    statement_sha256: Sha256
    """Digest of the signed in-toto statement that says the same."""


class WaiverWithdrawn(Event):
    """Waiver withdrawn. A waiver was refused or taken back; it does not count from here on, and gates
    that rested on it decide again.
    """

    TYPE: ClassVar[str] = "gpuaas.evidence.waiver-withdrawn.v1"
    SERVICE: ClassVar[str] = "evidence"
    ENTITY: ClassVar[str] = "waiver"
    SCHEMA: ClassVar[str] = "evidence/waiver-withdrawn.v1.json"

    waiver_id: Label
    """The waiver."""

    withdrawn_by: Actor
    """Who withdrew or refused it."""

    reason: Annotated[str, Field(min_length=1, max_length=1000)]
    """Why it was withdrawn."""

    withdrawn_at: Moment
    """When this happened."""

    statement_sha256: Sha256
    """Digest of the signed in-toto statement that says the same."""


EVENTS: tuple[type[Event], ...] = (
    AccessesRefused,
    OperatorAccessUsed,
    ClaimAbandoned,
    ClaimOpened,
    ClaimReadBack,
    ClaimSubmitted,
    ControlsRun,
    GateDecided,
    GateRevoked,
    ReleaseRegistered,
    RequirementPublished,
    WaiverApproved,
    WaiverRequested,
    WaiverWithdrawn,
)
