"""When running work makes way for who waits: asks the domain with what the board knows, and wakes the scheduler again.

One law: it decides nothing itself; what it orders is guarded on the pool like every claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from gpuaas.allocations.adapters.entitlements import Entitlements
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.outlook import Outlook
from gpuaas.allocations.domain.pool import OrderPreemption
from gpuaas.allocations.domain.preemption import make_way
from gpuaas.allocations.domain.queue import Kept
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.allocations.projections.board import Board, Desk
from gpuaas.common.clock import Clock

LOOK_AGAIN_S: Final = 0.5
"""Longest real time between two looks at the clock, whose pace may change."""


class Preempter:
    """Says for the heads of a pool's line whether somebody makes way for them."""

    def __init__(self, board: Board, entitlements: Entitlements, clock: Clock) -> None:
        self._board = board
        self._entitlements = entitlements
        self._clock = clock
        self._alarms: dict[tuple[str, str], asyncio.TimerHandle] = {}

    def order_for(
        self, pool_id: str, pool: Pool, desk: Desk, model: str, kept: Mapping[str, Kept], policy: Policy
    ) -> OrderPreemption | None:
        """The order that lets the head of `model` start; None: nobody makes way, now or at all."""
        head = desk.line.get(kept[model].allocation_id)
        if head is None:
            return None
        now = self._clock.now()
        quotas, rules = self._entitlements.in_pool(pool_id), self._entitlements.rules(pool_id)
        running, ending = self._board.running, self._board.ending
        begins, ends = Outlook(now).times(head, pool)
        promised = pool.calendar.promised(pool.book.nodes, begins, ends) if pool.calendar and begins and ends else {}
        decided = make_way(pool_id, pool, head, model, quotas, running, ending, rules, now, kept, policy, promised)
        self._look_again((pool_id, model), decided.again_at)
        return decided.order

    def _look_again(self, line: tuple[str, str], at: datetime | None) -> None:
        """Wake the scheduler at `at`, whatever the clock's pace does until then."""
        if (alarm := self._alarms.pop(line, None)) is not None:
            alarm.cancel()
        if at is None:
            return
        left_s = self._clock.real_seconds((at - self._clock.now()).total_seconds())
        if left_s <= 0:
            self._board.news.set()
        else:
            wait_s = min(left_s, LOOK_AGAIN_S)
            self._alarms[line] = asyncio.get_running_loop().call_later(wait_s, self._look_again, line, at)
