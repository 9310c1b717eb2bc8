"""DSSE envelopes. One law: the bytes that were verified are the bytes that are handed on.

Dead Simple Signing Envelope v1.0.2 (secure-systems-lab/dsse). Keys are handed in as callables, so this file
knows no algorithm; the service signs with Ed25519.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gpuaas.common.errors import Invalid
from gpuaas.evidence.domain.strict_json import Ambiguous, read_json, write_json

ENVELOPE_BYTES_MAX: Final = 4 * 1024 * 1024
SIGNATURES_MAX: Final = 16

Sign = Callable[[bytes], bytes]
"""Message → raw signature."""
Check = Callable[[bytes, bytes], bool]
"""(signature, message) → whether this key made that signature over that message."""


class Refused(Invalid):
    """An envelope that proves nothing. `why` is one of malformed, duplicate-key, unsigned, wrong-signer,
    bad-signature, wrong-payload-type."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail, why=why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Signature:
    """`key_id` is only a hint; it is never trusted (DSSE: KEYID is unauthenticated)."""

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """`payload` exactly as it was signed, and the trusted key ids that signed it."""

    payload: bytes
    key_ids: frozenset[str]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what is actually signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, signers: Mapping[str, Sign]) -> Envelope:
    """An envelope around `payload`, signed once by each of `signers` (key id → signing callable)."""
    message = pae(payload_type, payload)
    signatures = tuple(Signature(key_id=key_id, signature=by(message)) for key_id, by in sorted(signers.items()))
    return Envelope(payload_type=payload_type, payload=payload, signatures=signatures)


def encode(envelope: Envelope) -> bytes:
    """The recommended JSON envelope in one spelling: equal envelopes give equal bytes."""
    return write_json(
        {
            "payload": base64.b64encode(envelope.payload).decode(),
            "payloadType": envelope.payload_type,
            "signatures": [
                {"keyid": one.key_id, "sig": base64.b64encode(one.signature).decode()} for one in envelope.signatures
            ],
        }
    )


def decode(data: bytes) -> Envelope:
    """The envelope in `data`; unknown members are ignored, as DSSE asks.

    Raises:
        Refused: malformed or duplicate-key.
    """
    if len(data) > ENVELOPE_BYTES_MAX:
        raise Refused("malformed", f"an envelope has at most {ENVELOPE_BYTES_MAX} bytes, this one {len(data)}")
    try:
        document = read_json(data)
    except Ambiguous as refused:
        raise Refused(refused.why, f"the envelope is unreadable: {refused.detail}") from refused
    if not isinstance(document, dict):
        raise Refused("malformed", "an envelope is a JSON object")
    signatures = document.get("signatures")
    if not isinstance(signatures, list) or len(signatures) > SIGNATURES_MAX:
        raise Refused("malformed", f"an envelope lists its signatures, at most {SIGNATURES_MAX}")
    return Envelope(
        payload_type=_text(document, "payloadType"),
        payload=_bytes(document, "payload"),
        signatures=tuple(_signature(one) for one in signatures),
    )


def verify(data: bytes, trusted: Mapping[str, Check], payload_type: str, threshold: int = 1) -> Verified:
    """The payload of the envelope in `data`, signed by at least `threshold` different trusted keys.

    Raises:
        Refused: with the reason in `why`.
    """
    if threshold < 1:
        raise ValueError("a threshold below one signature would trust everybody")
    envelope = decode(data)
    if not envelope.signatures:
        raise Refused("unsigned", "the envelope carries no signature")
    message = pae(envelope.payload_type, envelope.payload)
    signed_by = frozenset(
        key_id for key_id, check in trusted.items() if any(check(one.signature, message) for one in envelope.signatures)
    )
    if len(signed_by) < threshold:
        raise _no_trusted_signature(envelope.signatures, trusted, len(signed_by), threshold)
    if envelope.payload_type != payload_type:
        raise Refused("wrong-payload-type", f"expected {payload_type}, found {envelope.payload_type}")
    return Verified(payload=envelope.payload, key_ids=signed_by)


def _no_trusted_signature(
    signatures: Sequence[Signature], trusted: Mapping[str, Check], found: int, threshold: int
) -> Refused:
    # The hint only chooses the words of the refusal, never whether to refuse.
    if found == 0 and any(one.key_id in trusted for one in signatures):
        return Refused("bad-signature", "the signature does not fit the bytes; one of them was changed")
    return Refused("wrong-signer", f"signed by {found} of the {threshold} trusted keys needed")


def _signature(entry: Any) -> Signature:
    if not isinstance(entry, dict):
        raise Refused("malformed", "a signature is an object with `sig` and perhaps `keyid`")
    key_id = entry.get("keyid", "")
    if not isinstance(key_id, str):
        raise Refused("malformed", "`keyid` is text")
    return Signature(key_id=key_id, signature=_bytes(entry, "sig"))


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise Refused("malformed", f"`{name}` is missing or not text")
    return value


def _bytes(entry: Mapping[str, Any], name: str) -> bytes:
    """Base64 in the standard or the URL-safe alphabet (DSSE: a verifier accepts either), strictly spelled."""
    text = _text(entry, name)
    url_safe = "-" in text or "_" in text
    try:
        value = base64.b64decode(text, altchars=b"-_" if url_safe else None, validate=True)
    except (binascii.Error, ValueError) as refused:
        raise Refused("malformed", f"`{name}` is not base64") from refused
    # Trailing bits that decode to nothing would give one value several spellings.
    respelled = base64.urlsafe_b64encode(value) if url_safe else base64.b64encode(value)
    if respelled.decode() != text:
        raise Refused("malformed", f"`{name}` is base64 with stray bits or padding")
    return value
