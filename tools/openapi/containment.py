"""Whether one JSON Schema allows all that another does. One law: what it cannot judge, it does not let through.

For what clients send, the new schema must allow all that the old one did; for what they get, the old one must allow
all that the new one does. So there is a *narrow* and a *wide* schema, and which is which depends on the side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

Schema = Mapping[str, Any]
Resolve = Callable[[Schema, Schema], tuple[Schema, Schema]]
"""Both schemas, each replaced by what its reference names."""


class Side(Enum):
    """Whose documents the schema is about."""

    SENT = "sent"
    GOT = "got"


_WORDS: Final = frozenset({"title", "description", "examples", "example", "deprecated", "discriminator", "$defs"})
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_JUDGED: Final = frozenset(
    {"type", "enum", "const", "anyOf", "oneOf", "items", "properties", "required", "additionalProperties", "default"}
)
_ANY_TYPE: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


def differences(old: Schema | bool, new: Schema | bool, side: Side, where: str, resolve: Resolve) -> Iterator[str]:
    """One sentence for every way in which `new` breaks who relies on `old`."""
    yield from _Comparison(side, resolve).of(old, new, where)


class _Comparison:
    def __init__(self, side: Side, resolve: Resolve) -> None:
        self._side = side
        self._resolve = resolve
        self._under_way: set[tuple[str, str]] = set()

    def _ordered(self, old: Any, new: Any) -> tuple[Any, Any]:
        """(narrow, wide)"""
        return (old, new) if self._side is Side.SENT else (new, old)

    def of(self, old: Schema | bool, new: Schema | bool, where: str) -> Iterator[str]:
        before, after = _as_schema(old), _as_schema(new)
        names = str(before.get("$ref")), str(after.get("$ref"))
        if "None" not in names:
            # A schema that contains itself keeps its promise if it does so everywhere else.
            if names in self._under_way:
                return
            self._under_way.add(names)
        before, after = self._resolve(before, after)
        alternatives = _alternatives(before), _alternatives(after)
        if len(alternatives[0]) == len(alternatives[1]) == 1:
            yield from self._single(alternatives[0][0], alternatives[1][0], where)
        else:
            yield from self._choices(*alternatives, where)
        self._under_way.discard(names)

    def _choices(self, old: list[Schema], new: list[Schema], where: str) -> Iterator[str]:
        """Every narrow alternative has a wide one that allows all of it."""
        for one in old if self._side is Side.SENT else new:
            pairs = [(one, other) for other in new] if self._side is Side.SENT else [(other, one) for other in old]
            if all(any(True for _ in self.of(*pair, where)) for pair in pairs):
                said = "no longer takes" if self._side is Side.SENT else "may now be"
                yield f"{where} {said} {_brief(one)}"

    def _single(self, old: Schema, new: Schema, where: str) -> Iterator[str]:
        yield from self._types(old, new, where)
        yield from self._vocabulary(old, new, where)
        yield from self._limits(old, new, where)
        if "items" in old or "items" in new:
            yield from self.of(old.get("items", {}), new.get("items", {}), f"{where}[]")
        if "properties" in old or "properties" in new:
            fields = self._fields_sent if self._side is Side.SENT else self._fields_got
            yield from fields(old, new, where)
            for name in old.get("properties", {}).keys() & new.get("properties", {}).keys():
                inside = old["properties"][name], new["properties"][name]
                yield from self.of(*inside, f"{where}.{name}")
        yield from self._further(old, new, where)

    def _types(self, old: Schema, new: Schema, where: str) -> Iterator[str]:
        narrow, wide = self._ordered(_types(old), _types(new))
        if beyond := narrow - wide - ({"integer"} if "number" in wide else set()):
            said = "no longer takes" if self._side is Side.SENT else "may now be"
            yield f"{where} {said} {'any type' if narrow == _ANY_TYPE else ' or '.join(sorted(beyond))}"

    def _vocabulary(self, old: Schema, new: Schema, where: str) -> Iterator[str]:
        narrow, wide = self._ordered(_values(old), _values(new))
        if wide is None or (narrow is not None and narrow <= wide):
            return
        if narrow is None:
            said = "is now limited to" if self._side is Side.SENT else "is no longer limited to"
            yield f"{where} {said} {', '.join(sorted(wide))}"
        else:
            said = "no longer takes" if self._side is Side.SENT else "may now be"
            yield f"{where} {said} {', '.join(sorted(narrow - wide))}"

    def _limits(self, old: Schema, new: Schema, where: str) -> Iterator[str]:
        for key in sorted((old.keys() | new.keys()) - _JUDGED - _WORDS):
            before, after = old.get(key), new.get(key)
            narrow, wide = self._ordered(before, after)
            kept = narrow == wide or wide is None
            if key in _LOWER and wide is not None and narrow is not None:
                kept = narrow >= wide
            if key in _UPPER and wide is not None and narrow is not None:
                kept = narrow <= wide
            if kept and '"$ref"' in json.dumps([before, after]):
                yield f"{where} {key} holds a reference, which is not judged"
            elif not kept:
                yield f"{where} {key} changed from {json.dumps(before)} to {json.dumps(after)}"

    def _fields_sent(self, old: Schema, new: Schema, where: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        must, must_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in before | after:
            if name not in after:
                yield f"{where}.{name} was removed or renamed"
            elif name in must_now - must:
                yield f"{where}.{name} {'became required' if name in before else 'is new and required'}"
            elif name in before and name not in must:
                was, now = before[name].get("default"), after[name].get("default")
                if was != now:
                    yield f"{where}.{name} default changed from {json.dumps(was)} to {json.dumps(now)}"

    def _fields_got(self, old: Schema, new: Schema, where: str) -> Iterator[str]:
        after = new.get("properties", {})
        for name in old.get("properties", {}):
            if name not in after:
                yield f"{where}.{name} was removed or renamed"
            elif name in set(old.get("required", ())) - set(new.get("required", ())):
                yield f"{where}.{name} may now be absent"

    def _further(self, old: Schema, new: Schema, where: str) -> Iterator[str]:
        """Fields without a name in the schema. Clients ignore those in an answer, unless they were promised a kind."""
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if self._side is Side.SENT and before is not False and after is False and "object" in _types(old):
            yield f"{where} no longer takes other fields"
        elif isinstance(before if self._side is Side.GOT else after, Mapping) and False not in (before, after):
            yield from self.of(before, after, f"{where}.*")


def _as_schema(schema: Schema | bool) -> Schema:
    if isinstance(schema, bool):
        return {} if schema else {"enum": []}
    return schema


def _alternatives(schema: Schema) -> list[Schema]:
    """The branches of `anyOf` or `oneOf`, each with what stands beside it."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            beside = {name: value for name, value in schema.items() if name != key and name not in _WORDS}
            beside.pop("default", None)
            return [{**_as_schema(branch), **beside} for branch in schema[key]]
    return [schema]


def _types(schema: Schema) -> frozenset[str]:
    said = schema.get("type")
    if said is None and "const" in schema:
        return frozenset([_type_of(schema["const"])])
    if said is None:
        return frozenset(map(_type_of, schema["enum"])) if "enum" in schema else _ANY_TYPE
    return frozenset([said] if isinstance(said, str) else said)


def _type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "integer" if value == int(value) else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _values(schema: Schema) -> frozenset[str] | None:
    """The closed vocabulary, each word as JSON text; None: there is none."""
    if "const" in schema:
        return frozenset([json.dumps(schema["const"])])
    return frozenset(map(json.dumps, schema["enum"])) if "enum" in schema else None


def _brief(schema: Schema) -> str:
    shown = {key: value for key, value in schema.items() if key not in _WORDS}
    return json.dumps(shown)[:120]
