"""When the scheduler looks again because of the time alone. One law: late by a tenth of a second at most, never early.

A clock that is set back only makes it look again; a clock that is set forward makes it look at once.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.outlook import Outlook
from gpuaas.allocations.domain.queue import Plan
from gpuaas.allocations.projections.board import Board
from gpuaas.common.clock import Clock

LOOK_AGAIN_S: Final = 0.1


class AlarmClock:
    """Wakes the scheduler when somebody's time comes, and when what is promised begins or ends."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._board = board
        self._clock = clock
        self._due: dict[str, datetime] = {}

    def outlook(self) -> Outlook:
        """The calendar as of now."""
        return Outlook(self._clock.now())

    def set(self, pool_id: str, pool: Pool, decided: Plan) -> None:
        """Ring for this pool at the next moment that may change what was just decided."""
        moments = [each.until for each in decided.deferred.values() if each.until is not None]
        if (change := pool.calendar.next_change_after(self._clock.now())) is not None:
            moments.append(change)
        if moments:
            self._due[pool_id] = min(moments)
        else:
            self._due.pop(pool_id, None)

    async def watch(self) -> None:
        """For ever: ring when it is time."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            now = self._clock.now()
            due = [pool_id for pool_id, moment in self._due.items() if moment <= now]
            for pool_id in due:
                del self._due[pool_id]
            if due:
                self._board.news.set()
