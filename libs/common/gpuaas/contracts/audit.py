"""Events of the service `audit`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpuaas.common.events import Event, Part
from gpuaas.common.wire import Count64, Moment

DivergenceKind = Literal["rewritten", "rewound", "vanished", "recreated"]
"""How the log differs from what was sealed. rewritten: a position holds other bytes; rewound: the log
ends before a sealed position; vanished: a sealed position is empty; recreated: it is another log
under the same name.
"""

ErasureBasis = Literal["request", "retention-ended", "consent-withdrawn"]
"""Why personal data is erased: the person asked, its time is over, or the person withdrew consent."""

ExportFormat = Literal["jsonl", "csv", "ocsf", "tar"]
"""jsonl: a row a line; csv: a table; ocsf: API Activity events, one a line; tar: rows with proofs, the
signed checkpoint and the policy, for gpuaas-verify.
"""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name that can be a token of a subject and of a host name: 1 to 63 of a-z, 0-9 and inner hyphens
(RFC 1123 label).
"""

PrincipalKind = Literal["user", "service-account"]
"""What acts: a person, or a program with an account of its own."""

RefusalCause = Literal["no-credential", "not-valid", "over", "ended", "suspended", "no-right", "not-held", "rule", "nothing-there"]
"""Why something was refused."""

Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

VerifierKey = Annotated[str, Field(min_length=10, max_length=512)]
"""A C2SP signed-note verifier key: name, key id and key, joined by plus signs."""


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


class AccessesRefused(Event):
    """Accesses refused. Requests to audit that were refused because who asked was not believed or may
    not, counted over at most a minute so that nobody can fill the log. They stand in the trail of
    the tenant that was asked about; where who asked may not know of it, in that of the tenant they
    are at home in, else in the platform's.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.accesses-refused.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "audit/accesses-refused.v1.json"

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
    """Operator access used. Somebody asked audit about, or changed, what is a tenant's, by a right
    that they hold on the platform and not in the tenant. Counted over at most a minute; it stands
    in the tenant's own trail.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.operator-access-used.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "audit/operator-access-used.v1.json"

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


class ErasureCertified(Event):
    """Erasure certified. An ordered erasure was carried out: the owner of the data has destroyed the
    key, and the log signed what that means.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.erasure-certified.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "data-subject"
    SCHEMA: ClassVar[str] = "audit/erasure-certified.v1.json"

    subject_id: Label
    """Id of the person whose data it is, a user of iam."""

    erasure_id: Label
    """Id of the erasure that was ordered."""

    erased_event_id: Annotated[str, Field(min_length=1, max_length=64)]
    """CloudEvents id of the event in which the data's owner says that the key is destroyed."""

    sealed_events: Annotated[int, Field(strict=True, ge=0, le=1000000000)]
    """Events of the log whose personal data that key alone opened; they stand unchanged and tell
    nothing.
    """

    clear_events: Annotated[int, Field(strict=True, ge=0, le=1000000000)]
    """Events of the person's own history with personal data in the clear, from before it was sealed;
    the erasure does not reach them.
    """

    statement: Annotated[str, Field(min_length=1, max_length=4096)]
    """Signed note of the log's key that says the same; `gpuaas verify erasure` reads it."""


class ErasureOrdered(Event):
    """Erasure ordered. The personal data of a person is to be erased for good: whoever keeps keys to
    it destroys them. It cannot be taken back.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.erasure-ordered.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "data-subject"
    SCHEMA: ClassVar[str] = "audit/erasure-ordered.v1.json"

    subject_id: Label
    """Id of the person whose data it is, a user of iam."""

    erasure_id: Label
    """Id of the erasure; the certificate names it."""

    basis: ErasureBasis
    """What obliges or allows it."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review it; it must name no personal data, for it stands here for good."""


class LegalHoldLifted(Event):
    """Legal hold lifted. A legal hold stands no longer; once none stands, an erasure may be ordered."""

    TYPE: ClassVar[str] = "gpuaas.audit.legal-hold-lifted.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "data-subject"
    SCHEMA: ClassVar[str] = "audit/legal-hold-lifted.v1.json"

    subject_id: Label
    """Id of the person whose data it is, a user of iam."""

    hold_id: Label
    """Id of the hold that ended."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review it; it must name no personal data, for it stands here for good."""


class LegalHoldPlaced(Event):
    """Legal hold placed. Somebody's personal data must be kept for now: while a hold stands, no
    erasure of it is ordered.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.legal-hold-placed.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "data-subject"
    SCHEMA: ClassVar[str] = "audit/legal-hold-placed.v1.json"

    subject_id: Label
    """Id of the person whose data it is, a user of iam."""

    hold_id: Label
    """Id of the hold, unique for the person."""

    matter: Annotated[str, Field(min_length=1, max_length=200)]
    """The case or investigation that demands it, as people cite it."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review it; it must name no personal data, for it stands here for good."""


