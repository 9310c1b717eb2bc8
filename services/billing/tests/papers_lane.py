"""Programs of others that judge papers, installed by `make papers-lane`. One law: a judge's word is taken as it stands.

They run in virtual environments of their own: beancount is under the GPL and none of it is ever imported here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 120
APPLIES: Final = (
    "ACCOUNT_NAMING_SUPPORTED",
    "BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED",
    "NEGOTIATED_PRICING_SUPPORTED",
    "PUBLIC_PRICE_LIST_SUPPORTED",
    "RESOURCE_TYPE_ASSIGNMENT_SUPPORTED",
    "SUB_ACCOUNT_SUPPORTED",
    "TAGGING_SUPPORTED",
    "UNIT_PRICING_SUPPORTED",
    "USAGE_MEASUREMENT_SUPPORTED",
)
"""What we do of what FOCUS asks of those who do it."""
BRANCHES: Final = {"InvoiceId-C-004-C": "InvoiceId-C-003-C"}
"""One branch of an alternative → the alternative: the validator reports the branch that is not taken as failed."""
_RULES: Final = "import json, sys\nfrom pathlib import Path\nfrom saxonche import PySaxonProcessor\n" + (
    "found = {}\n"
    "with PySaxonProcessor(license=False) as saxon:\n"
    "    rules = saxon.new_xslt30_processor().compile_stylesheet(stylesheet_file=sys.argv[1])\n"
    "    for name in sys.argv[2:]:\n"
    "        told = rules.transform_to_string(xdm_node=saxon.parse_xml(xml_file_name=name))\n"
    "        found[name] = told\n"
    "print(json.dumps(found))\n"
)


def _lane() -> Path:
    root = Path(__file__).resolve().parents[3]
    return Path(os.environ.get("GPUAAS_STATE_DIR") or root / ".state") / "papers"


def bean_check() -> Path | None:
    """The program, or None where it is not installed."""
    return _there(_lane() / "venv" / "bin" / "bean-check")


def rules_of_the_norm() -> Path | None:
    """The compiled Schematron of EN 16931 for UBL, or None."""
    found = sorted((_lane() / "venv").glob("lib/python*/site-packages/*/rules/EN16931-UBL-validation.xsl"))
    return found[0] if found else None


def focus_validator() -> Path | None:
    """The FinOps Foundation's validator, or None."""
    return _there(_lane() / "focus" / "bin" / "focus-validator")


def accounts_wrong(program: Path, journal: Path) -> list[str]:
    """What `bean-check` says against a journal; nothing when it is right."""
    done = subprocess.run([str(program), str(journal)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert bool(told) == bool(done.returncode), told
    return told


def rules_broken(rules: Path, papers: Iterable[Path]) -> dict[str, list[str]]:
    """By file name: the ids of the rules of EN 16931 that it breaks. Each paper must have met some rules."""
    python = _lane() / "venv" / "bin" / "python"
    files = [str(paper) for paper in papers]
    done = subprocess.run(
        [str(python), "-c", _RULES, str(rules), *files], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    assert all("svrl:fired-rule" in told for told in found.values())
    failed = re.compile(r'<svrl:(?:failed-assert|successful-report)[^>]*?\sid="([^"]+)"', re.DOTALL)
    return {Path(name).name: failed.findall(told) for name, told in found.items()}


def focus_broken(program: Path, rows: Path) -> list[str]:
    """The ids of the rules of FOCUS 1.2 that a file breaks, by the model that the validator brings; no network."""
    packages = next((program.parents[1] / "lib").glob("python3*/site-packages"))
    command = [str(program), "--data-file", str(rows), "--validate-version", "1.2", "--block-download"]
    command += ["--applicability-criteria", ",".join(APPLIES)]
    # It looks for its list of currencies below the folder that it runs in.
    done = subprocess.run(command, cwd=packages, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    told = dict(re.findall(r"^\S+ ([A-Za-z]+-[A-Z]-\d+-[A-Z]): (PASS|FAIL|SKIPPED)", done.stdout, re.MULTILINE))
    assert sum(verdict == "PASS" for verdict in told.values()) > 200, done.stdout[-2000:] + done.stderr[-2000:]
    failed = [rule for rule, verdict in told.items() if verdict == "FAIL"]
    return sorted(rule for rule in failed if told.get(BRANCHES.get(rule, "")) != "PASS")


def _there(program: Path) -> Path | None:
    return program if program.exists() else None
