"""Reports of scanners and benches in JSON. One law: results are counted one by one; no summary is believed."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from gpuaas.common.errors import Invalid
from gpuaas.evidence.domain.strict_json import read_json

LEVELS: Final = ("error", "warning", "note", "none")
"""SARIF 2.1.0 §3.27.10."""
FAILING_KINDS: Final = frozenset({"fail", "review", "open"})
"""SARIF 2.1.0 §3.27.9: kinds of result that are not good news; absent means fail."""


def read_sarif(data: bytes) -> dict[str, Any]:
    """A SARIF 2.1.0 log: runs, results, unsuppressed results by level (errors, warnings, notes), suppressed, tools.

    Raises:
        Invalid: not SARIF, no run, or a run whose tool says that it did not finish.
    """
    runs = _list(_object(read_json(data), "a SARIF log"), "runs")
    if not runs:
        raise Invalid("the log holds no run, so it proves nothing")
    counts = dict.fromkeys(LEVELS, 0)
    results = suppressed = 0
    for run in (_object(run, "a run") for run in runs):
        for called in _list(run, "invocations", optional=True):
            if _object(called, "an invocation").get("executionSuccessful") is not True:
                raise Invalid("a run of the tool was not successful, so it found nothing out")
        for found in (_object(one, "a result") for one in _list(run, "results")):
            results += 1
            if found.get("kind", "fail") not in FAILING_KINDS:
                continue
            if found.get("suppressions"):
                suppressed += 1
                continue
            counts[_level(found)] += 1
    return {
        "runs": len(runs),
        "results": results,
        "errors": counts["error"],
        "warnings": counts["warning"],
        "notes": counts["note"] + counts["none"],
        "suppressed": suppressed,
    }


def read_cyclonedx(data: bytes) -> dict[str, Any]:
    """A CycloneDX bill of materials: components, with_hash, with_version, spec_version, vulnerabilities, subject.

    Raises:
        Invalid: not CycloneDX, or without a component.
    """
    document = _object(read_json(data), "a bill of materials")
    if document.get("bomFormat") != "CycloneDX":
        raise Invalid("the document is not a CycloneDX bill of materials")
    components = [_object(one, "a component") for one in _list(document, "components")]
    if not components:
        raise Invalid("the bill of materials names no component, so it proves nothing")
    root = document.get("metadata", {})
    subject = root.get("component", {}) if isinstance(root, dict) else {}
    return {
        "components": len(components),
        "with_version": sum(isinstance(one.get("version"), str) for one in components),
        "with_hash": sum(bool(one.get("hashes") or one.get("externalReferences")) for one in components),
        "with_purl": sum(isinstance(one.get("purl"), str) for one in components),
        "vulnerabilities": len(_list(document, "vulnerabilities", optional=True)),
        "spec_version": str(document.get("specVersion", "")),
        "subject": str(subject.get("name", "")) if isinstance(subject, dict) else "",
    }


def read_bench(data: bytes) -> dict[str, Any]:
    """Bench rows (a list, or `{"rows": […]}`): rows, with_figure, with_baseline, missed (a target not reached),
    by_name.

    Raises:
        Invalid: no rows, two of one name, or a row without a name.
    """
    document = read_json(data)
    rows = document if isinstance(document, list) else _list(_object(document, "a bench report"), "rows")
    if not rows:
        raise Invalid("the report holds no row, so it proves nothing")
    by_name: dict[str, Any] = {}
    for row in (_object(row, "a row") for row in rows):
        name = row.get("name")
        if not isinstance(name, str) or name in by_name:
            raise Invalid("each row of a bench report has a name of its own")
        by_name[name] = row
    return {
        "rows": len(by_name),
        "with_figure": sum(isinstance(row.get("value"), int | Decimal) for row in by_name.values()),
        "with_baseline": sum(row.get("ratio") is not None for row in by_name.values()),
        "missed": sum(row.get("met") is False for row in by_name.values()),
        "by_name": by_name,
    }


def read_pip_audit(data: bytes) -> dict[str, int]:
    """A pip-audit report: dependencies, audited, skipped (not audited), vulnerable, vulnerabilities.

    Raises:
        Invalid: not such a report, or nothing was audited.
    """
    dependencies = [_object(one, "a dependency") for one in _list(_object(read_json(data), "a report"), "dependencies")]
    skipped = [one for one in dependencies if "skip_reason" in one or "vulns" not in one]
    audited = [_list(one, "vulns") for one in dependencies if one not in skipped]
    if not audited:
        raise Invalid("no dependency was audited, so it proves nothing")
    return {
        "dependencies": len(dependencies),
        "audited": len(audited),
        "skipped": len(skipped),
        "vulnerable": sum(bool(found) for found in audited),
        "vulnerabilities": sum(len(found) for found in audited),
    }


def _level(result: Mapping[str, Any]) -> str:
    level = result.get("level", "warning")
    if level not in LEVELS:
        raise Invalid(f"a result has the level {str(level)[:80]!r}, which SARIF does not know")
    return str(level)


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Invalid(f"{what} is not a JSON object")
    return value


def _list(document: Mapping[str, Any], name: str, *, optional: bool = False) -> list[Any]:
    value = document.get(name, [] if optional else None)
    if not isinstance(value, list):
        raise Invalid(f"the document has no list of {name}")
    return value
