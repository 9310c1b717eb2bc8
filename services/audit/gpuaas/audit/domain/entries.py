"""The leaf of one event. One law: the rule is fixed by its version; another rule is another `v`, never another reading.

Entry, version 1: the RFC 8785 form of
`{"v":1,"position":"<int64>","subject":…,"type":…,"id":…,"time":…,"sha256":"<hex of the exact stored bytes>"}`.
`type`, `id` and `time` are the CloudEvent's members of that name. They are null, all three, unless the bytes are a JSON
object in UTF-8 in which each is text of 1 to 1,024 characters without control characters: bytes are evidence, readable
or not, and get their leaf either way. In `subject`, control characters stand as U+FFFD.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring as quoted
from typing import Annotated, Final, TypeAlias

import msgspec
from gpuaas.audit.domain.merkle import leaf_hash
from gpuaas.common.ids import is_name

PLATFORM_TREE: Final = "platform"
TEXT_MAX: Final = 1_024
_PLAIN = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{TEXT_MAX}}}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]


class Header(msgspec.Struct, frozen=True):
    """Members of a CloudEvent that the trail shows; None where absent or not plain text."""

    type: _Text | None = None
    id: _Text | None = None
    time: _Text | None = None
    actor: _Text | None = None
    actorkind: _Text | None = None
    onbehalfof: _Text | None = None
    projectid: _Text | None = None
    correlationid: _Text | None = None
    causationid: _Text | None = None
    sealedby: _Text | None = None


class _AnyHeader(msgspec.Struct, frozen=True):
    """The same members, of any length and with any characters."""

    type: str | None = None
    id: str | None = None
    time: str | None = None
    actor: str | None = None
    actorkind: str | None = None
    onbehalfof: str | None = None
    projectid: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    sealedby: str | None = None


UNREADABLE: Final = Header()
_DECODER = msgspec.json.Decoder(Header)
_ANY_DECODER = msgspec.json.Decoder(_AnyHeader)


class Entry(msgspec.Struct, frozen=True):
    """What a leaf says about one event; `sha256` is of its stored bytes."""

    position: int
    subject: str
    type: str | None
    id: str | None
    time: str | None
    sha256: bytes

    def encode(self) -> bytes:
        """The leaf's data."""
        return (
            f'{{"id":{_or_null(self.id)},"position":"{self.position}","sha256":"{self.sha256.hex()}",'
            f'"subject":{quoted(self.subject)},"time":{_or_null(self.time)},"type":{_or_null(self.type)},"v":1}}'
        ).encode()

    def hash(self) -> bytes:
        """The leaf hash."""
        return leaf_hash(self.encode())

    def members(self) -> dict[str, object]:
        """As the JSON object that `encode` is the canonical form of."""
        return {
            "v": 1,
            "position": str(self.position),
            "subject": self.subject,
            "type": self.type,
            "id": self.id,
            "time": self.time,
            "sha256": self.sha256.hex(),
        }


def read_header(payload: bytes) -> Header:
    """The members the trail shows; `UNREADABLE` when the bytes are no event with type, id and time."""
    # In ASCII without escapes no text holds a control character, for JSON has them as escapes only (but for DEL):
    # the common case, in which nothing but the lengths is left to be looked at, and the decoder does that.
    if payload.isascii() and b"\\" not in payload and b"\x7f" not in payload:
        try:
            header = _DECODER.decode(payload)
        except (msgspec.DecodeError, RecursionError):
            return _read_slowly(payload)
        return UNREADABLE if header.type is None or header.id is None or header.time is None else header
    return _read_slowly(payload)


def _read_slowly(payload: bytes) -> Header:
    try:
        payload.decode()
        told = _ANY_DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNREADABLE
    if not (is_plain(told.type) and is_plain(told.id) and is_plain(told.time)):
        return UNREADABLE
    return Header(*(text if is_plain(text) else None for text in msgspec.structs.astuple(told)))


def entry_of(position: int, subject: str, header: Header, payload: bytes) -> Entry:
    """The entry of one stored message."""
    return Entry(position, shown_subject(subject), header.type, header.id, header.time, sha256(payload).digest())


def shown_subject(subject: str) -> str:
    """The subject as the entry has it."""
    return subject if subject.isprintable() else _CONTROL.sub("\ufffd", subject)


def tree_of(subject: str) -> str:
    """The tree an event belongs to: its tenant's id, or `platform`.

    Subjects of another shape than `events.<service>.<entity>.<tenant>.<id>` are the platform's.
    """
    tokens = subject.split(".")
    return tokens[3] if len(tokens) == 5 and tokens[0] == "events" and _is_tenant(tokens[3]) else PLATFORM_TREE


@lru_cache(maxsize=16_384)
def _is_tenant(token: str) -> bool:
    return is_name(token)


def is_plain(text: str | None) -> bool:
    """Whether a member is text that can be shown, stored and hashed."""
    if text is None:
        return False
    if text.isascii():  # the common case, without the cost of a pattern
        return text.isprintable() and 0 < len(text) <= TEXT_MAX
    return _PLAIN.fullmatch(text) is not None


def _or_null(text: str | None) -> str:
    return "null" if text is None else quoted(text)
