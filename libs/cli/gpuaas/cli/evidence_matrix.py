"""The requirement matrix: one file for all profiles. One law: a profile is a difference, never a list of its own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

COMPARED: Final = ("predicate", "minimum_readback", "max_age_s", "waivable")


def matrix(file: Path | None = None) -> list[dict[str, Any]]:
    """The requirements in `file`, or in the one that comes with the command."""
    source = files("gpuaas.cli.data").joinpath("requirements.toml") if file is None else file
    found: list[dict[str, Any]] = tomllib.loads(source.read_text("utf-8"))["requirement"]
    return found


def differences(requirements: Iterable[Mapping[str, Any]], one: str, other: str) -> list[dict[str, Any]]:
    """What differs between two profiles, requirement by requirement."""
    found = []
    for required in requirements:
        left, right = _demand(required, one), _demand(required, other)
        for what in ("required", *COMPARED):
            if left.get(what) != right.get(what) and (what == "required" or (left["required"] and right["required"])):
                row = {"requirement_id": required["requirement_id"], "what": what}
                found.append({**row, one: left.get(what), other: right.get(what)})
    return found


def _demand(required: Mapping[str, Any], profile: str) -> dict[str, Any]:
    special: Mapping[str, Any] = next(
        (each for each in required.get("strengths") or () if each["profile"] == profile), {}
    )
    general = {name: required[name] for name in COMPARED if name in required}
    said = {name: value for name, value in special.items() if value is not None}
    return {"required": profile in required["profiles"], "waivable": True, **general, **said}
