"""A gate's decision offline. One law: whatever is changed, left out or put in is refused for its own reason.

The vectors are real decisions about a release of this suite, as `gpuaas evidence export` writes them. `decision`: one
requirement shown, others unknown, by edition 2 of the rules. `decision-taken-back`: a pass by edition 3 that rested on
the live state, with what took it back.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpuaas.verify.completeness import check_amount
from gpuaas.verify.decisions import verify_decision
from gpuaas.verify.judgement import judge
from gpuaas.verify.main import main
from gpuaas.verify.policy import Policy, trusting
from gpuaas.verify.refusals import Refuted
from gpuaas.verify.statements import evidence_keys

VECTOR = Path(__file__).parent / "vectors" / "decision"
KEY = (VECTOR / "log.vkey").read_text("utf-8").strip()
POLICY: Policy = trusting(KEY)
KEYS = evidence_keys((VECTOR / "evidence.keys").read_text("utf-8").split())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(VECTOR, tmp_path / "decision"))


def test_a_real_decision_is_verified_with_nothing_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    report = verify_decision(VECTOR, POLICY, KEYS)
    assert (report.verdict, report.reason) == ("verified", "")
    assert [check.name for check in report.checks] == [
        "inclusion",
        "inputs",
        "records",
        "complete",
        "statements",
        "artefacts",
        "judgement",
    ]
    assert main(["decision", str(VECTOR), "--key", KEY]) == 0
    assert "VERIFIED" in capsys.readouterr().out


def test_a_pass_that_was_taken_back_says_so() -> None:
    folder = VECTOR.with_name("decision-taken-back")
    policy = trusting((folder / "log.vkey").read_text("utf-8").strip())
    keys = evidence_keys((folder / "evidence.keys").read_text("utf-8").split())
    report = verify_decision(folder, policy, keys)
    assert (report.verdict, report.facts["verdict"]) == ("verified", "pass"), report.as_text()
    assert "what-runs: failed" in report.facts["taken back"]


def test_what_took_a_pass_back_cannot_be_left_out(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(VECTOR.with_name("decision-taken-back"), tmp_path / "decision"))
    without("gate-revoked")(folder)
    report = verify_decision(folder, trusting((folder / "log.vkey").read_text("utf-8").strip()))
    assert report.reason == "record-left-out", report.as_text()


def rows_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "rows.json").read_text("utf-8"))["items"]
    return found


def keep(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "rows.json").write_text(json.dumps({"items": rows}), "utf-8")


def of_type(folder: Path, name: str) -> int:
    return next(number for number, row in enumerate(rows_of(folder)) if name in str(row["entry"]["type"]))


def without(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        rows = rows_of(folder)
        del rows[of_type(folder, name)]
        keep(folder, rows)

    return spoil


def other_inputs(folder: Path) -> None:
    inputs = folder / "inputs.json"
    inputs.write_bytes(inputs.read_bytes().replace(b'"passed"', b'"failed"', 1))


def other_payload(folder: Path) -> None:
    rows = rows_of(folder)
    payload = base64.b64decode(rows[0]["payload"]).replace(b'"verdict":"unknown"', b'"verdict":"pass"', 1)
    rows[0]["payload"] = base64.b64encode(payload).decode()
    keep(folder, rows)


def other_first(folder: Path) -> None:
    rows = rows_of(folder)
    keep(folder, [*rows[1:], rows[0]])


def other_proof(folder: Path) -> None:
    rows = rows_of(folder)
    rows[0]["proof"] = rows[1]["proof"]
    keep(folder, rows)


def other_leaf(folder: Path) -> None:
    [tile] = [file for file in (folder / "tree" / "tile" / "0").rglob("*") if file.is_file()]
    content = bytearray(tile.read_bytes())
    content[5] ^= 1
    tile.write_bytes(bytes(content))


def other_entry(folder: Path) -> None:
    [tile] = [file for file in (folder / "tree" / "tile" / "entries").rglob("*") if file.is_file()]
    tile.write_bytes(tile.read_bytes().replace(b"claim-submitted", b"claim-submittet", 1))


def statement_of(folder: Path) -> Path:
    row = rows_of(folder)[of_type(folder, "claim-read-back")]
    data = json.loads(base64.b64decode(row["payload"]))["data"]
    return folder / "artefacts" / str(data["statement_sha256"])


def without_statement(folder: Path) -> None:
    statement_of(folder).unlink()


def other_statement(folder: Path) -> None:
    place = statement_of(folder)
    place.write_bytes(place.read_bytes().replace(b"keyid", b"keyId"))


def without_report(folder: Path) -> None:
    inputs = json.loads((folder / "inputs.json").read_bytes())
    (folder / "artefacts" / inputs["claims"][0]["claim"]["artefacts"][0]["sha256"]).unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (other_inputs, "wrong-inputs"),
        (other_payload, "other-bytes"),
        (other_first, "other-event"),
        (other_proof, "not-included"),
        (without("claim-submitted"), "other-record"),
        (without("controls-run"), "other-record"),
        (other_entry, "wrong-entry"),
        (without_statement, "missing-artefact"),
        (other_statement, "other-bytes"),
        (without_report, "missing-artefact"),
        (other_leaf, "wrong-entry"),
    ],
)
def test_a_spoilt_bundle_is_refused_for_its_own_reason(
    bundle: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(bundle)
    report = verify_decision(bundle, POLICY, KEYS)
    assert report.reason == reason, report.as_text()


def test_records_signed_by_somebody_else_are_not_signed() -> None:
    stranger = evidence_keys(["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"])  # RFC 8032 §7.1
    assert verify_decision(VECTOR, POLICY, stranger).reason == "unsigned-record"


def test_without_a_key_for_records_signatures_are_not_claimed() -> None:
    assert verify_decision(VECTOR, POLICY).facts["signatures"].startswith("not checked")


def test_without_the_tree_completeness_is_not_claimed(bundle: Path) -> None:
    shutil.rmtree(bundle / "tree")
    report = verify_decision(bundle, POLICY)
    assert report.verdict == "verified"
    assert report.facts["complete"].startswith("not shown")


def test_a_key_of_somebody_else_proves_nothing(signer: Any) -> None:
    name = KEY.split("+", 1)[0]
    report = verify_decision(VECTOR, trusting(signer.vkey(name)))
    assert (report.verdict, report.reason) == ("refuted", "unsigned")


def records() -> list[tuple[int, str, dict[str, Any]]]:
    return [
        (int(row["entry"]["position"]), row["entry"]["type"], json.loads(base64.b64decode(row["payload"]))["data"])
        for row in rows_of(VECTOR)
    ]


@pytest.mark.parametrize("what", ["requirements", "claims", "readbacks"])
def test_inputs_that_leave_one_thing_out_are_not_what_the_log_amounts_to(what: str) -> None:
    inputs = json.loads((VECTOR / "inputs.json").read_bytes())
    check_amount(inputs, records())
    with pytest.raises(Refuted, match=what if what != "requirements" else "requirements|claims"):
        check_amount({**inputs, what: inputs[what][:-1]}, records())


def test_a_run_that_gave_nothing_cannot_be_passed_over() -> None:
    inputs = json.loads((VECTOR / "inputs.json").read_bytes())
    end, opened = int(inputs["log_position"]), inputs["claims"][0]["opened"]
    begun = (end - 1, "gpuaas.evidence.claim-opened.v1", {**opened, "claim_id": "another"})
    ended = (end, "gpuaas.evidence.claim-abandoned.v1", {"claim_id": "another", "reason": "no network"})
    with pytest.raises(Refuted, match="abandoned claims"):
        check_amount(inputs, [*records(), begun, ended])
    on_file = {"position": str(end), "opened": begun[2], "opened_position": str(end - 1), "said": ended[2]}
    check_amount({**inputs, "abandoned": [on_file]}, [*records(), begun, ended])


def test_the_newest_run_of_the_controls_cannot_be_passed_over() -> None:
    inputs = json.loads((VECTOR / "inputs.json").read_bytes())
    newer = (int(inputs["log_position"]), "gpuaas.evidence.controls-run.v1", inputs["controls"]["ran"])
    with pytest.raises(Refuted, match="control runs"):
        check_amount(inputs, [*records(), newer])


def test_a_judgement_made_again_is_a_function_of_its_inputs() -> None:
    inputs = json.loads((VECTOR / "inputs.json").read_bytes())
    assert judge(inputs) == judge(json.loads((VECTOR / "inputs.json").read_bytes()))
    lied = {**inputs["claims"][0], "claim": {**inputs["claims"][0]["claim"], "result": "failed"}}
    assert judge({**inputs, "claims": [lied, *inputs["claims"][1:]]})["verdict"] == "fail"
