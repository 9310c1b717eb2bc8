"""Identifiers. One law: what one cause produces always has the same ids, so a repeat is recognisable.

New ids are UUIDv7 (RFC 9562 §5.7); derived ids are UUIDv5 (§5.5) in a namespace of our own.
"""

from __future__ import annotations

import os
import re
import time
from hashlib import sha1
from uuid import UUID

_OURS = UUID("6f1d9c0e-7d0a-5b0e-9b53-6a6e1f7c2a10")
_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")


def new_id() -> str:
    """A UUIDv7: sortable by time of creation."""
    stamp_ms = time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF
    tail = int.from_bytes(os.urandom(10), "big")
    value = stamp_ms << 80 | 0x7 << 76 | (tail >> 68 & 0xFFF) << 64 | 0b10 << 62 | tail & 0x3FFF_FFFF_FFFF_FFFF
    return _spelt(f"{value:032x}")


def derived_id(cause: str, *steps: str | int) -> str:
    """The id of what `cause` produced at `steps`. Equal input, equal id.

    As `uuid.uuid5`, spelt out because every event passes here and the class costs four times the hash.
    """
    name = "/".join([cause, *map(str, steps)])
    value = int.from_bytes(sha1(_OURS.bytes + name.encode(), usedforsecurity=False).digest()[:16], "big")
    value = value & ~(0xF000 << 64) | 0x5000 << 64
    return _spelt(f"{value & ~(0xC000 << 48) | 0x8000 << 48:032x}")


def _spelt(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_name(text: str) -> bool:
    """Whether `text` can be an id or a name in a subject: 1–63 of a–z, 0–9 and inner hyphens (RFC 1123 label)."""
    return _NAME.fullmatch(text) is not None
