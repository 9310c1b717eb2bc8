"""Signed notes, keys, checkpoints, policies and proof files: the published vectors, and what a liar would try."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from gpuaas.verify.checkpoints import read_checkpoint
from gpuaas.verify.keys import VerifierKey, read_verifier_key
from gpuaas.verify.notes import cosigned_at, read_note
from gpuaas.verify.policy import read_policy, trusting
from gpuaas.verify.proofs import read_proof
from gpuaas.verify.refusals import Refused, Refuted, Unusable
from gpuaas.verify.tree import root_of
from hypothesis import given
from hypothesis import strategies as st

LOG = "gpuaas.example/demo"


def test_the_published_notes_verify_under_their_keys(vectors: Any) -> None:
    for case in vectors("signed_note.json")["valid"]:
        key = read_verifier_key(case["vkey"])
        assert read_note(case["note"]).signers([key]) == (key,)


def test_the_published_bad_keys_are_refused(vectors: Any) -> None:
    signed = vectors("signed_note.json")
    good = [case["vkey"] for case in signed["valid"]]
    bad = [key for key in signed["bad_vkeys"] if "+" in key]
    bad += [key[:end] for key in good for end in range(len(key))]
    bad += [key[:at] + chr(ord(key[at]) + 1) + key[at + 1 :] for key in good for at in range(len(key))]
    for key in bad:
        with pytest.raises(Unusable):
            read_verifier_key(key)


def test_one_changed_character_breaks_a_note(vectors: Any) -> None:
    for case in vectors("signed_note.json")["valid"]:
        key, note = read_verifier_key(case["vkey"]), case["note"]
        for at in range(len(note)):
            changed = note[:at] + chr(ord(note[at]) + 1) + note[at + 1 :]
            try:
                assert read_note(changed).signers([key]) == ()
            except Refused:
                continue


def test_the_published_checkpoints_are_read_and_the_bad_ones_refused(vectors: Any) -> None:
    published = vectors("checkpoint_parse.json")
    for text, origin, size, root in published["ok"]:
        checkpoint = read_checkpoint(text)
        assert (checkpoint.origin, checkpoint.size) == (origin, size)
        assert root is None or checkpoint.root == base64.b64decode(root)
    for text in published["bad"]:
        with pytest.raises(Unusable):
            read_checkpoint(text)


def test_the_published_proof_files_are_read_and_the_bad_ones_refused(vectors: Any) -> None:
    published = vectors("tlog_proof_parse.json")
    proofs = [read_proof(text) for text in published["ok"]]
    assert [(proof.index, len(proof.path)) for proof in proofs] == [(5, 2), (10, 1), (0, 0)]
    assert [proof.extra for proof in proofs] == [None, b"extra information", None]
    assert [proof.checkpoint for proof in proofs] == ["test checkpoint\n", "checkpoint data\n", "checkpoint\n"]
    for text in published["bad"]:
        with pytest.raises(Unusable):
            read_proof(text)


def test_the_mirrored_tiles_lead_to_the_cosigned_root(vectors: Any) -> None:
    mirror = vectors("tiles_mirror_300.json")
    note = read_note(mirror["checkpoint"])
    checkpoint = read_checkpoint(note.text)
    tiles = base64.b64decode(mirror["tile/0/000_b64"]) + base64.b64decode(mirror["tile/0/001.p/44_b64"])
    leaves = [tiles[at : at + 32] for at in range(0, len(tiles), 32)]
    assert (len(leaves), root_of(leaves)) == (checkpoint.size, checkpoint.root)
    assert root_of(leaves[:256]) == base64.b64decode(mirror["tile/1/000.p/1_b64"])
    key = read_verifier_key(mirror["vkey"])
    assert note.signers([key]) == (key,)
    assert cosigned_at(note.signatures[0].value) == 1767139200


@pytest.mark.parametrize("encoded_y", [0, 1, 2**255 - 20, 1 << 255 | 1])
def test_a_key_of_low_order_is_refused(encoded_y: int) -> None:
    with pytest.raises(Unusable) as refusal:
        VerifierKey(name="log", kind=1, public_key=encoded_y.to_bytes(32, "little"))
    assert refusal.value.reason == "low-order-key"


def test_a_key_in_another_spelling_is_refused() -> None:
    with pytest.raises(Unusable) as refusal:
        VerifierKey(name="log", kind=1, public_key=(2**255 - 19 + 3).to_bytes(32, "little"))
    assert refusal.value.reason == "non-canonical"


def test_a_signature_with_a_scalar_beyond_the_group_order_is_refused(signer: Any) -> None:
    key = read_verifier_key(signer.vkey(LOG))
    signature = signer.private.sign(b"text")
    order = 2**252 + 27742317777372353535851937790883648493
    stretched = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert key.signed(b"text", signature)
    assert not key.signed(b"text", stretched)


def test_a_checkpoint_is_accepted_from_the_trusted_log_and_its_trees_only(signer: Any) -> None:
    policy = trusting(signer.vkey(LOG))
    for tree in ("platform", "tenants/acme"):
        assert policy.accept(signer.checkpoint(f"{LOG}/{tree}", 3, bytes(32))).tree == tree
    assert policy.accept(signer.checkpoint(LOG, 3, bytes(32))).tree == ""
    for origin in ("gpuaas.example/production/platform", f"{LOG}/other", f"{LOG}/tenants/a/b", f"{LOG}x", "demo"):
        with pytest.raises(Refuted) as refusal:
            policy.accept(signer.checkpoint(origin, 3, bytes(32)))
        assert refusal.value.reason == "unknown-origin"


def test_each_untrustworthy_checkpoint_is_refused_for_its_own_reason(signer: Any, make_signer: Any) -> None:
    policy, origin = trusting(signer.vkey(LOG)), f"{LOG}/platform"
    stranger = make_signer(b"\x09" * 32)
    honest = signer.checkpoint(origin, 3, bytes(32))
    forged = honest.replace("\n3\n", "\n4\n")
    refusals = {
        "empty-tree": signer.checkpoint(origin, 0, bytes(32)),
        "unsigned": stranger.checkpoint(origin, 3, bytes(32)),
        "bad-signature": forged,
        "bad-checkpoint": signer.checkpoint(origin, 3, bytes(31)),
        "non-canonical": honest.replace("\n3\n", "\n03\n"),
        "bad-note": honest.replace("\n\n", "\n"),
    }
    for reason, note in refusals.items():
        with pytest.raises(Refused) as refusal:
            policy.accept(note)
        assert refusal.value.reason == reason


def test_a_signature_by_another_tree_does_not_serve(signer: Any) -> None:
    policy = trusting(signer.vkey(LOG))
    note = signer.checkpoint(f"{LOG}/tenants/acme", 3, bytes(32)).replace("tenants/acme\n3", "tenants/bolt\n3")
    with pytest.raises(Refuted) as refusal:
        policy.accept(note)
    assert refusal.value.reason == "unsigned"


def test_a_quorum_counts_witnesses_once_and_through_groups(signer: Any, make_signer: Any) -> None:
    names = ["w1", "w2", "w3"]
    witnesses = {name: make_signer(bytes([number]) * 32) for number, name in enumerate(names, 20)}
    lines = [f"log {signer.vkey(LOG)}", *(f"witness {n} {w.vkey(n, 4)}" for n, w in witnesses.items())]
    policy = read_policy("\n".join([*lines, "group two 2 w1 w2", "group all all two w3", "quorum all"]))
    note = signer.checkpoint(f"{LOG}/platform", 3, bytes(32))
    text = note.split("\n\n")[0] + "\n"
    cosigned = note + "".join(witness.cosign(text, name) for name, witness in witnesses.items())
    assert policy.accept(cosigned).checkpoint.size == 3
    with pytest.raises(Refuted) as refusal:
        policy.accept(note + witnesses["w1"].cosign(text, "w1") + witnesses["w3"].cosign(text, "w3"))
    assert refusal.value.reason == "no-quorum"


@pytest.mark.parametrize(
    "lines",
    [
        "quorum none",
        "log {key}",
        "log {key}\nquorum none\nquorum none",
        "log {key}\nlog {same}\nquorum none",
        "log {key}\nquorum w1",
        "log {key}\nwitness w1 {key}\nquorum w1",
        "log {key}\ngroup g 0 w\nquorum none",
        "log {key}\nwitness w1 {witness}\ngroup g 2 w1 w1\nquorum g",
        "log {key}\nwitness none {witness}\nquorum none",
        "log {key}\nshout\nquorum none",
        "log {key}\nquorum none\x00",
    ],
)
def test_a_policy_that_could_be_read_two_ways_is_refused(lines: str, signer: Any, make_signer: Any) -> None:
    keys = {"key": signer.vkey(LOG), "same": signer.vkey("other"), "witness": make_signer(b"\x21" * 32).vkey("w", 4)}
    with pytest.raises(Unusable):
        read_policy(lines.format(**keys))


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parsers_do_anything_but_refuse(noise: bytes) -> None:
    text = noise.decode("utf-8", "replace")
    for reading in (read_note, read_checkpoint, read_proof, read_policy, read_verifier_key):
        try:
            reading(text)
        except Refused:
            continue
