"""Whether a gate was seen to say no. One law: a run of the negative controls that leaves one out shows nothing.

Spelt as the service spells it, from code that shares nothing with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

CONTROLS_MAX_AGE_S: Final = 86_400
DEMANDED_SINCE: Final = 3
"""The first edition of the rules in which a run has to show all of `DEMANDED`."""
DEMANDED: Final[Mapping[str, str]] = {
    "flipped byte in the statement": "statement-altered",
    "claim about another subject": "wrong-subject",
    "expired at this very instant": "expired",
    "claim of another profile": "wrong-profile",
    "unsigned statement": "unsigned",
    "statement of the wrong signer": "wrong-signer",
    "missing artefact": "missing-artefact",
    "skipped tests counted as passed": "contradicted",
    "nothing is required": "no-requirement",
    "9 of 10 covered": "not-covered",
    "claim older than the requirement": "older-requirement",
    "replayed decision": "replayed",
    "truncated log": "truncated-log",
    "duplicate key in the statement": "duplicate-key",
    "waiver of one person": "waiver-one-person",
}
"""Name of a poisoned package and the one word for which it has to be refused."""


def controls_found(inputs: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict on the newest run of the controls, and why."""
    if inputs.get("controls") is None:
        return "unknown", "controls-not-run: nobody has shown that this gate can say no"
    ran, now, edition = inputs["controls"]["ran"], datetime.fromisoformat(inputs["now"]), inputs["rules"]
    name, ran_at = ran["run_id"], datetime.fromisoformat(ran["ran_at"])
    if ran["rules"] != edition:
        return "unknown", f"controls-of-other-rules: {name} tried edition {ran['rules']}, this is {edition}"
    if wrong := [one for one in ran["controls"] if one["found"] != one["expected"]]:
        said = f"{wrong[0]['name']!r} was judged {wrong[0]['found']}, not {wrong[0]['expected']}"
        return "fail", f"control-not-refused: in {name} {said}"
    refused = {one["name"]: one["found"] for one in ran["controls"]}
    left_out = [one for one, word in DEMANDED.items() if refused.get(one) != word]
    if left_out and edition >= DEMANDED_SINCE:
        said = f"{name} shows {len(DEMANDED) - len(left_out)} of {len(DEMANDED)} that every gate demands"
        return "unknown", f"controls-incomplete: {said}, not {left_out[0]!r}"
    if ran_at > now:
        return "unknown", f"from-the-future: {name} is dated {ran_at}, after now"
    if now - ran_at > timedelta(seconds=CONTROLS_MAX_AGE_S):
        return "unknown", f"stale: {name} ran at {ran_at}, more than {CONTROLS_MAX_AGE_S} s ago"
    return "pass", f"shown: {name} refused {len(ran['controls'])} poisoned packages, each for its own reason"
