"""Whether today's doors keep yesterday's promises. One law: a client written for the older document goes on working.

The rule, inside one path (whose first part names the version; what breaks it stands beside it under the next one):

* a path, an operation, a parameter, a body, a success status, a media type, a header or a field of an answer stays;
* what a client sends may only be taken more widely: no new required parameter or field, none that becomes required,
  no narrower type, bound, pattern or vocabulary, no other default;
* what a client gets may only be said more narrowly: new fields are allowed, because clients ignore what they do not
  know; no field that may now be absent, no new type, bound, word of a vocabulary or success status;
* who may ask may only grow: from a permission to `signed-in` to `public`; another permission is refused.

Words may be said better at any time. A keyword that is not judged here is refused when it changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tools.openapi.containment import Side, differences
from tools.openapi.describing import operations
from tools.openapi.permissions import KEY, is_tighter

Texts = Mapping[str, str]
"""File name below `schemas/api` → text of the document."""
Node = Mapping[str, Any]


def breaches(old: Texts, new: Texts) -> list[str]:
    """One sentence for every promise of `old` that `new` does not keep."""
    found = [f"{name}: deleted, but clients ask that service" for name in sorted(old.keys() - new.keys())]
    for name in sorted(old.keys() & new.keys()):
        found += [f"{name}: {text}" for text in _broken(json.loads(old[name]), json.loads(new[name]))]
    return found


def _broken(old: Node, new: Node) -> Iterator[str]:
    today = {(method, path): operation for method, path, operation in operations(new)}
    for method, path, before in operations(old):
        if (after := today.get((method, path))) is None:
            yield f"{method} {path} was removed or renamed"
        else:
            for text in _operation(before, after, Documents(old, new)):
                yield f"{method} {path}: {text}"


class Documents:
    """Two whole documents, to look references up in."""

    def __init__(self, old: Node, new: Node) -> None:
        self.old = old
        self.new = new

    def resolved(self, old: Node, new: Node) -> tuple[Node, Node]:
        """Both nodes, each replaced by what its reference names."""
        return _resolved(self.old, old), _resolved(self.new, new)

    def compared(self, old: Node, new: Node, side: Side, where: str) -> Iterator[str]:
        """What is wrong between the schemas of two parameters, bodies or answers; without one, anything goes."""
        before, after = old.get("schema", {}), new.get("schema", {})
        yield from differences(before, after, side, where, lambda a, b: self.resolved(a, b))


def _resolved(document: Node, node: Node) -> Node:
    while isinstance(reference := node.get("$ref"), str):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        node = {**found, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _operation(old: Node, new: Node, documents: Documents) -> Iterator[str]:
    if is_tighter(str(old.get(KEY)), str(new.get(KEY))):
        yield f"{KEY} changed from {old.get(KEY)} to {new.get(KEY)}; not everybody who may ask today could"
    yield from _parameters(old, new, documents)
    yield from _body(old.get("requestBody"), new.get("requestBody"), documents)
    yield from _answers(old.get("responses", {}), new.get("responses", {}), documents)


def _parameters(old: Node, new: Node, documents: Documents) -> Iterator[str]:
    before, after = _by_name(documents.old, old), _by_name(documents.new, new)
    for key in before | after:
        here = f"{key[0]} parameter {key[1]}"
        if key not in after:
            yield f"{here} was removed or renamed"
        elif key not in before:
            if after[key].get("required") and key[0] != "path":  # what stands in the path was always sent
                yield f"{here} is new and required; clients do not send it"
        else:
            if after[key].get("required") and not before[key].get("required"):
                yield f"{here} became required"
            yield from documents.compared(before[key], after[key], Side.SENT, here)
            yield from _same_default(before[key].get("schema", {}), after[key].get("schema", {}), here)


def _by_name(document: Node, operation: Node) -> dict[tuple[str, str], Node]:
    found = [_resolved(document, each) for each in operation.get("parameters", [])]
    return {(each["in"], each["name"].lower() if each["in"] == "header" else each["name"]): each for each in found}


def _same_default(old: Node, new: Node, where: str) -> Iterator[str]:
    if old.get("default") != new.get("default"):
        yield f"{where} default changed from {json.dumps(old.get('default'))} to {json.dumps(new.get('default'))}"


def _body(old: Node | None, new: Node | None, documents: Documents) -> Iterator[str]:
    if old is None or new is None:
        if old is not None:
            yield "the body is no longer taken"
        elif new is not None and new.get("required"):
            yield "a body is new and required; clients do not send it"
        return
    if new.get("required") and not old.get("required"):
        yield "the body became required"
    yield from _contents(old, new, Side.SENT, "body", documents)


def _answers(old: Node, new: Node, documents: Documents) -> Iterator[str]:
    for status in old:
        if status in new:
            before, after = documents.resolved(old[status], new[status])
            yield from _contents(before, after, Side.GOT, status, documents)
            for name in before.get("headers", {}):
                if name not in after.get("headers", {}):
                    yield f"{status} header {name} was removed or renamed"
        elif status.startswith("2") or "default" not in new:
            yield f"answers no longer with {status}"
    for status in new:
        if status not in old and status.startswith("2"):
            yield f"answers now also with {status}, which clients do not expect"


def _contents(old: Node, new: Node, side: Side, where: str, documents: Documents) -> Iterator[str]:
    before, after = old.get("content", {}), new.get("content", {})
    for media_type in before:
        if media_type not in after:
            yield f"{where} is no longer {'taken' if side is Side.SENT else 'said'} as {media_type}"
        else:
            yield from documents.compared(before[media_type], after[media_type], side, where)
