"""A vault in a dictionary, for tests. One law: as the real one, a key once destroyed is never made again."""

from __future__ import annotations

import os
from collections.abc import Sequence

from gpuaas.common.sealing import KEY_BYTES, Destroyed


class MemoryVault:
    """Keys by person; None marks a destroyed one."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes | None] = {}

    async def key_for(self, subject_id: str) -> bytes:
        key = self._keys.setdefault(subject_id, os.urandom(KEY_BYTES))
        if key is None:
            raise Destroyed(subject_id)
        return key

    async def keys_of(self, subject_ids: Sequence[str]) -> dict[str, bytes | None]:
        return {each: self._keys[each] for each in subject_ids if each in self._keys}

    async def destroy(self, subject_id: str) -> bool:
        had = self._keys.get(subject_id) is not None
        self._keys[subject_id] = None
        return had
