"""What counts as a broken promise of an API. One law: a rule is trusted only after a planted breach was seen.

Here they are planted by hand, one or more for every rule, and so is what must be let through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest

from tools.openapi.compatibility import breaches

Node = dict[str, Any]

DOCUMENT: Node = {
    "paths": {
        "/v1/things/{thing_id}": {
            "post": {
                "x-permission": "planted.thing.change",
                "parameters": [
                    {"name": "thing_id", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 9, "default": 5}},
                    {"name": "GPUaaS-At-Least", "in": "header", "schema": {"type": "integer"}},
                ],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ask"}}}},
                "responses": {
                    "200": {
                        "headers": {"GPUaaS-Position": {"schema": {"type": "string"}}},
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Told"}},
                            "text/csv": {"schema": {"type": "string"}},
                        },
                    },
                    "default": {"$ref": "#/components/responses/Problem"},
                },
            }
        }
    },
    "components": {
        "responses": {
            "Problem": {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Told"}}}}
        },
        "schemas": {
            "Ask": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 9, "pattern": "^a"},
                    "kind": {"enum": ["big", "small"], "default": "big"},
                    "tags": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}, "maxItems": 3},
                    "until": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
            "Tag": {"type": "object", "properties": {"word": {"type": "string"}}},
            "Told": {
                "type": "object",
                "required": ["id", "state"],
                "properties": {
                    "id": {"type": "string"},
                    "state": {"enum": ["on", "off"]},
                    "size": {"type": "integer", "minimum": 0},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}},
                    "until": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
        },
    },
}


PLACES: Mapping[str, tuple[str, ...]] = {
    "op": ("paths", "/v1/things/{thing_id}", "post"),
    "body": ("paths", "/v1/things/{thing_id}", "post", "requestBody"),
    "ok": ("paths", "/v1/things/{thing_id}", "post", "responses", "200"),
    "ask": ("components", "schemas", "Ask", "properties"),
    "must-ask": ("components", "schemas", "Ask", "required"),
    "told": ("components", "schemas", "Told", "properties"),
    "must-tell": ("components", "schemas", "Told", "required"),
    "tag": ("components", "schemas", "Tag", "properties"),
}
"""What a path below may begin with."""

Plant = Callable[[Node], None]


def _reach(document: Node, path: str) -> tuple[Any, Any]:
    """The node that holds the last step of a dotted path, and that step."""
    first, *rest = path.split(".")
    steps = [*PLACES.get(first, (first,)), *rest]
    node: Any = document
    for step in steps[:-1]:
        node = node[int(step) if isinstance(node, list) else step]
    return node, int(steps[-1]) if isinstance(node, list) else steps[-1]


def put(path: str, value: Any) -> Plant:
    def plant(document: Node) -> None:
        holder, step = _reach(document, path)
        holder[step] = value

    return plant


def drop(path: str) -> Plant:
    def plant(document: Node) -> None:
        holder, step = _reach(document, path)
        del holder[step]

    return plant


def add(path: str, value: Any) -> Plant:
    """Append to a list."""

    def plant(document: Node) -> None:
        holder, step = _reach(document, path)
        holder[step].append(value)

    return plant


def both(*plants: Plant) -> Plant:
    def plant(document: Node) -> None:
        for each in plants:
            each(document)

    return plant


MOMENT = {"type": "string", "format": "date-time"}
BREACHES: list[tuple[Plant, str]] = [
    (put("paths", {}), "was removed or renamed"),
    (drop("op"), "was removed or renamed"),
    (put("op.x-permission", "planted.thing.rename"), "x-permission changed from planted.thing.change"),
    (drop("op.parameters.1"), "query parameter limit was removed"),
    (put("op.parameters.1.schema.maximum", 8), "limit maximum changed from 9 to 8"),
    (put("op.parameters.1.schema.default", 4), "limit default changed from 5 to 4"),
    (put("op.parameters.1.schema.type", "string"), "limit no longer takes integer"),
    (put("op.parameters.2.required", True), "gpuaas-at-least became required"),
    (put("op.parameters.2.in", "query"), "header parameter gpuaas-at-least was removed"),
    (add("op.parameters", {"name": "new", "in": "query", "required": True}), "parameter new is new and required"),
    (drop("body"), "the body is no longer taken"),
    (put("body.required", True), "the body became required"),
    (put("body.content", {"text/csv": {}}), "body is no longer taken as application/json"),
    (both(add("must-ask", "extra"), put("ask.extra", {})), "body.extra is new and required"),
    (add("must-ask", "kind"), "body.kind became required"),
    (drop("ask.tags"), "body.tags was removed"),
    (put("ask.name.maxLength", 8), "body.name maxLength changed from 9 to 8"),
    (put("ask.name.minLength", 1), "body.name minLength changed from null to 1"),
    (put("ask.name.pattern", "^b"), "body.name pattern changed"),
    (put("ask.kind.enum", ["big"]), 'body.kind no longer takes "small"'),
    (put("ask.kind.default", "small"), 'body.kind default changed from "big"'),
    (put("ask.name", {"const": "a"}), "body.name is now limited to"),
    (put("ask.tags.maxItems", 2), "body.tags maxItems changed from 3 to 2"),
    (put("tag.word.type", "integer"), "body.tags[].word no longer takes string"),
    (put("ask.until", MOMENT), 'body.until no longer takes {"type": "null"}'),
    (put("ask.labels.additionalProperties", {"type": "integer"}), "body.labels.* no longer takes string"),
    (put("ask.labels.additionalProperties", False), "body.labels no longer takes other fields"),
    (put("ask.name.not", {"type": "object"}), "body.name not changed"),
    (put("ask.name.allOf", [{"$ref": "#/components/schemas/Tag"}]), "body.name allOf changed"),
    (both(put("op.responses.201", {}), drop("ok")), "answers no longer with 200"),
    (put("op.responses.202", {}), "answers now also with 202"),
    (drop("op.responses.default"), "answers no longer with default"),
    (drop("ok.headers.GPUaaS-Position"), "200 header GPUaaS-Position was removed"),
    (drop("ok.content.text/csv"), "200 is no longer said as text/csv"),
    (put("components.responses.Problem.content", {}), "default is no longer said as application/problem+json"),
    (drop("ok.content.application/json.schema"), "200 may now be any type"),
    (drop("told.size"), "200.size was removed"),
    (drop("must-tell.0"), "200.id may now be absent"),
    (add("told.state.enum", "broken"), '200.state may now be "broken"'),
    (put("told.state", {"type": "string"}), "200.state is no longer limited to"),
    (put("told.size.type", "number"), "200.size may now be number"),
    (drop("told.size.minimum"), "200.size minimum changed from 0 to null"),
    (add("told.until.anyOf", {"type": "integer"}), '200.until may now be {"type": "integer"}'),
    (put("told.id.type", ["string", "null"]), "200.id may now be null"),
    (put("told.labels.additionalProperties", {}), "200.labels.* may now be any type"),
    (drop("tag.word"), "200.parts[].word was removed"),
]

ALLOWED: list[tuple[Plant, str]] = [
    (put("paths./v2/things", {"get": {}}), "a new path"),
    (put("op.x-permission", "signed-in"), "more people may ask"),
    (put("op.x-permission", "public"), "everybody may ask"),
    (add("op.parameters", {"name": "new", "in": "query"}), "a new optional parameter"),
    (lambda document: _reach(document, "op")[0]["post"]["parameters"].reverse(), "parameters in another order"),
    (put("op.parameters.2.name", "gpuaas-at-least"), "a header in other letters"),
    (put("op.parameters.1.schema.maximum", 99), "a parameter taken more widely"),
    (put("op.parameters.1.schema.type", "number"), "integers are numbers"),
    (put("ask.extra", {"type": "string"}), "a new optional field"),
    (drop("must-ask.0"), "a field that need not be sent any more"),
    (put("components.schemas.Ask.additionalProperties", True), "a body that takes unknown fields"),
    (drop("ask.name.pattern"), "a pattern less"),
    (add("ask.kind.enum", "huge"), "a new word to send"),
    (add("ask.until.anyOf", {"type": "integer"}), "a new type to send"),
    (put("ask.name.title", "Name"), "other words"),
    (put("body.content.text/csv", {}), "a new media type to send"),
    (put("ok.content.text/plain", {}), "a new media type to ask for"),
    (put("op.responses.404", {}), "a failure described by itself"),
    (put("told.extra", {"type": "string"}), "a new field in an answer"),
    (add("must-tell", "size"), "a field that is now always there"),
    (put("told.state", {"const": "on"}), "fewer words in an answer"),
    (put("told.until", {"type": "string"}), "never null any more"),
    (
        put("told.parts.items", {"properties": {"word": {"type": "string"}}, "type": "object"}),
        "a reference written out",
    ),
]


def _judged(plant: Plant) -> list[str]:
    changed = deepcopy(DOCUMENT)
    plant(changed)
    assert changed != DOCUMENT
    return breaches({"planted": json.dumps(DOCUMENT)}, {"planted": json.dumps(changed)})


@pytest.mark.parametrize(("plant", "said"), BREACHES, ids=[said for _, said in BREACHES])
def test_a_planted_breach_is_told(plant: Plant, said: str) -> None:
    told = _judged(plant)
    assert any(said in text for text in told), told
    assert all(text.startswith("planted: POST /v1/things/{thing_id}") for text in told)


@pytest.mark.parametrize(("plant", "what"), ALLOWED, ids=[what for _, what in ALLOWED])
def test_what_breaks_nobody_is_let_through(plant: Plant, what: str) -> None:
    assert _judged(plant) == []


def test_a_deleted_document_is_told() -> None:
    assert breaches({"iam.openapi.json": "{}"}, {}) == ["iam.openapi.json: deleted, but clients ask that service"]


def test_a_schema_that_contains_itself_is_judged() -> None:
    document = deepcopy(DOCUMENT)
    document["components"]["schemas"]["Tag"]["properties"]["inner"] = {"$ref": "#/components/schemas/Tag"}
    changed = deepcopy(document)
    assert breaches({"d": json.dumps(document)}, {"d": json.dumps(changed)}) == []
    changed["components"]["schemas"]["Tag"]["properties"]["word"]["type"] = "integer"
    assert breaches({"d": json.dumps(document)}, {"d": json.dumps(changed)})
