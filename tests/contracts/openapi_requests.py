"""Requests drawn from an OpenAPI document, for Hypothesis. One law: mostly right, so that what is wrong gets deep.

Every part is drawn from its schema, corners included; then up to two parts are twisted into something that no schema
wanted. What is all wrong is refused at the first look and finds nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from hypothesis import strategies as st

from tests.contracts.plausible import BY_NAME, BY_PATTERN
from tools.openapi.describing import Document

TEXT_MAX: Final = 80
ITEMS_MAX: Final = 3
_TEXTS: Final = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "é",
    "🦆",
    "\ud7ff",
    "\ud800",
    "a" * 5_000,
    "A.B",
    "..",
    "null",
    "0",
    "-1",
    "%00",
    "'--",
    "*",
)
_NUMBERS: Final = (0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**200, 0.5, 1e308)
_ODD: Final[tuple[Any, ...]] = (*_TEXTS, *_NUMBERS, None, True, [], {}, [[]], {"": ""}, [None], {"a": {"b": [1]}})
_MOMENTS: Final = (
    "2099-01-01T00:00:00.000000Z",
    "0001-01-01T00:00:00.000000Z",
    "9999-12-31T23:59:59.999999Z",
    "2026-02-29T00:00:00Z",
    "2026-03-01T00:00:00+23:59",
)
_BODIES: Final = (
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 2_000,
    b'{"a":NaN}',
    b'{"a":1e999}',
    b'"\\ud800"',
    b"null",
    b"[]",
    b"x=1",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


def requests(
    document: Document, method: str, path: str, operation: Mapping[str, Any], ids: Sequence[str]
) -> st.SearchStrategy[Request]:
    """Requests to one operation. `ids`: of things that exist, so that paths lead somewhere."""
    return st.composite(_request)(document, method, path, operation, ids)


def _request(
    draw: st.DrawFn, document: Document, method: str, path: str, operation: Mapping[str, Any], ids: Sequence[str]
) -> Request:
    parameters = operation.get("parameters", ())
    body = next(iter(operation.get("requestBody", {}).get("content", {}).items()), None)
    twisted = draw(st.sets(st.sampled_from([*range(len(parameters)), "body", "none"]), max_size=2))
    query, headers = [], {}
    for number, each in enumerate(parameters):
        value = _parameter(draw, document, each, number in twisted, ids)
        if each["in"] == "path":
            path = path.replace("{" + each["name"] + "}", quote(value, safe="", errors="replace") or "%20")
        elif each["name"] == "wait_s":
            continue  # it only makes the answer late
        elif (each.get("required") or draw(st.booleans())) and each["in"] == "query":
            query.append((each["name"], value.encode("utf-8", "replace").decode()))
        elif each["in"] == "header" and draw(st.integers(0, 3)) == 0:
            headers[each["name"]] = "".join(char for char in value if " " <= char <= "~").strip()
    content = None if body is None else _content(draw, document, body[1].get("schema", {}), "body" in twisted)
    if content is not None and body is not None:
        headers["Content-Type"] = draw(st.sampled_from([body[0]] * 9 + ["text/plain"]))
    return Request(method, path, tuple(query), headers, content)


def _parameter(
    draw: st.DrawFn, document: Document, parameter: Mapping[str, Any], twisted: bool, ids: Sequence[str]
) -> str:
    name = parameter["name"]
    if name == "cursor" and draw(st.integers(0, 3)):
        keys = draw(st.lists(st.sampled_from(_ODD), max_size=3) | st.sampled_from(_ODD))
        return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")
    if twisted:
        return _shown(draw(st.sampled_from(_ODD)))
    if parameter["in"] == "path":
        known = {"tenant_id": ["acme", "platform"], "project_id": ["vision"]}.get(name, ids)
        if draw(st.integers(0, 5)):
            return draw(st.sampled_from(known))
    if name == "GPUaaS-At-Least":
        return draw(st.sampled_from(["0", "1", "20"]))
    return _shown(draw(values(document, parameter["schema"], name)))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _content(draw: st.DrawFn, document: Document, schema: Mapping[str, Any], twisted: bool) -> bytes:
    if twisted and draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(_BODIES))
    if schema.get("format") == "binary":
        return draw(st.binary(max_size=40))
    body = draw(values(document, schema))
    if twisted:
        body = _twist(draw, body)
    return json.dumps(body).encode("utf-8", "surrogatepass")


def _twist(draw: st.DrawFn, body: Any) -> Any:
    """`body` with one part of it replaced, removed or added."""
    if isinstance(body, dict) and body and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(body)))
        return {**body, name: _twist(draw, body[name])}
    if isinstance(body, list) and body and draw(st.booleans()):
        return [_twist(draw, body[0]), *body[1:]]
    if isinstance(body, dict) and draw(st.booleans()):
        return {**body, "no_such_field": 1} if draw(st.booleans()) or not body else dict(list(body.items())[1:])
    return draw(st.sampled_from(_ODD))


def twisted_texts(body: Any, odd: str) -> Iterator[Any]:
    """`body` with one of its texts, or the key of one of its maps, replaced by `odd`: each in turn."""
    if isinstance(body, str):
        yield odd
    for step, value in body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ():
        for changed in twisted_texts(value, odd):
            yield {**body, step: changed} if isinstance(body, dict) else [*body[:step], changed, *body[step + 1 :]]
    if isinstance(body, dict) and "team" in body:
        yield {odd: body["team"]}


def values(document: Document, schema: Mapping[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Values that `schema` allows, as far as it says."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "const" in schema or "enum" in schema:
        return st.sampled_from([schema["const"]] if "const" in schema else schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return st.one_of([values(document, each, name) for each in schema[key]])
    made = _BY_TYPE[schema.get("type", "string")](document, schema)
    return made | st.just(BY_NAME[name]) if name in BY_NAME else made


def _text(_: Document, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    shortest, longest = schema.get("minLength", 0), min(schema.get("maxLength", TEXT_MAX), TEXT_MAX)
    if "pattern" in schema:
        drawn = st.from_regex(schema["pattern"].removeprefix("^").removesuffix("$"), fullmatch=True)
        return st.just(BY_PATTERN.get(schema["pattern"], "some-thing")) | drawn.filter(
            lambda text: len(text) <= longest
        )
    match schema.get("format"):
        case "date-time":
            return st.sampled_from(_MOMENTS)
        case "decimal":
            return st.sampled_from(["2.50", "0", "-0", "1" * 18 + "." + "9" * 18])
        case "int64":
            return st.sampled_from(["0", "1", str(2**63 - 1), "-1"])
        case _:
            words = st.sampled_from(["some-thing", "a", "Z" * longest, *_TEXTS])
            return (words | st.text(max_size=longest)).filter(lambda text: shortest <= len(text) <= longest)


def _whole(_: Document, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    least, most = schema.get("minimum", -(2**70)), schema.get("maximum", 2**70)
    least, most = schema.get("exclusiveMinimum", least - 1) + 1, schema.get("exclusiveMaximum", most + 1) - 1
    return st.sampled_from([max(least, min(most, each)) for each in (least, most, 1, 2)]) | st.integers(least, most)


def _list(document: Document, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    fewest = schema.get("minItems", 0)
    most = min(schema.get("maxItems", ITEMS_MAX), fewest + ITEMS_MAX)
    return st.lists(values(document, schema.get("items", {})), min_size=fewest, max_size=most)


def _object(document: Document, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    drawn = {name: values(document, each, name) for name, each in properties.items()}
    if isinstance(further := schema.get("additionalProperties"), Mapping) and not properties:
        return st.dictionaries(st.sampled_from([*_TEXTS, "team"]), values(document, further), max_size=ITEMS_MAX)
    return st.fixed_dictionaries(
        {name: drawn[name] for name in properties if name in required},
        optional={name: drawn[name] for name in properties if name not in required},
    )


_BY_TYPE: Final = {
    "string": _text,
    "integer": _whole,
    "number": _whole,
    "boolean": lambda *_: st.booleans(),
    "null": lambda *_: st.none(),
    "array": _list,
    "object": _object,
}
