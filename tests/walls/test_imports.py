"""Every contract in `.importlinter` is kept by the house and refuses a planted import."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / ".importlinter"
PREFIX = "importlinter:contract:"
PACKAGES = sorted({path.parents[1] for path in ROOT.glob("*/*/gpuaas/*/__init__.py")})
COMMON = "libs/common/gpuaas/common"

PLANTED = [
    ("ladder", f"{COMMON}/errors.py", "from gpuaas.common import service"),
    ("ladder", f"{COMMON}/commands.py", "from gpuaas.common.http import Caller"),
    ("ladder", f"{COMMON}/log.py", "from gpuaas.common.logs import jetstream"),
    ("ladder", f"{COMMON}/floating.py", "x = 1"),
    ("services", "services/billing/gpuaas/billing/planted.py", "from gpuaas.allocations.domain import pool"),
    ("services", "services/audit/gpuaas/audit/planted.py", "import gpuaas.iam"),
    ("shape", "services/iam/gpuaas/iam/domain/planted.py", "from gpuaas.iam import projections"),
    ("domain", "services/nodes/gpuaas/nodes/domain/planted.py", "from gpuaas.common.tables import Database"),
    ("domain", "services/iam/gpuaas/iam/domain/planted.py", "import nats"),
    ("contracts", "libs/common/gpuaas/contracts/planted.py", "from gpuaas.common.envelope import Fact"),
    ("foundation", f"{COMMON}/commands.py", "from gpuaas.contracts import billing"),
    ("foundation", f"{COMMON}/projections.py", "import gpuaas.billing"),
    ("verify", "libs/verify/gpuaas/verify/planted.py", "from gpuaas.common.errors import Invalid"),
    ("roof", "services/iam/gpuaas/iam/planted.py", "from gpuaas.common.testing import stack"),
    ("roof", "services/nodes/gpuaas/nodes/planted.py", "import gpuaas.cli"),
]


def contract_ids() -> list[str]:
    parsed = configparser.ConfigParser()
    parsed.read(CONFIG)
    return [section.removeprefix(PREFIX) for section in parsed.sections() if section.startswith(PREFIX)]


def linted(root: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """`lint-imports` on the packages below `root`, which hide the installed ones."""
    argv = [str(Path(sys.executable).parent / "lint-imports"), str(CONFIG), "--no-cache", "--no-logo"]
    argv += [word for contract in contracts for word in ("--contract", contract)]
    path = os.pathsep.join(str(root / package.relative_to(ROOT).parent) for package in PACKAGES)
    return subprocess.run(
        argv, cwd=root, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of all our packages."""
    for package in PACKAGES:
        shutil.copytree(package, tmp_path / package.relative_to(ROOT), ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_house_keeps_every_contract(copied: Path) -> None:
    said = linted(copied)
    assert said.returncode == 0, said.stdout
    assert said.stdout.count(" KEPT") == len(contract_ids())


@pytest.mark.parametrize(("contract", "path", "line"), PLANTED)
def test_a_planted_import_is_refused(contract: str, path: str, line: str, copied: Path) -> None:
    target = copied / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    said = linted(copied, contract)
    assert said.returncode == 1, said.stdout
    assert " BROKEN" in said.stdout


def test_every_contract_has_a_planted_import() -> None:
    assert {contract for contract, _, _ in PLANTED} == set(contract_ids())
