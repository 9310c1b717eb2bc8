"""A claim: opened, submitted or abandoned, read back. One law: a contradiction takes effect at once and for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.evidence import (
    ClaimAbandoned,
    ClaimOpened,
    ClaimReadBack,
    ClaimSubmitted,
    Profile,
    ReadbackLevel,
    ReadbackOutcome,
)
from gpuaas.evidence.domain.attestation import Assertion, lasts
from gpuaas.evidence.domain.pointer import tokens
from gpuaas.evidence.domain.records import UNSIGNED

LIFETIME_MAX: Final = timedelta(days=366)
OPEN_MAX: Final = timedelta(days=366)
"""Longest time from opening a claim to submitting it."""
READBACKS_MAX: Final = 10_000
DETAIL_CHARS_MAX: Final = 1_000
REASON_CHARS_MAX: Final = 500
OPENED_WITH: Final = ("requirement_id", "subject_sha256", "profile", "procedure", "procedure_id", "scope")
"""What is said before the run and has to be the same after it."""
LEVELS: Final[tuple[ReadbackLevel, ...]] = ("R0", "R1", "R2", "R3", "R4")
"""From the claimer's word to the live state, in order of strength."""


@dataclass(frozen=True, slots=True)
class OpenClaim:
    """Say before the run what it will cover. `statement_sha256`: digest of the stored statement that says the same."""

    claim_id: str
    requirement_id: str
    requirement_version: int
    subject_sha256: str
    profile: Profile
    procedure: str
    procedure_id: str | None
    scope: tuple[str, ...]
    at: datetime
    closes_at: datetime
    by: str
    statement_sha256: str = UNSIGNED


@dataclass(frozen=True, slots=True)
class SubmitClaim:
    """State it. `statement_sha256`: digest of the stored, signed statement that says the same."""

    assertion: Assertion
    statement_sha256: str
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class AbandonClaim:
    """Say that the run gave nothing, and why."""

    claim_id: str
    by: str
    reason: str
    at: datetime
    statement_sha256: str = UNSIGNED


@dataclass(frozen=True, slots=True)
class RecordReadback:
    """Record what reading the claim back at `level` gave."""

    claim_id: str
    level: ReadbackLevel
    outcome: ReadbackOutcome
    detail: str
    read_at: datetime
    statement_sha256: str = UNSIGNED


ClaimCommand = OpenClaim | SubmitClaim | AbandonClaim | RecordReadback


@dataclass(frozen=True, slots=True)
class Unsubmitted:
    """Nobody has claimed this."""


