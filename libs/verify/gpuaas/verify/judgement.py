"""A gate's judgement, made again. One law: the same inputs give the same words, from code that shares nothing with
the service.

Editions 2 and 3 of the rules: 3 also tells of runs that gave nothing, and wants the controls whole. `why` texts are
compared byte for byte, so each sentence here is spelt as the service spells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gpuaas.verify import predicates
from gpuaas.verify.controls import controls_found

RULES: Final = frozenset({2, 3})
WHY_CHARS_MAX: Final = 1_000
PEOPLE_MIN: Final = 2
SHOWN_CHARS_MAX: Final = 80
LEVELS: Final = ("R0", "R1", "R2", "R3", "R4")
STRICT_PROFILES: Final = frozenset({"staging", "production"})
OPENED_WITH: Final = ("requirement_id", "subject_sha256", "profile", "procedure", "procedure_id", "scope")

_LISTED: Final = ("requirements", "claims", "abandoned", "readbacks", "waivers")

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one claim says about one requirement."""

    verdict: str
    position: int
    why: str


def judge(inputs: Document) -> dict[str, Any]:
    """`verdict`, `reasons` and `claim_ids` as they follow from `inputs`.

    Raises:
        KeyError, TypeError, ValueError: not inputs of this edition.
    """
    required = [one for one in inputs["requirements"] if _is_required(one["published"], inputs)]
    about = [one for one in inputs["claims"] if _is_about(one["claim"], inputs)]
    reasons = [_judge_requirement(one, about, inputs) for one in required]
    if not required:
        why = f"no-requirement: nothing is required in the profile {inputs['profile']}, and an empty set proves nothing"
        reasons = [_reason("nothing-required", "unknown", why)]
    reasons += [*_subject(inputs), *_log(inputs), _controls(inputs)]
    order = ("fail", "unknown", "pass")
    return {
        "verdict": min((reason["verdict"] for reason in reasons), key=order.index),
        "reasons": reasons,
        "claim_ids": [one["claim"]["claim_id"] for one in about],
    }


def _reason(name: str, verdict: str, why: str, waiver_id: str | None = None) -> dict[str, Any]:
    said = {"requirement_id": name, "verdict": verdict, "why": why[:WHY_CHARS_MAX]}
    return said if waiver_id is None else {**said, "waiver_id": waiver_id}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _is_required(said: Document, inputs: Document) -> bool:
    return inputs["profile"] in said["profiles"] and (not inputs["kinds"] or said["kind"] in inputs["kinds"])


def _is_about(claim: Document, inputs: Document) -> bool:
    return bool(claim["subject_sha256"] == inputs["subject_sha256"] and claim["profile"] == inputs["profile"])


def _demand(said: Document, profile: str) -> dict[str, Any]:
    other: Document = next((one for one in said.get("strengths", ()) if one["profile"] == profile), {})
    general = {name: said[name] for name in ("predicate", "minimum_readback", "max_age_s")}
    return {"waivable": said.get("waivable", True), **general, **other}


def _judge_requirement(required: Document, about: Sequence[Document], inputs: Document) -> dict[str, Any]:
    name = required["published"]["requirement_id"]
    finding = _last_word(required, inputs)
    if finding.verdict == "pass":
        return _reason(name, "pass", finding.why)
    reason = _reason(name, finding.verdict, finding.why)
    mine = [one for one in about if one["claim"]["requirement_id"] == name]
    for waiver in sorted(inputs["waivers"], key=lambda one: int(one["position"])):
        said = waiver["requested"]
        if said["requirement_id"] != name or not _is_about(said, inputs):
            continue
        people = {said["requested_by"], *(one["approved_by"] for one in waiver["approvals"])}
        wrong = _flaw(waiver, required["published"], people, mine, inputs)
        if wrong is None and finding.why.startswith("contradicted:"):
            wrong = "waiver-of-a-lie"
        if wrong is None:
            until, who = _moment(said["expires_at"]), ", ".join(sorted(people))
            why = f"waived: {said['waiver_id']} until {until} by {who}; without it {finding.why}"
            return _reason(name, "pass", why, said["waiver_id"])
        reason = _reason(name, finding.verdict, f"{wrong}: {said['waiver_id']} does not count; {finding.why}")
    return reason


def _flaw(
    waiver: Document, published: Document, people: set[str], mine: Sequence[Document], inputs: Document
) -> str | None:
    said, now = waiver["requested"], _moment(inputs["now"])
    kinds = {said["requested_by_kind"], *(one["approved_by_kind"] for one in waiver["approvals"])}
    checks = {
        "waiver-not-allowed": not _demand(published, inputs["profile"])["waivable"],
        "waiver-withdrawn": waiver["withdrawn"],
        "waiver-older-requirement": said["requirement_version"] != published["version"],
        "waiver-expired": _moment(said["expires_at"]) <= now,
        "waiver-from-the-future": _moment(said["requested_at"]) > now,
        "waiver-one-person": len(people) < PEOPLE_MIN,
        "waiver-self-approved": bool(people & {one["submitted_by"] for one in mine}),
        "waiver-not-people": inputs["profile"] in STRICT_PROFILES and kinds != {"user"},
    }
    return next((word for word, found in checks.items() if found), None)


