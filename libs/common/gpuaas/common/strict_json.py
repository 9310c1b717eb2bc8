"""JSON in what others sign. One law: a text that two readers could read differently is not read at all.

The standard parser keeps the last of two equal names and others the first; nesting without end takes the stack. A
signature says nothing against either.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final, NoReturn

DEPTH_MAX: Final = 8
MEMBERS_MAX: Final = 256


def read_object(text: bytes | str, *, bytes_max: int, depth_max: int = DEPTH_MAX) -> dict[str, Any]:
    """The JSON object in `text`.

    Raises:
        ValueError: not one, larger or deeper than allowed, a name twice in one object, or a number that is none.
    """
    if len(text) > bytes_max:
        raise ValueError(f"it is larger than {bytes_max:,} bytes")
    members = 0

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal members
        members += len(pairs)
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name stands twice in one object")
        return found

    try:
        read = json.loads(text, object_pairs_hook=once, parse_constant=_no_number)
    except RecursionError as deep:
        raise ValueError("it is nested too deep") from deep
    if not isinstance(read, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004  the text is wrong, not a type
    if members > MEMBERS_MAX or _deeper(read, depth_max):
        raise ValueError(f"it has more than {MEMBERS_MAX} members or is nested deeper than {depth_max}")
    try:
        json.dumps(read, ensure_ascii=False).encode()
    except UnicodeEncodeError as half:
        raise ValueError("it holds half a character") from half
    return read


def read_part(part: str, *, bytes_max: int, depth_max: int = DEPTH_MAX) -> dict[str, Any]:
    """The JSON object in one part of a JWS (RFC 7515): base64url without padding. Raises ValueError."""
    if len(part) > 2 * bytes_max:
        raise ValueError(f"it is larger than {bytes_max:,} bytes")
    try:
        plain = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as odd:
        raise ValueError("it is not base64url") from odd
    return read_object(plain, bytes_max=bytes_max, depth_max=depth_max)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _deeper(value: Any, left: int) -> bool:
    """Whether `value` is nested deeper than `left` levels of objects and arrays."""
    edge = [value]
    for _ in range(left):
        inner = [item for each in edge for item in (each.values() if isinstance(each, dict) else each)]
        edge = [item for item in inner if isinstance(item, dict | list)]
        if not edge:
            return False
    return bool(edge)
