"""Whether today's schemas keep yesterday's promises. One law: inside a version, only an optional field may be added.

Two opinions must agree. Ours compares the schemas node by node and knows every keyword of the closed subset, patterns
and formats and annotations with meaning too. `jsoncompat` reasons about the sets of documents: a new reader must read
every old event, and an old reader (tolerant of fields it does not know) must read every new event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsoncompat

Texts = Mapping[str, str]
"""Path below `schemas/events` → text of the schema file."""

_WORDS: Final = frozenset({"title", "description", "examples", "x-redacted", "x-data-subject"})
"""What may be said better at any time."""

_ANNOTATIONS: Final = frozenset({"$id", "x-owner", "x-entity", "x-subject", "x-personal-data"})
"""What JSON Schema itself does not look at, but our readers do."""


def breaches(old: Texts, new: Texts) -> list[str]:
    """One sentence for every promise of `old` that `new` does not keep; empty: readers may be of either time."""
    found = [f"{path}: deleted, but the log holds events that only it describes" for path in sorted(old.keys() - new)]
    for path in sorted(old.keys() & new.keys()):
        before, after = json.loads(old[path]), json.loads(new[path])
        told = list(_differences(_expanded(before), _expanded(after), "$")) or second_opinion(before, after)
        found += [f"{path}: {text}" for text in told]
    return found


def second_opinion(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What `jsoncompat` finds wrong between two schemas of one event; it does not see patterns and formats."""
    before, after = _bare(_expanded(old)), _bare(_expanded(new))
    found = []
    if not jsoncompat.check_compat(json.dumps(before), json.dumps(after), "deserializer"):
        found.append("jsoncompat finds an old event that a new reader refuses")
    if not jsoncompat.check_compat(json.dumps(_opened(before)), json.dumps(after), "serializer"):
        found.append("jsoncompat finds a new event that an old, tolerant reader refuses")
    return found


def _expanded(schema: Mapping[str, Any]) -> Any:
    """The schema without words and with every reference replaced, so that moving text into $defs is no change."""
    definitions = schema.get("$defs", {})

    def expand(node: Any, names_are_ours: bool = False) -> Any:
        if isinstance(node, list):
            return [expand(value) for value in node]
        if not isinstance(node, dict):
            return node
        while isinstance(node.get("$ref"), str):
            beside = {key: value for key, value in node.items() if key != "$ref"}
            node = {**definitions[node["$ref"].removeprefix("#/$defs/")], **beside}
        return {
            key: expand(value, key == "properties" and not names_are_ours)
            for key, value in node.items()
            if names_are_ours or key not in _WORDS
        }

    return expand({key: value for key, value in schema.items() if key != "$defs"})


def _differences(old: Any, new: Any, where: str) -> Iterator[str]:
    if not isinstance(old, dict) or not isinstance(new, dict):
        if old != new:
            yield f"{where} changed from {json.dumps(old)} to {json.dumps(new)}"
        return
    for key in sorted(old.keys() | new.keys()):
        if key == "properties" and key in old and key in new:
            yield from _properties(old, new, where)
        elif key == "required" and "properties" in old and "properties" in new:
            continue
        elif key not in new:
            yield f"{where} no longer says {key}"
        elif key not in old:
            yield f"{where} now says {key}"
        elif key == "enum":
            yield from _differences(sorted(old[key]), sorted(new[key]), f"{where}.enum")
        else:
            yield from _differences(old[key], new[key], f"{where}.{key}")


def _properties(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> Iterator[str]:
    must, must_now = set(old["required"]), set(new["required"])
    for name in sorted(old["properties"].keys() | new["properties"].keys()):
        here = f"{where}.{name}"
        if name not in new["properties"]:
            yield f"{here} was removed or renamed"
        elif name not in old["properties"]:
            if name in must_now:
                yield f"{here} is new and required; events that are in the log do not have it"
        elif (name in must) != (name in must_now):
            yield f"{here} became {'required' if name in must_now else 'optional'}"
        else:
            yield from _differences(old["properties"][name], new["properties"][name], here)


def _bare(node: Any, names_are_ours: bool = False) -> Any:
    """Without the annotations that jsoncompat does not take."""
    if isinstance(node, dict):
        return {
            key: _bare(value, key == "properties" and not names_are_ours)
            for key, value in node.items()
            if names_are_ours or key not in _ANNOTATIONS
        }
    return [_bare(value) for value in node] if isinstance(node, list) else node


def _opened(node: Any) -> Any:
    """As a tolerant reader sees it: fields it does not know are allowed."""
    if isinstance(node, dict):
        closed = {"additionalProperties": False}
        return {k: _opened(v) for k, v in node.items() if (k, v) not in closed.items()}
    return [_opened(value) for value in node] if isinstance(node, list) else node
