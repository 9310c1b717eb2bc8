"""The signing key on the disk. One law: a key that others can read, or that is not Ed25519, signs nothing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gpuaas.common.errors import Misconfigured
from gpuaas.evidence.adapters.ed25519 import PublicKey, open_key


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    made = open_key(tmp_path / "keys" / "evidence.pem", make_if_absent=True)
    again = open_key(tmp_path / "keys" / "evidence.pem", make_if_absent=True)
    assert made.public_key == again.public_key
    assert stat.S_IMODE((tmp_path / "keys" / "evidence.pem").stat().st_mode) == 0o600
    assert [entry.name for entry in (tmp_path / "keys").iterdir()] == ["evidence.pem"]
    assert PublicKey(made.public_key).check(again.sign(b"message"), b"message")
    assert not PublicKey(made.public_key).check(again.sign(b"message"), b"Message")


def test_a_profile_that_makes_no_key_says_where_to_put_one(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"evidence\.pem"):
        open_key(tmp_path / "evidence.pem", make_if_absent=False)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    open_key(tmp_path / "evidence.pem", make_if_absent=True)
    (tmp_path / "evidence.pem").chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        open_key(tmp_path / "evidence.pem", make_if_absent=True)


def test_a_key_of_another_kind_or_half_a_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evidence.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    with pytest.raises(Misconfigured, match="not Ed25519"):
        open_key(path, make_if_absent=False)
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(Misconfigured, match="no unencrypted private key"):
        open_key(path, make_if_absent=False)
