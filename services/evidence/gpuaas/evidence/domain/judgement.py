"""The judgement of a gate. One law: a yes needs every proof, a no needs none, and absence is never a yes.

`decide_gate` is a pure function of `Inputs`, which are written down in one spelling beside every decision, so that
anybody can decide again and compare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Part
from gpuaas.common.wire import Moment
from gpuaas.contracts.evidence import (
    ClaimReadBack,
    ClaimSubmitted,
    GateReason,
    Profile,
    ReadbackLevel,
    RequirementPublished,
    Sha256,
    Verdict,
)
from gpuaas.evidence.domain.attestation import Fault
from gpuaas.evidence.domain.claim import LEVELS
from gpuaas.evidence.domain.predicate import NotEvaluable, read_predicate
from gpuaas.evidence.domain.strict_json import read_json, write_json

RULES: Final = 1
"""Which edition of this file decided; it goes up when the same inputs would be judged differently."""
REQUIREMENTS_MAX: Final = 256
CLAIMS_MAX: Final = 1_024
"""Claims about the subject; beside them stands at most one claim about something else per requirement."""
READBACKS_MAX: Final = 20_000
WHY_CHARS_MAX: Final = 1_000
NOTHING_REQUIRED: Final = "nothing-required"
"""Stands where a requirement's id would, when there is none to name."""


class RequirementOnFile(Part):
    """A requirement's newest version; `position` is where the log holds it."""

    position: int
    published: RequirementPublished


class ReadbackOnFile(Part):
    """A readback; `position` is where the log holds it."""

    position: int
    readback: ClaimReadBack


class ClaimOnFile(Part):
    """A claim with what was found about it when the gate was asked.

    Attributes:
        fault: what is wrong with its signed statement, if anything.
        missing: names of artefacts that the store does not hold with their declared size.
    """

    position: int
    submitted_at: Moment
    claim: ClaimSubmitted
    fault: Fault | None
    missing: tuple[str, ...]


class Inputs(Part):
    """Everything a judgement rests on. `now` is the time of judging."""

    rules: Literal[1] = RULES
    subject_sha256: Sha256
    profile: Profile
    now: Moment
    requirements: tuple[RequirementOnFile, ...]
    claims: tuple[ClaimOnFile, ...]
    readbacks: tuple[ReadbackOnFile, ...]

    def encode(self) -> bytes:
        """One spelling: equal inputs, equal bytes, equal digest."""
        return write_json(self.model_dump(mode="json"))

    @classmethod
    def decode(cls, data: bytes) -> Inputs:
        """The inputs in `data`. Raises Invalid or pydantic's ValidationError: not inputs of this edition."""
        return cls.model_validate(read_json(data))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, what each requirement contributed, and which claims were looked at."""

    verdict: Verdict
    reasons: tuple[GateReason, ...]
    claim_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one claim says about one requirement. `position`: where in the log that was said."""

    verdict: Verdict
    position: int
    why: str


def decide_gate(inputs: Inputs) -> Judgement:
    """Whether the gate opens: `pass` only if something is required and every requirement is shown.

    Raises:
        Rejected: more requirements, claims or readbacks than one judgement takes; it never judges a part of them.
    """
    required = [one for one in inputs.requirements if inputs.profile in one.published.profiles]
    about = [one for one in inputs.claims if _is_about(one, inputs)]
    _demand_limits(required, about, inputs)
    if not required:
        why = f"no-requirement: nothing is required in the profile {inputs.profile}, and an empty set proves nothing"
        reasons = [GateReason(requirement_id=NOTHING_REQUIRED, verdict="unknown", why=why)]
    else:
        reasons = [_judge_requirement(one, inputs) for one in required]
    return Judgement(
        verdict=_worst([reason.verdict for reason in reasons]),
        reasons=tuple(reasons),
        claim_ids=tuple(one.claim.claim_id for one in about),
    )


