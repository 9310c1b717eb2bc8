"""A waiver: a requirement may be missing for a while. One law: it takes two people, and neither made the claims.

What makes a waiver count is judged by `judgement`; this entity refuses what can be known to be wrong when it is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.evidence import ActorKind, Profile, WaiverApproved, WaiverRequested, WaiverWithdrawn
from gpuaas.evidence.domain.records import UNSIGNED

LIFETIME_MAX: Final = timedelta(days=90)
APPROVALS_MAX: Final = 16
STRICT_PROFILES: Final = frozenset({"staging", "production"})
"""Where those who waive must be persons: a program's key is no second pair of eyes."""


@dataclass(frozen=True, slots=True)
class RequestWaiver:
    """Ask for it. `claimers`: who has made claims about this requirement and release."""

    waiver_id: str
    requirement_id: str
    requirement_version: int
    subject_sha256: str
    profile: Profile
    reason: str
    by: str
    by_kind: ActorKind
    claimers: frozenset[str]
    at: datetime
    expires_at: datetime
    statement_sha256: str = UNSIGNED


@dataclass(frozen=True, slots=True)
class ApproveWaiver:
    """Be the second person."""

    waiver_id: str
    by: str
    by_kind: ActorKind
    claimers: frozenset[str]
    at: datetime
    statement_sha256: str = UNSIGNED


@dataclass(frozen=True, slots=True)
class WithdrawWaiver:
    """Refuse it, or take it back."""

    waiver_id: str
    by: str
    reason: str
    at: datetime
    statement_sha256: str = UNSIGNED


WaiverCommand = RequestWaiver | ApproveWaiver | WithdrawWaiver


@dataclass(frozen=True, slots=True)
class Unasked:
    """Nobody has asked for it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Asked for; `approvers` have said yes so far."""

    said: WaiverRequested
    approvers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Gone for good."""

    said: WaiverRequested


Waiver = Unasked | Asked | Withdrawn


def decide(command: WaiverCommand, waiver: Waiver) -> Sequence[Event]:
    match waiver, command:
        case Unasked(), RequestWaiver() as request:
            return [requested(request)]
        case ((Asked() | Withdrawn()), RequestWaiver()):
            raise Rejected("this waiver id is taken and a waiver never changes; ask under a new id")
        case Unasked(), (ApproveWaiver() | WithdrawWaiver()):
            raise NotFound(f"there is no waiver {command.waiver_id}; GET /v1/waivers lists those there are")
        case Asked() as asked, ApproveWaiver() as approval:
            return [approved(asked, approval)]
        case Asked(), WithdrawWaiver() as end:
            return [withdrawn(end)]
        case Withdrawn(), _:
            raise Rejected("the waiver was withdrawn; ask for a new one")
        case _:
            raise Rejected(f"a waiver cannot answer {type(command).__name__}")


def evolve(waiver: Waiver, event: Event) -> Waiver:
    match waiver, event:
        case Unasked(), WaiverRequested() as said:
            return Asked(said=said)
        case Asked() as asked, WaiverApproved() as yes:
            return replace(asked, approvers=(*asked.approvers, yes.approved_by))
        case Asked(said=said), WaiverWithdrawn():
            return Withdrawn(said=said)
        case _:
            raise AssertionError(f"{event.TYPE} cannot follow in a waiver's history")


def requested(request: RequestWaiver) -> WaiverRequested:
    """What `request` will say. Raises Invalid or Rejected."""
    _demand_person(request.by_kind, request.profile)
    if request.by in request.claimers:
        raise Rejected("you made a claim about this requirement and release; somebody else must ask to waive it")
    if not request.at < request.expires_at <= request.at + LIFETIME_MAX:
        raise Invalid(f"a waiver ends in the future and within {LIFETIME_MAX.days} days; give such an expires_at")
    return WaiverRequested(
        waiver_id=request.waiver_id,
        requirement_id=request.requirement_id,
        requirement_version=request.requirement_version,
        subject_sha256=request.subject_sha256,
        profile=request.profile,
        reason=request.reason,
        requested_by=request.by,
        requested_by_kind=request.by_kind,
        requested_at=request.at,
        expires_at=request.expires_at,
        statement_sha256=request.statement_sha256,
    )


def approved(asked: Asked, approval: ApproveWaiver) -> WaiverApproved:
    """What `approval` will say. Raises Rejected."""
    _demand_person(approval.by_kind, asked.said.profile)
    if approval.by == asked.said.requested_by:
        raise Rejected("a waiver takes two people (one-person); somebody else than who asked for it must approve it")
    if approval.by in asked.approvers:
        raise Rejected("you have approved this waiver already")
    if approval.by in approval.claimers:
        raise Rejected("you made a claim about this requirement and release; somebody else must approve the waiver")
    if approval.at >= asked.said.expires_at:
        raise Rejected(f"the waiver expired at {asked.said.expires_at}; ask for a new one")
    if len(asked.approvers) >= APPROVALS_MAX:
        raise Rejected(f"a waiver has at most {APPROVALS_MAX} approvals")
    return WaiverApproved(
        waiver_id=approval.waiver_id,
        approved_by=approval.by,
        approved_by_kind=approval.by_kind,
        approved_at=approval.at,
        statement_sha256=approval.statement_sha256,
    )


def withdrawn(end: WithdrawWaiver) -> WaiverWithdrawn:
    """What `end` will say."""
    return WaiverWithdrawn(
        waiver_id=end.waiver_id,
        withdrawn_by=end.by,
        reason=end.reason,
        withdrawn_at=end.at,
        statement_sha256=end.statement_sha256,
    )


def may_waive(kind: str, profile: str) -> bool:
    """Whether a principal of this kind may stand behind a waiver in this profile."""
    return kind == "user" or profile not in STRICT_PROFILES


def _demand_person(kind: str, profile: str) -> None:
    if not may_waive(kind, profile):
        raise Rejected(f"in {profile} people waive, not a {kind}; sign in as a person")


DECIDER: Final[Decider[Waiver, WaiverCommand]] = Decider(initial=Unasked(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(WaiverRequested, WaiverApproved, WaiverWithdrawn)
