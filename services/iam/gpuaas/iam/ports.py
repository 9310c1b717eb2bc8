"""What iam needs of the outside. One law: a private key never leaves the place that keeps it, except to sign."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningPair:
    """A signing key with its private half, and the real time in which tokens of it are believed."""

    key_id: str
    private: Ed25519PrivateKey = field(repr=False)
    valid_from: datetime
    valid_until: datetime


class KeyStore(Protocol):
    """Where the signing keys are kept."""

    @property
    def may_change(self) -> bool:
        """Whether a key may be made here; elsewhere somebody else puts them in place."""
        ...

    def pairs(self) -> list[SigningPair]:
        """All kept keys, the newest last.

        Raises:
            Misconfigured: they cannot be read, or others than this process may read them.
        """
        ...

    def keep(self, pair: SigningPair) -> list[SigningPair]:
        """Keep one more and give all; if somebody else was faster, theirs stand and ours is dropped."""
        ...
