"""The guide for product teams is what it says. One law: its blocks are the files, and its product is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
GUIDE: Final = ROOT / "docs" / "building.md"
BLOCK: Final = re.compile(r"^```\w+ (?P<path>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ROW: Final = re.compile(r"^```text\n(?P<row> +ServiceEntry\(.*?\),\n)```$", re.MULTILINE)
PACKAGES: Final = ("domain", "projections")
NEEDED: Final = ("schemas", "libs", "services", "tools", "tests", "deploy", "docs", "conftest.py", "pyproject.toml")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the guide's product in it."""
    copy = tmp_path_factory.mktemp("house")
    passed_over = shutil.ignore_patterns("__pycache__", ".*cache")
    for name in NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=passed_over)
        else:
            shutil.copy(source, copy / name)
    guide = GUIDE.read_text("utf-8")
    for block in BLOCK.finditer(guide):
        path = copy / block["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block["text"], "utf-8")
    code = copy / "services" / "notebooks" / "gpuaas" / "notebooks"
    for package in (code, *(code / name for name in PACKAGES)):
        (package / "__init__.py").write_text("", "utf-8")
    table = copy / "libs" / "cli" / "gpuaas" / "cli" / "service_table.py"
    (row,) = ROW.finditer(guide)
    text = table.read_text("utf-8")
    assert text.count("\n)\n\n\ndef service(") == 1
    table.write_text(text.replace("\n)\n\n\ndef service(", f"\n{row['row']})\n\n\ndef service("), "utf-8")
    done = _python(copy, "-m", "tools.contracts", "generate")
    assert done.returncode == 0, done.stderr
    return copy


def _python(house: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in the copy, whose packages go before the installed ones."""
    parts = [house, *sorted((house / "libs").iterdir()), *sorted((house / "services").iterdir())]
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(map(str, parts))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, check=False)


def test_its_schemas_pass_as_contracts_and_give_the_broker_its_user(house: Path) -> None:
    checked = _python(house, "-m", "tools.contracts", "check")
    assert checked.returncode == 0, checked.stderr
    assert "events.notebooks." in (house / "docs" / "contracts" / "events.md").read_text("utf-8")


def test_its_code_is_clean_by_the_rules_of_the_house(house: Path) -> None:
    product = str(house / "services" / "notebooks")
    for check in (("ruff", "check", product), ("ruff", "format", "--check", product)):
        done = _python(house, "-m", *check)
        assert done.returncode == 0, done.stdout + done.stderr


def test_its_own_test_passes_on_real_servers(house: Path) -> None:
    done = _python(house, "-m", "pytest", "-q", "-p", "no:cacheprovider", "services/notebooks/tests")
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-2_000:]
    assert "1 passed" in done.stdout, done.stdout