def _demand_limits(required: Sequence[RequirementOnFile], about: Sequence[ClaimOnFile], inputs: Inputs) -> None:
    for found, limit, what in (
        (len(required), REQUIREMENTS_MAX, "requirements"),
        (len(about), CLAIMS_MAX, "claims about one subject"),
        (len(inputs.claims), CLAIMS_MAX + REQUIREMENTS_MAX, "claims"),
        (len(inputs.readbacks), READBACKS_MAX, "readbacks"),
    ):
        if found > limit:
            raise Rejected(f"a gate judges at most {limit} {what}; judge a smaller release")


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Three-valued *and*: one fail fails, else one unknown leaves it unknown."""
    order: tuple[Verdict, ...] = ("fail", "unknown", "pass")
    return min(verdicts, key=order.index)


def _judge_requirement(required: RequirementOnFile, inputs: Inputs) -> GateReason:
    finding = _last_word(required, inputs)
    return GateReason(
        requirement_id=required.published.requirement_id,
        verdict=finding.verdict,
        why=finding.why[:WHY_CHARS_MAX],
    )


def _last_word(required: RequirementOnFile, inputs: Inputs) -> _Finding:
    """The newest no unless a complete yes was said after it; a yes is not undone by an incomplete one."""
    candidates = [one for one in inputs.claims if one.claim.requirement_id == required.published.requirement_id]
    about = [one for one in candidates if _is_about(one, inputs)]
    if not about:
        return _nothing_about(candidates, inputs)
    findings = [_judge_claim(one, required, inputs) for one in sorted(about, key=lambda one: one.position)]
    passed = [one for one in findings if one.verdict == "pass"]
    failed = [one for one in findings if one.verdict == "fail"]
    newest_pass = max(passed, key=lambda one: one.position, default=None)
    newest_fail = max(failed, key=lambda one: one.position, default=None)
    if newest_fail is not None and (newest_pass is None or newest_fail.position > newest_pass.position):
        return newest_fail
    return newest_pass or findings[-1]


def _is_about(one: ClaimOnFile, inputs: Inputs) -> bool:
    return one.claim.subject_sha256 == inputs.subject_sha256 and one.claim.profile == inputs.profile


def _nothing_about(candidates: Sequence[ClaimOnFile], inputs: Inputs) -> _Finding:
    if not candidates:
        return _Finding("unknown", 0, "no-claim: nobody has claimed this")
    same_subject = [one for one in candidates if one.claim.subject_sha256 == inputs.subject_sha256]
    if not same_subject:
        newest = max(candidates, key=lambda one: one.position).claim
        return _Finding("unknown", 0, f"wrong-subject: {newest.claim_id} is about {newest.subject_sha256}")
    newest = max(same_subject, key=lambda one: one.position).claim
    return _Finding("unknown", 0, f"wrong-profile: {newest.claim_id} is for the profile {newest.profile}")


def _judge_claim(one: ClaimOnFile, required: RequirementOnFile, inputs: Inputs) -> _Finding:
    read_backs = [
        found
        for found in sorted(inputs.readbacks, key=lambda found: found.position)
        if found.readback.claim_id == one.claim.claim_id
    ]
    return (
        _no(one, required, read_backs)
        or _not_proven(one, required, inputs.now)
        or _not_read_back(one, required, read_backs, inputs.now)
        or _yes(one, required, read_backs, inputs.now)
    )


def _no(one: ClaimOnFile, required: RequirementOnFile, read_backs: Sequence[ReadbackOnFile]) -> _Finding | None:
    """A no is believed without proof and does not age."""
    name = one.claim.claim_id
    for found in read_backs:
        if found.readback.outcome == "contradicted":
            said = f"contradicted: {name} at {found.readback.level}: {found.readback.detail}"
            return _Finding("fail", found.position, said)
    if one.claim.result != "passed":
        return _Finding("fail", one.position, f"failed: {name} says that it {one.claim.result}")
    try:
        broken = read_predicate(required.published.predicate).first_broken(_facts(one))
    except (NotEvaluable, Invalid) as refused:
        return _Finding("fail", one.position, f"predicate-error: for {name}, {refused}")
    if broken is not None:
        said = f"predicate-not-met: {name} gives {_facts(one)[broken.fact]}, but {broken} is demanded"
        return _Finding("fail", one.position, said)
    return None


def _facts(one: ClaimOnFile) -> dict[str, str]:
    return {fact.name: fact.value for fact in one.claim.facts}


def _not_proven(one: ClaimOnFile, required: RequirementOnFile, now: datetime) -> _Finding | None:
    """What keeps a claim that says yes from being evidence at all."""
    name, newest = one.claim.claim_id, required.published
    checks: list[tuple[bool, str]] = [
        (one.fault is not None, f"{one.fault.why}: {name}: {one.fault.detail}" if one.fault else ""),
        (not one.claim.artefacts, f"no-artefact: {name} rests on nothing"),
        (bool(one.missing), f"missing-artefact: {name} rests on {', '.join(one.missing)}, not in the store"),
        (one.position < required.position, f"older-requirement: {name} came before version {newest.version}"),
        (one.submitted_at > now, f"from-the-future: {name} is dated {one.submitted_at}, after now"),
        (one.claim.expires_at <= now, f"expired: {name} counted until {one.claim.expires_at}"),
    ]
    return next((_Finding("unknown", one.position, said) for found, said in checks if found), None)


def _not_read_back(
    one: ClaimOnFile, required: RequirementOnFile, read_backs: Sequence[ReadbackOnFile], now: datetime
) -> _Finding | None:
    """What keeps the readbacks of a claim from being deep and fresh enough."""
    name, newest = one.claim.claim_id, required.published
    failed_again = _unreadable(newest.minimum_readback, read_backs)
    readings = _readings(one, newest.minimum_readback, read_backs)
    if not readings and failed_again is not None:
        said = f"unreadable: {name} at {failed_again.level}: {failed_again.detail}"
        return _Finding("unknown", one.position, said)
    if not readings:
        said = f"below-readback-level: {name} was not confirmed at {newest.minimum_readback} or above"
        return _Finding("unknown", one.position, said)
    if (read_at := max(readings)) > now:
        return _Finding("unknown", one.position, f"from-the-future: {name} was read back at {read_at}, after now")
    if now - read_at > timedelta(seconds=newest.max_age_s):
        said = f"stale: {name} was last read back at {read_at}, more than {newest.max_age_s} s ago"
        return _Finding("unknown", one.position, said)
    return None


def _readings(one: ClaimOnFile, minimum: ReadbackLevel, read_backs: Sequence[ReadbackOnFile]) -> list[datetime]:
    """When the claim was confirmed deep enough, and not found unreadable as deep or less deep afterwards."""
    confirmed = [found for found in read_backs if found.readback.outcome == "confirmed"]
    unreadable = [found for found in read_backs if found.readback.outcome == "unreadable"]
    read: list[tuple[ReadbackLevel, int, datetime]] = [("R0", one.position, one.submitted_at)]
    read += [(found.readback.level, found.position, found.readback.read_at) for found in confirmed]
    return [
        read_at
        for level, position, read_at in read
        if _depth(level) >= _depth(minimum)
        and not any(
            found.position > position and _depth(found.readback.level) <= max(_depth(level), 1) for found in unreadable
        )
    ]


def _unreadable(minimum: ReadbackLevel, read_backs: Sequence[ReadbackOnFile]) -> ClaimReadBack | None:
    """The newest readback, if it tried no deeper than is demanded and could not read."""
    tried = [found.readback for found in read_backs if _depth(found.readback.level) <= max(_depth(minimum), 1)]
    return tried[-1] if tried and tried[-1].outcome == "unreadable" else None


def _depth(level: ReadbackLevel) -> int:
    return LEVELS.index(level)


def _yes(
    one: ClaimOnFile, required: RequirementOnFile, read_backs: Sequence[ReadbackOnFile], now: datetime
) -> _Finding:
    levels = [found.readback.level for found in read_backs if found.readback.outcome == "confirmed"]
    deepest = max(levels, key=_depth, default="R0")
    age_s = int((now - max(_readings(one, required.published.minimum_readback, read_backs))).total_seconds())
    return _Finding("pass", one.position, f"shown: {one.claim.claim_id} confirmed at {deepest}, {age_s} s ago")
