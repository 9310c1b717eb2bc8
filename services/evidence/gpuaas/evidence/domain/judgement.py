"""The judgement of a gate. One law: a pure function of its inputs; whoever has them can decide again and compare.

Beside what is required, every gate demands that the subject is a registered release, that the log was whole, and that
the negative controls were run lately with these rules and each refused for its own reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gpuaas.common.errors import Rejected
from gpuaas.contracts.evidence import GateReason, Verdict
from gpuaas.evidence.domain.demanded import DEMANDED
from gpuaas.evidence.domain.findings import Finding, is_about, last_word
from gpuaas.evidence.domain.inputs import RULES, ClaimOnFile, Inputs, RequirementOnFile
from gpuaas.evidence.domain.waiving import flaw, waivers_for

REQUIREMENTS_MAX: Final = 240
CLAIMS_MAX: Final = 1_024
"""Claims about the subject; beside them stands at most one claim about something else per requirement."""
READBACKS_MAX: Final = 20_000
WAIVERS_MAX: Final = 1_024
WHY_CHARS_MAX: Final = 1_000
CONTROLS_MAX_AGE_S: Final = 86_400
"""The negative controls prove daily that the gate can say no."""
NOTHING_REQUIRED: Final = "nothing-required"
"""Stands where a requirement's id would, when there is none to name."""
CONTROLS: Final = "negative-controls"
"""The requirement of every gate that nobody has to publish and nobody can waive."""
KNOWN_SUBJECT: Final = "known-subject"
WHOLE_LOG: Final = "whole-log"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, what each requirement contributed, and which claims were looked at."""

    verdict: Verdict
    reasons: tuple[GateReason, ...]
    claim_ids: tuple[str, ...]


def decide_gate(inputs: Inputs) -> Judgement:
    """Whether the gate opens: `pass` only if something is required and every requirement is shown or waived.

    Raises:
        Rejected: more requirements, claims, readbacks or waivers than one judgement takes; it never judges a part of
        them.
    """
    required = [one for one in inputs.requirements if _is_required(one, inputs)]
    about = [one for one in inputs.claims if is_about(one, inputs)]
    _demand_limits(required, about, inputs)
    if not required:
        why = f"no-requirement: nothing is required in the profile {inputs.profile}, and an empty set proves nothing"
        reasons = [GateReason(requirement_id=NOTHING_REQUIRED, verdict="unknown", why=why)]
    else:
        reasons = [_judge_requirement(one, about, inputs) for one in required]
    reasons += [*_subject(inputs), *_log(inputs), _controls(inputs)]
    return Judgement(
        verdict=_worst([reason.verdict for reason in reasons]),
        reasons=tuple(reasons),
        claim_ids=tuple(one.claim.claim_id for one in about),
    )


def _is_required(one: RequirementOnFile, inputs: Inputs) -> bool:
    said = one.published
    return inputs.profile in said.profiles and (not inputs.kinds or said.kind in inputs.kinds)


def _demand_limits(required: Sequence[RequirementOnFile], about: Sequence[ClaimOnFile], inputs: Inputs) -> None:
    for found, limit, what in (
        (len(required), REQUIREMENTS_MAX, "requirements"),
        (len(about), CLAIMS_MAX, "claims about one subject"),
        (len(inputs.claims), CLAIMS_MAX + REQUIREMENTS_MAX, "claims"),
        (len(inputs.abandoned), CLAIMS_MAX, "abandoned claims"),
        (len(inputs.readbacks), READBACKS_MAX, "readbacks"),
        (len(inputs.waivers), WAIVERS_MAX, "waivers"),
    ):
        if found > limit:
            raise Rejected(f"a gate judges at most {limit} {what}; judge a smaller release")


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Three-valued *and*: one fail fails, else one unknown leaves it unknown."""
    order: tuple[Verdict, ...] = ("fail", "unknown", "pass")
    return min(verdicts, key=order.index)


