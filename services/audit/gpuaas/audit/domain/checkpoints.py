"""Checkpoints, signed and read by name. One law: one key, and every tree signs under its own name.

Formats: C2SP tlog-checkpoint, signed-note (Ed25519, type 0x01), tlog-proof. The log's name says installation and
profile, such as `gpuaas.example/production`; its trees are `<log>/platform` and `<log>/tenants/<tenant>`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from gpuaas.audit.domain.entries import PLATFORM_TREE
from gpuaas.common.errors import Misconfigured

_ED25519 = b"\x01"


class Signs(Protocol):
    """An Ed25519 key (RFC 8032)."""

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes; equal input, equal signature."""
        ...


def origin_of(log: str, tree: str) -> str:
    """The origin of a tree below its log."""
    return f"{log}/{PLATFORM_TREE}" if tree == PLATFORM_TREE else f"{log}/tenants/{tree}"


@dataclass(frozen=True, slots=True)
class LogKey:
    """The log's name, the key that speaks for it, and the one that did before, as far as it is at hand."""

    log: str
    key: Signs
    previous: Signs | None = None

    def __post_init__(self) -> None:
        if not self.log or "+" in self.log or any(ch.isspace() or not ch.isprintable() for ch in self.log):
            raise Misconfigured(f"{self.log!r} cannot name an audit log; use something like gpuaas.example/production")

    def verifier_key(self, name: str | None = None) -> str:
        """`name+id+key`, by default under the log's own name: what a reader of proofs trusts."""
        name = self.log if name is None else name
        return f"{name}+{self._key_id(name).hex()}+{_b64(_ED25519 + self.key.public_key)}"

    def keys_of(self, origin: str) -> tuple[bytes, ...]:
        """The public keys that speak for an origin; none for one that is not of this log."""
        below = origin.removeprefix(f"{self.log}/")
        ours = below != origin and (below == PLATFORM_TREE or below.startswith("tenants/"))
        keys = [self.key] if self.previous is None else [self.key, self.previous]
        return tuple(key.public_key for key in keys) if ours else ()

    def previous_verifier_key(self) -> str | None:
        """As `verifier_key`, of the key before."""
        return None if self.previous is None else LogKey(self.log, self.previous).verifier_key()

    def handover(self) -> str:
        """A signed note in which the key before names this one, and this one agrees."""
        text = f"gpuaas-log-key/v1\n{self.log}\n{self.verifier_key()}\n"
        signers = [LogKey(self.log, self.previous), self] if self.previous is not None else [self]
        return text + "\n" + "".join(signer.line(text, self.log) for signer in signers)

    def line(self, text: str, name: str) -> str:
        """This key's signature line over a note's text."""
        return f"— {name} {_b64(self._key_id(name) + self.key.sign(text.encode()))}\n"

    def policy(self, witnesses: str = "quorum none\n", earlier: Sequence[str] = ()) -> str:
        """The trust policy for this log (C2SP tlog-policy).

        Args:
            witnesses: the lines of its witnesses and their quorum.
            earlier: verifier keys that signed before; what they signed stays verifiable.
        """
        keys = [self.verifier_key(), *(each for each in earlier if each != self.verifier_key())]
        return "".join(f"log {each}\n" for each in keys) + witnesses

    def checkpoint(self, tree: str, size: int, root: bytes) -> str:
        """The signed checkpoint of a tree. Equal input, equal text."""
        origin = origin_of(self.log, tree)
        text = f"{origin}\n{size}\n{_b64(root)}\n"
        return f"{text}\n{self.line(text, origin)}"

    def _key_id(self, name: str) -> bytes:
        return sha256(name.encode() + b"\n" + _ED25519 + self.key.public_key).digest()[:4]


def proof_file(index: int, path: Sequence[bytes], checkpoint: str) -> str:
    """A C2SP tlog-proof: one leaf's place in a checkpointed tree."""
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *map(_b64, path)]
    return "\n".join(lines) + f"\n\n{checkpoint}"


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
