"""What a gate says and why. One law: every poisoned package is refused for its own reason."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from claims_made import (
    NOW,
    OTHER_SUBJECT,
    OURS,
    REPORT,
    SUBJECT,
    THEIRS,
    TRUSTED,
    assertion,
    claim,
    inputs,
    readback,
    requirement,
    submitted,
)
from gpuaas.common.errors import Rejected
from gpuaas.evidence.domain.attestation import PREDICATE_TYPE, Fault, inspect, signed, statement_of
from gpuaas.evidence.domain.dsse import encode, sign
from gpuaas.evidence.domain.inputs import ClaimOnFile, Inputs
from gpuaas.evidence.domain.judgement import CLAIMS_MAX, decide_gate
from gpuaas.evidence.domain.statement import PAYLOAD_TYPE
from gpuaas.evidence.domain.statement import decode as decode_statement
from hypothesis import given
from hypothesis import strategies as st


def said(asked: Inputs) -> tuple[str, str]:
    """The verdict, and the closed word of the first reason."""
    judged = decide_gate(asked)
    return judged.verdict, judged.reasons[0].why.split(":")[0]


def flipped(envelope: bytes) -> bytes:
    return envelope.replace(b'"payload":"ey', b'"payload":"eY')


def unsigned(_: bytes) -> bytes:
    return encode(sign(PAYLOAD_TYPE, statement_of(assertion()), {}))


def test_a_sound_claim_read_back_in_time_opens_the_gate() -> None:
    judged = decide_gate(inputs())
    assert judged.verdict == "pass"
    assert judged.reasons[0].why == "shown: claim-1 confirmed at R2, 300 s ago"
    assert judged.claim_ids == ("claim-1",)


NEGATIVE_CONTROLS: dict[str, tuple[Callable[[], Inputs], tuple[str, str]]] = {
    "nothing is required": (lambda: inputs([]), ("unknown", "no-requirement")),
    "nothing is required here": (
        lambda: inputs([requirement(profiles=("staging",))]),
        ("unknown", "no-requirement"),
    ),
    "nobody claimed it": (lambda: inputs(claims=[], readbacks=[]), ("unknown", "no-claim")),
    "a claim about another requirement": (
        lambda: inputs(claims=[claim(requirement_id="something-else")]),
        ("unknown", "no-claim"),
    ),
    "wrong subject": (lambda: inputs(claims=[claim(subject_sha256=OTHER_SUBJECT)]), ("unknown", "wrong-subject")),
    "other profile's claim": (lambda: inputs(claims=[claim(profile="dev")]), ("unknown", "wrong-profile")),
    "the claim says it failed": (lambda: inputs(claims=[claim(result="failed")]), ("fail", "failed")),
    "a fact breaks the predicate": (
        lambda: inputs([requirement(predicate="gpu_hours_error > 0")]),
        ("fail", "predicate-not-met"),
    ),
    "no facts at all": (lambda: inputs(claims=[claim(facts=())]), ("fail", "predicate-error")),
    "a fact that is no number": (
        lambda: inputs([requirement(predicate="gpu_hours_error == 0 && jobs > 1")]),
        ("fail", "predicate-error"),
    ),
    "a predicate nobody can read": (
        lambda: inputs([requirement(predicate="import os")]),
        ("fail", "predicate-error"),
    ),
    "contradicted": (lambda: inputs(readbacks=[readback(outcome="contradicted")]), ("fail", "contradicted")),
    "contradicted after it was confirmed": (
        lambda: inputs(readbacks=[readback(3), readback(4, "R1", "contradicted"), readback(5)]),
        ("fail", "contradicted"),
    ),
    "unsigned": (
        lambda: inputs(claims=[claim().model_copy(update={"fault": fault_of(unsigned)})]),
        ("unknown", "unsigned"),
    ),
    "wrong signer": (lambda: inputs(claims=[claim(signer=THEIRS)]), ("unknown", "wrong-signer")),
    "flipped byte of the statement": (lambda: inputs(claims=[claim(stored=flipped)]), ("unknown", "statement-altered")),
    "missing statement": (
        lambda: inputs(claims=[claim().model_copy(update={"fault": inspect(claim().claim, None, TRUSTED)})]),
        ("unknown", "statement-missing"),
    ),
    "missing artefact": (lambda: inputs(claims=[claim(missing=["run.json"])]), ("unknown", "missing-artefact")),
    "no artefact": (lambda: inputs(claims=[claim(artefacts=())]), ("unknown", "no-artefact")),
    "claimed before this version of the requirement": (
        lambda: inputs([requirement(position=9, version=2)]),
        ("unknown", "older-requirement"),
    ),
    "dated after now": (
        lambda: inputs(claims=[claim(submitted_at=NOW + timedelta(seconds=1))]),
        ("unknown", "from-the-future"),
    ),
    "read back after now": (
        lambda: inputs(readbacks=[readback(read_at=NOW + timedelta(seconds=1))]),
        ("unknown", "from-the-future"),
    ),
    "expired at this very instant": (lambda: inputs(claims=[claim(expires_at=NOW)]), ("unknown", "expired")),
    "never read back": (lambda: inputs(readbacks=[]), ("unknown", "below-readback-level")),
    "read back less deep than demanded": (
        lambda: inputs(readbacks=[readback(level="R1")]),
        ("unknown", "below-readback-level"),
    ),
    "another claim was read back": (
        lambda: inputs(readbacks=[readback(claim_id="claim-2")]),
        ("unknown", "below-readback-level"),
    ),
    "unreadable": (lambda: inputs(readbacks=[readback(outcome="unreadable")]), ("unknown", "unreadable")),
    "unreadable since it was confirmed": (
        lambda: inputs(readbacks=[readback(3), readback(4, "R1", "unreadable")]),
        ("unknown", "unreadable"),
    ),
    "stale": (
        lambda: inputs(readbacks=[readback(read_at=NOW - timedelta(seconds=3_601))]),
        ("unknown", "stale"),
    ),
    "fresh but only at a lower level, deep but stale": (
        lambda: inputs(readbacks=[readback(3, read_at=NOW - timedelta(hours=2)), readback(4, "R1")]),
        ("unknown", "stale"),
    ),
}


def fault_of(spoil: Callable[[bytes], bytes]) -> Fault | None:
    """The fault of a statement that was stored and recorded as it is, spoilt from the beginning."""
    spoilt = spoil(b"")
    return inspect(submitted(assertion(), spoilt), spoilt, TRUSTED)


@pytest.mark.parametrize("poison", NEGATIVE_CONTROLS)
def test_a_poisoned_package_is_refused_for_its_own_reason(poison: str) -> None:
    asked, expected = NEGATIVE_CONTROLS[poison]
    assert said(asked()) == expected


@pytest.mark.parametrize("poison", NEGATIVE_CONTROLS)
def test_the_poison_is_found_again_in_inputs_that_were_written_down(poison: str) -> None:
    asked, expected = NEGATIVE_CONTROLS[poison]
    again = Inputs.decode(asked().encode())
    assert said(again) == expected
    assert again.sha256 == asked().sha256


def second(position: int = 10, **changed: Any) -> ClaimOnFile:
    return claim(position, claim_id="claim-2", **changed)


def test_a_later_fail_beats_an_earlier_pass() -> None:
    assert said(inputs(claims=[claim(), second(result="failed")])) == ("fail", "failed")


@pytest.mark.parametrize("spoilt", ["unsigned", "expired", "unread"])
def test_a_later_fail_needs_no_proof_and_does_not_age(spoilt: str) -> None:
    worthless = {
        "unsigned": claim(10, claim_id="claim-2", result="failed", signer=THEIRS),
        "expired": claim(10, claim_id="claim-2", result="failed", expires_at=NOW - timedelta(days=3)),
        "unread": claim(10, claim_id="claim-2", result="failed", missing=["run.json"]),
    }
    assert said(inputs(claims=[claim(), worthless[spoilt]]))[0] == "fail"


def test_a_later_complete_pass_beats_an_earlier_fail() -> None:
    asked = inputs(
        claims=[claim(result="failed"), claim(10, claim_id="claim-2")], readbacks=[readback(11, claim_id="claim-2")]
    )
    assert said(asked) == ("pass", "shown")


def test_a_later_incomplete_pass_does_not_beat_an_earlier_fail() -> None:
    asked = inputs(claims=[claim(result="failed"), claim(10, claim_id="claim-2")], readbacks=[])
    assert said(asked) == ("fail", "failed")


def test_a_later_incomplete_pass_does_not_undo_an_earlier_complete_one() -> None:
    asked = inputs(claims=[claim(), claim(10, claim_id="claim-2")], readbacks=[readback()])
    assert said(asked) == ("pass", "shown")


def test_a_contradiction_counts_from_when_it_was_found() -> None:
    both = [claim(), claim(10, claim_id="claim-2")]
    confirmed = readback(11, claim_id="claim-2")
    found_late = inputs(claims=both, readbacks=[confirmed, readback(12, outcome="contradicted")])
    assert said(found_late) == ("fail", "contradicted")
    found_early = inputs(claims=both, readbacks=[readback(9, outcome="contradicted"), confirmed])
    assert said(found_early) == ("pass", "shown")


def test_a_claim_unreadable_deeper_down_still_stands_where_it_was_read() -> None:
    asked = inputs([requirement(minimum_readback="R1")], readbacks=[readback(3, "R1"), readback(4, "R2", "unreadable")])
    assert said(asked) == ("pass", "shown")


def test_what_is_declared_only_is_enough_where_no_readback_is_demanded_and_ages_too() -> None:
    lax = [requirement(minimum_readback="R0")]
    assert said(inputs(lax, readbacks=[])) == ("pass", "shown")
    assert said(inputs(lax, readbacks=[readback(4, "R1", "unreadable")])) == ("unknown", "unreadable")
    early = {"opened_at": NOW - timedelta(hours=3)}
    old = claim(submitted_at=NOW - timedelta(hours=2), opened=early)
    assert said(inputs(lax, claims=[old], readbacks=[])) == ("unknown", "stale")


def test_every_requirement_must_be_shown_and_the_worst_decides() -> None:
    other = requirement(requirement_id="isolation")
    judged = decide_gate(inputs([requirement(), other]))
    assert judged.verdict == "unknown"
    assert [reason.verdict for reason in judged.reasons] == ["pass", "unknown", "pass"]
    failed = claim(10, claim_id="claim-2", requirement_id="isolation", result="failed")
    assert decide_gate(inputs([requirement(), other], claims=[claim(), failed])).verdict == "fail"


def test_a_gate_never_judges_a_part_of_what_there_is() -> None:
    one = claim()
    with pytest.raises(Rejected, match="claims"):
        decide_gate(inputs(claims=[one] * (CLAIMS_MAX + 1)))


def test_a_statement_signed_by_us_that_says_something_else_is_no_proof() -> None:
    true, false = assertion(result="failed"), assertion()
    envelope = signed(true, {OURS.key_id: OURS.sign})
    found = inspect(submitted(false, envelope), envelope, TRUSTED)
    assert found is not None
    assert found.why == "statement-differs"
    about_another = signed(assertion(subject_sha256=OTHER_SUBJECT), {OURS.key_id: OURS.sign})
    found = inspect(submitted(false, about_another), about_another, TRUSTED)
    assert found is not None
    assert found.why == "statement-wrong-subject"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda envelope: b"{}", "malformed"),
        (lambda envelope: envelope[:-1] + b',"payloadType":"x"}', "duplicate-key"),
        (lambda envelope: envelope.replace(b"in-toto", b"in-tota"), "bad-signature"),
        (unsigned, "unsigned"),
    ],
)
def test_a_statement_stored_spoilt_from_the_beginning_says_why(spoil: Callable[[bytes], bytes], why: str) -> None:
    spoilt = spoil(signed(assertion(), {OURS.key_id: OURS.sign}))
    found = inspect(submitted(assertion(), spoilt), spoilt, TRUSTED)
    assert found is not None
    assert found.why == why


def test_a_duplicate_key_inside_a_signed_statement_is_found() -> None:
    doubled = statement_of(assertion()).replace(b'"result":"passed"', b'"result":"failed","result":"passed"')
    envelope = encode(sign(PAYLOAD_TYPE, doubled, {OURS.key_id: OURS.sign}))
    found = inspect(submitted(assertion(), envelope), envelope, TRUSTED)
    assert found is not None
    assert found.why == "duplicate-key"


def test_the_signed_statement_is_an_in_toto_statement_about_the_subject() -> None:
    document = json.loads(signed(assertion(), {OURS.key_id: OURS.sign}))
    statement = decode_statement(base64.b64decode(document["payload"]))
    assert [subject.sha256 for subject in statement.subjects] == [SUBJECT]
    assert statement.predicate_type == PREDICATE_TYPE
    assert statement.predicate["artefacts"][0]["sha256"] == hashlib.sha256(REPORT).hexdigest()


@given(st.lists(st.sampled_from(["pass", "fail", "contradicted", "unread", "stale"]), max_size=6))
def test_a_gate_passes_exactly_when_a_complete_pass_follows_the_last_no(story: list[str]) -> None:
    claims, readbacks = [], []
    for number, what in enumerate(story):
        name, position = f"c{number}", 10 + 2 * number
        claims.append(claim(position, claim_id=name, result="failed" if what == "fail" else "passed"))
        if what == "contradicted":
            readbacks.append(readback(position + 1, outcome="contradicted", claim_id=name))
        elif what in ("pass", "stale"):
            read_at = NOW - timedelta(hours=9) if what == "stale" else NOW
            readbacks.append(readback(position + 1, claim_id=name, read_at=read_at))
    after_last_no = story[max((n + 1 for n, what in enumerate(story) if what in ("fail", "contradicted")), default=0) :]
    judged = decide_gate(inputs(claims=claims, readbacks=readbacks))
    assert (judged.verdict == "pass") == ("pass" in after_last_no)
