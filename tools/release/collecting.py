"""What each requirement is shown with. One law: a tool that could not do its work gives nothing, and that is no yes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpuaas.evidence.domain.rederivation import Underivable, document_in, fact_at

from tools.contracts.history import base_of

JUNIT: Final = "application/x-junit+xml"
CASES: Final = ("tests", "passed", "failed", "errors", "skipped")
TIMEOUT_S: Final = 3_600
BENCH: Final = Path("build/bench.json")


@dataclass(frozen=True, slots=True)
class Collected:
    """A report, the facts that the service's own parser finds in it, and whether the tool was content.

    Attributes:
        facts: name → (value, pointer).
    """

    content: bytes
    media_type: str
    facts: Mapping[str, tuple[str, str]]
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
        return collected(report.read_bytes(), media_type, {name: f"/{name}" for name in facts}, done.returncode == 0)
    except OSError:
        return None


def collected(content: bytes, media_type: str, pointers: Mapping[str, str], passed: bool) -> Collected | None:
    """The facts at `pointers` in `content`; None when the reader could not take them from it."""
    try:
        document = document_in(media_type, content)
        facts = {name: (fact_at(document, pointer), pointer) for name, pointer in pointers.items()}
    except Underivable:
        return None
    return Collected(content, media_type, facts, passed)


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
    """The lock's packages against the advisories; without the advisories' server nothing was audited."""
    listed, report = out / "requirements.txt", out / "dependency-audit.json"
    listed.parent.mkdir(parents=True, exist_ok=True)
    words = [
        ".venv-tools/bin/uv",
        "export",
        "-q",
        "--frozen",
        "--all-packages",
        "--no-emit-workspace",
        "-o",
        str(listed),
    ]
    subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False)
    facts = ("dependencies", "audited", "skipped", "vulnerable", "vulnerabilities")
    audit = [sys.executable, "-m", "pip_audit", "-r", str(listed), "--disable-pip", "--require-hashes", "-f", "json"]
    return _ran([*audit, "-o", str(report)], report, "application/vnd.pip-audit+json", facts)


def _bench(_: Path) -> Collected | None:
    facts = ("rows", "with_figure", "with_baseline", "missed")
    return _ran([sys.executable, "-m", "tests.bench"], BENCH, "application/vnd.gpuaas.bench+json", facts)


def _interfaces(_: Path) -> Collected | None:
    """Every interface document as the base branch has it, and as it is here."""
    root, schemas = Path.cwd(), Path("schemas")
    base = base_of(root, schemas)
    if base is None:
        return None
    pairs = {}
    for path in [*sorted(schemas.glob("api/*.openapi.json")), schemas / "asyncapi.json"]:
        shown = subprocess.run(["git", "show", f"{base}:{path}"], capture_output=True, timeout=TIMEOUT_S, check=False)
        if shown.returncode == 0:
            pairs[str(path)] = {"before": json.loads(shown.stdout), "after": json.loads(path.read_bytes())}
    content = json.dumps({"base": base, "pairs": pairs}).encode()
    facts = ("pairs", "before", "after", "added", "removed", "narrowed", "breaking")
    return collected(
        content, "application/vnd.gpuaas.interface-diff+json", {name: f"/{name}" for name in facts}, passed=True
    )


COLLECTORS: Final[Mapping[str, Collector]] = {
    "unit-tests": _tests("unit-tests", "libs", "services"),
    "walls": _tests("walls", "tests/walls"),
    "isolation-matrix": _tests("isolation-matrix", "tests/contracts/test_isolation.py"),
    "drills": _tests("drills", "-m", "drill", "tests/drills"),
    "bench": Collector("python -m tests.bench", _bench),
    "interfaces": Collector("compare every interface document with the base branch's", _interfaces),
    "bill-of-materials": Collector("uv export --format cyclonedx1.5", _bill_of_materials),
    "dependency-audit": Collector("pip-audit of everything in uv.lock", _dependency_audit),
}
