"""Rights as they were. One law: folded again from the log up to a position, never remembered from today.

A fold that was made is kept for a while: the same position is asked for more than once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from datetime import datetime
from typing import Final

from gpuaas.common.access import Access
from gpuaas.common.clock import Clock
from gpuaas.common.errors import Invalid
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import EventLog
from gpuaas.common.projections import decoded

FOLDS_MAX: Final = 4
"""Folds kept; the least recently asked for goes first."""


class AsOf:
    """Answers with the rights of today, or of an earlier position. One fold is made at a time."""

    def __init__(self, access: Access, log: EventLog, clock: Clock, profile: str) -> None:
        self._access = access
        self._log = log
        self._clock = clock
        self._profile = profile
        self._folds: OrderedDict[int, tuple[Access, datetime]] = OrderedDict()
        self._one = asyncio.Lock()

    async def at(self, position: int | None) -> tuple[Access, datetime]:
        """The fold as of `position` (None: today's) and the real time then.

        Raises:
            Invalid: the log, as far as iam has read it, does not reach that position.
        """
        if position is None:
            return self._access, self._clock.now()
        async with self._one:
            if (known := self._folds.get(position)) is None:
                known = self._folds[position] = await self._folded(position)
            self._folds.move_to_end(position)
            while len(self._folds) > FOLDS_MAX:
                self._folds.popitem(last=False)
            return known

    async def _folded(self, position: int) -> tuple[Access, datetime]:
        recorded = await self._log.at(position) if position <= await self._log.last_position() else None
        if recorded is None:
            raise Invalid(f"the log has no position {position}; ask as of an earlier one", field="as_of")
        access, vocabulary = Access(self._profile), Vocabulary(*Access.READS)
        follower = self._log.follow(vocabulary.subjects(), 0)
        try:
            async with contextlib.aclosing(follower.batches()) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    for fact in decoded(vocabulary, [each for each in batch.events if each.position <= position]):
                        access.apply(fact)
                    if batch.seen >= position or batch.caught_up:
                        break
        finally:
            await follower.close()
        return access, recorded.recorded_at
