"""What is generated from the services' doors, and where it lies. One law: all of it is committed, none of it edited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tools.openapi.describing import Document, text_of
from tools.openapi.permission_page import permission_page
from tools.openapi.permissions import registry

API: Final = Path("schemas/api")
PAGE: Final = Path("docs/contracts/permissions.md")
REGISTRY: Final = Path("services/iam/gpuaas/iam/domain/permission_registry.v1.json")
"""Every permission that some route asks for: what two revisions of rights are compared over."""


def artefacts(documents: Mapping[str, Document]) -> dict[Path, str]:
    """Path relative to the repository's root → content."""
    return {
        **{API / f"{service}.openapi.json": text_of(document) for service, document in documents.items()},
        PAGE: permission_page(documents),
        REGISTRY: _registry(documents),
    }


def _registry(documents: Mapping[str, Document]) -> str:
    asked = {permission for opened in registry(documents).values() for permission in opened if "." in permission}
    return json.dumps(sorted(asked), indent=2) + "\n"


def write(root: Path, documents: Mapping[str, Document]) -> list[Path]:
    """Brings the tree at `root` up to date; gives the files that changed, those that are gone included."""
    made = artefacts(documents)
    changed = _drift(root, made)
    for path in changed:
        if path in made:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(made[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return changed


def drift(root: Path, documents: Mapping[str, Document]) -> list[Path]:
    """Files that are not what the routes say: changed by hand, missing, or left over."""
    return _drift(root, artefacts(documents))


def _drift(root: Path, made: Mapping[Path, str]) -> list[Path]:
    left_over = sorted(path.relative_to(root) for path in (root / API).glob("*") if path.relative_to(root) not in made)
    return [path for path, text in made.items() if _content(root / path) != text] + left_over


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