def _judge_requirement(required: RequirementOnFile, about: Sequence[ClaimOnFile], inputs: Inputs) -> GateReason:
    finding = last_word(required, inputs)
    name = required.published.requirement_id
    if finding.verdict == "pass":
        return GateReason(requirement_id=name, verdict="pass", why=finding.why[:WHY_CHARS_MAX])
    mine = [one for one in about if one.claim.requirement_id == name]
    return _waived(required, mine, finding, inputs) or GateReason(
        requirement_id=name, verdict=finding.verdict, why=finding.why[:WHY_CHARS_MAX]
    )


def _waived(
    required: RequirementOnFile, about: Sequence[ClaimOnFile], finding: Finding, inputs: Inputs
) -> GateReason | None:
    """The waiver that counts; else the newest one that does not, and why. A contradiction is never waived."""
    name = required.published.requirement_id
    reason: GateReason | None = None
    for waiver in waivers_for(required, inputs):
        said = waiver.requested
        wrong = flaw(waiver, required, about, inputs) or ("waiver-of-a-lie" if finding.word == "contradicted" else None)
        if wrong is None:
            people = ", ".join(sorted(waiver.people))
            why = f"waived: {said.waiver_id} until {said.expires_at} by {people}; without it {finding.why}"
            return GateReason(requirement_id=name, verdict="pass", why=why[:WHY_CHARS_MAX], waiver_id=said.waiver_id)
        why = f"{wrong}: {said.waiver_id} does not count; {finding.why}"
        reason = GateReason(requirement_id=name, verdict=finding.verdict, why=why[:WHY_CHARS_MAX])
    return reason


def _subject(inputs: Inputs) -> list[GateReason]:
    if inputs.release is not None and inputs.release.registered.root_sha256 == inputs.subject_sha256:
        return []
    why = f"unknown-subject: no release is registered with the root {inputs.subject_sha256}"
    return [GateReason(requirement_id=KNOWN_SUBJECT, verdict="unknown", why=why)]


def _log(inputs: Inputs) -> list[GateReason]:
    newest = inputs.newest_position()
    if newest <= inputs.log_position:
        return []
    why = f"truncated-log: the log ends at {inputs.log_position}, before evidence at {newest}"
    return [GateReason(requirement_id=WHOLE_LOG, verdict="unknown", why=why)]


def _controls(inputs: Inputs) -> GateReason:
    verdict, why = _controls_found(inputs)
    return GateReason(requirement_id=CONTROLS, verdict=verdict, why=why[:WHY_CHARS_MAX])


def _controls_found(inputs: Inputs) -> tuple[Verdict, str]:
    if inputs.controls is None:
        return "unknown", "controls-not-run: nobody has shown that this gate can say no"
    ran = inputs.controls.ran
    if ran.rules != RULES:
        return "unknown", f"controls-of-other-rules: {ran.run_id} tried edition {ran.rules}, this is {RULES}"
    if wrong := [one for one in ran.controls if one.found != one.expected]:
        first = wrong[0]
        said = f"{first.name!r} was judged {first.found}, not {first.expected}"
        return "fail", f"control-not-refused: in {ran.run_id} {said}"
    refused = {one.name: one.found for one in ran.controls}
    if not_tried := [name for name, word in DEMANDED.items() if refused.get(name) != word]:
        done = len(DEMANDED) - len(not_tried)
        said = f"{ran.run_id} shows {done} of {len(DEMANDED)} that every gate demands, not {not_tried[0]!r}"
        return "unknown", f"controls-incomplete: {said}"
    if ran.ran_at > inputs.now:
        return "unknown", f"from-the-future: {ran.run_id} is dated {ran.ran_at}, after now"
    if inputs.now - ran.ran_at > timedelta(seconds=CONTROLS_MAX_AGE_S):
        return "unknown", f"stale: {ran.run_id} ran at {ran.ran_at}, more than {CONTROLS_MAX_AGE_S} s ago"
    return "pass", f"shown: {ran.run_id} refused {len(ran.controls)} poisoned packages, each for its own reason"
