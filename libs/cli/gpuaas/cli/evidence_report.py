"""How a release stands, to be read on paper. One law: one file, nothing from elsewhere, every digest in full."""

from __future__ import annotations

from html import escape
from string import Template
from typing import Any, Final

_PAGE: Final = Template(
    """<!doctype html><html lang="en"><meta charset="utf-8"><title>$title</title><style>
body{font:11pt/1.4 Georgia,serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#111}
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{border:1px solid #777;padding:.3rem .5rem;text-align:left;
vertical-align:top}code{font:8.5pt monospace;
overflow-wrap:anywhere}tr{break-inside:avoid}thead{display:table-header-group}
.satisfied::before{content:"✓ "}.violated::before{content:"✗ "}.unknown::before{content:"? "}
.waived::before{content:"! "}
@media print{body{margin:0;max-width:none;font-size:9.5pt}@page{margin:18mm}}</style>
<h1>$title</h1><p>Verdict in <b>$profile</b>: <b>$verdict</b>, judged $judged_at.<br>Root digest:
<code>$subject</code></p>
<h2>Requirements</h2><table><thead><tr><th>Requirement<th>Stands<th>Why<th>Bytes</thead>$requirements</table>
<h2>Waivers</h2><table><thead><tr><th>Waiver<th>Requirement<th>Asked by<th>Approved
by<th>Until<th>Reason</thead>$waivers</table>
<h2>Decisions</h2><table><thead><tr><th>Gate<th>Verdict<th>When<th>Inputs</thead>$decisions</table>
<h2>Revocations</h2><table><thead><tr><th>Gate<th>When<th>Cause</thead>$revocations</table>
<h2>Components</h2><table><thead><tr><th>Name<th>Kind<th>SHA-256</thead>$components</table></html>
"""
)


def as_html(told: dict[str, Any]) -> str:
    """The status (`GET /v1/releases/…/status`) as one HTML page with rules for print."""
    release = told["release"] or {"name": "a release that nobody registered", "components": []}
    required = [
        (
            f"{each['requirement_id']}: {each['title'] or ''}",
            (each["standing"], each["standing"]),
            each["why"],
            [each["statement_sha256"], *(one["sha256"] for one in each["artefacts"])],
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
        requirements=_rows(required),
        waivers=_rows(waivers),
        decisions=_rows(decided),
        revocations=_rows([(one["gate_id"], one["revoked_at"], one["cause"]) for one in told["revocations"]]),
        components=_rows([(one["name"], one["kind"], [one["sha256"]]) for one in release["components"]]),
    )


def _rows(rows: list[Any]) -> str:
    return "".join(f"<tr>{''.join(_cell(value) for value in row)}" for row in rows) or "<tr><td>none"


def _cell(value: Any) -> str:
    """Text; a list of digests; or (text, class)."""
    match value:
        case list():
            digests = [f'<code title="/v1/artefacts/{escape(one)}">{escape(one)}</code>' for one in value if one]
            return f"<td>{'<br>'.join(digests)}"
        case (text, kind):
            return f'<td class="{escape(kind)}">{escape(text)}'
        case _:
            return f"<td>{escape(str(value))}"
