"""The requirement matrix and the printed report. One law: what is weaker is named, and what is printed is escaped."""

from __future__ import annotations

from typing import Any

from gpuaas.cli.evidence_matrix import differences, matrix
from gpuaas.cli.evidence_report import as_html
from gpuaas.evidence.domain.predicate import read_predicate


def test_every_profile_has_requirements_and_every_predicate_is_taken_by_the_service() -> None:
    required = matrix()
    assert {profile for one in required for profile in one["profiles"]} == {
        "kind",
        "dev",
        "demo",
        "staging",
        "production",
    }
    for one in required:
        read_predicate(one["predicate"])


def test_what_is_weaker_is_named_requirement_by_requirement() -> None:
    found = differences(matrix(), "staging", "production")
    live = [one for one in found if one["requirement_id"] == "live-state"]
    assert [(one["what"], one["staging"], one["production"]) for one in live] == [
        ("max_age_s", 3_600, 900),
        ("waivable", True, False),
    ]
    assert {one["what"] for one in differences(matrix(), "kind", "dev")} == {"required"}
    assert differences(matrix(), "demo", "demo") == []


def test_a_report_stands_alone_and_escapes_what_people_wrote() -> None:
    status: dict[str, Any] = {
        "subject_sha256": "ab" * 32,
        "profile": "dev",
        "verdict": "unknown",
        "judged_at": "2026-08-05T12:00:00.000000Z",
        "release": {"name": "<script>", "components": [{"name": "a", "kind": "wheel", "sha256": "cd" * 32}]},
        "requirements": [
            {
                "requirement_id": "walls",
                "title": "The walls & more",
                "standing": "unknown",
                "why": "no-claim: nobody has claimed this",
                "statement_sha256": "ef" * 32,
                "artefacts": [{"name": "<junit>", "media_type": "text/xml", "size_bytes": 1_024, "sha256": "12" * 32}],
            }
        ],
        "waivers": [],
        "decisions": [],
        "revocations": [],
    }
    page = as_html(status)
    assert "<script" not in page
    assert "The walls &amp; more" in page
    assert "0 satisfied, 0 waived, 1 unknown, 0 violated" in page
    assert "&lt;junit&gt;, text/xml, 1,024 bytes" in page
    assert "ef" * 32 in page
    assert "12" * 32 in page
    assert "cd" * 32 in page
    assert "http" not in page