def _last_word(required: Document, inputs: Document) -> Finding:
    name = required["published"]["requirement_id"]
    candidates = [one for one in inputs["claims"] if one["claim"]["requirement_id"] == name]
    about = [one for one in candidates if _is_about(one["claim"], inputs)]
    if not about:
        return _gave_nothing(name, inputs) or _nothing_about(candidates, inputs)
    ordered = sorted(about, key=lambda one: int(one["position"]))
    findings = [_judge_claim(one, required, inputs) for one in ordered]
    passes = [one for one in findings if one.verdict == "pass"]
    fails = [one for one in findings if one.verdict == "fail"]
    newest_pass = max(passes, key=lambda one: one.position, default=None)
    newest_fail = max(fails, key=lambda one: one.position, default=None)
    if newest_fail is not None and (newest_pass is None or newest_fail.position > newest_pass.position):
        return newest_fail
    return newest_pass or findings[-1]


def _gave_nothing(name: str, inputs: Document) -> Finding | None:
    """The newest run about this requirement that gave nothing; editions before 3 know none."""
    mine = [
        one
        for one in inputs.get("abandoned", ())
        if one["opened"]["requirement_id"] == name and _is_about(one["opened"], inputs)
    ]
    if not mine:
        return None
    said = max(mine, key=lambda one: int(one["position"]))["said"]
    return Finding("unknown", 0, f"gave-nothing: {said['claim_id']} was run and gave nothing: {said['reason']}")


def _nothing_about(candidates: Sequence[Document], inputs: Document) -> Finding:
    if not candidates:
        return Finding("unknown", 0, "no-claim: nobody has claimed this")
    same = [one for one in candidates if one["claim"]["subject_sha256"] == inputs["subject_sha256"]]
    newest = max(same or candidates, key=lambda one: int(one["position"]))["claim"]
    if not same:
        return Finding("unknown", 0, f"wrong-subject: {newest['claim_id']} is about {newest['subject_sha256']}")
    return Finding("unknown", 0, f"wrong-profile: {newest['claim_id']} is for the profile {newest['profile']}")


def _judge_claim(one: Document, required: Document, inputs: Document) -> Finding:
    demand = _demand(required["published"], inputs["profile"])
    found = sorted(inputs["readbacks"], key=lambda each: int(each["position"]))
    read_backs = [each for each in found if each["readback"]["claim_id"] == one["claim"]["claim_id"]]
    return (
        _no(one, demand, read_backs)
        or _not_proven(one, required, _moment(inputs["now"]))
        or _not_as_opened(one, required)
        or _read_back(one, demand, read_backs, _moment(inputs["now"]))
    )


def _no(one: Document, demand: Document, read_backs: Sequence[Document]) -> Finding | None:
    claim, position, name = one["claim"], int(one["position"]), one["claim"]["claim_id"]
    for found in read_backs:
        read = found["readback"]
        if read["outcome"] == "contradicted":
            why = f"contradicted: {name} at {read['level']}: {read['detail']}"
            return Finding("fail", int(found["position"]), why)
    if claim["result"] != "passed":
        return Finding("fail", position, f"failed: {name} says that it {claim['result']}")
    facts, demanded = {fact["name"]: fact["value"] for fact in claim["facts"]}, demand["predicate"]
    try:
        named = sorted(predicates.facts_named(demanded) & facts.keys())
        shown = ", ".join(f"{word} = {facts[word][:SHOWN_CHARS_MAX]}" for word in named) or "no fact of it"
        if predicates.holds(demanded, facts):
            return None
    except predicates.Unreadable:
        return Finding("fail", position, f"predicate-error: for {name}, {demanded} cannot be read")
    except predicates.NoValue:
        return Finding("fail", position, f"predicate-error: for {name}, {demanded} has no value with {shown}")
    return Finding("fail", position, f"predicate-not-met: {name} gives {shown}; {demanded} is demanded")


