"""What each requirement is shown with. One law: a tool that could not do its work gives nothing, and that is no yes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpuaas.cli.demo.evidence import FACTS, agrees
from gpuaas.evidence.domain.rederivation import Underivable, document_in, fact_at

from tools.contracts.history import base_of
from tools.release.programs import GaveNothing, Tell, last_words, run

JUNIT: Final = "application/x-junit+xml"
CASES: Final = ("tests", "passed", "failed", "errors", "skipped")
TIMEOUT_S: Final = 7_200.0
SHORT_S: Final = 600.0
GIT_S: Final = 60.0
SIDE_BY_SIDE: Final = ("-n", "2", "--dist", "loadfile")
"""As `make test` runs them; without its second try, for a claim tells of every failure."""
ADVISORIES_S: Final = 15
"""Longest wait for one answer of the advisories' server."""
BENCH: Final = Path("build/bench.json")
UV: Final = ".venv-tools/bin/uv"
EXPORT: Final = (UV, "export", "-q", "--frozen", "--all-packages")


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


Run = Callable[[Path, Tell], Awaitable[Collected]]
"""Makes the evidence in a folder. Raises GaveNothing."""


@dataclass(frozen=True, slots=True)
class Collector:
    """How evidence for one requirement is made. `covers`: what a claim with it says that it covers."""

    procedure: str
    run: Run
    covers: tuple[str, ...] = ()


async def _ran(
    words: Sequence[str],
    report: Path,
    media_type: str,
    facts: Sequence[str],
    tell: Tell,
    **environment: str,
) -> Collected:
    """Run a tool that writes `report`, and derive the facts from the bytes as the reader will."""
    report.unlink(missing_ok=True)
    said = report.with_suffix(".log")
    status = await run(words, said, TIMEOUT_S, tell, environment)
    if not report.is_file():
        raise GaveNothing(f"{Path(words[0]).name} ended with status {status} and no report: {last_words(said)}")
    return collected(report.read_bytes(), media_type, {name: f"/{name}" for name in facts}, passed=status == 0)


def collected(content: bytes, media_type: str, pointers: Mapping[str, str], *, passed: bool) -> Collected:
    """The facts at `pointers` in `content`. Raises GaveNothing: the reader could not take them from it."""
    try:
        document = document_in(media_type, content)
        facts = {name: (fact_at(document, pointer), pointer) for name, pointer in pointers.items()}
    except Underivable as refused:
        raise GaveNothing(f"the report shows nothing: {refused.detail}") from refused
    return Collected(content, media_type, facts, passed)


def _tests(name: str, *words: str, covers: Sequence[str] = (), **environment: str) -> Collector:
    async def made(out: Path, tell: Tell) -> Collected:
        report = out / f"{name}.xml"
        command = [sys.executable, "-m", "pytest", *words, f"--junitxml={report}"]
        return await _ran(command, report, JUNIT, CASES, tell, **environment)

    return Collector(f"pytest {' '.join(words)}", made, tuple(covers))


async def _bill_of_materials(out: Path, tell: Tell) -> Collected:
    report = out / "bill-of-materials.json"
    words = [*EXPORT, "--format", "cyclonedx1.5", "-o", str(report)]
    facts = ("components", "with_version", "with_purl")
    return await _ran(words, report, "application/vnd.cyclonedx+json", facts, tell)


async def _dependency_audit(out: Path, tell: Tell) -> Collected:
    """The lock's packages against the advisories. Without an answer about each of them nothing was found out."""
    listed, report = out / "requirements.txt", out / "dependency-audit.json"
    status = await run([*EXPORT, "--no-emit-workspace", "-o", str(listed)], out / "requirements.log", SHORT_S, tell)
    if status != 0:
        raise GaveNothing(f"the lock cannot be listed: {last_words(out / 'requirements.log')}")
    audit = [sys.executable, "-m", "pip_audit", "-r", str(listed), "--disable-pip", "--require-hashes", "-f", "json"]
    words = [*audit, "--timeout", str(ADVISORIES_S), "-o", str(report)]
    facts = ("dependencies", "audited", "skipped", "vulnerable", "vulnerabilities")
    try:
        found = await _ran(words, report, "application/vnd.pip-audit+json", facts, tell)
    except GaveNothing as nothing:
        raise GaveNothing(f"{nothing}; {_not_audited(report) or 'the advisories were not reached'}") from nothing
    if (unknown := _not_audited(report)) and found.facts["vulnerable"][0] == "0":
        raise GaveNothing(unknown)
    return found


