"""JSON Pointer (RFC 6901). One law: a pointer names exactly one value or it names nothing."""

from __future__ import annotations

import re
from typing import Any, Final

from gpuaas.common.errors import Invalid

POINTER_CHARS_MAX: Final = 1_000
_STRAY_TILDE: Final = re.compile(r"~(?![01])")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,17}")


class PointsNowhere(Invalid):
    """The document has no value at this pointer."""


def tokens(pointer: str) -> list[str]:
    """The reference tokens of `pointer`; the empty pointer, which names the whole document, has none.

    Raises:
        Invalid: not a JSON Pointer.
    """
    if len(pointer) > POINTER_CHARS_MAX:
        raise Invalid(f"a pointer has at most {POINTER_CHARS_MAX} characters")
    if pointer and not pointer.startswith("/"):
        raise Invalid(f"a JSON Pointer is empty or begins with a slash; {pointer!r} does neither (RFC 6901)")
    if _STRAY_TILDE.search(pointer):
        raise Invalid(f"in a JSON Pointer a tilde is written ~0 and a slash ~1; see {pointer!r} (RFC 6901)")
    # ~1 first: the other order would turn ~01 into a slash (RFC 6901 §4).
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def value_at(document: Any, pointer: str) -> Any:
    """The value that `pointer` names in `document` (as read by `strict_json`).

    Raises:
        Invalid: not a JSON Pointer.
        PointsNowhere: nothing is there.
    """
    value = document
    for token in tokens(pointer):
        value = _step(value, token, pointer)
    return value


def _step(value: Any, token: str, pointer: str) -> Any:
    match value:
        case dict() if token in value:
            return value[token]
        case list() if _INDEX.fullmatch(token) and int(token) < len(value):
            return value[int(token)]
        case _:
            raise PointsNowhere(f"there is nothing at {pointer!r}: {token!r} is not there")
