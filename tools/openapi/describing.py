"""The services' doors as OpenAPI documents. One law: built as `app.py` says, connected to nothing, told nothing.

A service is built on default settings, whatever the environment says, with a state folder that is thrown away: some
make a key there when they are built.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_type_hints

from gpuaas.cli.service_table import SERVICES

Document = Mapping[str, Any]
METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options", "trace")


class Undescribed(Exception):
    """A service cannot be described as it is."""


def documents() -> dict[str, Document]:
    """Service → OpenAPI document, in the order of the service table.

    Raises:
        Undescribed: a route says neither who may nor that everybody may.
    """
    return {entry.name: _document(entry.name, entry.module) for entry in SERVICES}


def text_of(document: Document) -> str:
    """The document as it is committed: the same bytes for the same routes."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def operations(document: Document) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(METHOD, path, operation) in the order of the document."""
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def _document(name: str, module: str) -> Document:
    app = importlib.import_module(module)
    settings_type = get_type_hints(app.build)["settings"]
    with tempfile.TemporaryDirectory(prefix="gpuaas-openapi-") as state_dir:
        service = app.build(settings_type(state_dir=Path(state_dir)))
        try:
            document: Document = service.document()
        except ValueError as refused:
            raise Undescribed(f"{name}: {refused}") from refused
    return document
