"""What is generated from the schemas, and where it lies. One law: all of it is committed, none of it is edited."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from tools.contracts.asyncapi import asyncapi_json
from tools.contracts.catalogue_page import catalogue_page
from tools.contracts.nats_permissions import permissions_json
from tools.contracts.python_code import catalogue_module, module_of
from tools.contracts.reading import read_catalogue

SCHEMAS: Final = Path("schemas/events")
MODULES: Final = Path("libs/common/gpuaas/contracts")
BY_HAND: Final = ("__init__.py", "upcasters.py")
"""Files of `MODULES` that people write."""


def artefacts(root: Path) -> dict[Path, str]:
    """Path relative to `root` → content, for everything that follows from `root/schemas/events`.

    Raises:
        Refused: a schema is outside the closed subset.
    """
    catalogue = read_catalogue(root / SCHEMAS)
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    permissions = permissions_json(catalogue)
    return {
        **{MODULES / f"{service}.py": module_of(catalogue, service) for service in catalogue.services},
        MODULES / "catalogue.py": catalogue_module(catalogue),
        MODULES / "nats_permissions.json": permissions,
        Path("deploy/base/nats/permissions.json"): permissions,
        Path("schemas/asyncapi.json"): asyncapi_json(catalogue, version),
        Path("docs/contracts/events.md"): catalogue_page(catalogue),
    }


def write(root: Path) -> list[Path]:
    """Brings the tree at `root` up to date; gives the files that changed, those that are gone included."""
    made = artefacts(root)
    changed = _drift(root, made)
    for path in changed:
        if path in made:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(made[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return changed


def drift(root: Path) -> list[Path]:
    """Files that are not what the schemas say: changed by hand, missing, or left over."""
    return _drift(root, artefacts(root))


def _drift(root: Path, made: dict[Path, str]) -> list[Path]:
    present = [path.relative_to(root) for path in (root / MODULES).glob("*.*") if path.name not in BY_HAND]
    left_over = [path for path in sorted(present) if path not in made]
    return [path for path, text in made.items() if _content(root / path) != text] + left_over


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
