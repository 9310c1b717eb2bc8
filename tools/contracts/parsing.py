"""Turns nodes of a JSON Schema into shapes. One law: a keyword it does not know is refused, never skipped."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from tools.contracts.shapes import (
    WIRE_TYPES,
    Choice,
    Definition,
    Field,
    Flag,
    Listing,
    Named,
    Shape,
    Structure,
    Table,
    Text,
    Whole,
    Wire,
)

Node = Mapping[str, Any]

_PROPERTY: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DEFINITION: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_ANNOTATIONS: Final = ("description", "x-personal-data", "x-redacted")
_WORDS_MIN: Final = 3
_JSON_INTEGER_END: Final = 1 << 53
"""From here on a JSON number is not exact."""


class Refused(Exception):
    """A schema says something the generator does not understand or the house does not allow."""


def equal(found: object, wanted: object, where: str) -> None:
    """Refuses `found` unless it is `wanted`."""
    if found != wanted or type(found) is not type(wanted):
        raise Refused(f"{where}: must be {wanted!r}, is {found!r}")


def words(text: object, where: str, fewest: int = 1) -> str:
    """`text`, refused unless it is at least `fewest` words."""
    if not isinstance(text, str) or len(text.split()) < fewest or text != text.strip():
        raise Refused(f"{where}: wants at least {fewest} word(s) that a newcomer understands")
    return text


def definition_of(name: str, node: Node, where: str) -> Definition:
    """The definition `name`; only here may enums, structures and formats stand."""
    here = f"{where} $defs/{name}"
    if not _DEFINITION.fullmatch(name):
        raise Refused(f"{here}: a definition is named in CamelCase")
    description = words(node.get("description"), f"{here} description", _WORDS_MIN)
    rest = {key: value for key, value in node.items() if key != "description"}
    if name in WIRE_TYPES:
        equal(rest, dict(WIRE_TYPES[name]), here)
        return Definition(name, description, Wire(name))
    if rest.get("type") == "object" and "properties" in rest:
        return Definition(name, description, structure_of(rest, here, False))
    if "enum" in rest:
        return Definition(name, description, _choice(rest, here))
    shape = _shape(rest, here)
    if isinstance(shape, Named | Listing | Table):
        raise Refused(f"{here}: a definition is a structure, a vocabulary or a single value")
    return Definition(name, description, shape)


def _choice(node: Node, where: str) -> Choice:
    _keys(node, where, {"type", "enum"})
    equal(node["type"], "string", f"{where} type")
    values = node["enum"]
    if not values or len(set(values)) != len(values) or not all(isinstance(value, str) for value in values):
        raise Refused(f"{where} enum: different strings, at least one")
    return Choice(tuple(values))


def structure_of(node: Node, where: str, is_event: bool) -> Structure:
    """An object with fixed properties; `is_event`: the event itself, not a structure inside it."""
    _keys(node, where, {"type", "additionalProperties", "required", "properties"})
    equal(node["type"], "object", f"{where} type")
    equal(node["additionalProperties"], False, f"{where} additionalProperties")
    if unknown := set(node["required"]) - node["properties"].keys():
        raise Refused(f"{where} required: no such property {', '.join(sorted(unknown))}")
    if not node["properties"]:
        raise Refused(f"{where} properties: at least one")
    return Structure(
        tuple(
            _field(key, value, key in node["required"], f"{where} {key}", is_event)
            for key, value in node["properties"].items()
        )
    )


def _field(name: str, node: Node, required: bool, where: str, is_event: bool) -> Field:
    if not _PROPERTY.fullmatch(name) or keyword.iskeyword(name) or hasattr(BaseModel, name):
        raise Refused(f"{where}: a property is named in snake_case and not like something Python or pydantic has")
    description = words(node.get("description"), f"{where} description", 2)
    personal = node.get("x-personal-data", False)
    if not isinstance(personal, bool) or (personal and not is_event):
        raise Refused(f"{where} x-personal-data: `true`, and only on a property of the event itself")
    redacted = node.get("x-redacted")
    if personal != isinstance(redacted, str) or (personal and node.get("type") != "string"):
        raise Refused(
            f"{where} x-redacted: beside x-personal-data, on a string: what stands there for who may not read"
        )
    rest = {key: value for key, value in node.items() if key not in _ANNOTATIONS}
    return Field(name, description, _shape(rest, where), required, redacted)


def _shape(node: Node, where: str) -> Shape:
    if "enum" in node or "properties" in node or "format" in node:
        raise Refused(f"{where}: enums, structures and formats are $defs, so that they have a name")
    match node.get("type"):
        case None:
            return _named(node, where)
        case "array":
            return _listing(node, where)
        case "object":
            return _table(node, where)
        case "boolean":
            _keys(node, where, {"type"})
            return Flag()
        case _:
            return _scalar(node, where)


def _scalar(node: Node, where: str) -> Text | Whole:
    match node.get("type"):
        case "string":
            _keys(node, where, {"type", "minLength", "maxLength"}, {"pattern"})
            shortest, longest = _range(node["minLength"], node["maxLength"], where)
            return Text(shortest, longest, _pattern(node.get("pattern"), where))
        case "integer":
            _keys(node, where, {"type", "minimum", "maximum"})
            return Whole(*_range(node["minimum"], node["maximum"], where))
        case other:
            raise Refused(f"{where}: type {other!r} is not in the subset (numbers with a point are strings)")


def _item(node: Node, where: str) -> Text | Whole | Named:
    if "type" not in node:
        return _named(node, where)
    return _scalar(node, where)


def _named(node: Node, where: str) -> Named:
    _keys(node, where, {"$ref"})
    target = str(node["$ref"])
    if not target.startswith("#/$defs/"):
        raise Refused(f"{where} $ref: only #/$defs/… of the same file")
    return Named(target.removeprefix("#/$defs/"))


def _listing(node: Node, where: str) -> Listing:
    _keys(node, where, {"type", "maxItems", "items"}, {"minItems", "uniqueItems"})
    fewest, most = _range(node.get("minItems", 0), node["maxItems"], where)
    return Listing(_item(node["items"], f"{where} items"), fewest, most, bool(node.get("uniqueItems", False)))


def _table(node: Node, where: str) -> Table:
    _keys(node, where, {"type", "maxProperties", "propertyNames", "additionalProperties"})
    key = _item(node["propertyNames"], f"{where} propertyNames")
    if isinstance(key, Whole):
        raise Refused(f"{where} propertyNames: keys are strings")
    _, most = _range(0, node["maxProperties"], where)
    return Table(key, _item(node["additionalProperties"], f"{where} additionalProperties"), most)


def _keys(node: Node, where: str, needed: set[str], allowed: set[str] | None = None) -> None:
    if missing := needed - node.keys():
        raise Refused(f"{where}: missing {', '.join(sorted(missing))} (a limit on everything)")
    if unknown := node.keys() - needed - (allowed or set()):
        raise Refused(f"{where}: unknown keyword {', '.join(sorted(unknown))}")


def _range(least: object, most: object, where: str) -> tuple[int, int]:
    if type(least) is not int or type(most) is not int or least > most or max(-least, most) >= _JSON_INTEGER_END:
        raise Refused(f"{where}: limits are integers below 2^53, the lower one first")
    return least, most


def _pattern(pattern: object, where: str) -> str | None:
    if pattern is None:
        return None
    if not isinstance(pattern, str) or not pattern.startswith("^") or not pattern.endswith("$") or "(?" in pattern:
        raise Refused(f"{where} pattern: anchored at both ends, without look-around")
    return pattern