def _not_audited(report: Path) -> str:
    """How many packages the advisories' server told nothing about, and why the first; empty when there are none."""
    try:
        every = json.loads(report.read_bytes())["dependencies"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    skipped = [one for one in every if "skip_reason" in one]
    return f"{len(skipped)} of {len(every)} were not audited: {skipped[0]['skip_reason']}" if skipped else ""


async def _bench(out: Path, tell: Tell) -> Collected:
    BENCH.unlink(missing_ok=True)
    said = out / "bench.log"
    status = await run([sys.executable, "-m", "tests.bench"], said, TIMEOUT_S, tell)
    if not BENCH.is_file():
        raise GaveNothing(f"the bench ended with status {status} and no figure: {last_words(said)}")
    facts = {name: f"/{name}" for name in ("rows", "with_figure", "with_baseline", "missed")}
    return collected(BENCH.read_bytes(), "application/vnd.gpuaas.bench+json", facts, passed=status == 0)


async def _interfaces(_: Path, tell: Tell) -> Collected:
    """Every interface document as the base branch has it, and as it is here."""
    base = await asyncio.to_thread(base_of, Path.cwd(), Path("schemas"))
    if base is None:
        raise GaveNothing("there is no base branch or earlier commit to compare with")
    pairs = await asyncio.to_thread(_pairs, base)
    tell(f"{len(pairs)} documents against {base[:12]}")
    content = json.dumps({"base": base, "pairs": pairs}).encode()
    facts = ("pairs", "before", "after", "added", "removed", "narrowed", "breaking")
    media_type = "application/vnd.gpuaas.interface-diff+json"
    return collected(content, media_type, {name: f"/{name}" for name in facts}, passed=True)


async def _main_job(out: Path, tell: Tell) -> Collected:
    """The demo on an installation of its own; its report is the artefact."""
    said, report = out / "main-job.log", out / "main-job.json"
    words = [str(Path(sys.executable).with_name("gpuaas")), "demo", "--json", "--state-dir", str(out / "main-job")]
    await run(words, said, TIMEOUT_S, tell, printed=report)
    try:
        told: dict[str, Any] = json.loads(report.read_bytes())
    except (OSError, ValueError):
        raise GaveNothing(f"the demo gave no report: {last_words(said)}") from None
    return collected(report.read_bytes(), "application/json", FACTS, passed=agrees(told))


def _pairs(base: str) -> dict[str, Any]:
    pairs, schemas = {}, Path("schemas")
    for path in [*sorted(schemas.glob("api/*.openapi.json")), schemas / "asyncapi.json"]:
        shown = subprocess.run(["git", "show", f"{base}:{path}"], capture_output=True, timeout=GIT_S, check=False)
        if shown.returncode == 0:
            pairs[str(path)] = {"before": json.loads(shown.stdout), "after": json.loads(path.read_bytes())}
    return pairs


def _packages() -> list[str]:
    return sorted(str(path) for folder in ("libs", "services") for path in Path(folder).iterdir() if path.is_dir())


COLLECTORS: Final[Mapping[str, Collector]] = {
    "walls": _tests("walls", "tests/walls"),
    "interfaces": Collector("compare every interface document with the base branch's", _interfaces),
    "bill-of-materials": Collector("uv export --format cyclonedx1.5", _bill_of_materials),
    "dependency-audit": Collector("pip-audit of everything in uv.lock", _dependency_audit),
    "isolation-matrix": _tests("isolation-matrix", "tests/contracts/test_isolation.py"),
    "main-job-end-to-end": Collector("gpuaas demo on an installation of its own", _main_job),
    "contracts": _tests("contracts", "tests/contracts", "--ignore=tests/contracts/test_isolation.py", *SIDE_BY_SIDE),
    "drills": _tests("drills", "-m", "drill", "tests/drills", GPUAAS_DRILLS="all"),
    "unit-tests": _tests(
        "unit-tests", "libs", "services", "tests/flows", *SIDE_BY_SIDE, covers=[*_packages(), "tests/flows"]
    ),
    "bench": Collector("python -m tests.bench", _bench),
}
"""In the order in which they are run: what is soon done first."""
