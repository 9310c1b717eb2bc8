"""What changed between two interface documents. One law: we compare; a diff handed in is not believed.

Takes `{"before": …, "after": …}` with two OpenAPI 3 or two AsyncAPI 3 documents, or `{"pairs": {name: pair}}`, and
counts what a client that was written against the first could miss in the second. It sees names, requiredness and
types, not every keyword of JSON Schema: the compatibility gates of the build see more; this one is independent of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gpuaas.common.errors import Invalid
from gpuaas.evidence.domain.strict_json import read_json

METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
DEPTH_MAX: Final = 32

Document = Mapping[str, Any]


def read_interface_diff(data: bytes) -> dict[str, Any]:
    """Counts: before, after (operations or messages), added, removed, narrowed, breaking (removed + narrowed).

    `narrowed`: something required of the sender that was not, a field or answer that is gone, or another type.

    Raises:
        Invalid: not two documents of one kind.
    """
    document = read_json(data)
    pairs = document.get("pairs") if isinstance(document, dict) else None
    if not isinstance(pairs, dict):
        return _compared(document)
    if not pairs:
        raise Invalid("no pair of documents was handed in, so nothing is shown")
    found = [_compared(pair) for pair in pairs.values()]
    return {"pairs": len(found), **{name: sum(one[name] for one in found) for name in found[0]}}


def _compared(both: Any) -> dict[str, Any]:
    match both:
        case {"before": {"openapi": str()} as before, "after": {"openapi": str()} as after}:
            old, new = dict(_operations(before)), dict(_operations(after))
            narrowed = sum(_operation_narrowed(before, old[name], after, new[name]) for name in old.keys() & new.keys())
        case {"before": {"asyncapi": str()} as before, "after": {"asyncapi": str()} as after}:
            old, new = dict(_messages(before)), dict(_messages(after))
            narrowed = sum(_schema_narrowed(before, old[name], after, new[name]) for name in old.keys() & new.keys())
        case _:
            raise Invalid("hand in {before, after} with two OpenAPI or two AsyncAPI documents")
    removed = len(old.keys() - new.keys())
    return {
        "before": len(old),
        "after": len(new),
        "added": len(new.keys() - old.keys()),
        "removed": removed,
        "narrowed": narrowed,
        "breaking": removed + narrowed,
    }


def _operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, item in _members(document.get("paths")):
        for method, operation in _members(item):
            if method in METHODS and isinstance(operation, dict):
                yield f"{method.upper()} {path}", operation


def _messages(document: Document) -> Iterator[tuple[str, Any]]:
    components = document.get("components")
    for name, message in _members(components.get("messages") if isinstance(components, dict) else None):
        payload = message.get("payload") if isinstance(message, dict) else None
        yield name, payload.get("schema", payload) if isinstance(payload, dict) else payload


def _operation_narrowed(before: Document, old: Document, after: Document, new: Document) -> int:
    demanded = _demanded(after, new) - _demanded(before, old)
    answers = {code for code, _ in _members(old.get("responses"))} - {
        code for code, _ in _members(new.get("responses"))
    }
    return len(demanded) + len(answers) + _schema_narrowed(before, _body(old), after, _body(new), asked=True)


def _demanded(document: Document, operation: Document) -> set[str]:
    """Parameters that a caller must give."""
    given = operation.get("parameters", [])
    found = [_resolved(document, one) for one in given] if isinstance(given, list) else []
    return {f"{one.get('in')} {one.get('name')}" for one in found if isinstance(one, dict) and one.get("required")}


def _body(operation: Document) -> Any:
    body = operation.get("requestBody")
    contents = dict(_members(body.get("content"))) if isinstance(body, dict) else {}
    chosen = contents.get("application/json", {})
    return chosen.get("schema") if isinstance(chosen, dict) else None


def _schema_narrowed(
    before: Document, old: Any, after: Document, new: Any, *, asked: bool = False, depth: int = 0
) -> int:
    """What is narrower in `new`. `asked`: the schema is what a caller sends, so a new required field narrows it."""
    old, new = _resolved(before, old), _resolved(after, new)
    if depth > DEPTH_MAX or not isinstance(old, dict) or not isinstance(new, dict):
        return int(isinstance(old, dict) and not isinstance(new, dict))
    if "type" in old and "type" in new and old["type"] != new["type"]:
        return 1
    fields, kept = dict(_members(old.get("properties"))), dict(_members(new.get("properties")))
    found = len(fields.keys() - kept.keys())
    if asked:
        found += len(_required(new) - _required(old))
    else:
        found += len((_required(old) - _required(new)) & kept.keys())
    for name in fields.keys() & kept.keys():
        found += _schema_narrowed(before, fields[name], after, kept[name], asked=asked, depth=depth + 1)
    if "items" in old:
        found += _schema_narrowed(before, old["items"], after, new.get("items"), asked=asked, depth=depth + 1)
    return found


def _required(schema: Document) -> set[str]:
    named = schema.get("required", [])
    return {name for name in named if isinstance(name, str)} if isinstance(named, list) else set()


def _resolved(document: Document, value: Any) -> Any:
    """Where a `$ref` into the same document leads."""
    for _ in range(DEPTH_MAX):
        if not isinstance(value, dict) or not isinstance(reference := value.get("$ref"), str):
            return value
        value = document
        for step in reference.removeprefix("#/").split("/"):
            value = value.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(value, dict) else None
    return None


def _members(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
