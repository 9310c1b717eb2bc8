"""Facts derived again from an artefact's bytes. One law: a fact is what the bytes say, not the claim.

Readers turn bytes of a media type into a document; a fact's pointer (RFC 6901) names one value in it. Gzip is opened
where it stands around a report, up to `DERIVABLE_BYTES_MAX` and no further.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from gpuaas.common.errors import Invalid
from gpuaas.common.money import plain
from gpuaas.evidence.domain import interface_diff, json_reports, xml_reports
from gpuaas.evidence.domain.pointer import value_at
from gpuaas.evidence.domain.predicate import as_number
from gpuaas.evidence.domain.strict_json import is_sound_text, read_json

DERIVABLE_BYTES_MAX: Final = 32 * 1024 * 1024
"""Larger artefacts can be stored and re-hashed, but no fact is read out of them, packed or not."""
FACT_CHARS_MAX: Final = 4_096
LIVE_STATE: Final = "application/vnd.gpuaas.live-state+json"
"""The media type of an observation of the installation."""
_GZIP: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 31


class Underivable(Invalid):
    """The bytes cannot be read as what they are declared to be, so no fact can be taken from them."""


def document_in(media_type: str, data: bytes) -> Any:
    """The document that `data` holds: JSON as it is, reports as the counts that our own readers give.

    Raises:
        Underivable: no reader for this type, too large, or not readable as it.
    """
    if (reader := READERS.get(media_type)) is None:
        raise Underivable(f"no reader for {media_type}; facts are derived from {', '.join(sorted(READERS))}")
    if len(data) > DERIVABLE_BYTES_MAX:
        raise Underivable(f"facts are derived from at most {DERIVABLE_BYTES_MAX} bytes; this artefact has {len(data)}")
    try:
        return reader(_unpacked(data))
    except Underivable:
        raise
    except Invalid as refused:
        raise Underivable(refused.detail) from refused


def fact_at(document: Any, pointer: str) -> str:
    """The value at `pointer` as text: numbers without exponent, booleans `true` and `false`.

    Raises:
        Underivable: nothing there, or not one value.
    """
    try:
        value = value_at(document, pointer)
    except Invalid as refused:
        raise Underivable(refused.detail) from refused
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return plain(value)
        case str() if len(value) <= FACT_CHARS_MAX and is_sound_text(value):
            return value
        case _:
            raise Underivable(f"at {pointer!r} there is no number, boolean or short text, so it is no fact")


def same_fact(declared: str, derived: str) -> bool:
    """Whether both texts say the same: the same number, or the same text."""
    left, right = as_number(declared), as_number(derived)
    return left == right if left is not None and right is not None else declared == derived


def _unpacked(data: bytes) -> bytes:
    """What a gzip holds, never more of it than a plain artefact may have: a bomb is met with its fuse still burning."""
    if not data.startswith(_GZIP):
        return data
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content = unpacker.decompress(data, DERIVABLE_BYTES_MAX + 1)
    except zlib.error as broken:
        raise Underivable(f"the gzip cannot be opened: {broken}") from broken
    if len(content) > DERIVABLE_BYTES_MAX:
        raise Underivable(f"the gzip holds more than {DERIVABLE_BYTES_MAX} bytes; no fact is read out of it")
    if not unpacker.eof or unpacker.unused_data:
        raise Underivable("the gzip is cut off, or something stands behind it")
    return content


READERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "application/json": read_json,
    LIVE_STATE: read_json,
    "application/x-junit+xml": xml_reports.read_junit,
    "application/x-cobertura+xml": xml_reports.read_cobertura,
    "application/sarif+json": json_reports.read_sarif,
    "application/vnd.cyclonedx+json": json_reports.read_cyclonedx,
    "application/vnd.gpuaas.bench+json": json_reports.read_bench,
    "application/vnd.pip-audit+json": json_reports.read_pip_audit,
    "application/vnd.gpuaas.interface-diff+json": interface_diff.read_interface_diff,
}
