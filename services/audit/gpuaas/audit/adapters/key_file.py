"""The log's Ed25519 key and other 32-byte secrets. One law: for the owner alone to read, made only where allowed."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from gpuaas.common.errors import Misconfigured

SECRET_BYTES: Final = 32


class Ed25519Key:
    """A key out of its seed (RFC 8032 §5.1.5)."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        return self._public

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


def verifies(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether it is a good Ed25519 signature."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def secret_in(path: Path, *, may_create: bool) -> bytes:
    """The 32 bytes in `path`, as 64 hex digits; made with mode 0600 if the file is missing and it may be.

    Raises:
        Misconfigured: missing, malformed, or readable by others.
    """
    if not path.exists():
        if not may_create:
            raise Misconfigured(f"there is no secret in {path.name}: put 64 hex digits there, for its owner only")
        _make(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Misconfigured(f"{path.name} can be read by others; make it readable by its owner only (chmod 600)")
    try:
        value = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        value = b""
    if len(value) != SECRET_BYTES:
        raise Misconfigured(f"{path.name} does not hold {2 * SECRET_BYTES} hex digits")
    return value


def _make(path: Path) -> None:
    """A new secret, whole or not at all; of two processes that make it at once, both then read the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(SECRET_BYTES) + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
