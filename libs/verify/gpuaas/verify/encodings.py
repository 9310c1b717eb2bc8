"""Base64 and decimal numbers as text. One law: a value has one spelling, and any other is refused."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from gpuaas.verify.refusals import Unusable

HASH_BYTES: Final = 32
UINT64_MAX: Final = 2**64 - 1

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)


def base64_bytes(text: str, what: str) -> bytes:
    """Standard base64 (RFC 4648 §4) with padding, no white space, unused bits zero."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise Unusable("non-canonical", f"{what} is not base64") from None
    if base64.b64encode(value).decode() != text:
        raise Unusable("non-canonical", f"{what} is base64 in a spelling other than the canonical one")
    return value


def hash_bytes(text: str, what: str) -> bytes:
    """A SHA-256 value in base64."""
    value = base64_bytes(text, what)
    if len(value) != HASH_BYTES:
        raise Unusable("non-canonical", f"{what} is {len(value)} bytes long; a SHA-256 value is {HASH_BYTES}")
    return value


def uint64(text: str, what: str) -> int:
    """An unsigned 64-bit decimal without leading zeroes, sign or space."""
    if _DECIMAL.fullmatch(text) is None or int(text) > UINT64_MAX:
        raise Unusable("non-canonical", f"{what} {text[:40]!r} is not a plain decimal number below 2^64")
    return int(text)
