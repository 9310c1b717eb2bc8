"""Promises of the committed APIs. One law: a breach planted in any place of them is seen, and another judge agrees."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsoncompat
import pytest

from tools.openapi.artefacts import API
from tools.openapi.compatibility import breaches
from tools.openapi.containment import Side, differences

ROOT = Path(__file__).resolve().parents[2]
Node = dict[str, Any]
COMMITTED = {path.name: path.read_text("utf-8") for path in sorted((ROOT / API).glob("*.json"))}


def _used(document: Mapping[str, Any], node: Any, seen: set[str]) -> set[str]:
    """Names of the schemas that `node` reaches."""
    if isinstance(node, Mapping):
        name = str(node.get("$ref", "")).removeprefix("#/components/schemas/")
        if name in document["components"]["schemas"] and name not in seen:
            seen.add(name)
            _used(document, document["components"]["schemas"][name], seen)
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            _used(document, each, seen)
    return seen


def _schemas(document: Mapping[str, Any], side: str) -> list[str]:
    found: set[str] = set()
    for item in document["paths"].values():
        for operation in item.values():
            _used(document, operation.get(side, {}), found)
    return sorted(name for name in found if document["components"]["schemas"][name].get("properties"))


def _planted_everywhere(document: Node) -> Iterator[tuple[str, Node]]:
    """One breach at a time: in every operation, and in every field of every schema that is sent or got."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            changed = deepcopy(document)
            del changed["paths"][path][method]
            yield f"{method} {path} removed", changed
            if operation["x-permission"] != "public":
                continue
            changed = deepcopy(document)
            changed["paths"][path][method]["x-permission"] = "signed-in"
            yield f"{method} {path} closed", changed
    for side in ("requestBody", "responses"):
        for schema in _schemas(document, side):
            yield from _in_schema(document, schema, side)


def _in_schema(document: Node, schema: str, side: str) -> Iterator[tuple[str, Node]]:
    body = document["components"]["schemas"][schema]
    for name in body["properties"]:
        changed = deepcopy(document)
        del changed["components"]["schemas"][schema]["properties"][name]
        yield f"{schema}.{name} removed", changed
        must = name in body.get("required", ())
        if must == (side == "responses"):
            changed = deepcopy(document)
            there: list[str] = changed["components"]["schemas"][schema].setdefault("required", [])
            there.remove(name) if must else there.append(name)
            yield f"{schema}.{name} {'may be absent' if must else 'required'}", changed
        changed = deepcopy(document)
        changed["components"]["schemas"][schema]["properties"][name] = {"enum": [["no such thing"]]}
        yield f"{schema}.{name} is something else", changed


@pytest.mark.parametrize("name", COMMITTED)
def test_the_committed_documents_keep_their_own_promises(name: str) -> None:
    assert breaches({name: COMMITTED[name]}, {name: COMMITTED[name]}) == []


@pytest.mark.parametrize("name", COMMITTED)
def test_a_breach_in_any_place_of_a_committed_document_is_told(name: str) -> None:
    planted = list(_planted_everywhere(json.loads(COMMITTED[name])))
    assert len(planted) >= 10
    untold = [what for what, changed in planted if not breaches({name: COMMITTED[name]}, {name: json.dumps(changed)})]
    assert untold == []


PAIRS: list[tuple[Node, Node]] = [
    ({"type": "string"}, {"type": "string", "maxLength": 9}),
    ({"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 0, "maximum": 9}),
    ({"type": "integer"}, {"type": "number"}),
    ({"enum": ["a", "b"]}, {"enum": ["a"]}),
    ({"const": "a"}, {"enum": ["a", "b"]}),
    ({"type": "string"}, {"enum": ["a"]}),
    ({"type": "string"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [{"type": "integer"}, {"type": "boolean"}]}),
    ({"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {}, "maxItems": 4}),
    ({"type": "array", "minItems": 1, "items": {}}, {"type": "array", "items": {}}),
    ({"type": "object", "additionalProperties": {"type": "string"}}, {"type": "object"}),
    (
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
    ),
    (
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
        {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False},
    ),
    ({"type": "boolean"}, {"type": "boolean"}),
    ({}, {"type": "string"}),
]


@pytest.mark.parametrize("turned", [False, True], ids=["forth", "back"])
@pytest.mark.parametrize("pair", PAIRS, ids=[f"{a} {b}" for a, b in PAIRS])
def test_another_judge_finds_the_same(pair: tuple[Node, Node], turned: bool) -> None:
    old, new = reversed(pair) if turned else pair
    texts = json.dumps(old), json.dumps(new)
    theirs = jsoncompat.check_compat(*texts, "deserializer"), jsoncompat.check_compat(*texts, "serializer")
    ours = [not list(differences(old, new, side, "$", lambda a, b: (a, b))) for side in (Side.SENT, Side.GOT)]
    assert tuple(ours) == theirs
