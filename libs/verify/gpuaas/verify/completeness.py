"""Nothing was left out of a judgement. One law: what the signed tree holds up to the decision's position is all
looked at.

Two steps: every evidence record that the mirrored platform tree lists is among the bundle's rows; and what the inputs
quote is exactly what those records amount to at the decision's log position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gpuaas.verify.fields import Fields
from gpuaas.verify.mirrors import entries_in, verify_mirror
from gpuaas.verify.policy import Policy
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.strict_json import parse_object

REQUIREMENT: Final = "gpuaas.evidence.requirement-published.v1"
RELEASE: Final = "gpuaas.evidence.release-registered.v1"
OPENED: Final = "gpuaas.evidence.claim-opened.v1"
ABANDONED: Final = "gpuaas.evidence.claim-abandoned.v1"
SUBMITTED: Final = "gpuaas.evidence.claim-submitted.v1"
READ_BACK: Final = "gpuaas.evidence.claim-read-back.v1"
WAIVER: Final = "gpuaas.evidence.waiver-requested.v1"
APPROVED: Final = "gpuaas.evidence.waiver-approved.v1"
WITHDRAWN: Final = "gpuaas.evidence.waiver-withdrawn.v1"
CONTROLS: Final = "gpuaas.evidence.controls-run.v1"
REVOKED: Final = "gpuaas.evidence.gate-revoked.v1"
MOVES_A_VERDICT: Final = frozenset(
    {REQUIREMENT, RELEASE, OPENED, ABANDONED, SUBMITTED, READ_BACK, WAIVER, APPROVED, WITHDRAWN, CONTROLS}
)

Record = tuple[int, str, Mapping[str, Any]]
"""Position, type and data of a logged event."""


def check_tree(folder: Path, policy: Policy, end: int, gate: str, rows: Mapping[int, str]) -> int:
    """How many records the tree in `folder` lists up to `end`; all of them are among `rows`, and so is whatever
    `gate` took back since.

    Args:
        gate: subject of the gate's events.
        rows: position → SHA-256 of the event's bytes, of the bundle's rows.

    Raises:
        Refuted: the tree is not the signed one, ends too early, or lists a record that the bundle lacks.
    """
    report = verify_mirror(folder, policy)
    if report.reason:
        kind = Refuted if report.verdict == "refuted" else Unusable
        raise kind(report.reason, f"the tree: {report.detail}")
    count = last = 0
    for number, content in enumerate(_all_entries(folder, int(report.facts["size"]))):
        entry = Fields(parse_object(content, f"entry {number}"), f"entry {number}")
        last = max(last, entry.int64("position"))
        before = entry.raw.get("type") in MOVES_A_VERDICT and entry.int64("position") <= end
        if not before and (entry.raw.get("type"), entry.raw.get("subject")) != (REVOKED, gate):
            continue
        count += before
        if rows.get(entry.int64("position")) != entry.text("sha256"):
            what = f"{entry.text('type')} at position {entry.int64('position')}"
            raise Refuted("record-left-out", f"the log holds a {what} that the bundle does not show")
    if last < end:
        raise Refuted("tree-too-short", f"the tree ends at position {last}, the decision looked up to {end}")
    return count


def check_amount(inputs: Mapping[str, Any], records: Iterable[Record]) -> None:
    """The inputs quote what `records` amount to at their log position, and nothing less.

    Raises:
        Refuted: names what was left out or is older than what the log holds.
    """
    end, subject, profile = int(inputs["log_position"]), inputs["subject_sha256"], inputs["profile"]
    known = sorted((one for one in records if one[0] <= end), key=lambda one: one[0])
    required = _newest(known, REQUIREMENT, "requirement_id")
    asked = {name: position for name, (position, data) in required.items() if profile in data["profiles"]}
    quoted = {one["published"]["requirement_id"]: int(one["position"]) for one in inputs["requirements"]}
    _same("requirements", asked, quoted)
    claims = _claims(known, subject, asked)
    _same("abandoned claims", _abandoned(known, inputs, asked), _quoted_abandoned(inputs))
    _same("claims", claims, {one["claim"]["claim_id"]: int(one["position"]) for one in inputs["claims"]})
    opened = {data["claim_id"]: position for position, kind, data in known if kind == OPENED}
    _same(
        "openings",
        {name: opened.get(name, 0) for name in claims},
        {one["claim"]["claim_id"]: int(one["opened_position"]) for one in inputs["claims"]},
    )
    read = [position for position, kind, data in known if kind == READ_BACK and data["claim_id"] in claims]
    _same("readbacks", dict.fromkeys(read, 0), {int(one["position"]): 0 for one in inputs["readbacks"]})
    _same(
        "waivers",
        _waivers(known, subject, profile),
        {
            one["requested"]["waiver_id"]: (int(one["position"]), len(one["approvals"]), one["withdrawn"])
            for one in inputs["waivers"]
        },
    )
    runs = [position for position, kind, _ in known if kind == CONTROLS]
    controls = inputs.get("controls")
    _same("control runs", runs[-1:], [int(controls["position"])] if controls else [])


def _claims(known: Iterable[Record], subject: str, asked: Mapping[str, int]) -> dict[str, int]:
    """Every claim about the subject, and for each requirement the newest about anything else."""
    about: dict[str, int] = {}
    elsewhere: dict[str, tuple[str, int]] = {}
    for position, kind, data in known:
        if kind != SUBMITTED or data["requirement_id"] not in asked:
            continue
        if data["subject_sha256"] == subject:
            about[data["claim_id"]] = position
        else:
            elsewhere[data["requirement_id"]] = (data["claim_id"], position)
    return about | dict(elsewhere.values())


def _abandoned(known: Sequence[Record], inputs: Mapping[str, Any], asked: Mapping[str, int]) -> dict[str, int]:
    """Claim id → where it was given up, of the runs about the subject."""
    mine = {
        data["claim_id"]
        for _, kind, data in known
        if kind == OPENED and data["subject_sha256"] == inputs["subject_sha256"] and data["requirement_id"] in asked
    }
    ended = [(data["claim_id"], position) for position, kind, data in known if kind == ABANDONED]
    return {name: position for name, position in ended if name in mine}


def _quoted_abandoned(inputs: Mapping[str, Any]) -> dict[str, int]:
    return {one["said"]["claim_id"]: int(one["position"]) for one in inputs.get("abandoned", ())}


def _waivers(known: Iterable[Record], subject: str, profile: str) -> dict[str, tuple[int, int, bool]]:
    """Waiver id → position of the last word about it, approvals, whether it was withdrawn."""
    found: dict[str, tuple[int, int, bool]] = {}
    for position, kind, data in known:
        name = data.get("waiver_id", "")
        if kind == WAIVER and data["subject_sha256"] == subject and data["profile"] == profile:
            found[name] = (position, 0, False)
        elif name in found and kind in (APPROVED, WITHDRAWN):
            _, approvals, withdrawn = found[name]
            found[name] = (position, approvals + (kind == APPROVED), withdrawn or kind == WITHDRAWN)
    return found


def _newest(known: Iterable[Record], wanted: str, key: str) -> dict[str, tuple[int, Mapping[str, Any]]]:
    return {data[key]: (position, data) for position, kind, data in known if kind == wanted}


def _same(what: str, logged: Any, quoted: Any) -> None:
    if logged != quoted:
        raise Refuted("left-out", f"the {what} in the inputs are not those that the log holds at that position")


def _all_entries(folder: Path, size: int) -> Iterator[bytes]:
    found = 0
    for entry in entries_in(folder, size):
        found += 1
        yield entry
    if found != size:
        raise Unusable("malformed", f"the tree has entries for {found} of its {size} leaves")
