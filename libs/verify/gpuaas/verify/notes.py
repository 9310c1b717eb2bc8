"""C2SP signed notes. One law: text is nothing until a trusted key has signed it.

Format: https://c2sp.org/signed-note. Signatures of unknown keys are ignored; one of a known key that fails refuses the
whole note.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gpuaas.verify.encodings import base64_bytes
from gpuaas.verify.keys import COSIGNATURE, NOTE_SIGNATURE, VerifierKey, is_key_name
from gpuaas.verify.refusals import Refuted, Unusable

NOTE_BYTES_MAX: Final = 1_000_000
SIGNATURES_MAX: Final = 100
_DASH: Final = "— "


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: `value` is what follows the 4-byte key id."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note, not yet trusted. `text` ends in a newline."""

    text: str
    signatures: tuple[Signature, ...]

    def signers(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """The keys among `keys` that signed this note, in their order.

        Raises:
            Refuted: a line claims to be by one of them and is not.
        """
        return tuple(key for key in keys if self._is_signed_by(key))

    def _is_signed_by(self, key: VerifierKey) -> bool:
        mine = [line for line in self.signatures if (line.name, line.key_id) == (key.name, key.key_id)]
        if len(mine) > 1:
            raise Refuted("bad-signature", f"two signatures under the key {key.name}")
        if mine and not _verifies(key, self.text, mine[0].value):
            raise Refuted("bad-signature", f"the signature under the key {key.name} is not by that key")
        return bool(mine)


def read_note(note: str | bytes) -> Note:
    """Parse a signed note.

    Raises:
        Unusable: not a signed note.
    """
    text = _decoded(note)
    if any(ord(ch) < 0x20 and ch != "\n" for ch in text):
        raise Unusable("bad-note", "a signed note holds no control characters")
    end = text.rfind("\n\n")
    if end < 0 or not text.endswith("\n"):
        raise Unusable("bad-note", "a signed note is text, an empty line and signature lines")
    lines = text[end + 2 :].split("\n")[:-1]
    if not 1 <= len(lines) <= SIGNATURES_MAX:
        raise Unusable("bad-note", f"a signed note has 1 to {SIGNATURES_MAX} signatures")
    return Note(text=text[: end + 1], signatures=tuple(map(_signature, lines)))


def cosigned_at(signature: bytes) -> int:
    """Unix seconds in a cosignature's value (its first 8 bytes)."""
    return int.from_bytes(signature[:8], "big")


def _decoded(note: str | bytes) -> str:
    try:
        raw = note.encode() if isinstance(note, str) else note
        text = raw.decode()
    except UnicodeError:
        raise Unusable("bad-note", "a signed note is UTF-8") from None
    if len(raw) > NOTE_BYTES_MAX:
        raise Unusable("too-large", f"a note of {len(raw)} bytes; at most {NOTE_BYTES_MAX} are read")
    return text


def _signature(line: str) -> Signature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not is_key_name(name):
        raise Unusable("bad-note", f"{line[:80]!r} is not a signature line")
    value = base64_bytes(encoded, f"the signature of {name[:80]}")
    if len(value) < 5:
        raise Unusable("bad-note", f"the signature of {name[:80]} is too short")
    return Signature(name=name, key_id=value[:4], value=value[4:])


def _verifies(key: VerifierKey, text: str, value: bytes) -> bool:
    if key.kind == NOTE_SIGNATURE:
        return key.signed(text.encode(), value)
    if key.kind == COSIGNATURE and len(value) == 72 and (moment := cosigned_at(value)) < 2**63:
        return key.signed(f"cosignature/v1\ntime {moment}\n{text}".encode(), value[8:])
    return False
