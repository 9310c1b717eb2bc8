"""JSON without freedom. One law: two readers of the same bytes see the same value, or both refuse.

Refused on reading: duplicate keys, NaN and infinities, bytes that are not UTF-8, lone surrogates, a byte order mark.
`canonical` writes RFC 8785 (JCS) for values without floats, which is all that is ever hashed here.
"""

from __future__ import annotations

import json
from typing import Any, Final

from gpuaas.verify.refusals import Unusable

SAFE_INTEGER: Final = 2**53 - 1
"""Integers beyond this do not survive every JSON reader (RFC 8785 §3.2.2.3, RFC 7493 §2.2)."""
DEPTH_MAX: Final = 64


def parse(payload: bytes, what: str) -> Any:
    """The value in `payload`.

    Raises:
        Unusable: not JSON, or JSON that two readers could read differently.
    """
    try:
        text = payload.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Unusable("unreadable", f"{what} is not UTF-8") from None
    except RecursionError:
        raise Unusable("unreadable", f"{what} is nested too deeply") from None
    except json.JSONDecodeError as broken:
        raise Unusable("unreadable", f"{what} is not JSON: {broken.msg} at character {broken.pos}") from None
    except ValueError as broken:
        raise Unusable("unreadable", f"{what} is not JSON: {broken}") from None
    _check(value, what, DEPTH_MAX)
    return value


def parse_object(payload: bytes, what: str) -> dict[str, Any]:
    """Like `parse`, for a document that must be an object."""
    value = parse(payload, what)
    if not isinstance(value, dict):
        raise Unusable("unreadable", f"{what} is not a JSON object")
    return value


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a value made of objects, arrays, strings, integers, booleans and null.

    Raises:
        Unusable: a float, an integer beyond 2^53 - 1, or text that is not Unicode.
    """
    try:
        return _write(value).encode("utf-8")
    except UnicodeEncodeError:
        raise Unusable("non-canonical", "text with a lone surrogate has no canonical form") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Unusable("duplicate-key", f"the key {twice[:80]!r} stands twice in one object")
    return value


def _no_constant(name: str) -> Any:
    raise Unusable("unreadable", f"{name} is not JSON")


def _check(value: Any, what: str, depth: int) -> None:
    """Every text must be real Unicode, and nothing deeper than `depth`."""
    if depth < 0:
        raise Unusable("unreadable", f"{what} is nested too deeply")
    if isinstance(value, str):
        _check_text(value, what)
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_text(key, what)
            _check(member, what, depth - 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, what, depth - 1)


def _check_text(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Unusable("unreadable", f"{what} holds text with a lone surrogate") from None


def _write(value: Any) -> str:
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            if abs(value) > SAFE_INTEGER:
                raise Unusable("non-canonical", f"{value} is too large to be a JSON number; it must be a string")
            return str(value)
        case list():
            return "[" + ",".join(map(_write, value)) + "]"
        case dict():
            keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
            return "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{_write(value[key])}" for key in keys) + "}"
        case _:
            raise Unusable("non-canonical", f"{value!r} cannot be hashed; money and fractions are written as strings")
