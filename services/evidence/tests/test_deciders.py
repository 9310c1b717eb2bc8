"""Requirements, claims and gates as histories. One law: what was said once is never changed, only followed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from claims_made import NOW, OTHER_SUBJECT, SUBJECT, assertion, claim, inputs, requirement
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.contracts.evidence import ClaimReadBack, ClaimSubmitted, GateDecided, GateRevoked, RequirementPublished
from gpuaas.evidence.domain import claim as claims
from gpuaas.evidence.domain import gate
from gpuaas.evidence.domain import requirement as requirements
from gpuaas.evidence.domain.claim import AbandonClaim, Contradicted, OpenClaim, RecordReadback, Standing, SubmitClaim
from gpuaas.evidence.domain.gate import DecidedMeanwhile, DecideGate, NotTheDecision, check_decision
from gpuaas.evidence.domain.requirement import PublishRequirement

PUBLISH = PublishRequirement(
    requirement_id="main-job",
    kind="release",
    title="The main job bills what it ran",
    predicate="gpu_hours_error == 0",
    minimum_readback="R2",
    max_age_s=3_600,
    profiles=("demo", "dev"),
)
SUBMIT = SubmitClaim(assertion=assertion(), statement_sha256="cd" * 32, submitted_at=NOW)
CONFIRM = RecordReadback(claim_id="claim-1", level="R2", outcome="confirmed", detail="as claimed", read_at=NOW)


def submit(**changed: Any) -> SubmitClaim:
    return replace(SUBMIT, assertion=assertion(**changed))


def after(decider: Any, *commands: Any) -> Any:
    """The state after these commands, each decided on the state before it."""
    state = decider.initial
    for command in commands:
        state = decider.fold(decider.decide(command, state), state)
    return state


def decided(decider: Any, *commands: Any) -> list[Any]:
    """What the last command leads to."""
    return list(decider.decide(commands[-1], after(decider, *commands[:-1])))


def test_versions_are_counted_and_the_same_words_are_the_same_version() -> None:
    [first] = decided(requirements.DECIDER, PUBLISH)
    assert isinstance(first, RequirementPublished)
    assert first.version == 1
    stricter = replace(PUBLISH, predicate="gpu_hours_error == 0 && jobs > 999")
    [second] = decided(requirements.DECIDER, PUBLISH, stricter)
    assert second.version == 2
    assert decided(requirements.DECIDER, PUBLISH, stricter, stricter) == []
    assert decided(requirements.DECIDER, PUBLISH, replace(PUBLISH, profiles=("dev", "demo"))) == []


def test_a_requirement_does_not_change_its_kind() -> None:
    with pytest.raises(Rejected, match="another id"):
        decided(requirements.DECIDER, PUBLISH, replace(PUBLISH, kind="security"))


def test_a_predicate_that_nobody_can_evaluate_is_not_published() -> None:
    with pytest.raises(Invalid, match="not CEL"):
        decided(requirements.DECIDER, replace(PUBLISH, predicate="import os"))


def test_a_claim_says_what_was_submitted() -> None:
    [event] = decided(claims.DECIDER, SUBMIT)
    assert isinstance(event, ClaimSubmitted)
    assert event.artefacts == assertion().artefacts
    assert event.statement_sha256 == "cd" * 32


def test_a_claim_never_changes() -> None:
    with pytest.raises(Rejected, match="new id"):
        decided(claims.DECIDER, SUBMIT, SUBMIT)


ARTEFACT = assertion().artefacts[0].model_dump()
FACT = assertion().facts[0].model_dump()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"artefacts": (), "facts": ()}, "proves nothing"),
        ({"artefacts": (ARTEFACT | {"size_bytes": 0},)}, "0 bytes"),
        ({"artefacts": (ARTEFACT, ARTEFACT)}, "its own name"),
        ({"facts": (FACT, FACT | {"value": "1"})}, "twice"),
        ({"facts": (FACT | {"artefact": "other.json"},)}, "no artefact"),
        ({"facts": (FACT | {"pointer": "/a~b"},)}, "JSON Pointer"),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW + timedelta(days=367)}, "366 days"),
    ],
)
def test_a_claim_that_could_never_be_evidence_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        decided(claims.DECIDER, submit(**changed))


def test_a_run_that_gave_nothing_is_given_up_before_anything_is_said_and_for_good() -> None:
    opening = OpenClaim(
        **{name: getattr(assertion(), name) for name in ("claim_id", *claims.OPENED_WITH)},
        requirement_version=1,
        at=NOW,
        closes_at=NOW + timedelta(days=1),
        by="claimer",
    )
    end = AbandonClaim(claim_id="claim-1", by="claimer", reason="no network", at=NOW)
    [event] = decided(claims.DECIDER, opening, end)
    assert (event.claim_id, event.reason) == ("claim-1", "no network")
    for late in (SUBMIT, end, CONFIRM, opening):
        with pytest.raises(Rejected, match=r"abandoned|taken"):
            decided(claims.DECIDER, opening, end, late)
    with pytest.raises(Rejected, match="not taken back"):
        decided(claims.DECIDER, opening, SUBMIT, end)
    with pytest.raises(NotFound, match="/v1/openings"):
        decided(claims.DECIDER, end)


def test_readbacks_deepen_a_claim_and_never_flatten_it() -> None:
    assert after(claims.DECIDER, SUBMIT).confirmed == "R0"
    shallow = replace(CONFIRM, level="R1")
    read = after(claims.DECIDER, SUBMIT, CONFIRM, shallow, replace(CONFIRM, level="R4", outcome="unreadable"))
    assert isinstance(read, Standing)
    assert (read.confirmed, read.readbacks) == ("R2", 3)


def test_a_contradiction_takes_effect_at_once_and_for_good() -> None:
    contradicted = replace(CONFIRM, level="R1", outcome="contradicted", detail="other size")
    state = after(claims.DECIDER, SUBMIT, CONFIRM, contradicted)
    assert isinstance(state, Contradicted)
    with pytest.raises(Rejected, match="other size"):
        claims.DECIDER.decide(CONFIRM, state)


def test_what_nobody_claimed_cannot_be_read_back_and_a_word_is_no_readback() -> None:
    with pytest.raises(NotFound):
        decided(claims.DECIDER, CONFIRM)
    with pytest.raises(Invalid, match="own word"):
        decided(claims.DECIDER, SUBMIT, replace(CONFIRM, level="R0"))


def test_readbacks_are_bounded_in_number_and_in_words() -> None:
    [event] = decided(claims.DECIDER, SUBMIT, replace(CONFIRM, detail="x" * 5_000))
    assert isinstance(event, ClaimReadBack)
    assert len(event.detail) == 1_000
    full = replace(after(claims.DECIDER, SUBMIT), readbacks=claims.READBACKS_MAX)
    with pytest.raises(Rejected, match="at most"):
        claims.DECIDER.decide(CONFIRM, full)


def test_a_gate_records_what_it_computed_from_its_inputs() -> None:
    [event] = decided(gate.DECIDER, DecideGate(gate_id="release", inputs=inputs()))
    assert isinstance(event, GateDecided)
    assert (event.verdict, event.subject_sha256, event.decided_at) == ("pass", SUBJECT, NOW)
    assert event.inputs_sha256 == inputs().sha256


def test_a_gate_decides_again_and_may_change_its_mind() -> None:
    later = inputs(claims=[claim(result="failed")], now=NOW + timedelta(seconds=1))
    signed = {inputs().sha256: "cd" * 32}
    asked = [DecideGate(gate_id="release", inputs=each, revoking=signed) for each in (inputs(), later)]
    [event, revoked] = decided(gate.DECIDER, *asked)
    assert event.verdict == "fail"
    assert isinstance(revoked, GateRevoked)
    assert revoked.statement_sha256 == "cd" * 32
    assert revoked.revoked_inputs_sha256 == inputs().sha256
    assert revoked.cause.startswith("main-job: failed: claim-1")
    [again] = decided(gate.DECIDER, *asked, DecideGate(gate_id="release", inputs=inputs(now=later.now, claims=[])))
    assert again.verdict == "unknown"


def test_a_pass_is_not_taken_back_without_a_statement_that_says_so() -> None:
    later = inputs(claims=[claim(result="failed")], now=NOW + timedelta(seconds=1))
    asked = [DecideGate(gate_id="release", inputs=each) for each in (inputs(), later)]
    with pytest.raises(DecidedMeanwhile):
        decided(gate.DECIDER, *asked)


def test_a_replayed_decision_is_refused() -> None:
    once = DecideGate(gate_id="release", inputs=inputs())
    with pytest.raises(Rejected, match="replayed"):
        decided(gate.DECIDER, once, once)
    earlier = DecideGate(gate_id="release", inputs=inputs(now=NOW - timedelta(seconds=1)))
    with pytest.raises(Rejected, match="decided later"):
        decided(gate.DECIDER, once, earlier)


def test_a_decision_shown_for_something_else_is_refused_for_its_own_reason() -> None:
    [event] = decided(gate.DECIDER, DecideGate(gate_id="release", inputs=inputs()))
    check_decision(event, inputs(), SUBJECT, "demo")
    forged = event.model_copy(update={"verdict": "pass", "inputs_sha256": inputs(readbacks=[]).sha256})
    shown: list[tuple[GateDecided, Any, str, str, str]] = [
        (event, inputs(), OTHER_SUBJECT, "demo", "wrong-subject"),
        (event, inputs(), SUBJECT, "production", "wrong-profile"),
        (event, inputs([requirement(max_age_s=1)]), SUBJECT, "demo", "wrong-inputs"),
        (forged, inputs(readbacks=[]), SUBJECT, "demo", "wrong-verdict"),
    ]
    for decision, given, subject, profile, why in shown:
        with pytest.raises(NotTheDecision) as refused:
            check_decision(decision, given, subject, profile)
        assert refused.value.why == why