def _not_proven(one: Document, required: Document, now: datetime) -> Finding | None:
    claim, name, fault = one["claim"], one["claim"]["claim_id"], one.get("fault")
    version, submitted = required["published"]["version"], _moment(one["submitted_at"])
    expires, missing = _moment(claim["expires_at"]), one["missing"]
    checks = [
        (fault is not None, f"{fault['why']}: {name}: {fault['detail']}" if fault else ""),
        (not claim["artefacts"], f"no-artefact: {name} rests on nothing"),
        (bool(missing), f"missing-artefact: {name} rests on {', '.join(missing)}, not in the store"),
        (
            int(one["position"]) < int(required["position"]),
            f"older-requirement: {name} came before version {version}",
        ),
        (submitted > now, f"from-the-future: {name} is dated {submitted}, after now"),
        (expires <= now, f"expired: {name} counted until {expires}"),
    ]
    return next((Finding("unknown", int(one["position"]), said) for found, said in checks if found), None)


def _not_as_opened(one: Document, required: Document) -> Finding | None:
    said, before, name, position = one["claim"], one.get("opened"), one["claim"]["claim_id"], int(one["position"])
    if before is None:
        return Finding("unknown", position, f"scope-not-fixed: {name} was not opened before its run")
    changed = [field for field in OPENED_WITH if said.get(field) != before.get(field)]
    if changed:
        return Finding("unknown", position, f"scope-changed: {name} was opened with another {changed[0]}")
    opened = int(one["opened_position"])
    if opened >= position or _moment(before["opened_at"]) > _moment(one["submitted_at"]):
        return Finding("unknown", position, f"scope-not-fixed: {name} was opened after it was submitted")
    if opened < int(required["position"]):
        why = f"older-requirement: {name} was opened before version {required['published']['version']}"
        return Finding("unknown", position, why)
    covers = required["published"].get("covers", ())
    if left_out := [item for item in covers if item not in said["scope"]]:
        why = f"not-covered: {name} covers {len(covers) - len(left_out)} of {len(covers)}, not {left_out[0]}"
        return Finding("unknown", position, why)
    return None


def _read_back(one: Document, demand: Document, read_backs: Sequence[Document], now: datetime) -> Finding:
    name, position, minimum = one["claim"]["claim_id"], int(one["position"]), demand["minimum_readback"]
    readings = _readings(one, minimum, read_backs)
    limit = max(_depth(minimum), 1)
    tried = [found["readback"] for found in read_backs if _depth(found["readback"]["level"]) <= limit]
    if not readings and tried and tried[-1]["outcome"] == "unreadable":
        why = f"unreadable: {name} at {tried[-1]['level']}: {tried[-1]['detail']}"
        return Finding("unknown", position, why)
    if not readings:
        why = f"below-readback-level: {name} was not confirmed at {minimum} or above"
        return Finding("unknown", position, why)
    read_at, max_age_s = max(readings), demand["max_age_s"]
    if read_at > now:
        return Finding("unknown", position, f"from-the-future: {name} was read back at {read_at}, after now")
    if now - read_at > timedelta(seconds=max_age_s):
        why = f"stale: {name} was last read back at {read_at}, more than {max_age_s} s ago"
        return Finding("unknown", position, why)
    levels = [found["readback"]["level"] for found in read_backs if found["readback"]["outcome"] == "confirmed"]
    deepest = max(levels, key=_depth, default="R0")
    age_s = int((now - read_at).total_seconds())
    return Finding("pass", position, f"shown: {name} confirmed at {deepest}, {age_s} s ago")


def _readings(one: Document, minimum: str, read_backs: Sequence[Document]) -> list[datetime]:
    read = [("R0", int(one["position"]), _moment(one["submitted_at"]))]
    lost: list[tuple[int, int]] = []
    for found in read_backs:
        said, position = found["readback"], int(found["position"])
        if said["outcome"] == "confirmed":
            read.append((said["level"], position, _moment(said["read_at"])))
        elif said["outcome"] == "unreadable":
            lost.append((position, _depth(said["level"])))
    return [
        read_at
        for level, position, read_at in read
        if _depth(level) >= _depth(minimum)
        and not any(later > position and depth <= max(_depth(level), 1) for later, depth in lost)
    ]


def _depth(level: str) -> int:
    return LEVELS.index(level)


def _subject(inputs: Document) -> list[dict[str, Any]]:
    subject, release = inputs["subject_sha256"], inputs.get("release")
    if release is not None and release["registered"]["root_sha256"] == subject:
        return []
    why = f"unknown-subject: no release is registered with the root {subject}"
    return [_reason("known-subject", "unknown", why)]


def _log(inputs: Document) -> list[dict[str, Any]]:
    parts = [one for name in _LISTED for one in inputs.get(name, ())]
    parts += [one for one in (inputs.get("release"), inputs.get("controls")) if one is not None]
    newest, end = max([0, *(int(one["position"]) for one in parts)]), int(inputs["log_position"])
    if newest <= end:
        return []
    return [_reason("whole-log", "unknown", f"truncated-log: the log ends at {end}, before evidence at {newest}")]


def _controls(inputs: Document) -> dict[str, Any]:
    verdict, why = controls_found(inputs)
    return _reason("negative-controls", verdict, why)
