"""A gate's decision, proved and made again offline. One law: neither the decision nor its inputs are believed for
being there.

A bundle is a folder: `rows.json` (trail rows with proofs: the decision first, then every record that its inputs
quote, and what the gate took back) and `inputs.json` (the exact bytes the decision was taken on). Checked: every row
is in the signed log, the inputs are those the decision names, each record in them is the logged one at its position,
nothing that the tree lists up to the decision was left out, and the rules applied again give the decision's own bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpuaas.verify.completeness import check_amount, check_tree
from gpuaas.verify.fields import Fields
from gpuaas.verify.judgement import RULES, judge
from gpuaas.verify.keys import VerifierKey
from gpuaas.verify.leaves import Leaf, ProvedEvent, check_bytes, read_event, read_leaf
from gpuaas.verify.policy import Policy
from gpuaas.verify.proofs import read_proof
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.reports import Report
from gpuaas.verify.statements import check_statement, stored
from gpuaas.verify.strict_json import canonical, parse_object

BYTES_MAX: Final = 512 * 1024 * 1024
DECIDED: Final = "gpuaas.evidence.gate-decided.v1"
REVOKED: Final = "gpuaas.evidence.gate-revoked.v1"


@dataclass(frozen=True, slots=True)
class Logged:
    """An event that is in the signed log."""

    leaf: Leaf
    event: ProvedEvent


def verify_decision(folder: str | Path, policy: Policy, keys: Sequence[VerifierKey] = ()) -> Report:
    """Whether the decision in `folder` is in the log and follows from what the log holds.

    Args:
        keys: whose signatures under records count; with none, signatures and artefacts are not checked.
    """
    report = Report(what=f"decision {Path(folder).name}")
    with report.deciding():
        logged = _rows(Path(folder) / "rows.json", policy)
        report.held("inclusion", f"{len(logged):,} records are in the log, byte for byte")
        decision = logged[0].event
        if decision.type != DECIDED:
            raise Refuted("other-event", f"the first row is a {decision.type}, not a decision")
        content = _read(Path(folder) / "inputs.json")
        if hashlib.sha256(content).hexdigest() != decision.data.text("inputs_sha256"):
            raise Refuted("wrong-inputs", "the decision was taken on other inputs than these")
        inputs = parse_object(content, "the inputs")
        report.held("inputs", f"{len(content):,} bytes are those that the decision names")
        report.held("records", f"{_check_records(inputs, logged):,} records in the inputs are those of the log")
        _check_complete(Path(folder) / "tree", inputs, logged, policy, report)
        _check_signed(Path(folder) / "artefacts", inputs, logged, keys, report)
        _check_judgement(inputs, decision.data)
        verdict = decision.data.text("verdict")
        report.held("judgement", f"the rules of edition {inputs['rules']} give the same bytes: {verdict}")
        report.facts |= {
            "verdict": verdict,
            "release": decision.data.text("subject_sha256"),
            "profile": decision.data.text("profile"),
            "decided at": decision.data.text("decided_at"),
            **_taken_back(logged),
        }
    return report


def _taken_back(logged: list[Logged]) -> dict[str, str]:
    """Whether the gate has taken this very decision back since, and why."""
    decision = logged[0].event.data
    for one in logged:
        said = one.event.data
        if one.event.type != REVOKED or said.text("gate_id") != decision.text("gate_id"):
            continue
        if said.text("revoked_inputs_sha256") == decision.text("inputs_sha256"):
            return {"taken back": f"{said.text('revoked_at')}: {said.text('cause')}"}
    return {}


def _check_judgement(inputs: dict[str, Any], data: Fields) -> None:
    if inputs.get("rules") not in RULES:
        known = " and ".join(map(str, sorted(RULES)))
        raise Unusable("other-rules", f"the inputs are for rules {inputs.get('rules')!r}; {known} are known here")
    try:
        again = judge(inputs)
    except (KeyError, TypeError, ValueError) as broken:
        raise Unusable("malformed", f"the inputs cannot be judged: {broken!r}") from broken
    expected = {
        **again,
        **{name: inputs[name] for name in ("subject_sha256", "profile", "log_position")},
        "decided_at": inputs["now"],
        **({"kinds": inputs["kinds"]} if inputs["kinds"] else {}),
    }
    for name in ("gate_id", "inputs_sha256", "statement_sha256"):
        if name in data.raw:
            expected[name] = data.raw[name]
    if canonical(expected) != canonical(dict(data.raw)):
        first = next(name for name in sorted({*expected, *data.raw}) if expected.get(name) != data.raw.get(name))
        raise Refuted("wrong-verdict", f"these inputs give another {first[:80]} than the decision says")


def _check_records(inputs: dict[str, Any], logged: list[Logged]) -> int:
    """Every record that the inputs quote is an event of the bundle; how many there were."""
    known = {(one.leaf.position, canonical(_data(one))) for one in logged}
    data_only = {data for _, data in known}
    count = 0
    for what, position, quoted in _quoted(inputs):
        said = canonical(quoted)
        if (position, said) not in known and not (position is None and said in data_only):
            raise Refuted("other-record", f"the inputs quote a {what} that the log does not hold there")
        count += 1
    return count


def _quoted(inputs: dict[str, Any]) -> Iterator[tuple[str, int | None, Any]]:
    """(what, position where it must stand, its data); a waiver's position is that of the last word about it."""
    try:
        for name, key in (("requirements", "published"), ("claims", "claim"), ("readbacks", "readback")):
            for one in inputs[name]:
                yield key, int(one["position"]), one[key]
        for one in inputs["claims"]:
            if one.get("opened") is not None:
                yield "opening", int(one["opened_position"]), one["opened"]
        for one in inputs.get("abandoned", ()):
            yield "opening", int(one["opened_position"]), one["opened"]
            yield "abandonment", int(one["position"]), one["said"]
        for name, key in (("release", "registered"), ("controls", "ran")):
            if inputs.get(name) is not None:
                yield name, int(inputs[name]["position"]), inputs[name][key]
        for one in inputs["waivers"]:
            yield "waiver", None, one["requested"]
            for approval in one["approvals"]:
                yield "approval", None, approval
    except (KeyError, TypeError, ValueError) as broken:
        raise Unusable("malformed", f"the inputs are not those of a decision: {broken!r}") from broken


