"""A witness in this process, with a key and a memory of its own. One law: it remembers before it answers.

It speaks the protocol's bytes like any other. Its memory is a file beside its key, not the service's database: a log
that was restored to an earlier state, or folded into another tree, does not take the witness back with it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gpuaas.audit.domain.checkpoints import Signs
from gpuaas.audit.domain.witnessing import Answer, Declined, Seen, Verifies, cosignature, judge, read_submission

_LOCK_TIMEOUT_S: Final = 5.0


class LocalWitness:
    """One witness.

    Args:
        memory: its SQLite file.
        keys_of: the public keys it trusts for an origin; none for one it does not know.
        now_s: Unix time.
    """

    url = ""

    def __init__(
        self,
        name: str,
        key: Signs,
        memory: Path,
        keys_of: Callable[[str], Sequence[bytes]],
        verifies: Verifies,
        now_s: Callable[[], int],
    ) -> None:
        self.name = name
        self._key = key
        self._memory = memory
        self._keys_of = keys_of
        self._verifies = verifies
        self._now_s = now_s
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.Lock()

    @property
    def public_key(self) -> bytes:
        return self._key.public_key

    async def add_checkpoint(self, body: bytes) -> Answer:
        return await asyncio.to_thread(self._answer, body)

    def _answer(self, body: bytes) -> Answer:
        try:
            asked = read_submission(body)
            with self._turn, self._open() as memory:
                memory.execute("BEGIN IMMEDIATE")
                row = memory.execute("SELECT size, root FROM seen WHERE origin = ?", (asked.origin,)).fetchone()
                seen = judge(asked, self._keys_of(asked.origin), None if row is None else Seen(*row), self._verifies)
                memory.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (asked.origin, seen.size, seen.root))
            return Answer(200, cosignature(self.name, self._key, asked.text, self._now_s()))
        except Declined as declined:
            return declined.answer
        except sqlite3.Error as broken:
            return Answer(500, f"the witness cannot remember: {broken}\n")

    def _open(self) -> sqlite3.Connection:
        """The memory, as a context that commits or rolls back."""
        if self._connection is None:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            opened = sqlite3.connect(
                self._memory, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            opened.execute("PRAGMA journal_mode=WAL")
            opened.execute("PRAGMA synchronous=FULL")
            opened.execute("CREATE TABLE IF NOT EXISTS seen (origin TEXT PRIMARY KEY, size INTEGER, root BLOB)")
            self._connection = opened
        return self._connection