class DivergenceFound(Event):
    """Divergence found. The event log is not what was sealed. This is never routine: somebody or
    something changed history, and people must look.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.divergence-found.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "divergence"
    SCHEMA: ClassVar[str] = "audit/divergence-found.v1.json"

    kind: DivergenceKind
    """How it differs."""

    position: Count64
    """The first log position where it differs."""

    expected_sha256: Sha256 | None = None
    """Digest of the bytes that were sealed there; absent: nothing was."""

    found_sha256: Sha256 | None = None
    """Digest of the bytes found there; absent: nothing is there."""

    detail: Annotated[str, Field(min_length=1, max_length=1000)]
    """What was found, in a sentence."""


class EpochSealed(Event):
    """Epoch sealed. The audit trail committed to all events up to a position: every event is a leaf of
    its tenant's tree, and this record commits to all these trees at once. An outsider who holds it
    can prove that nothing below it was changed, removed or slipped in.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.epoch-sealed.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "epoch"
    SCHEMA: ClassVar[str] = "audit/epoch-sealed.v1.json"

    epoch: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Number of the epoch, each one more than the last."""

    first_position: Count64
    """First log position the epoch covers."""

    last_position: Count64
    """Last log position the epoch covers."""

    leaf_count: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Leaves that the epoch added, over all trees."""

    gap_count: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Positions of the epoch that hold no event and are explained; leaves and gaps together are the
    positions covered.
    """

    tree_count: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Trees there are: one for each tenant and one for the platform."""

    map_root: Sha256
    """Root hash over all trees' heads."""

    platform_checkpoint: Annotated[str, Field(min_length=1, max_length=4096)]
    """Signed checkpoint of the platform's tree: a C2SP signed note, verbatim."""


class TrailExported(Event):
    """Trail exported. Somebody was given a copy of a part of the audit trail. Said before the first
    byte leaves, so no copy is without its record; who it was is the event's actor.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.trail-exported.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "export"
    SCHEMA: ClassVar[str] = "audit/trail-exported.v1.json"

    export_id: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Id of the export."""

    tenant_id: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """The tenant whose trail it is."""

    format: ExportFormat
    """What it was written as."""

    up_to_position: Count64
    """Last log position that the export could hold."""

    row_count: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Rows that it holds."""

    filters: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=600)], ...], Field(max_length=16)]
    """What restricted it, as name=value, in order of the names; empty: nothing did."""


class LogKeyAnnounced(Event):
    """Log key announced. From here on the audit log's checkpoints are signed with this key.
    Checkpoints that earlier keys signed stay verifiable under them. Whoever trusts the key before
    can check the handover and trust this one.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.log-key-announced.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "log-key"
    SCHEMA: ClassVar[str] = "audit/log-key-announced.v1.json"

    log: Annotated[str, Field(min_length=1, max_length=255)]
    """The log's name: installation and profile."""

    verifier_key: VerifierKey
    """The key that signs from here on."""

    previous_verifier_key: VerifierKey | None = None
    """The key that signed before; absent for the log's first key."""

    handover: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Signed note that names the new key, signed by the key before and by the new one; absent for the
    log's first key.
    """


class OperatorAccessRecorded(Event):
    """Operator access recorded. Somebody whose rights come from the platform looked into a tenant's
    audit trail. It stands in the tenant's own tree. One record stands for any number of such looks
    by the same person with the same right within one hour.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.operator-access-recorded.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "operator-access"
    SCHEMA: ClassVar[str] = "audit/operator-access-recorded.v1.json"

    access_id: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Id of the record; the same for the same operator, right and hour."""

    tenant_id: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """The tenant that was looked into."""

    operator_id: Annotated[str, Field(min_length=1, max_length=255)]
    """Who looked."""

    operator_kind: Annotated[str, Field(min_length=1, max_length=63)]
    """What they are: user or service-account."""

    permission: Annotated[str, Field(min_length=1, max_length=255)]
    """The right that was used, such as audit.trail.read."""

    hour: Moment
    """Beginning of the hour that this record stands for."""


EVENTS: tuple[type[Event], ...] = (
    AccessesRefused,
    OperatorAccessUsed,
    ErasureCertified,
    ErasureOrdered,
    LegalHoldLifted,
    LegalHoldPlaced,
    DivergenceFound,
    EpochSealed,
    TrailExported,
    LogKeyAnnounced,
    OperatorAccessRecorded,
)
