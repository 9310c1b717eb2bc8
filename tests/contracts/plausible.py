"""Values that a JSON Schema of our APIs allows, always the same. One law: a request made of them is a sensible one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tools.contracts.shapes import LABEL
from tools.openapi.describing import Document

_BY_FORMAT: Final = {
    "date-time": "2099-01-01T00:00:00.000000Z",
    "decimal": "2.50",
    "int64": "1",
    "binary": "bytes",
}
BY_PATTERN: Final = {
    LABEL: "some-thing",
    r"^[0-9a-f]{64}$": "0" * 64,
    "^[A-Z]{3}$": "EUR",
    "^[A-Z]{2}$": "DE",
    "^[A-Z]{2}[A-Z0-9]{2,18}$": "DE123456789",
    "^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$": "DE89370400440532013000",
    "^(newest|oldest)$": "newest",
    "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$": "some-thing",
    r"^(/[^/]*)*$": "/some-thing",
    "^[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*$": "application/json",
}
BY_NAME: Final[Mapping[str, Any]] = {
    "predicate": "failed == 0",
    "permission": "iam.tenant.read",
    "permissions": ["iam.tenant.read"],
    "one": ["some.thing.done"],
    "other": ["other.thing.done"],
    "month": "2026-08",
    "period_start": "2026-07-01T00:00:00.000000Z",
    "period_end": "2026-08-01T00:00:00.000000Z",
}
"""Fields whose rules a schema does not say."""


class Unthinkable(Exception):
    """No rule here makes a value for a schema; add one."""


def plausible(document: Document, schema: Mapping[str, Any], *, whole: bool = False) -> Any:
    """One value that `schema` allows; of an object the required fields, or with `whole` all of them."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "const" in schema or ("default" in schema and not whole) or "enum" in schema or schema.get("examples"):
        return _given(schema)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return plausible(document, schema[key][0], whole=whole)
    match schema.get("type"):
        case "string":
            return _text(schema)
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case "array":
            return [plausible(document, schema["items"], whole=whole)] * max(1, schema.get("minItems", 0))
        case "object":
            return _fields(document, schema, whole)
    raise Unthinkable(f"nothing plausible for {schema}")


def _fields(document: Document, schema: Mapping[str, Any], whole: bool) -> dict[str, Any]:
    properties, further = schema.get("properties", {}), schema.get("additionalProperties")
    if whole and not properties and isinstance(further, Mapping):
        return {"team": plausible(document, further, whole=whole)}
    names = properties if whole else schema.get("required", ())
    return {name: BY_NAME.get(name) or plausible(document, properties[name], whole=whole) for name in names}


def _given(schema: Mapping[str, Any]) -> Any:
    for key in ("const", "default"):
        if schema.get(key) is not None:
            return schema[key]
    return (schema.get("examples") or schema.get("enum") or [None])[0]


def _text(schema: Mapping[str, Any]) -> str:
    if "pattern" in schema and schema["pattern"] not in BY_PATTERN:
        raise Unthinkable(f"no text for the pattern {schema['pattern']}")
    if "pattern" in schema:
        return BY_PATTERN[schema["pattern"]]
    return _BY_FORMAT.get(schema.get("format", ""), "some-thing"[: schema.get("maxLength", 63)])
