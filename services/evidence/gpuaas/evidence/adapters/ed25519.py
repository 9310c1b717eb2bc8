"""The service's signing key. One law: the private half lives in one file that only its owner can read.

Ed25519 (RFC 8032): signing is deterministic, so the same statement always gives the same envelope.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from gpuaas.common.errors import Misconfigured
from gpuaas.evidence.domain.specimens import Signer


class SigningKey:
    """One Ed25519 key pair; `key_id` is the SHA-256 of the raw public key in hex."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_key = private.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public_key)

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def signer(self) -> Signer:
        """The pair as callables."""
        return Signer(self.key_id, self.sign, PublicKey(self.public_key).check)


def key_id_of(public_key: bytes) -> str:
    """The name of a key: SHA-256 of its raw 32 bytes, in hex."""
    return hashlib.sha256(public_key).hexdigest()


class PublicKey:
    """The half that checks. `public_key` is 32 raw bytes."""

    def __init__(self, public_key: bytes) -> None:
        self._public = Ed25519PublicKey.from_public_bytes(public_key)

    def check(self, signature: bytes, message: bytes) -> bool:
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def open_key(path: Path, *, make_if_absent: bool) -> SigningKey:
    """The key in the PEM file at `path` (PKCS #8, unencrypted), made there with mode 0600 if allowed.

    Raises:
        Misconfigured: absent and not to be made, readable by others, or not an Ed25519 key.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if not make_if_absent:
            raise Misconfigured(
                f"there is no evidence signing key at {path} and this profile makes none; put one there"
            ) from None
        return _make(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Misconfigured(f"the evidence signing key {path} can be read by others; run chmod 600 on it")
    try:
        private = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError) as refused:
        raise Misconfigured(f"{path} holds no unencrypted private key in PEM: {refused}") from refused
    if not isinstance(private, Ed25519PrivateKey):
        raise Misconfigured(f"{path} holds a key that is not Ed25519; evidence is signed with Ed25519 only")
    return SigningKey(private)


def specimen_signers() -> tuple[Signer, Signer]:
    """Two keys that exist in this process only: one that the negative controls trust, and one that they do not."""
    ours, theirs = (SigningKey(Ed25519PrivateKey.generate()) for _ in range(2))
    return ours.signer(), theirs.signer()


def _make(path: Path) -> SigningKey:
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Exclusive and complete: two processes starting together must end with one key, never half of one.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
    except FileExistsError:
        return open_key(path, make_if_absent=False)
    finally:
        unfinished.unlink(missing_ok=True)
    return SigningKey(private)
