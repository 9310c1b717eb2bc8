"""Plain data as YAML. One law: what YAML could misread is quoted, so what is read back is what was meant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def yaml_lines(value: Mapping[str, Any], indent: int = 0) -> list[str]:
    """Nested mappings, lists and scalars, block style."""
    pad = " " * indent
    lines: list[str] = []
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            lines += [f"{pad}{key}:", *yaml_lines(inner, indent + 2)]
        elif isinstance(inner, Mapping):
            lines.append(f"{pad}{key}: {{}}")
        elif isinstance(inner, str) and "\n" in inner:
            lines += [f"{pad}{key}: |", *(f"{pad}  {line}".rstrip() for line in inner.splitlines())]
        elif isinstance(inner, list | tuple):
            lines += [f"{pad}{key}:" if inner else f"{pad}{key}: []", *yaml_items(inner, indent + 2)]
        else:
            lines.append(f"{pad}{key}: {_scalar(inner)}")
    return lines


def yaml_items(values: Sequence[Any], indent: int = 0) -> list[str]:
    """A list, block style."""
    pad = " " * indent
    lines: list[str] = []
    for item in values:
        if isinstance(item, Mapping) and item:
            first, *rest = yaml_lines(item, indent + 2)
            lines += [f"{pad}- {first.lstrip()}", *rest]
        else:
            lines.append(f"{pad}- {{}}" if isinstance(item, Mapping) else f"{pad}- {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.replace("-", "").replace("_", "").isalpha() and value not in ("true", "false"):
        return value
    return json.dumps(value)
