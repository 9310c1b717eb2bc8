"""A gate: decisions about subjects, one after the other. One law: a decision is computed here, never handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.evidence import GateDecided, GateRevoked
from gpuaas.evidence.domain.inputs import Inputs
from gpuaas.evidence.domain.judgement import decide_gate
from gpuaas.evidence.domain.records import UNSIGNED

CAUSE_CHARS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class DecideGate:
    """Judge these inputs.

    Attributes:
        asked_by: the principal who wants to know; None: the service itself, which looks again.
        revoking: `inputs_sha256` of a pass that this takes back → digest of the statement that says so.
    """

    gate_id: str
    inputs: Inputs
    asked_by: str | None = None
    statement_sha256: str = UNSIGNED
    revoking: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Undecided:
    """It has judged nothing yet."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Its newest decision. `passed`: (subject, profile, kinds, `inputs_sha256`) of every pass not taken back."""

    decided_at: datetime
    inputs_sha256: str
    passed: frozenset[tuple[str, str, tuple[str, ...], str]] = frozenset()


Gate = Undecided | Decided


class DecidedMeanwhile(Rejected):
    """It takes back a pass that is not signed for: somebody let the gate decide in between. Gather and sign again."""


class NotTheDecision(Invalid):
    """A decision that does not answer the question it is shown for; `why` is a closed word."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail, why=why)
        self.why = why


def decide(command: DecideGate, gate: Gate) -> Sequence[Event]:
    inputs = command.inputs
    _demand_independence(command)
    match gate:
        case Decided(inputs_sha256=before) if before == inputs.sha256:
            raise Rejected("this decision was recorded before; a gate is decided on what is so now (replayed)")
        case Decided(decided_at=before) if inputs.now < before:
            raise Rejected(f"the gate was decided later, at {before}; an earlier decision is not recorded after it")
        case _:
            decision = decided(command)
            return [decision, *(_signed_for(one, command) for one in revocations(decision, gate))]


def decided(command: DecideGate) -> GateDecided:
    """What `command` will say: a function of its inputs and nothing else."""
    inputs = command.inputs
    judgement = decide_gate(inputs)
    return GateDecided(
        gate_id=command.gate_id,
        subject_sha256=inputs.subject_sha256,
        profile=inputs.profile,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        claim_ids=judgement.claim_ids,
        decided_at=inputs.now,
        inputs_sha256=inputs.sha256,
        kinds=inputs.kinds or None,
        log_position=inputs.log_position,
        statement_sha256=command.statement_sha256,
    )


def evolve(gate: Gate, event: Event) -> Gate:
    passed = gate.passed if isinstance(gate, Decided) else frozenset()
    match event:
        case GateDecided() as said:
            about = (said.subject_sha256, said.profile, said.kinds or ())
            rest = frozenset(one for one in passed if one[:3] != about)
            new = {(*about, said.inputs_sha256)} if said.verdict == "pass" else set()
            return Decided(decided_at=said.decided_at, inputs_sha256=said.inputs_sha256, passed=rest | new)
        case GateRevoked():
            return gate
        case _:
            raise AssertionError(f"{event.TYPE} is not part of a gate's history")


def _signed_for(revoked: GateRevoked, command: DecideGate) -> GateRevoked:
    if (statement := command.revoking.get(revoked.revoked_inputs_sha256)) is None:
        raise DecidedMeanwhile("the gate was decided meanwhile; ask it again")
    return revoked.model_copy(update={"statement_sha256": statement})


def revocations(decision: GateDecided, gate: Gate) -> list[GateRevoked]:
    """A no after a yes about the same takes the yes back, and says so; still unsigned."""
    if decision.verdict == "pass" or not isinstance(gate, Decided):
        return []
    about = (decision.subject_sha256, decision.profile, decision.kinds or ())
    unmet = next(reason for reason in decision.reasons if reason.verdict == decision.verdict)
    return [
        GateRevoked(
            gate_id=decision.gate_id,
            subject_sha256=decision.subject_sha256,
            profile=decision.profile,
            revoked_inputs_sha256=revoked,
            inputs_sha256=decision.inputs_sha256,
            cause=f"{unmet.requirement_id}: {unmet.why}"[:CAUSE_CHARS_MAX],
            revoked_at=decision.decided_at,
        )
        for *before, revoked in sorted(gate.passed)
        if tuple(before) == about
    ]


def _demand_independence(command: DecideGate) -> None:
    """Who claims does not approve, and neither asks the gate."""
    if command.asked_by is None:
        return
    inputs = command.inputs
    for one in inputs.claims:
        if one.claim.subject_sha256 == inputs.subject_sha256 and one.submitted_by == command.asked_by:
            raise Rejected(
                f"you submitted {one.claim.claim_id} about this release (not-independent); "
                "the gate must be asked by somebody who made no claim"
            )
    for waiver in inputs.waivers:
        if command.asked_by in waiver.people:
            raise Rejected(
                f"you asked for or approved {waiver.requested.waiver_id} (not-independent); "
                "the gate must be asked by somebody else"
            )


def check_decision(decision: GateDecided, inputs: Inputs, subject_sha256: str, profile: str) -> None:
    """Return if `decision` is about this subject in this profile and follows from `inputs`.

    Raises:
        NotTheDecision: wrong-subject, wrong-profile, wrong-inputs (others than it was taken on) or wrong-verdict.
    """
    if decision.subject_sha256 != subject_sha256:
        raise NotTheDecision("wrong-subject", f"the decision is about {decision.subject_sha256}; it was replayed")
    if decision.profile != profile:
        raise NotTheDecision("wrong-profile", f"the decision is for the profile {decision.profile}")
    if decision.inputs_sha256 != inputs.sha256:
        raise NotTheDecision("wrong-inputs", "the decision was taken on other inputs than these")
    judgement = decide_gate(inputs)
    if (decision.verdict, decision.reasons) != (judgement.verdict, judgement.reasons):
        raise NotTheDecision("wrong-verdict", f"these inputs are judged {judgement.verdict}, not {decision.verdict}")


DECIDER: Final[Decider[Gate, DecideGate]] = Decider(initial=Undecided(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(GateDecided, GateRevoked)
