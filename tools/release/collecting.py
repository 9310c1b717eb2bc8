"""What each requirement is shown with. One law: a tool that could not do its work gives nothing, and that is no yes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpuaas.evidence.domain.rederivation import Underivable, document_in, fact_at

JUNIT: Final = "application/x-junit+xml"
CASES: Final = ("tests", "passed", "failed", "errors", "skipped")
TIMEOUT_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Collected:
    """A report, the facts that the service's own parser finds in it, and whether the tool was content."""

    content: bytes
    media_type: str
    facts: Mapping[str, str]
    passed: bool


@dataclass(frozen=True, slots=True)
class Collector:
    """How evidence for one requirement is made. `run` gets a folder to write to; None: nothing could be shown."""

    procedure: str
    run: Callable[[Path], Collected | None]


def _ran(words: list[str], report: Path, media_type: str, facts: tuple[str, ...]) -> Collected | None:
    """Run a tool that writes `report`, and derive the facts from the bytes as the reader will."""
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False)
    try:
        content = report.read_bytes()
        document = document_in(media_type, content)
        found = {name: fact_at(document, f"/{name}") for name in facts}
    except (OSError, Underivable):
        return None
    return Collected(content, media_type, found, passed=done.returncode == 0)


def _tests(name: str, *words: str) -> Collector:
    def run(out: Path) -> Collected | None:
        report = out / f"{name}.xml"
        return _ran([sys.executable, "-m", "pytest", "-q", *words, f"--junitxml={report}"], report, JUNIT, CASES)

    return Collector(f"pytest {' '.join(words)}", run)


def _bill_of_materials(out: Path) -> Collected | None:
    report = out / "bill-of-materials.json"
    words = [".venv-tools/bin/uv", "export", "-q", "--frozen", "--all-packages", "--format", "cyclonedx1.5"]
    facts = ("components", "with_version", "with_purl")
    return _ran([*words, "-o", str(report)], report, "application/vnd.cyclonedx+json", facts)


def _dependency_audit(out: Path) -> Collected | None:
    report = out / "dependency-audit.json"
    facts = ("dependencies", "audited", "skipped", "vulnerable", "vulnerabilities")
    words = [sys.executable, "-m", "pip_audit", "--skip-editable", "-f", "json", "-o", str(report)]
    return _ran(words, report, "application/vnd.pip-audit+json", facts)


COLLECTORS: Final[Mapping[str, Collector]] = {
    "unit-tests": _tests("unit-tests", "libs", "services"),
    "walls": _tests("walls", "tests/walls"),
    "isolation-matrix": _tests("isolation-matrix", "tests/contracts/test_isolation.py"),
    "drills": _tests("drills", "-m", "drill", "tests/drills"),
    "bill-of-materials": Collector("uv export --format cyclonedx1.5", _bill_of_materials),
    "dependency-audit": Collector("pip-audit --skip-editable -f json", _dependency_audit),
}
