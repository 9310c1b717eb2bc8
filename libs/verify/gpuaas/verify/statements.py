"""Signed statements and artefacts in a decision's bundle. One law: a record counts as signed only by a key the reader
names.

Statements are in-toto Statement v1 in DSSE v1.0.2, signed with Ed25519; each lies in `artefacts/<sha256>` under the
digest that its record carries, and says what the record says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gpuaas.verify.encodings import base64_bytes
from gpuaas.verify.fields import Fields
from gpuaas.verify.keys import VerifierKey
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.strict_json import canonical, parse_object

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
CLAIM: Final = "gpuaas.evidence.claim-submitted.v1"
CLAIM_PREDICATE: Final = "gpuaas:evidence/claim.v1"
KEY_HEX: Final = 64
ED25519: Final = 1


def evidence_keys(given: Sequence[str]) -> list[VerifierKey]:
    """Public keys of the evidence service, each 64 hex digits. Raises Unusable."""
    keys = []
    for text in given:
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raw = b""
        if len(text) != KEY_HEX or not raw:
            raise Unusable("bad-key", f"{text[:80]!r} is no evidence key; give 64 hex digits")
        keys.append(VerifierKey(name="evidence", kind=ED25519, public_key=raw))
    return keys


def check_statement(folder: Path, kind: str, data: Mapping[str, Any], keys: Sequence[VerifierKey]) -> None:
    """The record's statement is there, signed by one of `keys`, and says what `data` says.

    Args:
        kind: the event's type.

    Raises:
        Refuted: missing, other bytes, unsigned, or it says something else.
    """
    digest = str(data["statement_sha256"])
    what = f"the statement {digest[:16]}… of a {kind}"
    envelope = Fields(parse_object(stored(folder, digest), what), what)
    payload, payload_type = base64_bytes(envelope.text("payload"), what), envelope.text("payloadType")
    message = b"DSSEv1 %d %b %d %b" % (len(payload_type), payload_type.encode(), len(payload), payload)
    signatures = [Fields(one, what).text("sig") for one in envelope.items("signatures")]
    if not any(key.signed(message, base64_bytes(one, what)) for key in keys for one in signatures):
        raise Refuted("unsigned-record", f"{what} is not signed by a key that you named")
    if payload_type != PAYLOAD_TYPE:
        raise Refuted("wrong-payload-type", f"{what} is a {payload_type[:80]}")
    said = Fields(parse_object(payload, what), what)
    left_out = {"statement_sha256", "subject_sha256"} if kind == CLAIM else {"statement_sha256"}
    expected = {name: value for name, value in data.items() if name not in left_out}
    predicate = CLAIM_PREDICATE if kind == CLAIM else "gpuaas:" + kind.removeprefix("gpuaas.").replace(".", "/", 1)
    if said.text("_type") != STATEMENT_TYPE or said.text("predicateType") != predicate:
        raise Refuted("statement-differs", f"{what} is a statement of another kind")
    if canonical(dict(said.inner("predicate").raw)) != canonical(expected):
        raise Refuted("statement-differs", f"{what} says something else than the record")
    subjects = {Fields(one, what).inner("digest").text("sha256") for one in said.items("subject")}
    if "subject_sha256" in data and data["subject_sha256"] not in subjects:
        raise Refuted("statement-wrong-subject", f"{what} is about another release")


def stored(folder: Path, digest: str) -> bytes:
    """The bytes of an artefact in the bundle, hashed again. Raises Refuted."""
    try:
        content = (folder / digest).read_bytes()
    except OSError:
        raise Refuted("missing-artefact", f"the bundle lacks the artefact {digest[:80]}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise Refuted("other-bytes", f"the artefact {digest[:80]} has other bytes")
    return content
