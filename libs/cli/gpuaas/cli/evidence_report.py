"""How a release stands, to be read on paper. One law: one file, nothing from elsewhere, every digest in full."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any, Final

_PAGE: Final = Template(
    """<!doctype html><html lang="en"><meta charset="utf-8"><title>$title</title><style>
body{font:11pt/1.4 Georgia,serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#111}
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{border:1px solid #777;padding:.25rem .5rem;
text-align:left;vertical-align:top}code{font:7.5pt monospace;overflow-wrap:anywhere}tr{break-inside:avoid}
thead{display:table-header-group}h2{break-after:avoid}.small{font-size:8.5pt}.small td{padding:.1rem .4rem}
.kept{display:block;font-size:8.5pt;color:#333}td:nth-child(2){white-space:nowrap}
.satisfied::before{content:"✓ "}.violated::before{content:"✗ "}.unknown::before{content:"? "}
.waived::before{content:"! "}
@media print{body{margin:0;max-width:none;font-size:9.5pt}@page{margin:15mm}}</style>
<h1>$title</h1><p>Verdict in <b>$profile</b>: <b>$verdict</b>, judged $judged_at: $counted.<br>Root digest:
<code>$subject</code></p>
<h2>Requirements</h2><table><thead><tr><th>Requirement<th>Stands<th>Why, and the bytes behind
it</thead>$requirements</table>
<h2>Waivers</h2><table><thead><tr><th>Waiver<th>Requirement<th>Asked by<th>Approved
by<th>Until<th>Reason</thead>$waivers</table>
<h2>Decisions</h2><table><thead><tr><th>Gate<th>Verdict<th>When<th>Inputs</thead>$decisions</table>
<h2>Revocations</h2><table><thead><tr><th>Gate<th>When<th>Cause</thead>$revocations</table>
<h2>Components</h2><table class="small"><thead><tr><th>Name<th>Kind<th>SHA-256</thead>$components</table></html>
"""
)
STANDINGS: Final = ("satisfied", "waived", "unknown", "violated")
BUILT_IN: Final = "demanded of every gate"
"""Said of a requirement that nobody has to publish."""


def counted(requirements: list[dict[str, Any]]) -> str:
    """At a glance: how many stand how, such as `5 satisfied, 0 waived, 2 unknown, 0 violated`."""
    stand = [each["standing"] for each in requirements]
    return ", ".join(f"{stand.count(one)} {one}" for one in STANDINGS)


def as_html(told: dict[str, Any]) -> str:
    """The status (`GET /v1/releases/…/status`) as one HTML page with rules for print."""
    release = told["release"] or {"name": "a release that nobody registered", "components": []}
    required = [
        (
            f"{each['requirement_id']}: {each['title'] or BUILT_IN}",
            (each["standing"], each["standing"]),
            _Because(each["why"], _kept(each)),
        )
        for each in told["requirements"]
    ]
    waivers = [
        (
            each["waiver_id"] + (" (withdrawn)" if each["withdrawn"] else ""),
            each["requirement_id"],
            each["requested_by"],
            ", ".join(one["approved_by"] for one in each["approvals"]),
            each["expires_at"],
            each["reason"],
        )
        for each in told["waivers"]
    ]
    decided = [(one["gate_id"], one["verdict"], one["decided_at"], [one["inputs_sha256"]]) for one in told["decisions"]]
    return _PAGE.substitute(
        title=escape(f"Evidence for {release['name']}"),
        profile=escape(told["profile"]),
        verdict=escape(told["verdict"]),
        judged_at=escape(told["judged_at"]),
        subject=escape(told["subject_sha256"]),
        counted=escape(counted(told["requirements"])),
        requirements=_rows(required),
        waivers=_rows(waivers),
        decisions=_rows(decided),
        revocations=_rows([(one["gate_id"], one["revoked_at"], one["cause"]) for one in told["revocations"]]),
        components=_rows([(one["name"], one["kind"], [one["sha256"]]) for one in release["components"]]),
    )


@dataclass(frozen=True, slots=True)
class _Because:
    """A reason, and what it rests on: label and digest."""

    why: str
    kept: list[tuple[str, str]]


def _kept(each: dict[str, Any]) -> list[tuple[str, str]]:
    signed = [("signed statement", each["statement_sha256"])] if each["statement_sha256"] else []
    files = [
        (f"{one['name']}, {one['media_type']}, {one['size_bytes']:,} bytes", one["sha256"]) for one in each["artefacts"]
    ]
    return signed + files


def _rows(rows: list[Any]) -> str:
    return "".join(f"<tr>{''.join(_cell(value) for value in row)}" for row in rows) or "<tr><td>none"


def _cell(value: Any) -> str:
    """Text; a list of digests; a reason; or (text, class)."""
    match value:
        case _Because():
            kept = [f'<span class="kept">{escape(label)}: {_digest(sha256)}</span>' for label, sha256 in value.kept]
            return f"<td>{escape(value.why)}{''.join(kept)}"
        case list():
            return f"<td>{'<br>'.join(_digest(one) for one in value if one)}"
        case (text, kind):
            return f'<td class="{escape(kind)}">{escape(text)}'
        case _:
            return f"<td>{escape(str(value))}"


def _digest(sha256: str) -> str:
    return f'<code title="/v1/artefacts/{escape(sha256)}">{escape(sha256)}</code>'
