"""The installation as one document. One law: what was not seen is written as absent, never as it was before.

`{"services": {name: {"reachable", "ready", "profile", "version", "openapi_sha256", "permissions_sha256", "routes",
"sources": {package: digest}, "source_sha256", "log_position", "readers_behind", "readers_stopped"}}, "totals": {…},
"rights": {permission: {"holders", "sha256"}}}`
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gpuaas.contracts.evidence import Component
from gpuaas.evidence.domain.strict_json import write_json

METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
PACKAGES: Final = "gpuaas."
DIGITS_SHOWN: Final = 16
BEHIND_MAX: Final = 1_000
"""Events a reader may be behind the log's end and still count as following it."""


def service_seen(readiness: Mapping[str, Any] | None, interface: Mapping[str, Any] | None) -> dict[str, Any]:
    """One service out of its readiness and its OpenAPI document; None where it did not answer."""
    if readiness is None:
        return {"reachable": False}
    readers = [one for one in readiness.get("readers", []) if isinstance(one, dict)]
    head = readiness.get("log_position") or 0
    return {
        "reachable": True,
        "ready": readiness.get("ready") is True,
        "profile": str(readiness.get("profile", "")),
        "log_position": head,
        "readers": len(readers),
        "readers_behind": sum(head - int(one.get("position", 0)) > BEHIND_MAX for one in readers),
        "readers_stopped": sum(bool(one.get("stopped")) for one in readers),
        **_source(readiness.get("sources")),
        **_interface(interface),
    }


def document(services: Mapping[str, Mapping[str, Any]], holders: Mapping[str, Iterable[str]]) -> bytes:
    """The whole observation as JSON in one spelling.

    Args:
        holders: permission → the principals who hold it on the platform now.
    """
    seen = [one for one in services.values() if one["reachable"]]
    return write_json(
        {
            "services": {name: dict(one) for name, one in services.items()},
            "totals": {
                "services": len(services),
                "reachable": len(seen),
                "ready": sum(one["ready"] for one in seen),
                "readers": sum(one["readers"] for one in seen),
                "readers_behind": sum(one["readers_behind"] for one in seen),
                "readers_stopped": sum(one["readers_stopped"] for one in seen),
            },
            "rights": {
                permission: {"holders": len(who), "sha256": _digest(who)}
                for permission, who in ((name, sorted(set(found))) for name, found in holders.items())
            },
        }
    )


def other_code(document: Mapping[str, Any], components: Iterable[Component]) -> str | None:
    """Which service runs other code than the release ships, in a sentence; None when none does.

    Args:
        document: an observation, as it was read from JSON.
        components: what the release ships; only its packages of source (`gpuaas.<service>`) can be compared.
    """
    shipped = {one.name: one.sha256 for one in components if one.kind == "source"}
    for name, seen in sorted(document["services"].items()):
        if f"{PACKAGES}{name}" not in shipped or not seen["reachable"]:
            continue
        if not seen.get("sources"):
            return f"{name} does not say what code it runs"
        for package, digest in sorted(seen["sources"].items()):
            if shipped.get(package) != digest:
                return f"{name} runs another {package} than the release ships ({digest[:DIGITS_SHOWN]}…)"
    return None


def _source(sources: Any) -> dict[str, Any]:
    told = sources if isinstance(sources, dict) else {}
    found = {str(package): str(digest) for package, digest in sorted(told.items())}
    return {"sources": found, "source_sha256": _digest(found) if found else ""}


def _interface(interface: Mapping[str, Any] | None) -> dict[str, Any]:
    if interface is None:
        return {"version": "", "openapi_sha256": "", "permissions_sha256": "", "routes": 0}
    asked = {
        f"{method.upper()} {path}": str(operation.get("x-permission"))
        for path, item in interface.get("paths", {}).items()
        for method, operation in item.items()
        if method in METHODS
    }
    info = interface.get("info", {})
    return {
        "version": str(info.get("version", "")),
        "openapi_sha256": _digest(interface),
        "permissions_sha256": _digest(asked),
        "routes": len(asked),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(write_json(value)).hexdigest()
