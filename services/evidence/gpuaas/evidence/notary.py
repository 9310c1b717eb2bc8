"""Statements made and stored. One law: a record is signed and on the shelf before it is an event."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from gpuaas.common.events import Event
from gpuaas.evidence.domain.dsse import Sign
from gpuaas.evidence.domain.records import signed
from gpuaas.evidence.ports import ArtefactStore, whole


class Notary:
    """Signs what events say.

    Args:
        signers: key id → signing callable; every statement is signed by all of them.
    """

    def __init__(self, store: ArtefactStore, signers: Mapping[str, Sign]) -> None:
        self._store = store
        self.signers = dict(signers)

    async def attest(self, draft: Event, subjects: Sequence[str] = ()) -> str:
        """Store the signed statement of `draft`; its digest.

        Args:
            draft: the event as it will be recorded, whatever its own `statement_sha256` is.
            subjects: the digests that the statement is about.
        """
        envelope = signed(draft, subjects, self.signers)
        return (await self._store.put(hashlib.sha256(envelope).hexdigest(), whole(envelope))).sha256