def _check_complete(folder: Path, inputs: dict[str, Any], logged: list[Logged], policy: Policy, report: Report) -> None:
    """With the mirrored platform tree in `folder`: nothing that moves a verdict was left out."""
    if not folder.is_dir():
        report.facts["complete"] = "not shown: the bundle holds no tree"
        return
    rows = {one.leaf.position: one.leaf.entry.text("sha256") for one in logged}
    try:
        count = check_tree(folder, policy, int(inputs["log_position"]), logged[0].leaf.subject, rows)
        check_amount(inputs, [(one.leaf.position, one.event.type, one.event.data.raw) for one in logged])
    except (KeyError, TypeError, ValueError) as broken:
        raise Unusable("malformed", f"the records cannot be summed up: {broken!r}") from broken
    report.held("complete", f"the {count:,} records that the tree lists up to the decision are all looked at")


def _check_signed(
    folder: Path, inputs: dict[str, Any], logged: list[Logged], keys: Sequence[VerifierKey], report: Report
) -> None:
    """Every record's statement is signed, and what sound claims rest on is there with its digest."""
    if not keys:
        report.facts["signatures"] = "not checked: no --evidence-key was given"
        return
    faulty = {one["claim"]["claim_id"] for one in inputs["claims"] if one.get("fault") is not None}
    sound = [one for one in logged if one.event.data.raw.get("claim_id") not in faulty]
    for one in sound:
        if "statement_sha256" not in one.event.data.raw:
            raise Refuted("unsigned-record", f"the {one.event.type} at position {one.leaf.position} names no statement")
        check_statement(folder, one.event.type, one.event.data.raw, keys)
    report.held("statements", f"{len(sound):,} records are signed statements that say the same")
    files = 0
    for one in inputs["claims"]:
        for artefact in one["claim"]["artefacts"]:
            if artefact["name"] not in one["missing"]:
                files += len(stored(folder, artefact["sha256"])) > 0
    report.held("artefacts", f"{files:,} files that the claims rest on have their digests")


def _data(one: Logged) -> dict[str, Any]:
    return dict(one.event.data.raw)


def _rows(file: Path, policy: Policy) -> list[Logged]:
    rows = Fields(parse_object(_read(file), "the rows"), "the rows").items("items")
    if not rows:
        raise Unusable("malformed", "the bundle holds no rows")
    return [_logged(Fields(row, f"row {number}"), policy) for number, row in enumerate(rows, 1)]


def _logged(row: Fields, policy: Policy) -> Logged:
    judged = {name: row.raw.get(name) for name in ("entry", "payload")}
    leaf = read_leaf({**judged, "index": "0", "proof": []}, row.what)
    check_bytes(leaf)
    head = read_proof(row.text("proof")).verify(canonical(dict(leaf.entry.raw)), policy)
    if head.tree != leaf.tree:
        raise Refuted("wrong-tree", f"{row.what}: {leaf.subject} does not belong in the tree {head.tree}")
    return Logged(leaf, read_event(leaf))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(BYTES_MAX + 1)
    except OSError as broken:
        raise Unusable("unreadable", f"{file.name} cannot be read: {broken.strerror}") from broken
    if len(content) > BYTES_MAX:
        raise Unusable("too-large", f"{file.name} holds more than {BYTES_MAX:,} bytes")
    return content
