"""What audit needs of the outside. One law: a witness is a stranger; what it says counts when its signature does."""

from __future__ import annotations

from typing import Protocol

from gpuaas.audit.domain.witnessing import Answer


class Witness(Protocol):
    """Somebody who remembers the last head of every tree and cosigns only what continues it (C2SP tlog-witness)."""

    @property
    def name(self) -> str:
        """The key's name, such as `witness.example/w1`."""
        ...

    @property
    def public_key(self) -> bytes:
        """32 bytes, Ed25519."""
        ...

    @property
    def url(self) -> str:
        """Where it answers; empty for one inside this process."""
        ...

    async def add_checkpoint(self, body: bytes) -> Answer:
        """Its answer, whatever the status. Raises Unavailable: it gave none."""
        ...
