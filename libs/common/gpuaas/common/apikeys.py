"""API keys as text: `gpk_<profile>_<key id>_<secret>_<crc>`. One law: the whole text is secret, its digest is kept.

The prefix lets leak scanners find one, the profile keeps a demo's key out of production, the CRC-32 tells a typing
error from a wrong key without asking anybody.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Final

from gpuaas.common.errors import Unauthenticated

PREFIX: Final = "gpk_"
SECRET_BYTES: Final = 32
KEY_CHARACTERS_MAX: Final = 200
_SHAPE = re.compile(r"^gpk_([a-z]{1,20})_([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)_([0-9a-f]{64})_([0-9a-f]{8})$")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key that was presented. `text` is the whole secret."""

    profile: str
    key_id: str
    text: str = field(repr=False)

    @property
    def sha256(self) -> str:
        """What is kept of it: SHA-256 of the whole text, lower-case hexadecimal."""
        return hashlib.sha256(self.text.encode("ascii")).hexdigest()


def new_api_key(profile: str, key_id: str) -> ApiKey:
    """A key with a new random secret of 256 bits."""
    body = f"{PREFIX}{profile}_{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    return read_api_key(f"{body}_{_crc(body)}")


def read_api_key(text: str) -> ApiKey:
    """The key in `text`; its shape and checksum are right, nothing else is known of it.

    Raises:
        Unauthenticated: not an API key, or mistyped.
    """
    match = _SHAPE.fullmatch(text) if len(text) <= KEY_CHARACTERS_MAX else None
    if match is None:
        raise Unauthenticated("that is not an API key; it looks like gpk_<profile>_<id>_<secret>_<checksum>")
    if _crc(text.rpartition("_")[0]) != match[4]:
        raise Unauthenticated("the API key's checksum is wrong: a character is missing or mistyped")
    return ApiKey(profile=match[1], key_id=match[2], text=text)


def _crc(body: str) -> str:
    return f"{zlib.crc32(body.encode('ascii')):08x}"
