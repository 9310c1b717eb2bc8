"""Plain data as YAML, by PyYAML. One law: keys in the order given, and text of several lines readable as such."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import yaml

WIDTH: Final = 118


class _Readable(yaml.SafeDumper):
    """Block style for text of several lines, and list items below their key's own indent."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Readable.add_representer(str, _text)


def yaml_text(*documents: Any) -> str:
    """The documents, separated."""
    return "---\n".join(_dumped(document) for document in documents)


def _dumped(document: Any) -> str:
    text: str = yaml.dump(document, Dumper=_Readable, sort_keys=False, width=WIDTH, allow_unicode=True)
    return text


def patch_text(changes: Iterable[tuple[str, str, Any]]) -> str:
    """(operation, path, value) as the text of a JSON patch."""
    return yaml_text([{"op": operation, "path": path, "value": value} for operation, path, value in changes])
