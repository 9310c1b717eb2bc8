"""Identifiers. One law: what one cause produces always has the same ids, so a repeat is recognisable.

New ids are UUIDv7 (RFC 9562 §5.7); derived ids are UUIDv5 (§5.5) in a namespace of our own.
"""

from __future__ import annotations

import os
import re
import time
from uuid import UUID, uuid5

_OURS = UUID("6f1d9c0e-7d0a-5b0e-9b53-6a6e1f7c2a10")
_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")


def new_id() -> str:
    """A UUIDv7: sortable by time of creation."""
    stamp_ms = time.time_ns() // 1_000_000
    tail = int.from_bytes(os.urandom(10), "big")
    value = (stamp_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | (tail >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | tail & ((1 << 62) - 1)
    return str(UUID(int=value))


def derived_id(cause: str, *steps: str | int) -> str:
    """The id of what `cause` produced at `steps`. Equal input, equal id."""
    return str(uuid5(_OURS, "/".join([cause, *map(str, steps)])))


def is_name(text: str) -> bool:
    """Whether `text` can be an id or a name in a subject: 1–63 of a–z, 0–9 and inner hyphens (RFC 1123 label)."""
    return _NAME.fullmatch(text) is not None
