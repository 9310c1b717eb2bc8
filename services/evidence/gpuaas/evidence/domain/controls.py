"""Negative controls: packages poisoned on purpose. One law: each is refused, and for its own reason.

The service runs them on a schedule with real keys, and before a decision when they are overdue; a gate that cannot show
a fresh run of all of them does not open.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from gpuaas.common.errors import GpuaasError, Invalid, Rejected
from gpuaas.contracts.evidence import Artefact, ClaimedFact, Control
from gpuaas.evidence.domain import gate, waiver
from gpuaas.evidence.domain.attestation import inspect, statement_of
from gpuaas.evidence.domain.claim import SubmitClaim, Unsubmitted
from gpuaas.evidence.domain.claim import decide as decide_claim
from gpuaas.evidence.domain.dsse import encode, sign
from gpuaas.evidence.domain.inputs import Inputs
from gpuaas.evidence.domain.judgement import decide_gate
from gpuaas.evidence.domain.readback import reread
from gpuaas.evidence.domain.rederivation import DERIVABLE_BYTES_MAX
from gpuaas.evidence.domain.specimens import NOW, OTHER_SUBJECT, SUBJECT, Specimens
from gpuaas.evidence.domain.statement import PAYLOAD_TYPE

OPENED: Final = "pass"
SKIPPED: Final = b'<testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase></testsuite>'
ENTITIES: Final = b'<!DOCTYPE a [<!ENTITY b "c">]><testsuite><testcase name="&b;"/></testsuite>'
EARLY: Final = NOW - timedelta(days=2)

Try = Callable[[Specimens], str]
"""Shows the gate one poisoned package; the word for which it was refused, or `pass`."""
_Judged = Callable[[Specimens], Inputs]


def run_controls(specimens: Specimens) -> tuple[Control, ...]:
    """Try every poisoned package, and the sound one, which has to pass."""
    tried = [("the sound package passes", OPENED, _judged(lambda s: s.inputs())), *_CONTROLS]
    return tuple(Control(name=name, expected=expected, found=one(specimens)[:64]) for name, expected, one in tried)


def _judged(package: _Judged) -> Try:
    def tried(specimens: Specimens) -> str:
        judged = decide_gate(package(specimens))
        unmet = next((one for one in judged.reasons if one.verdict != "pass"), None)
        return OPENED if judged.verdict == "pass" or unmet is None else unmet.why.split(":", 1)[0]

    return tried


def _claim(**changed: object) -> _Judged:
    return lambda s: s.inputs(claims=[s.claim(**changed)])  # type: ignore[arg-type]


def _flipped(envelope: bytes) -> bytes:
    at = len(envelope) // 2
    return envelope[:at] + bytes([envelope[at] ^ 1]) + envelope[at + 1 :]


def _with_envelope(make: Callable[[Specimens], bytes]) -> _Judged:
    """A claim whose stored statement is what `make` gives, recorded by its own digest."""

    def package(s: Specimens) -> Inputs:
        said, envelope = s.assertion(), make(s)
        event = s.submitted(said, envelope)
        claim = s.claim().model_copy(update={"claim": event, "fault": inspect(event, envelope, s.trusted)})
        return s.inputs(claims=[claim])

    return package


def _unsigned(s: Specimens) -> bytes:
    return encode(sign(PAYLOAD_TYPE, statement_of(s.assertion()), {}))


def _twice_the_key(s: Specimens) -> bytes:
    payload = statement_of(s.assertion()).replace(b'{"_type"', b'{"_type":"x","_type"', 1)
    return encode(sign(PAYLOAD_TYPE, payload, {s.ours.key_id: s.ours.sign}))


def _says_less(s: Specimens) -> bytes:
    payload = statement_of(s.assertion(scope=("meter",)))
    return encode(sign(PAYLOAD_TYPE, payload, {s.ours.key_id: s.ours.sign}))


def _nine_of_ten(s: Specimens) -> Inputs:
    wanted = tuple(f"case-{number}" for number in range(10))
    return s.inputs([s.requirement(covers=wanted)], [s.claim(scope=wanted[:9])])


def _later_fail(s: Specimens) -> Inputs:
    claims = [s.claim(), s.claim(6, opened_position=5, claim_id="claim-2", result="failed")]
    return s.inputs(claims=claims)


def _one_control_less(s: Specimens) -> Inputs:
    return s.inputs(controls=s.controls(controls=s.controls().ran.controls[1:]))


def _waived(**changed: object) -> _Judged:
    return lambda s: s.inputs(claims=[], readbacks=[], waivers=[s.waiver(**changed)])  # type: ignore[arg-type]


def _waived_lie(s: Specimens) -> Inputs:
    return s.inputs(readbacks=[s.readback(outcome="contradicted")], waivers=[s.waiver()])


def _reread(media_type: str, data: bytes, value: str) -> Try:
    def tried(_: Specimens) -> str:
        report = Artefact(name="report", sha256=SUBJECT, size_bytes=len(data), media_type=media_type)
        reading = reread(report, data, [ClaimedFact(name="passed", value=value, artefact="report", pointer="/passed")])
        return OPENED if reading.outcome == "confirmed" else reading.outcome

    return tried


def _bomb() -> bytes:
    return gzip.compress(b"\0" * (DERIVABLE_BYTES_MAX + 1), mtime=0)


def _replayed(s: Specimens) -> str:
    inputs = s.inputs()
    order = gate.DecideGate(gate_id="gate", inputs=inputs)
    [decided, *_] = gate.decide(order, gate.Undecided())
    try:
        gate.decide(order, gate.evolve(gate.Undecided(), decided))
    except Rejected as refused:
        return "replayed" if "(replayed)" in refused.detail else "refused"
    return OPENED


def _decision_about_another(s: Specimens) -> str:
    inputs = s.inputs()
    try:
        gate.check_decision(gate.decided(gate.DecideGate("gate", inputs)), inputs, OTHER_SUBJECT, "demo")
    except gate.NotTheDecision as refused:
        return refused.why
    return OPENED


def _judge_in_ones_own_case(s: Specimens) -> str:
    try:
        gate.decide(gate.DecideGate("gate", s.inputs(), asked_by="claimer"), gate.Undecided())
    except Rejected as refused:
        return "not-independent" if "(not-independent)" in refused.detail else "refused"
    return OPENED


def _approves_alone(s: Specimens) -> str:
    asked = waiver.Asked(said=s.waiver().requested)
    order = waiver.ApproveWaiver("waiver-1", by="first", by_kind="user", claimers=frozenset(), at=NOW)
    try:
        waiver.decide(order, asked)
    except Rejected as refused:
        return "one-person" if "(one-person)" in refused.detail else "refused"
    return OPENED


def _no_bytes(s: Specimens) -> str:
    empty = Artefact(name="empty", sha256=SUBJECT, size_bytes=0, media_type="application/json")
    said = s.assertion(artefacts=(empty,), facts=())
    try:
        decide_claim(SubmitClaim(assertion=said, statement_sha256=SUBJECT, submitted_at=NOW), Unsubmitted())
    except Invalid as refused:
        return "0-bytes" if "0 bytes" in refused.detail else "refused"
    except GpuaasError:
        return "refused"
    return OPENED


_JUNIT: Final = "application/x-junit+xml"
_CONTROLS: Final[tuple[tuple[str, str, Try], ...]] = (
    ("nothing is required", "no-requirement", _judged(lambda s: s.inputs([]))),
    ("required elsewhere only", "no-requirement", _judged(lambda s: s.inputs([s.requirement(profiles=("kind",))]))),
    ("nobody claimed it", "no-claim", _judged(lambda s: s.inputs(claims=[], readbacks=[]))),
    (
        "run that gave nothing",
        "gave-nothing",
        _judged(lambda s: s.inputs(claims=[], readbacks=[], abandoned=(s.abandoned(),))),
    ),
    ("claim about another subject", "wrong-subject", _judged(_claim(subject_sha256=OTHER_SUBJECT))),
    ("claim of another profile", "wrong-profile", _judged(_claim(profile="dev"))),
    ("subject that nobody registered", "unknown-subject", _judged(lambda s: s.inputs(release=None))),
    ("claim that says it failed", "failed", _judged(_claim(result="failed"))),
    ("later fail after a pass", "failed", _judged(_later_fail)),
    (
        "predicate not met",
        "predicate-not-met",
        _judged(lambda s: s.inputs([s.requirement(predicate="gpu_hours_error > 0")])),
    ),
    ("fact that is not given", "predicate-error", _judged(_claim(facts=()))),
    ("flipped byte in the statement", "statement-altered", _judged(_claim(stored=_flipped))),
    ("statement that is lost", "statement-missing", _judged(_claim(stored=lambda _: None))),
    ("unsigned statement", "unsigned", _judged(_with_envelope(_unsigned))),
    ("statement of the wrong signer", "wrong-signer", _judged(lambda s: s.inputs(claims=[s.claim(signer=s.theirs)]))),
    ("duplicate key in the statement", "duplicate-key", _judged(_with_envelope(_twice_the_key))),
    ("statement that says less than the claim", "statement-differs", _judged(_with_envelope(_says_less))),
    ("missing artefact", "missing-artefact", _judged(_claim(missing=["run.json"]))),
    ("no artefact at all", "no-artefact", _judged(_claim(artefacts=()))),
    ("artefact of 0 bytes", "0-bytes", _no_bytes),
    ("expired at this very instant", "expired", _judged(_claim(expires_at=NOW))),
    ("dated after now", "from-the-future", _judged(_claim(submitted_at=NOW + timedelta(seconds=1)))),
    (
        "claim older than the requirement",
        "older-requirement",
        _judged(lambda s: s.inputs([s.requirement(9, version=2)])),
    ),
    (
        "opened before the newest requirement",
        "older-requirement",
        _judged(lambda s: s.inputs([s.requirement(3, version=2)], [s.claim(4, opened_position=2)])),
    ),
    ("scope not fixed before the run", "scope-not-fixed", _judged(_claim(opened_position=0))),
    ("scope changed after the run", "scope-changed", _judged(_claim(opened={"scope": ("meter",)}))),
    ("9 of 10 covered", "not-covered", _judged(_nine_of_ten)),
    ("never read back", "below-readback-level", _judged(lambda s: s.inputs(readbacks=[]))),
    (
        "read back less deep than demanded",
        "below-readback-level",
        _judged(lambda s: s.inputs(readbacks=[s.readback(level="R1")])),
    ),
    ("read back too long ago", "stale", _judged(lambda s: s.inputs(readbacks=[s.readback(read_at=EARLY)]))),
    (
        "bytes that are lost since",
        "unreadable",
        _judged(lambda s: s.inputs(readbacks=[s.readback(4), s.readback(5, "R1", "unreadable")])),
    ),
    (
        "contradicted by its bytes",
        "contradicted",
        _judged(lambda s: s.inputs(readbacks=[s.readback(outcome="contradicted")])),
    ),
    ("skipped tests counted as passed", "contradicted", _reread(_JUNIT, SKIPPED, "2")),
    ("report with entities", "unreadable", _reread(_JUNIT, ENTITIES, "1")),
    ("report that is a bomb", "unreadable", _reread(_JUNIT, _bomb(), "1")),
    ("report of no test at all", "unreadable", _reread(_JUNIT, b"<testsuite/>", "0")),
    ("report with a duplicate key", "unreadable", _reread("application/json", b'{"passed":1,"passed":2}', "2")),
    ("truncated log", "truncated-log", _judged(lambda s: s.inputs(log_position=3))),
    ("controls that were not run", "controls-not-run", _judged(lambda s: s.inputs(controls=None))),
    ("controls of older rules", "controls-of-other-rules", _judged(lambda s: s.inputs(controls=s.controls(rules=1)))),
    ("controls with one left out", "controls-incomplete", _judged(_one_control_less)),
    ("controls run too long ago", "stale", _judged(lambda s: s.inputs(controls=s.controls(ran_at=EARLY)))),
    ("replayed decision", "replayed", _replayed),
    ("decision about another release", "wrong-subject", _decision_about_another),
    ("judge in one's own case", "not-independent", _judge_in_ones_own_case),
    ("waiver approved by who asked", "one-person", _approves_alone),
    ("waiver of one person", "waiver-one-person", _judged(_waived(approved_by=()))),
    (
        "waiver by the claimer",
        "waiver-self-approved",
        _judged(lambda s: s.inputs(readbacks=[], waivers=[s.waiver(approved_by=["claimer"])])),
    ),
    ("waiver that expired", "waiver-expired", _judged(_waived(expires_at=NOW))),
    ("waiver that was withdrawn", "waiver-withdrawn", _judged(_waived(withdrawn=True))),
    (
        "waiver of an older requirement",
        "waiver-older-requirement",
        _judged(lambda s: s.inputs([s.requirement(version=2)], [], [], [s.waiver()])),
    ),
    (
        "waiver of what may not be waived",
        "waiver-not-allowed",
        _judged(lambda s: s.inputs([s.requirement(waivable=False)], [], [], [s.waiver()])),
    ),
    (
        "waiver by programs in production",
        "waiver-not-people",
        _judged(
            lambda s: s.inputs(
                [s.requirement(profiles=("production",))],
                [],
                [],
                [s.waiver(kind="service-account", profile="production")],
                profile="production",
            )
        ),
    ),
    ("waiver of a contradiction", "waiver-of-a-lie", _judged(_waived_lie)),
)
"""Name, the one word for which it must be refused, and how it is tried."""
