"""The negative controls and waivers. One law: each poisoned package is refused for its own reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from claims_made import NOW, SPECIMENS, claim, inputs, readback, requirement, waiver
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.contracts.evidence import Control
from gpuaas.evidence.domain import waiver as waivers
from gpuaas.evidence.domain.controls import run_controls
from gpuaas.evidence.domain.demanded import DEMANDED
from gpuaas.evidence.domain.judgement import decide_gate
from gpuaas.evidence.domain.waiver import ApproveWaiver, Asked, RequestWaiver, Unasked, WithdrawWaiver
from gpuaas.verify import controls as verifier

TRIED = {control.name: control for control in run_controls(SPECIMENS)}


@pytest.mark.parametrize("name", TRIED)
def test_a_poisoned_package_is_refused_for_its_own_reason(name: str) -> None:
    assert TRIED[name].found == TRIED[name].expected


def test_there_are_more_than_fifty_controls_and_one_sound_package() -> None:
    assert len(TRIED) > 50
    assert [one.name for one in TRIED.values() if one.expected == "pass"] == ["the sound package passes"]


def test_the_fifteen_that_every_gate_demands_are_tried_here_and_known_to_the_verifier() -> None:
    assert len(DEMANDED) == 15
    assert {name: TRIED[name].found for name in DEMANDED} == DEMANDED
    assert dict(verifier.DEMANDED) == dict(DEMANDED)


@pytest.mark.parametrize("left_out", DEMANDED)
def test_a_run_that_left_one_of_them_out_or_expects_otherwise_shows_nothing(left_out: str) -> None:
    whole = SPECIMENS.controls().ran.controls
    less = tuple(one for one in whole if one.name != left_out)
    softer = (*less, Control(name=left_out, expected="pass", found="pass"))
    for ran in (less, softer):
        judged = decide_gate(inputs(controls=SPECIMENS.controls(controls=ran)))
        assert judged.verdict == "unknown"
        assert judged.reasons[-1].why.startswith("controls-incomplete")
        assert repr(left_out) in judged.reasons[-1].why


def test_a_run_that_gave_nothing_says_why_and_undoes_no_pass() -> None:
    nothing = SPECIMENS.abandoned(claim_id="claim-2")
    judged = decide_gate(inputs(claims=[], readbacks=[], abandoned=(nothing,)))
    assert judged.verdict == "unknown"
    assert judged.reasons[0].why == "gave-nothing: claim-2 was run and gave nothing: no network"
    assert decide_gate(inputs(abandoned=(nothing,))).verdict == "pass"


def test_a_control_that_was_let_through_closes_every_gate() -> None:
    let_through = (Control(name="expired", expected="expired", found="pass"),)
    judged = decide_gate(inputs(controls=SPECIMENS.controls(controls=let_through)))
    assert judged.verdict == "fail"
    assert judged.reasons[-1].why.startswith("control-not-refused")


def test_two_people_waive_what_is_unknown_and_what_failed_until_it_expires() -> None:
    for claims in ([], [claim(result="failed")]):
        judged = decide_gate(inputs(claims=claims, readbacks=[], waivers=[waiver()]))
        assert judged.verdict == "pass"
        assert judged.reasons[0].waiver_id == "waiver-1"
        assert judged.reasons[0].why.startswith("waived: waiver-1 until")


def test_a_requirement_may_be_stronger_in_one_profile() -> None:
    stricter: Any = ({"profile": "demo", "minimum_readback": "R4"},)
    judged = decide_gate(inputs([requirement(strengths=stricter)]))
    assert judged.reasons[0].why.startswith("below-readback-level")
    assert decide_gate(inputs([requirement(strengths=stricter)], readbacks=[readback(level="R4")])).verdict == "pass"


def test_only_the_kinds_that_were_asked_for_are_judged() -> None:
    both = [requirement(), requirement(requirement_id="drills", kind="ops")]
    assert decide_gate(inputs(both)).verdict == "unknown"
    assert decide_gate(inputs(both, kinds=("release",))).verdict == "pass"


ASK = RequestWaiver(
    waiver_id="waiver-1",
    requirement_id="main-job",
    requirement_version=1,
    subject_sha256="ab" * 32,
    profile="production",
    reason="The machine is being repaired.",
    by="first",
    by_kind="user",
    claimers=frozenset({"claimer"}),
    at=NOW,
    expires_at=NOW + timedelta(days=7),
)
APPROVE = ApproveWaiver("waiver-1", by="second", by_kind="user", claimers=frozenset({"claimer"}), at=NOW)


def changed(command: Any, **fields: Any) -> Any:
    from dataclasses import replace

    return replace(command, **fields)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (lambda: changed(ASK, by_kind="service-account"), "people waive"),
        (lambda: changed(ASK, by="claimer"), "somebody else must ask"),
        (lambda: changed(ASK, expires_at=NOW), "ends in the future"),
        (lambda: changed(ASK, expires_at=NOW + timedelta(days=91)), "90 days"),
    ],
)
def test_a_waiver_that_could_never_count_is_not_taken(command: Callable[[], Any], told: str) -> None:
    with pytest.raises((Rejected, Invalid), match=told):
        waivers.decide(command(), Unasked())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"by": "first"}, "one-person"),
        ({"by": "claimer"}, "somebody else must approve"),
        ({"by_kind": "service-account"}, "people waive"),
        ({"at": NOW + timedelta(days=8)}, "expired"),
    ],
)
def test_an_approval_needs_a_second_person_in_time(fields: dict[str, Any], told: str) -> None:
    asked = waivers.DECIDER.fold(waivers.decide(ASK, Unasked()), Unasked())
    with pytest.raises(Rejected, match=told):
        waivers.decide(changed(APPROVE, **fields), asked)


def test_a_withdrawn_waiver_is_gone_for_good() -> None:
    asked = waivers.DECIDER.fold(waivers.decide(ASK, Unasked()), Unasked())
    assert isinstance(asked, Asked)
    gone = waivers.DECIDER.fold(waivers.decide(WithdrawWaiver("waiver-1", "second", "no need", NOW), asked), asked)
    with pytest.raises(Rejected, match="withdrawn"):
        waivers.decide(APPROVE, gone)
