"""Checkpoints, keys, proof files and the blinded map: read back by the verifier, which shares no code with them."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from gpuaas.audit.adapters.key_file import Ed25519Key, secret_in
from gpuaas.audit.domain.checkpoints import LogKey, proof_file
from gpuaas.audit.domain.maps import checkpoint_map, map_line, secret_of
from gpuaas.audit.domain.merkle import leaf_hash
from gpuaas.audit.settings import AuditSettings
from gpuaas.common.errors import Misconfigured
from gpuaas.verify.policy import read_policy, trusting
from gpuaas.verify.proofs import read_proof
from gpuaas.verify.refusals import Refuted
from gpuaas.verify.tree import check_inclusion


def test_a_checkpoint_is_accepted_by_the_policy_that_is_handed_out(log_key: LogKey) -> None:
    policy = read_policy(log_key.policy())
    for tree, named in (("platform", "platform"), ("acme", "tenants/acme")):
        head = policy.accept(log_key.checkpoint(tree, 5, bytes(32)))
        assert (head.tree, head.checkpoint.size) == (named, 5)
    assert log_key.checkpoint("acme", 5, bytes(32)) == log_key.checkpoint("acme", 5, bytes(32))


def test_another_key_or_profile_is_not_accepted(log_key: LogKey) -> None:
    policy = trusting(log_key.verifier_key())
    for other in (LogKey(log_key.log, Ed25519Key(b"\x06" * 32)), LogKey("gpuaas.example/production", log_key.key)):
        with pytest.raises(Refuted):
            policy.accept(other.checkpoint("acme", 5, bytes(32)))


def test_a_proof_file_is_read_back(log_key: LogKey) -> None:
    note = log_key.checkpoint("acme", 1, leaf_hash(b"entry"))
    proof = read_proof(proof_file(0, [], note))
    assert proof.verify(b"entry", trusting(log_key.verifier_key())).tree == "tenants/acme"
    assert read_proof(proof_file(7, [bytes(32)] * 3, note)).path == (bytes(32),) * 3


@dataclass
class Published:
    """A published key, which cannot sign here."""

    public_key: bytes

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError


def test_verifier_keys_are_spelled_as_published() -> None:
    import base64
    import json

    signed = json.loads((Path(__file__).parent / "vectors" / "signed_note.json").read_text())
    for case in signed["valid"]:
        name, _, material = case["vkey"].split("+", 2)
        key = LogKey(name, Published(base64.b64decode(material)[1:]))
        assert key.verifier_key() == case["vkey"]


def test_a_tenant_finds_its_line_in_the_map_and_no_other(log_key: LogKey) -> None:
    notes = {name: log_key.checkpoint(name, 3, bytes(32)) for name in ("acme", "bolt", "cask", "platform", "dune")}
    covering = checkpoint_map(b"master", notes)
    for tree, note in notes.items():
        line = map_line(secret_of(b"master", tree), tree, note)
        index, path = covering.proof(line)
        check_inclusion(leaf_hash(line), index, len(notes), path, covering.root())
    assert checkpoint_map(b"other", notes).root() != covering.root()
    stranger = map_line(secret_of(b"other", "acme"), "acme", notes["acme"])
    with pytest.raises(ValueError):
        covering.proof(stranger)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key"
    made = secret_in(path, may_create=True)
    assert secret_in(path, may_create=False) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["key"]


@pytest.mark.parametrize(("content", "mode"), [("00" * 31, 0o600), ("zz" * 32, 0o600), ("00" * 32, 0o644)])
def test_a_key_that_is_no_secret_is_refused(content: str, mode: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(Misconfigured):
        secret_in(path, may_create=True)
    with pytest.raises(Misconfigured):
        secret_in(tmp_path / "absent", may_create=False)


def test_production_makes_up_neither_name_nor_key() -> None:
    with pytest.raises(Misconfigured):
        AuditSettings.from_environment(
            {"GPUAAS_PROFILE": "production", "GPUAAS_AUDIT_LOG_NAME": "x.example/production"}
        )
    assert AuditSettings().log_name == "gpuaas.local/dev"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n"])
def test_a_log_has_a_name_that_a_note_can_carry(name: str, log_key: LogKey) -> None:
    with pytest.raises(Misconfigured):
        LogKey(name, log_key.key)
