"""A gate: decisions about subjects, one after the other. One law: a decision is computed here, never handed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.evidence import GateDecided
from gpuaas.evidence.domain.judgement import Inputs, decide_gate


@dataclass(frozen=True, slots=True)
class DecideGate:
    """Judge these inputs."""

    gate_id: str
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class Undecided:
    """It has judged nothing yet."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Its newest decision."""

    decided_at: datetime
    inputs_sha256: str


Gate = Undecided | Decided


class NotTheDecision(Invalid):
    """A decision that does not answer the question it is shown for; `why` is a closed word."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail, why=why)
        self.why = why


def decide(command: DecideGate, gate: Gate) -> Sequence[Event]:
    inputs = command.inputs
    match gate:
        case Decided(inputs_sha256=before) if before == inputs.sha256:
            raise Rejected("this decision was recorded before; a gate is decided on what is so now (replayed)")
        case Decided(decided_at=before) if inputs.now < before:
            raise Rejected(f"the gate was decided later, at {before}; an earlier decision is not recorded after it")
        case _:
            judgement = decide_gate(inputs)
            return [
                GateDecided(
                    gate_id=command.gate_id,
                    subject_sha256=inputs.subject_sha256,
                    profile=inputs.profile,
                    verdict=judgement.verdict,
                    reasons=judgement.reasons,
                    claim_ids=judgement.claim_ids,
                    decided_at=inputs.now,
                    inputs_sha256=inputs.sha256,
                )
            ]


def evolve(_gate: Gate, event: Event) -> Gate:
    match event:
        case GateDecided() as decided:
            return Decided(decided_at=decided.decided_at, inputs_sha256=decided.inputs_sha256)
        case _:
            raise AssertionError(f"{event.TYPE} is not part of a gate's history")


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
VOCABULARY: Final = Vocabulary(GateDecided)
