"""NATS message headers, read quickly. One law: the same answer as nats-py's own reading, or nothing is changed.

nats-py 2.16 tests every character of every header name in Python, which is half the CPU of reading the log. Its
optional `fast-mail-parser` returns lists since 0.10 and breaks it. So a connection that follows the log reads header
lines with the function below; a test compares the two on generated input.
"""

from __future__ import annotations

from typing import Final

from nats.aio.client import Client

_NAMES_MAX: Final = 256
"""Header names whose reading is remembered; a log has a dozen."""
_names: dict[bytes, str | None] = {}


def parse_header_lines(raw: bytes) -> dict[str, str]:
    """`Name: Value` lines as a dict; malformed lines are left out, malformed UTF-8 in values becomes U+FFFD."""
    found: dict[str, str] = {}
    for line in raw.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            key = _names[name] if name in _names else _name(name)
            if key is not None:
                found[key] = value.strip().decode("utf-8", "replace")
    return found


def _name(raw: bytes) -> str | None:
    """A header's name, or None where it is none."""
    name = raw.strip()
    key = name.decode("ascii") if name.isascii() else None
    if key and key.split() != [key]:
        key = None
    if len(_names) < _NAMES_MAX:
        _names[raw] = key
    return key


def quicken(client: Client) -> None:
    """Let this connection read headers with `parse_header_lines`, if its nats-py has the place for it."""
    if hasattr(client, "_parse_header_lines"):
        client._parse_header_lines = parse_header_lines  # type: ignore[method-assign]