@dataclass(frozen=True, slots=True)
class Open:
    """Scope and procedure are fixed; the run may begin."""

    opened: ClaimOpened


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Its run gave nothing; nothing can be submitted under it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Claimed and not contradicted. `confirmed`: the strongest level at which it was confirmed."""

    submitted: ClaimSubmitted
    confirmed: ReadbackLevel = "R0"
    readbacks: int = 0


@dataclass(frozen=True, slots=True)
class Contradicted:
    """Found to be false at `level`; nothing makes it true again."""

    submitted: ClaimSubmitted
    level: ReadbackLevel
    detail: str


Claim = Unsubmitted | Open | Abandoned | Standing | Contradicted


def decide(command: ClaimCommand, claim: Claim) -> Sequence[Event]:
    match claim, command:
        case Unsubmitted(), OpenClaim() as opening:
            return [opened(opening)]
        case ((Open() | Abandoned() | Standing() | Contradicted()), OpenClaim()):
            raise Rejected("this claim id is taken; what a claim covers is said once, open another")
        case Unsubmitted(), SubmitClaim() as submission:
            return [_submitted(submission)]
        case Open(opened=before), SubmitClaim() as submission:
            _demand_as_opened(before, submission)
            return [_submitted(submission)]
        case ((Standing() | Contradicted()), SubmitClaim()):
            raise Rejected("this claim id is taken and a claim never changes; submit under a new id")
        case Open(), AbandonClaim() as end:
            return [abandoned(end)]
        case (Unsubmitted(), AbandonClaim(claim_id=claim_id)):
            raise NotFound(f"no claim {claim_id} was opened; GET /v1/openings lists those that wait")
        case ((Standing() | Contradicted()), AbandonClaim()):
            raise Rejected("the claim was submitted, and what was said is not taken back; submit another")
        case Abandoned(), _:
            raise Rejected("the claim was abandoned; open another and run again")
        case ((Unsubmitted() | Open()), RecordReadback(claim_id=claim_id)):
            raise NotFound(f"there is no claim {claim_id} to read back")
        case Standing() as standing, RecordReadback() as readback:
            _demand_room(standing)
            return [read_back(readback)]
        case Contradicted(level=level, detail=detail), RecordReadback():
            raise Rejected(f"the claim was contradicted at {level} ({detail}); submit a new claim")
        case _:
            raise Rejected(f"a claim cannot answer {type(command).__name__}")


def evolve(claim: Claim, event: Event) -> Claim:
    match claim, event:
        case Unsubmitted(), ClaimOpened() as before:
            return Open(opened=before)
        case Open(), ClaimAbandoned():
            return Abandoned()
        case ((Unsubmitted() | Open()), ClaimSubmitted() as submitted):
            return Standing(submitted=submitted)
        case Standing(submitted=submitted), ClaimReadBack(outcome="contradicted") as found:
            return Contradicted(submitted=submitted, level=found.level, detail=found.detail)
        case Standing() as standing, ClaimReadBack(outcome="confirmed") as found:
            strongest = max(standing.confirmed, found.level, key=LEVELS.index)
            return replace(standing, confirmed=strongest, readbacks=standing.readbacks + 1)
        case Standing() as standing, ClaimReadBack():
            return replace(standing, readbacks=standing.readbacks + 1)
        case _:
            raise AssertionError(f"{event.TYPE} cannot follow in a claim's history")


def opened(opening: OpenClaim) -> ClaimOpened:
    """What `opening` will say. Raises Invalid."""
    if not opening.at < opening.closes_at <= opening.at + OPEN_MAX:
        raise Invalid(f"a claim closes in the future and within {OPEN_MAX.days} days; give such a closes_at")
    return ClaimOpened(
        claim_id=opening.claim_id,
        requirement_id=opening.requirement_id,
        requirement_version=opening.requirement_version,
        subject_sha256=opening.subject_sha256,
        profile=opening.profile,
        procedure=opening.procedure,
        procedure_id=opening.procedure_id,
        scope=opening.scope,
        opened_at=opening.at,
        closes_at=opening.closes_at,
        statement_sha256=opening.statement_sha256,
    )


def abandoned(end: AbandonClaim) -> ClaimAbandoned:
    """What `end` will say."""
    return ClaimAbandoned(
        claim_id=end.claim_id,
        abandoned_by=end.by,
        reason=end.reason,
        abandoned_at=end.at,
        statement_sha256=end.statement_sha256,
    )


def changed_since(before: ClaimOpened, said: Assertion | ClaimSubmitted) -> str | None:
    """The first thing that was said otherwise when the claim was opened; None when it is the same."""
    return next((name for name in OPENED_WITH if getattr(said, name) != getattr(before, name)), None)


def _demand_as_opened(before: ClaimOpened, submission: SubmitClaim) -> None:
    if (name := changed_since(before, submission.assertion)) is not None:
        raise Rejected(f"{name} is not what the claim was opened with; open another claim for another run")
    if submission.submitted_at >= before.closes_at:
        raise Rejected(f"the claim closed at {before.closes_at}; open another and run again")


def _submitted(submission: SubmitClaim) -> ClaimSubmitted:
    assertion = submission.assertion
    _demand_artefacts(assertion)
    _demand_facts(assertion)
    if not lasts(assertion, submission.submitted_at):
        raise Invalid("the claim has expired before it was submitted; give a later expires_at")
    if assertion.expires_at - submission.submitted_at > LIFETIME_MAX:
        raise Invalid(f"a claim lasts at most {LIFETIME_MAX.days} days; give an earlier expires_at")
    return ClaimSubmitted(
        claim_id=assertion.claim_id,
        requirement_id=assertion.requirement_id,
        subject_sha256=assertion.subject_sha256,
        profile=assertion.profile,
        result=assertion.result,
        procedure=assertion.procedure,
        scope=assertion.scope,
        artefacts=assertion.artefacts,
        facts=assertion.facts,
        procedure_id=assertion.procedure_id,
        statement_sha256=submission.statement_sha256,
        expires_at=assertion.expires_at,
    )


def _demand_artefacts(assertion: Assertion) -> None:
    if not assertion.artefacts:
        raise Invalid("a claim without an artefact proves nothing; upload at least one and name it")
    names = [artefact.name for artefact in assertion.artefacts]
    if (twice := _first_repeat(names)) is not None:
        raise Invalid(f"two artefacts are called {twice!r}; give each its own name")
    if (empty := next((one.name for one in assertion.artefacts if one.size_bytes == 0), None)) is not None:
        raise Invalid(f"the artefact {empty!r} has 0 bytes and proves nothing")


def _demand_facts(assertion: Assertion) -> None:
    named = {artefact.name for artefact in assertion.artefacts}
    if (twice := _first_repeat([fact.name for fact in assertion.facts])) is not None:
        raise Invalid(f"the fact {twice!r} is given twice; say it once")
    for fact in assertion.facts:
        if fact.artefact not in named:
            raise Invalid(f"the fact {fact.name!r} points into {fact.artefact!r}, which is no artefact of this claim")
        tokens(fact.pointer)


def _demand_room(standing: Standing) -> None:
    if standing.readbacks >= READBACKS_MAX:
        raise Rejected(f"a claim is read back at most {READBACKS_MAX} times; submit a new claim")


def read_back(readback: RecordReadback) -> ClaimReadBack:
    """What `readback` will say. Raises Invalid."""
    if readback.level == "R0":
        raise Invalid("R0 is the claimer's own word; read back at R1 or above")
    return ClaimReadBack(
        claim_id=readback.claim_id,
        level=readback.level,
        outcome=readback.outcome,
        detail=readback.detail[:DETAIL_CHARS_MAX],
        read_at=readback.read_at,
        statement_sha256=readback.statement_sha256,
    )


def _first_repeat(names: Sequence[str]) -> str | None:
    return next((name for number, name in enumerate(names) if name in names[:number]), None)


DECIDER: Final[Decider[Claim, ClaimCommand]] = Decider(initial=Unsubmitted(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(ClaimOpened, ClaimAbandoned, ClaimSubmitted, ClaimReadBack)
