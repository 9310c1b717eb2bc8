"""Who may ask what, as the documents say it. One law: an operation is public, for the signed in, or for a permission.

`x-permission` is `public`, `signed-in` (any principal, about themselves only) or `service.resource.verb`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gpuaas.common.access import READ_VERBS

from tools.openapi.describing import Document, operations

PUBLIC: Final = "public"
SIGNED_IN: Final = "signed-in"
KEY: Final = "x-permission"
QUESTIONS_BY_POST: Final = frozenset(
    {
        "POST /v1/fault-rules/replays",
        "POST /v1/pools/{pool_id}/policy-labs",
        "POST /v1/pools/{pool_id}/suppositions",
        "POST /v1/re-ratings",
        "POST /v1/tenants/{tenant_id}/estimates",
        "POST /v1/tenants/{tenant_id}/projects/{project_id}/allocation-checks",
        "POST /v1/tenants/{tenant_id}/re-ratings",
        "POST /v1/tenants/{tenant_id}/scim/v2/.search",
        "POST /v1/tenants/{tenant_id}/scim/v2/Groups/.search",
        "POST /v1/tenants/{tenant_id}/scim/v2/Users/.search",
    }
)
"""Operations that change nothing and need a body to ask."""

_PERMISSION: Final = re.compile(r"([a-z0-9]+)\.[a-z0-9-]+\.([a-z0-9-]+)")
_LOOSENESS: Final = {PUBLIC: 0, SIGNED_IN: 1}

Registry = Mapping[str, Mapping[str, list[str]]]
"""Service → permission (or `public`, `signed-in`) → `METHOD path` of each operation it opens."""


def registry(documents: Mapping[str, Document]) -> Registry:
    """Every permission there is, by service and name."""
    found: dict[str, dict[str, list[str]]] = {}
    for service, document in documents.items():
        by_permission: dict[str, list[str]] = {}
        for method, path, operation in operations(document):
            by_permission.setdefault(str(operation.get(KEY)), []).append(f"{method} {path}")
        found[service] = dict(sorted(by_permission.items()))
    return found


def wrong_permissions(documents: Mapping[str, Document]) -> list[str]:
    """One sentence for every operation that does not say, or says wrongly, who may."""
    return [
        f"{service}: {method} {path}: {wrong}"
        for service, document in documents.items()
        for method, path, operation in operations(document)
        if (wrong := _wrong(service, f"{method} {path}", operation.get(KEY)))
    ]


def _wrong(service: str, key: str, said: object) -> str | None:
    if said is None:
        return f"no {KEY}; give the route a permit(...), or mark it @public"
    if said in _LOOSENESS:
        return None
    named = _PERMISSION.fullmatch(str(said))
    if named is None:
        return f"{said!r} is not a permission; write service.resource.verb, {PUBLIC} or {SIGNED_IN}"
    if named[1] != service:
        return f"{said} belongs to {named[1]}; a service asks for permissions in its own name"
    asks = key.startswith("GET ") or key in QUESTIONS_BY_POST
    if asks and named[2] not in READ_VERBS:
        return f"{said} is for a question; its verb is read, or it goes unanswered while rights are frozen"
    if not asks and named[2] in READ_VERBS:
        return f"{said} is for a change; with the verb read it would be let through on frozen rights"
    return None


def is_tighter(old: str, new: str) -> bool:
    """Whether someone who was let in by `old` may be kept out by `new`."""
    return old != new and _LOOSENESS.get(new, 2) >= _LOOSENESS.get(old, 2)
