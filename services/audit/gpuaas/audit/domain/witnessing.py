"""What a witness answers to `add-checkpoint`. One law: it cosigns a head only if that continues the last one it saw.

Protocol: https://c2sp.org/tlog-witness; cosignatures: https://c2sp.org/tlog-cosignature (Ed25519, type 0x04). Pure:
time, memory and the check of signatures are handed in.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from gpuaas.audit.domain.checkpoints import Signs
from gpuaas.audit.domain.merkle import HASH_BYTES, node_hash

BODY_BYTES_MAX: Final = 64 * 1024
PATH_MAX: Final = 63
COSIGNATURE: Final = b"\x04"
SIZE_TYPE: Final = "text/x.tlog.size"
_NOTE_KEY: Final = b"\x01"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

Verifies = Callable[[bytes, bytes, bytes], bool]
"""Whether (public key, message, signature) is a good Ed25519 signature."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest head of one origin that a witness has cosigned."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Submission:
    """A parsed request: `text` is the checkpoint without signatures, `signatures` are (name, key id, value)."""

    old: int
    path: tuple[bytes, ...]
    text: str
    origin: str
    size: int
    root: bytes
    signatures: tuple[tuple[str, bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers: an HTTP status and a body."""

    status: int
    body: str


class Declined(Exception):
    """The witness does not cosign; `answer` says why."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.answer = Answer(status, body)


def request_body(old: int, path: Sequence[bytes], checkpoint: str) -> bytes:
    """The body of `add-checkpoint`: `old` leaves were cosigned before, `path` leads from there to the checkpoint."""
    lines = [f"old {old}", *(base64.b64encode(step).decode() for step in path), "", checkpoint]
    return "\n".join(lines).encode()


def read_submission(body: bytes) -> Submission:
    """Parse a request. Raises Declined (400): malformed."""
    try:
        if len(body) > BODY_BYTES_MAX:
            raise ValueError("too large")
        head, _, note = body.decode().partition("\n\n")
        first, *proof = head.split("\n")
        text, _, tail = note.rpartition("\n\n")
        origin, size, root = text.split("\n")[:3]
        if len(proof) > PATH_MAX or not first.startswith("old ") or not tail.endswith("\n"):
            raise ValueError("not old size, proof and checkpoint")
        read = Submission(
            old=_number(first.removeprefix("old ")),
            path=tuple(_hash(line) for line in proof),
            text=text + "\n",
            origin=origin,
            size=_number(size),
            root=_hash(root),
            signatures=tuple(_signatures(tail)),
        )
    except (ValueError, UnicodeDecodeError, binascii.Error) as broken:
        raise Declined(400, f"malformed request: {broken}\n") from broken
    if read.old > read.size:
        raise Declined(400, "the old size is beyond the checkpoint\n")
    return read


def judge(asked: Submission, keys: Sequence[bytes], seen: Seen | None, verifies: Verifies) -> Seen:
    """What is to be remembered if the submission is cosigned.

    Args:
        keys: public keys trusted for the origin; none: the origin is unknown.
        seen: what was cosigned last.

    Raises:
        Declined: 404 unknown origin, 403 no trusted signature, 409 not the old size or another root, 422 no proof.
    """
    if not keys:
        raise Declined(404, "unknown log\n")
    if not any(_signed(asked, key, verifies) for key in keys):
        raise Declined(403, "invalid signature\n")
    last = 0 if seen is None else seen.size
    if asked.old != last:
        raise Declined(409, f"{last}\n")
    if seen is not None and asked.size == seen.size and asked.root != seen.root:
        raise Declined(409, f"{last}\n")
    before = seen or Seen(0, b"")
    if not continues(before.size, before.root, asked.size, asked.root, asked.path):
        raise Declined(422, "invalid consistency proof\n")
    return Seen(asked.size, asked.root)


def cosignature(name: str, key: Signs, text: str, moment_s: int) -> str:
    """The witness's signature line over a checkpoint's text at a Unix time."""
    signed = key.sign(cosigned_message(text, moment_s))
    value = cosigner_id(name, key.public_key) + moment_s.to_bytes(8, "big") + signed
    return f"— {name} {base64.b64encode(value).decode()}\n"


def cosigned_message(text: str, moment_s: int) -> bytes:
    """What a cosignature signs."""
    return f"cosignature/v1\ntime {moment_s}\n{text}".encode()


def cosigner_id(name: str, public_key: bytes) -> bytes:
    """The key id of a witness: 4 bytes."""
    return sha256(name.encode() + b"\n" + COSIGNATURE + public_key).digest()[:4]


def good_line(lines: str, name: str, public_key: bytes, text: str, verifies: Verifies) -> str | None:
    """The line among `lines` that is this witness's true cosignature of `text`; None when there is none."""
    for line in lines.splitlines(keepends=True):
        for named, key_id, value in _read_lines(line):
            if (named, key_id) != (name, cosigner_id(name, public_key)) or len(value) != 72:
                continue
            moment_s = int.from_bytes(value[:8], "big")
            if moment_s < 2**63 and verifies(public_key, cosigned_message(text, moment_s), value[8:]):
                return line
    return None


def continues(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the tree (`new`, `new_root`) begins with the tree (`old`, `old_root`): RFC 9162 §2.1.4.2."""
    if old == 0 or old == new:
        return not path and (old == 0 or old_root == new_root)
    if not path or old > new:
        return False
    steps = list(path) if old & (old - 1) else [old_root, *path]
    node, last = old - 1, new - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if node % 2 or node == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, step)
        node, last = node >> 1, last >> 1
    return last == 0 and (before, after) == (old_root, new_root)


def _signed(asked: Submission, key: bytes, verifies: Verifies) -> bool:
    key_id = sha256(asked.origin.encode() + b"\n" + _NOTE_KEY + key).digest()[:4]
    mine = [value for name, found, value in asked.signatures if (name, found) == (asked.origin, key_id)]
    return any(verifies(key, asked.text.encode(), value) for value in mine)


def _signatures(tail: str) -> list[tuple[str, bytes, bytes]]:
    found = list(_read_lines(tail))
    if len(found) != tail.count("\n"):
        raise ValueError("a line is no signature")
    return found


def _read_lines(text: str) -> Iterator[tuple[str, bytes, bytes]]:
    for line in text.split("\n"):
        parts = line.split(" ")
        if len(parts) == 3 and parts[0] == "—":
            try:
                value = base64.b64decode(parts[2], validate=True)
            except (binascii.Error, ValueError):
                continue
            yield parts[1], value[:4], value[4:]


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("a size is a plain decimal number")
    return int(text)


def _hash(text: str) -> bytes:
    value = base64.b64decode(text, validate=True)
    if len(value) != HASH_BYTES:
        raise ValueError(f"a hash has {HASH_BYTES} bytes")
    return value
