"""Ed25519 public keys and note verifier keys. One law: a key that everything verifies under is no key.

Formats: C2SP signed-note (verifier keys, key ids), tlog-cosignature (type 0x04). RFC 8032 for Ed25519.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gpuaas.verify.encodings import base64_bytes
from gpuaas.verify.refusals import Unusable

NOTE_SIGNATURE: Final = 0x01
COSIGNATURE: Final = 0x04
SIGNATURE_BYTES: Final = 64

_FIELD_PRIME = 2**255 - 19
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
_LOW_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)
"""The y coordinates of the eight points whose order divides 8."""
_KEY_ID = re.compile(r"[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named public key, as `name+keyid+base64(type || key)`.

    Attributes:
        name: non-empty, without Unicode spaces and `+`.
        kind: `NOTE_SIGNATURE` or `COSIGNATURE`.
        public_key: 32 bytes, canonical and of full order.
    """

    name: str
    kind: int
    public_key: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise Unusable("bad-key", f"{self.name[:80]!r} cannot name a key: no spaces, no plus, not empty")
        if self.kind not in (NOTE_SIGNATURE, COSIGNATURE):
            raise Unusable("bad-key", f"signature type {self.kind:#04x} of {self.name} is not supported")
        _check_point(self.public_key, self.name)

    @property
    def key_id(self) -> bytes:
        """Four bytes, derived from name, kind and key."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key
        return hashlib.sha256(named).digest()[:4]

    def under(self, name: str) -> VerifierKey:
        """The same key under another name."""
        return VerifierKey(name=name, kind=self.kind, public_key=self.public_key)

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `message`."""
        if len(signature) != SIGNATURE_BYTES or int.from_bytes(signature[32:], "little") >= _GROUP_ORDER:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def read_verifier_key(text: str) -> VerifierKey:
    """Parse a verifier key.

    Raises:
        Unusable: malformed, its id does not belong to it, or a key of low order.
    """
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise Unusable("bad-key", f"{text[:80]!r} is not a verifier key (name+id+key)")
    name, key_id, encoded = parts
    material = base64_bytes(encoded, f"the verifier key of {name[:80]!r}")
    if len(material) != 33 or _KEY_ID.fullmatch(key_id) is None:
        raise Unusable("bad-key", f"{text[:80]!r} is not a verifier key (name+id+key)")
    key = VerifierKey(name=name, kind=material[0], public_key=material[1:])
    if key.key_id.hex() != key_id:
        raise Unusable("bad-key", f"the key id {key_id} does not belong to the key named {name}")
    return key


def is_key_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(ch.isspace() or not ch.isprintable() for ch in name)


def _check_point(public_key: bytes, name: str) -> None:
    if len(public_key) != 32:
        raise Unusable("bad-key", f"the key of {name} is {len(public_key)} bytes long; Ed25519 keys have 32")
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME:
        raise Unusable("non-canonical", f"the key of {name} is not in its canonical encoding")
    if y in _LOW_ORDER_Y:
        raise Unusable("low-order-key", f"the key of {name} is of low order: anything can be signed under it")
