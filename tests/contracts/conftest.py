"""What the contract tests share. One law: they work on the committed schemas, or on copies in a temporary folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tools.contracts.artefacts import SCHEMAS, artefacts

ROOT = Path(__file__).resolve().parents[2]

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository with the schemas and everything generated from them, to plant breaches in."""
    shutil.copytree(ROOT / SCHEMAS, tmp_path / SCHEMAS)
    for path in (*artefacts(ROOT), Path("pyproject.toml")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tmp_path / path)
    return tmp_path


@pytest.fixture(scope="session")
def texts() -> Mapping[str, str]:
    """The committed schemas: path below `schemas/events` → text."""
    folder = ROOT / SCHEMAS
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in sorted(folder.rglob("*.json"))}


@pytest.fixture
def planted(texts: Mapping[str, str]) -> Callable[[str, Change], dict[str, str]]:
    """`planted(path, change)`: the schemas with one of them changed in place by `change`."""

    def plant(path: str, change: Change) -> dict[str, str]:
        schema = json.loads(texts[path])
        change(schema)
        return {**texts, path: json.dumps(schema)}

    return plant
