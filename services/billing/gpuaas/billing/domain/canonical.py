"""One spelling for data that is hashed. One law: equal data, equal bytes (RFC 8785, JSON Canonicalization Scheme).

Only what the contracts use is accepted: objects, arrays, strings, whole numbers up to 2^53, true, false and null.
Fractions of numbers are refused: money and 64-bit counts are strings, so no number here depends on its spelling.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

from gpuaas.common.errors import Invalid

INTEGER_MAX: Final = 2**53 - 1


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of `value`.

    Raises:
        Invalid: a fractional or too large number, a key that is not ASCII text, or text that is not Unicode.
    """
    _admit(value)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    except UnicodeEncodeError:
        raise Invalid("half a surrogate pair is not text; it cannot be written canonically") from None


def sha256_of(value: Any) -> str:
    """SHA-256 of the canonical bytes, in lower-case hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def sha256_of_ids(ids: Iterable[str]) -> str:
    """SHA-256 over the ids, sorted and joined by line feeds (none behind the last)."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _admit(value: Any) -> None:
    match value:
        case None | bool() | str():
            return
        case int() if abs(value) <= INTEGER_MAX:
            return
        case list() | tuple():
            for each in value:
                _admit(each)
        case dict():
            # Code-point order, which Python sorts by, is RFC 8785's UTF-16 order only below the surrogates.
            if not all(isinstance(key, str) and key.isascii() for key in value):
                raise Invalid("only ASCII member names can be written canonically here")
            for each in value.values():
                _admit(each)
        case _:
            raise Invalid(f"{value!r} cannot be written canonically; write it as a string")
