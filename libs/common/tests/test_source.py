"""What code runs, as digests. One law: any other byte or name gives another digest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from gpuaas.common.source import source_of, sources_of


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "a_package_of_its_own"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "one.py").write_text("1\n", "utf-8")
    (root / "data.toml").write_text("a = 1\n", "utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return root


def taken(package: Path) -> str:
    source_of.cache_clear()
    found = source_of(package.name)
    assert found is not None
    return found[0]


def test_every_byte_and_every_name_counts_and_what_python_makes_does_not(package: Path) -> None:
    before = taken(package)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "one.pyc").write_bytes(b"made here")
    assert taken(package) == before
    (package / "data.toml").write_text("a = 2\n", "utf-8")
    other = taken(package)
    assert other != before
    (package / "data.toml").rename(package / "data2.toml")
    assert taken(package) not in {before, other}


def test_a_process_keeps_what_it_has_taken(package: Path) -> None:
    before = taken(package)
    (package / "inner" / "one.py").write_text("2\n", "utf-8")
    found = source_of(package.name)
    assert found is not None
    assert found[0] == before


def test_a_service_runs_the_foundation_the_contracts_and_its_own_package() -> None:
    assert sorted(sources_of("iam")) == ["gpuaas.common", "gpuaas.contracts", "gpuaas.iam"]
    assert sorted(sources_of("no-such-service")) == ["gpuaas.common", "gpuaas.contracts"]
