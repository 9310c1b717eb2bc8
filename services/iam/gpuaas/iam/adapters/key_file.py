"""Signing keys in a file. One law: nobody but this process's user can read it, and it is replaced whole or not at all.

JSON: `{"keys": [{"key_id", "private_key", "valid_from", "valid_until"}]}`; `private_key` is 32 raw bytes in base64url.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gpuaas.common.clock import rfc3339
from gpuaas.common.errors import Misconfigured
from gpuaas.iam.ports import SigningPair

FILE_BYTES_MAX: Final = 65_536
KEYS_KEPT_MAX: Final = 4
"""Keys in the file at most; the oldest goes when a new one comes. Their public halves stay in the log."""


class KeyFile:
    """A `KeyStore` in one file.

    Args:
        may_change: whether keys may be made here; in staging and production somebody else puts them there.
    """

    def __init__(self, path: Path, *, may_change: bool) -> None:
        self._path = path
        self.may_change = may_change

    def pairs(self) -> list[SigningPair]:
        if not self._path.exists():
            if self.may_change:
                return []
            raise Misconfigured(
                f"there is no signing key file at {self._path}; put one there (GPUAAS_IAM_SIGNING_KEYS_FILE), "
                "in this profile iam makes none itself"
            )
        if (mode := self._path.stat().st_mode & 0o777) & 0o077:
            raise Misconfigured(f"{self._path} can be read by others (mode {mode:04o}); run chmod 600 on it")
        return _read(self._path)

    def keep(self, pair: SigningPair) -> list[SigningPair]:
        if not self.may_change:
            raise Misconfigured(f"{self._path} holds no signing key for today; put a valid one there")
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            known = self.pairs()
            if any(other.valid_until >= pair.valid_until for other in known):
                return known
            kept = [*known, pair][-KEYS_KEPT_MAX:]
            self._replace(kept)
        return kept

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _replace(self, kept: Sequence[SigningPair]) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"keys": [_written(pair) for pair in kept]}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def _written(pair: SigningPair) -> dict[str, str]:
    raw = pair.private.private_bytes_raw()
    return {
        "key_id": pair.key_id,
        "private_key": base64.urlsafe_b64encode(raw).decode().rstrip("="),
        "valid_from": rfc3339(pair.valid_from),
        "valid_until": rfc3339(pair.valid_until),
    }


def _read(path: Path) -> list[SigningPair]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ValueError(f"larger than {FILE_BYTES_MAX} bytes")
        pairs = [_pair(entry) for entry in json.loads(path.read_bytes())["keys"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as broken:
        raise Misconfigured(f"the signing key file {path} cannot be read ({broken}); restore or remove it") from broken
    return sorted(pairs, key=lambda pair: pair.valid_until)


def _pair(entry: dict[str, str]) -> SigningPair:
    raw = base64.urlsafe_b64decode(entry["private_key"] + "=" * (-len(entry["private_key"]) % 4))
    moments = [datetime.fromisoformat(entry[name]) for name in ("valid_from", "valid_until")]
    if any(moment.utcoffset() is None for moment in moments):
        raise ValueError("a time without its offset from UTC")
    return SigningPair(entry["key_id"], Ed25519PrivateKey.from_private_bytes(raw), *moments)
