"""The threat list is kept honest, and no secret is in any file. One law: a test that is named exists."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from tests.walls.rules import tracked_files

ROOT: Final = Path(__file__).parents[2]
THREATS: Final = (ROOT / "docs" / "security" / "threats.md").read_text("utf-8")
ROWS: Final = [line.split(" | ") for line in THREATS.splitlines() if re.match(r"\| \d+ ", line)]
SECRETS: Final = (
    re.compile(r"-----BEGIN (?:RSA |EC |OPENSSH |)PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{40,}"),
    re.compile(r"\bgpk_(?:kind|dev|demo|staging|production)_[a-z0-9-]+_[A-Za-z0-9_-]{30,}_[A-Za-z0-9]{4,}\b"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36}\b"),
    re.compile(r"\bxox[abp]-[A-Za-z0-9-]{20,}"),
    re.compile(r"://[a-z_]+:[A-Za-z0-9_-]{32,}@(?!\{)"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}"),
)
"""Private keys, our API keys, well-known tokens, generated passwords in addresses, signed tokens."""


def found_in(text: str) -> list[str]:
    return [match.group(0)[:24] for pattern in SECRETS for match in pattern.finditer(text)]


def test_no_secret_is_in_the_repository() -> None:
    leaks: dict[str, list[str]] = {}
    for path in tracked_files(ROOT):
        try:
            text = (ROOT / path).read_text("utf-8")
        except UnicodeDecodeError:
            continue
        if found := found_in(text):
            leaks[str(path)] = found
    assert leaks == {}


@pytest.mark.parametrize(
    "planted",
    [
        "-----BEGIN " + "PRIVATE KEY-----\n" + "MC4CAQAwBQYDK2VwBCIEIJ" * 3,
        "gpk_" + "production_ops_" + "a" * 43 + "_1f3C",
        "nats://iam:" + "Zk3o9xV1qLr8Tn5wYb2cZk3o9xV1qLr8Tn5wYb2c" + "@nats:4222",
        "AKIA" + "ABCDEFGHIJKLMNOP",
    ],
)
def test_the_scan_sees_a_planted_secret(planted: str) -> None:
    assert found_in(f"password: {planted}\n")


def test_every_threat_has_a_test_or_a_named_gap() -> None:
    numbers = [int(row[0].removeprefix("| ")) for row in ROWS]
    assert numbers == list(range(1, len(ROWS) + 1))
    for row in ROWS:
        assert "`test_" in row[-1] or "**gap**" in row[-1], row[1]


def test_every_test_that_the_threats_name_exists() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", THREATS))
    assert len(named) > 30
    files = [ROOT / path for path in tracked_files(ROOT) if path.name.startswith("test_") and path.suffix == ".py"]
    defined = {name for path in files for name in re.findall(r"def (test_[a-z0-9_]+)", path.read_text("utf-8"))}
    assert named - defined == set()


def test_the_bill_of_materials_is_what_the_lock_says() -> None:
    uv = ROOT / ".venv-tools" / "bin" / "uv"
    if not uv.exists():
        pytest.skip("uv is not in .venv-tools; `make setup` puts it there")
    asked = [str(uv), "export", "--frozen", "--quiet", "--no-dev", "--package", "gpuaas-iam"]
    made = subprocess.run([*asked, "--format", "cyclonedx1.5"], cwd=ROOT, capture_output=True, check=True)
    bill: dict[str, Any] = json.loads(made.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    versions = {part["name"]: part.get("version") for part in bill["components"]}
    locked = {part["name"]: part.get("version") for part in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert {"fastapi", "nats-py", "asyncpg", "cryptography"} <= set(versions)
    assert "pytest" not in versions
    assert {name: locked[name] for name in versions if name in locked} == {
        name: version for name, version in versions.items() if name in locked
    }


def test_every_dependency_is_locked_with_its_digest() -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    files = [file for part in packages for file in (*part.get("wheels", ()), *filter(None, [part.get("sdist")]))]
    assert len(files) > 200
    assert [file["url"] for file in files if not file.get("hash", "").startswith("sha256:")] == []
