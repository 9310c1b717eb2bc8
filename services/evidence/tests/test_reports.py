"""Reports read by our own parsers. One law: what a report says about itself is not believed."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from claims_made import SPECIMENS, assertion
from gpuaas.evidence.domain.readback import compare_with_fresh
from gpuaas.evidence.domain.rederivation import DERIVABLE_BYTES_MAX, Underivable, document_in
from gpuaas.evidence.domain.specimens import Specimens


def read(media_type: str, document: Any) -> Any:
    return document_in(media_type, document if isinstance(document, bytes) else json.dumps(document).encode())


def test_coverage_is_counted_line_by_line() -> None:
    report = b"""<coverage line-rate="1"><packages><package><classes><class><methods><method><lines><line hits="9"/>
      </lines></method></methods><lines><line hits="1"/><line hits="0"/><line hits="3"/></lines></class></classes>
      </package></packages></coverage>"""
    found = read("application/x-cobertura+xml", report)
    assert found == {"lines": 3, "covered": 2, "rate": "0.6666"}


def test_sarif_results_are_counted_by_level_and_a_run_that_broke_off_is_none() -> None:
    results: list[dict[str, Any]] = [{"level": "error"}, {}, {"level": "error", "suppressions": [{}]}, {"kind": "pass"}]
    found = read("application/sarif+json", {"runs": [{"results": results}]})
    assert (found["errors"], found["warnings"], found["suppressed"], found["results"]) == (1, 1, 1, 4)
    broken = {"runs": [{"results": [], "invocations": [{"executionSuccessful": False}]}]}
    with pytest.raises(Underivable, match="not successful"):
        read("application/sarif+json", broken)


def test_a_bill_of_materials_without_components_proves_nothing() -> None:
    found = read("application/vnd.cyclonedx+json", {"bomFormat": "CycloneDX", "components": [{"version": "1"}]})
    assert (found["components"], found["with_version"], found["with_purl"]) == (1, 1, 0)
    with pytest.raises(Underivable, match="no component"):
        read("application/vnd.cyclonedx+json", {"bomFormat": "CycloneDX", "components": []})


def test_a_dependency_that_was_skipped_was_not_audited() -> None:
    report = {"dependencies": [{"name": "a", "vulns": []}, {"name": "b", "skip_reason": "no network"}]}
    found = read("application/vnd.pip-audit+json", report)
    assert (found["audited"], found["skipped"], found["vulnerable"]) == (1, 1, 0)
    with pytest.raises(Underivable, match="no dependency was audited"):
        read("application/vnd.pip-audit+json", {"dependencies": report["dependencies"][1:]})


def test_bench_rows_have_names_of_their_own() -> None:
    found = read(
        "application/vnd.gpuaas.bench+json", [{"name": "x", "value": 1, "ratio": 2, "met": False}, {"name": "y"}]
    )
    assert (found["rows"], found["with_figure"], found["missed"]) == (2, 1, 1)
    with pytest.raises(Underivable, match="name of its own"):
        read("application/vnd.gpuaas.bench+json", {"rows": [{"name": "x"}, {"name": "x"}]})


def api(**operation: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": {"/v1/a": {"get": {"responses": {"200": {}}} | operation}}}


@pytest.mark.parametrize(
    ("before", "after", "breaking"),
    [
        (api(), api(), 0),
        (api(), {"openapi": "3.1.0", "paths": {}}, 1),
        (api(), api(responses={"201": {}}), 1),
        (api(), api(parameters=[{"in": "query", "name": "q", "required": True}]), 1),
        (api(), api(parameters=[{"in": "query", "name": "q"}]), 0),
    ],
)
def test_interfaces_are_compared_by_us(before: Any, after: Any, breaking: int) -> None:
    found = read("application/vnd.gpuaas.interface-diff+json", {"before": before, "after": after})
    assert found["breaking"] == breaking


def test_a_message_that_lost_a_field_is_narrower() -> None:
    def messages(*fields: str) -> dict[str, Any]:
        payload = {"type": "object", "properties": {name: {"type": "string"} for name in fields}}
        return {"asyncapi": "3.0.0", "components": {"messages": {"m": {"payload": payload}}}}

    both = {"before": messages("a", "b"), "after": messages("a", "c")}
    assert read("application/vnd.gpuaas.interface-diff+json", both)["narrowed"] == 1


def test_a_packed_report_is_opened_and_a_bomb_is_not() -> None:
    assert read("application/json", gzip.compress(b'{"a": 1}')) == {"a": 1}
    with pytest.raises(Underivable, match="holds more than"):
        read("application/json", gzip.compress(b" " * (DERIVABLE_BYTES_MAX + 1)))
    with pytest.raises(Underivable, match="cut off"):
        read("application/json", gzip.compress(b'{"a": 1}')[:-4])


@pytest.mark.parametrize(
    ("fresh", "outcome"),
    [
        ({"gpu_hours_error": 0}, "confirmed"),
        ({"gpu_hours_error": 1}, "contradicted"),
        ({"gpu_hours_error": "none"}, "contradicted"),
        ({}, "contradicted"),
    ],
)
def test_what_is_made_anew_must_still_satisfy_the_requirement(fresh: dict[str, Any], outcome: str) -> None:
    specimens: Specimens = SPECIMENS
    claim = specimens.submitted(assertion(), b"statement")
    made = {"run.json": json.dumps(fresh).encode()}
    assert compare_with_fresh("R3", claim, made, "gpu_hours_error == 0").outcome == outcome
    assert compare_with_fresh("R3", claim, {}, "gpu_hours_error == 0").outcome == "unreadable"
