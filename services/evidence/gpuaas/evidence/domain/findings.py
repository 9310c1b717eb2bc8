"""What the claims say about one requirement. One law: a yes needs every proof, a no needs none, absence is no yes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuaas.common.errors import Invalid
from gpuaas.contracts.evidence import ClaimReadBack, ReadbackLevel, Verdict
from gpuaas.evidence.domain.claim import LEVELS, changed_since
from gpuaas.evidence.domain.inputs import ClaimOnFile, Demand, Inputs, ReadbackOnFile, RequirementOnFile, demand_of
from gpuaas.evidence.domain.predicate import NotEvaluable, read_predicate


@dataclass(frozen=True, slots=True)
class Finding:
    """What one claim says about one requirement. `position`: where in the log that was said."""

    verdict: Verdict
    position: int
    why: str

    @property
    def word(self) -> str:
        """The closed word that `why` begins with."""
        return self.why.split(":", 1)[0]


def last_word(required: RequirementOnFile, inputs: Inputs) -> Finding:
    """The newest no unless a complete yes was said after it; a yes is not undone by an incomplete one."""
    candidates = [one for one in inputs.claims if one.claim.requirement_id == required.published.requirement_id]
    about = [one for one in candidates if is_about(one, inputs)]
    if not about:
        return _gave_nothing(required, inputs) or _nothing_about(candidates, inputs)
    findings = [_judge_claim(one, required, inputs) for one in sorted(about, key=lambda one: one.position)]
    passed = [one for one in findings if one.verdict == "pass"]
    failed = [one for one in findings if one.verdict == "fail"]
    newest_pass = max(passed, key=lambda one: one.position, default=None)
    newest_fail = max(failed, key=lambda one: one.position, default=None)
    if newest_fail is not None and (newest_pass is None or newest_fail.position > newest_pass.position):
        return newest_fail
    return newest_pass or findings[-1]


def is_about(one: ClaimOnFile, inputs: Inputs) -> bool:
    return one.claim.subject_sha256 == inputs.subject_sha256 and one.claim.profile == inputs.profile


def _gave_nothing(required: RequirementOnFile, inputs: Inputs) -> Finding | None:
    """The newest run about this requirement that was begun and gave nothing."""
    mine = [
        one
        for one in inputs.abandoned
        if (one.opened.requirement_id, one.opened.subject_sha256, one.opened.profile)
        == (required.published.requirement_id, inputs.subject_sha256, inputs.profile)
    ]
    if not mine:
        return None
    newest = max(mine, key=lambda one: one.position).said
    return Finding("unknown", 0, f"gave-nothing: {newest.claim_id} was run and gave nothing: {newest.reason}")


def _nothing_about(candidates: Sequence[ClaimOnFile], inputs: Inputs) -> Finding:
    if not candidates:
        return Finding("unknown", 0, "no-claim: nobody has claimed this")
    same_subject = [one for one in candidates if one.claim.subject_sha256 == inputs.subject_sha256]
    if not same_subject:
        newest = max(candidates, key=lambda one: one.position).claim
        return Finding("unknown", 0, f"wrong-subject: {newest.claim_id} is about {newest.subject_sha256}")
    newest = max(same_subject, key=lambda one: one.position).claim
    return Finding("unknown", 0, f"wrong-profile: {newest.claim_id} is for the profile {newest.profile}")


def _judge_claim(one: ClaimOnFile, required: RequirementOnFile, inputs: Inputs) -> Finding:
    read_backs = [
        found
        for found in sorted(inputs.readbacks, key=lambda found: found.position)
        if found.readback.claim_id == one.claim.claim_id
    ]
    demand = demand_of(required.published, inputs.profile)
    return (
        _no(one, demand, read_backs)
        or _not_proven(one, required, inputs.now)
        or _not_as_opened(one, required)
        or _not_read_back(one, demand, read_backs, inputs.now)
        or _yes(one, demand, read_backs, inputs.now)
    )


def _no(one: ClaimOnFile, demand: Demand, read_backs: Sequence[ReadbackOnFile]) -> Finding | None:
    """A no is believed without proof and does not age."""
    name = one.claim.claim_id
    for found in read_backs:
        if found.readback.outcome == "contradicted":
            said = f"contradicted: {name} at {found.readback.level}: {found.readback.detail}"
            return Finding("fail", found.position, said)
    if one.claim.result != "passed":
        return Finding("fail", one.position, f"failed: {name} says that it {one.claim.result}")
    facts, demanded = _facts(one), demand.predicate
    try:
        predicate = read_predicate(demanded)
    except Invalid:
        return Finding("fail", one.position, f"predicate-error: for {name}, {demanded} cannot be read")
    try:
        if predicate.holds(facts):
            return None
    except NotEvaluable:
        said = f"predicate-error: for {name}, {demanded} has no value with {predicate.shown(facts)}"
        return Finding("fail", one.position, said)
    return Finding(
        "fail", one.position, f"predicate-not-met: {name} gives {predicate.shown(facts)}; {demanded} is demanded"
    )


def _facts(one: ClaimOnFile) -> dict[str, str]:
    return {fact.name: fact.value for fact in one.claim.facts}


def _not_proven(one: ClaimOnFile, required: RequirementOnFile, now: datetime) -> Finding | None:
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
    return next((Finding("unknown", one.position, said) for found, said in checks if found), None)


def _not_as_opened(one: ClaimOnFile, required: RequirementOnFile) -> Finding | None:
    """What was covered has to be what was said before the run, and all that is asked for."""
    name, said, before = one.claim.claim_id, one.claim, one.opened
    if before is None:
        why = f"scope-not-fixed: {name} was not opened before its run"
        return Finding("unknown", one.position, why)
    if (changed := changed_since(before, said)) is not None:
        return Finding("unknown", one.position, f"scope-changed: {name} was opened with another {changed}")
    if one.opened_position >= one.position or before.opened_at > one.submitted_at:
        return Finding("unknown", one.position, f"scope-not-fixed: {name} was opened after it was submitted")
    if one.opened_position < required.position:
        why = f"older-requirement: {name} was opened before version {required.published.version}"
        return Finding("unknown", one.position, why)
    covers = required.published.covers or ()
    if left_out := [item for item in covers if item not in said.scope]:
        why = f"not-covered: {name} covers {len(covers) - len(left_out)} of {len(covers)}, not {left_out[0]}"
        return Finding("unknown", one.position, why)
    return None


def _not_read_back(
    one: ClaimOnFile, demand: Demand, read_backs: Sequence[ReadbackOnFile], now: datetime
) -> Finding | None:
    """What keeps the readbacks of a claim from being deep and fresh enough."""
    name = one.claim.claim_id
    failed_again = _unreadable(demand.minimum_readback, read_backs)
    readings = _readings(one, demand.minimum_readback, read_backs)
    if not readings and failed_again is not None:
        said = f"unreadable: {name} at {failed_again.level}: {failed_again.detail}"
        return Finding("unknown", one.position, said)
    if not readings:
        said = f"below-readback-level: {name} was not confirmed at {demand.minimum_readback} or above"
        return Finding("unknown", one.position, said)
    if (read_at := max(readings)) > now:
        return Finding("unknown", one.position, f"from-the-future: {name} was read back at {read_at}, after now")
    if now - read_at > timedelta(seconds=demand.max_age_s):
        said = f"stale: {name} was last read back at {read_at}, more than {demand.max_age_s} s ago"
        return Finding("unknown", one.position, said)
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


def _yes(one: ClaimOnFile, demand: Demand, read_backs: Sequence[ReadbackOnFile], now: datetime) -> Finding:
    levels = [found.readback.level for found in read_backs if found.readback.outcome == "confirmed"]
    deepest = max(levels, key=_depth, default="R0")
    age_s = int((now - max(_readings(one, demand.minimum_readback, read_backs))).total_seconds())
    return Finding("pass", one.position, f"shown: {one.claim.claim_id} confirmed at {deepest}, {age_s} s ago")
