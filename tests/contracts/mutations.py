"""Documents that are wrong in exactly one place. One law: derived from the schema, so none is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

Mutation = tuple[str, Any]
"""What was done, and the whole document with it."""

_WRONG_TYPE: Mapping[str, tuple[Any, ...]] = {
    "string": (7, True, ["a"], {}),
    "integer": ("7", 7.5, True, []),
    "boolean": ("true", 1, [], {}),
    "array": ("a", {}, 7),
    "object": ("a", [], 7),
}
_WRONG_FORMAT: Mapping[str, tuple[str, ...]] = {
    "date-time": ("2026-13-01T00:00:00.000000Z", "2026-08-05T09:00:00Z", "2026-08-05T09:00:00.000000+02:00"),
    "int64": ("9223372036854775808", "1.0", "007", ""),
    "decimal": ("1e3", "NaN", "1.", "0" * 3, "1." + "0" * 19),
}


def mutations(schema: Mapping[str, Any], document: Any) -> Iterator[Mutation]:
    """Every way to break one constraint of `schema` in one place of the valid `document`."""
    yield from _of(schema, document, schema.get("$defs", {}), "$", lambda part: part)


def _of(
    node: Mapping[str, Any], value: Any, defs: Mapping[str, Any], where: str, whole: Callable[[Any], Any]
) -> Iterator[Mutation]:
    if "$ref" in node:
        node = defs[node["$ref"].removeprefix("#/$defs/")]
    for wrong in _WRONG_TYPE[node["type"]]:
        yield f"{where} is {wrong!r}", whole(wrong)
    for what, wrong in (_text if node["type"] == "string" else _rest)(node, value):
        yield f"{where} {what}", whole(wrong)
    if node["type"] == "array" and value:
        yield from _of(node["items"], value[0], defs, f"{where}[0]", lambda part: whole([part, *value[1:]]))
    if node["type"] == "object" and "properties" in node:
        for name in value:
            inside = _replacing(value, name, whole)
            yield from _of(node["properties"][name], value[name], defs, f"{where}.{name}", inside)
    elif node["type"] == "object" and value:
        name = next(iter(value))
        inside = _replacing(value, name, whole)
        yield from _of(node["additionalProperties"], value[name], defs, f"{where}.{name}", inside)


def _replacing(value: Mapping[str, Any], name: str, whole: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda part: whole({**deepcopy(dict(value)), name: part})


def _text(node: Mapping[str, Any], value: str) -> Iterator[Mutation]:
    if "enum" in node:
        yield "is no word of the vocabulary", "no-such-word"
        yield "is written in other letters", value.swapcase()
        return
    if node["minLength"]:
        yield "is too short", "a" * (node["minLength"] - 1)
    yield "is too long", (value or "a") * (node["maxLength"] // max(1, len(value)) + 1)
    if "pattern" in node:
        yield "has a character that the pattern refuses", "\x7f " + value[2:]
    for wrong in _WRONG_FORMAT.get(node.get("format", ""), ()):
        yield f"is {wrong!r}", wrong
    if node.get("format") and not node["pattern"].startswith("^-"):
        yield "is negative", f"-{value}"


def _rest(node: Mapping[str, Any], value: Any) -> Iterator[Mutation]:
    match node["type"]:
        case "integer":
            yield "is below its minimum", node["minimum"] - 1
            yield "is above its maximum", node["maximum"] + 1
        case "array":
            if node.get("minItems"):
                yield "has too few items", value[: node["minItems"] - 1]
            if value and not node.get("uniqueItems"):
                yield "has too many items", [value[0]] * (node["maxItems"] + 1)
            if value and node.get("uniqueItems"):
                yield "has an item twice", [*value, value[0]]
        case "object" if "properties" in node:
            for name in node["required"]:
                yield f"has no {name}", {key: kept for key, kept in value.items() if key != name}
        case "object" if value:
            some = next(iter(value.values()))
            yield "has a key that is refused", {**value, "-": some}
            yield "has too many keys", {**value, **{f"k{n}": some for n in range(node["maxProperties"] + 1)}}
