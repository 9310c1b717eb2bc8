"""DSSE and in-toto. One law: the vector of the specification decides, not our reading of it."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from gpuaas.evidence.adapters.ed25519 import PublicKey, SigningKey
from gpuaas.evidence.domain import dsse
from gpuaas.evidence.domain.statement import PAYLOAD_TYPE, Statement, Subject
from gpuaas.evidence.domain.statement import decode as decode_statement
from gpuaas.evidence.domain.statement import encode as encode_statement
from hypothesis import given
from hypothesis import strategies as st

VECTOR = json.loads((Path(__file__).parent / "vectors" / "dsse.json").read_text())
OURS = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
THEIRS = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
TRUSTED: Mapping[str, dsse.Check] = {OURS.key_id: PublicKey(OURS.public_key).check}
STATEMENT = Statement(
    subjects=(Subject(sha256="ab" * 32),),
    predicate_type="https://example.com/claim/v1",
    predicate={"result": "passed"},
)


def signed(key: SigningKey = OURS, payload: bytes = b"payload", kind: str = PAYLOAD_TYPE) -> bytes:
    return dsse.encode(dsse.sign(kind, payload, {key.key_id: key.sign}))


def why(data: bytes, trusted: Mapping[str, dsse.Check] = TRUSTED, threshold: int = 1) -> str:
    with pytest.raises(dsse.Refused) as refused:
        dsse.verify(data, trusted, PAYLOAD_TYPE, threshold)
    return refused.value.why


def _vector_key(signature: bytes, message: bytes) -> bool:
    numbers = ec.EllipticCurvePublicNumbers(int(VECTOR["ecdsa_p256_x"]), int(VECTOR["ecdsa_p256_y"]), ec.SECP256R1())
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        numbers.public_key().verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _vector_envelope(body: str, **changed: object) -> bytes:
    payload = base64.b64encode(body.encode()).decode()
    signatures = [{"sig": VECTOR["signature_raw_r_s_b64"]}]
    return json.dumps(
        {"payload": payload, "payloadType": VECTOR["payload_type"], "signatures": signatures, **changed}
    ).encode()


def test_the_specification_s_encoding_is_ours() -> None:
    assert dsse.pae(VECTOR["payload_type"], VECTOR["body"].encode()) == VECTOR["pae"].encode()


def test_lengths_are_counted_in_bytes_and_not_in_characters() -> None:
    assert dsse.pae("ä", b"") == "DSSEv1 2 ä 0 ".encode()


def test_the_specification_s_envelope_verifies_and_one_changed_letter_does_not() -> None:
    kind = VECTOR["payload_type"]
    verified = dsse.verify(_vector_envelope(VECTOR["body"]), {"spec": _vector_key}, kind)
    assert verified.payload == VECTOR["body"].encode()
    with pytest.raises(dsse.Refused):
        dsse.verify(_vector_envelope("hello World"), {"spec": _vector_key}, kind)


def test_a_signed_payload_comes_back_byte_for_byte() -> None:
    verified = dsse.verify(signed(payload=b"\x00\xff{"), TRUSTED, PAYLOAD_TYPE)
    assert verified.payload == b"\x00\xff{"
    assert verified.key_ids == {OURS.key_id}


def test_the_same_statement_signed_twice_is_the_same_bytes() -> None:
    assert signed() == signed()


def test_either_base64_alphabet_is_accepted() -> None:
    document = json.loads(signed(payload=b"\xfb\xff\xfe"))
    for member in (document, *document["signatures"]):
        for name in ("payload", "sig"):
            if name in member:
                member[name] = member[name].replace("+", "-").replace("/", "_")
    assert "-__-" in document["payload"]
    assert dsse.verify(json.dumps(document).encode(), TRUSTED, PAYLOAD_TYPE).payload == b"\xfb\xff\xfe"


def test_the_key_id_is_a_hint_that_is_not_believed() -> None:
    document = json.loads(signed(THEIRS))
    document["signatures"][0]["keyid"] = OURS.key_id
    assert why(json.dumps(document).encode()) == "bad-signature"
    document = json.loads(signed(OURS))
    del document["signatures"][0]["keyid"]
    assert dsse.verify(json.dumps(document).encode(), TRUSTED, PAYLOAD_TYPE).key_ids == {OURS.key_id}


def test_one_key_that_signs_twice_is_still_one_key() -> None:
    document = json.loads(signed())
    document["signatures"] *= 2
    both = {**TRUSTED, THEIRS.key_id: PublicKey(THEIRS.public_key).check}
    assert why(json.dumps(document).encode(), both, threshold=2) == "wrong-signer"
    signers = {OURS.key_id: OURS.sign, THEIRS.key_id: THEIRS.sign}
    twice = dsse.encode(dsse.sign(PAYLOAD_TYPE, b"payload", signers))
    assert len(dsse.verify(twice, both, PAYLOAD_TYPE, threshold=2).key_ids) == 2


def test_each_bad_envelope_is_refused_for_its_own_reason() -> None:
    good = json.loads(signed())
    flipped = {**good, "payload": base64.b64encode(b"Payload").decode()}
    assert why(json.dumps(flipped).encode()) == "bad-signature"
    assert why(json.dumps({**good, "signatures": []}).encode()) == "unsigned"
    assert why(signed(THEIRS)) == "wrong-signer"
    assert why(signed(kind="application/json")) == "wrong-payload-type"
    assert why(signed()[:-1] + b',"payload":"eA=="}') == "duplicate-key"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"payload":"","payloadType":"x"}',
        b'{"payload":"","payloadType":"x","signatures":{}}',
        b'{"payload":"","payloadType":"x","signatures":["AA=="]}',
        b'{"payload":"","payloadType":"x","signatures":[{"keyid":1,"sig":"AA=="}]}',
        b'{"payload":"","payloadType":"x","signatures":[{"sig":"AB=="}]}',
        b'{"payload":"A A=","payloadType":"x","signatures":[]}',
        b'{"payload":"+_==","payloadType":"x","signatures":[]}',
        b'{"payload":"AAA","payloadType":"x","signatures":[]}',
        b'{"payload":1,"payloadType":"x","signatures":[]}',
        b'{"payload":"","signatures":[]}',
        b"[" * 200_000,
        b'{"payload":"","payloadType":"x","signatures":[],"more":NaN}',
    ],
)
def test_what_is_not_exactly_an_envelope_is_malformed(data: bytes) -> None:
    assert why(data) == "malformed"


@given(st.binary(max_size=400))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(dsse.Refused):
        dsse.verify(data, TRUSTED, PAYLOAD_TYPE)


@given(st.data())
def test_no_flipped_bit_of_an_envelope_changes_what_is_read(data: st.DataObject) -> None:
    good = signed()
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    spoiled = bytearray(good)
    spoiled[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(dsse.Refused):
        # A flipped key id, or an ignored member, leaves signature and payload as they were.
        assert dsse.verify(bytes(spoiled), TRUSTED, PAYLOAD_TYPE).payload == b"payload"


def test_a_threshold_of_nobody_is_a_bug_and_not_a_policy() -> None:
    with pytest.raises(ValueError, match="trust everybody"):
        dsse.verify(signed(), TRUSTED, PAYLOAD_TYPE, threshold=0)


def test_a_statement_is_read_as_it_was_written_and_unknown_members_are_ignored() -> None:
    assert decode_statement(encode_statement(STATEMENT)) == STATEMENT
    extended = json.loads(encode_statement(STATEMENT)) | {"later": 1}
    assert decode_statement(json.dumps(extended).encode()) == STATEMENT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "malformed"),
        ({"subject": []}, "malformed"),
        ({"subject": [{"name": "x"}]}, "malformed"),
        ({"subject": [{"digest": {"sha1": "ab" * 20}}]}, "malformed"),
        ({"subject": [{"digest": {"sha256": "AB" * 32}}]}, "malformed"),
        ({"predicate": []}, "malformed"),
        ({"predicateType": 1}, "malformed"),
    ],
)
def test_a_statement_about_nothing_is_refused(change: dict[str, object], reason: str) -> None:
    document = json.loads(encode_statement(STATEMENT)) | change
    with pytest.raises(dsse.Refused) as refused:
        decode_statement(json.dumps(document).encode())
    assert refused.value.why == reason


def test_a_statement_that_says_a_thing_twice_is_refused_for_that() -> None:
    doubled = encode_statement(STATEMENT).replace(b'"result":"passed"', b'"result":"failed","result":"passed"')
    with pytest.raises(dsse.Refused) as refused:
        decode_statement(doubled)
    assert refused.value.why == "duplicate-key"
