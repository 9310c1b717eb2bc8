"""Keeps what was promised: windows that are over are taken out, GPUs that are lost are replaced, and what still stands
on GPUs whose time has come is ended. One law: it only gives guarded commands, so any number of processes may do it.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any, Final

from gpuaas.allocations.domain.booking import FreeTime, MendTime, OpenTime
from gpuaas.allocations.domain.calendar import Booking, Window
from gpuaas.allocations.domain.capacity import Pool, per_node
from gpuaas.allocations.domain.foresight import missing, spelled, unsound
from gpuaas.allocations.domain.orders import AllocationCommand, ReleaseAllocation
from gpuaas.allocations.domain.pool import PoolCommand
from gpuaas.allocations.domain.reservation import FinishReservation, NoteMissing, Reservation, ReservationCommand
from gpuaas.allocations.projections.board import SERVICE, Board
from gpuaas.allocations.projections.pool_capacity import PoolCapacity
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Entity, Order
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Conflict, Rejected, Unavailable
from gpuaas.common.ids import new_id
from gpuaas.common.projections import Database

LOOK_AGAIN_S: Final = 0.5
ALL_POOLS_EVERY: Final = 20
"""Looks between two at the table of all pools; those in which something happens are looked at every time."""
MEND_AHEAD: Final = timedelta(days=1)
"""Windows that begin sooner are moved off machines that are withdrawn now; for later ones there is hope."""
_log = logging.getLogger(__name__)


class Promises:
    """Looks after the calendars of all pools."""

    def __init__(
        self,
        commands: Commands,
        pool: Entity[Pool, PoolCommand],
        reservation: Entity[Reservation, ReservationCommand],
        allocation: Entity[Any, AllocationCommand],
        board: Board,
        clock: Clock,
        database: Database,
        capacity: PoolCapacity,
    ) -> None:
        self._database = database
        self._capacity = capacity
        self._commands = commands
        self._pool = pool
        self._reservation = reservation
        self._allocation = allocation
        self._board = board
        self._clock = clock
        self._short: dict[tuple[str, int], int] = {}
        self._told: set[tuple[str, str]] = set()

    async def keep(self) -> None:
        """For ever: look at every pool that has promised anything."""
        looks, all_pools = 0, list[str]()
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            if looks % ALL_POOLS_EVERY == 0:
                all_pools = await self._capacity.pool_ids(self._database)
            looks += 1
            for pool_id in {*all_pools, *self._board.desks}:
                try:
                    pool, _ = await self._commands.state(self._pool, PLATFORM, pool_id)
                    if pool.calendar:
                        await self._look(pool_id, pool)
                except (Conflict, Rejected, Unavailable) as late:
                    _log.info("promises of pool %s wait: %s", pool_id, late.detail)

    async def _look(self, pool_id: str, pool: Pool) -> None:
        now = self._clock.now()
        for closure in list(pool.calendar.closures.values()):
            if closure.ends_at <= now:
                order = OpenTime(pool_id, closure.closure_id, "its time is over")
                cause = Cause(new_id(), SERVICE, "service", step="opened")
                await self._commands.execute(self._pool, PLATFORM, pool_id, order, cause)
                self._board.news.set()
        for booking in list(pool.calendar.bookings.values()):
            over = tuple(window.number for window in booking.windows if window.ends_at <= now)
            if over:
                await self._take_out(pool_id, booking, over, now)
                continue
            if any(unsound(pool, window, now + MEND_AHEAD) for window in booking.windows):
                pool = await self._mend(pool_id, booking, now)
            booking = pool.calendar.bookings.get(booking.reservation_id, booking)
            for window in booking.windows:
                await self._note(pool, booking, window, now)
            if (open_now := booking.open_at(now)) is not None:
                await self._clear(pool, booking, open_now, now)

    async def _take_out(self, pool_id: str, booking: Booking, over: tuple[int, ...], now: datetime) -> None:
        name = booking.reservation_id
        cause = _cause(f"{name}/{over[-1]}", booking.project_id, "over")
        free = Order(self._pool, PLATFORM, pool_id, FreeTime(pool_id, name, over, "the window is over"))
        orders: list[Order[Any, Any]] = [free]
        if len(over) == len(booking.windows):
            last = max(window.ends_at for window in booking.windows)
            orders.append(Order(self._reservation, booking.tenant_id, name, FinishReservation(min(last, now))))
        await self._commands.execute_together(orders, cause)
        self._board.news.set()

    async def _mend(self, pool_id: str, booking: Booking, now: datetime) -> Pool:
        command = MendTime(pool_id, booking.reservation_id, now, now + MEND_AHEAD)
        cause = _cause(new_id(), booking.project_id, "mend")
        outcome = await self._commands.execute(self._pool, PLATFORM, pool_id, command, cause)
        if outcome.events:
            self._board.news.set()
        return outcome.state

    async def _note(self, pool: Pool, booking: Booking, window: Window, now: datetime) -> None:
        lacking, why = missing(pool, booking, window, now + MEND_AHEAD)
        key = (booking.reservation_id, window.number)
        if self._short.get(key, 0) == lacking:
            return
        command = NoteMissing(window.number, window.starts_at, lacking, why or "all of them are there")
        cause = _cause(new_id(), booking.project_id, "missing")
        await self._commands.execute(self._reservation, booking.tenant_id, booking.reservation_id, command, cause)
        self._short[key] = lacking

    async def _clear(self, pool: Pool, booking: Booking, window: Window, now: datetime) -> None:
        """End what stands on these GPUs and has no right to: it started late, or nobody knew when it would end."""
        ours = window.masks()
        for claim in list(pool.book.claims.values()):
            if claim.reservation_id == booking.reservation_id:
                continue
            if not any(mask & ours.get(number, 0) for number, mask in per_node(claim.holdings).items()):
                continue
            key = (booking.reservation_id, claim.allocation_id)
            if key in self._told:
                continue
            detail = f"its GPUs are promised to others from {spelled(window.starts_at)} on"
            cause = _cause(f"{booking.reservation_id}/{window.number}", claim.project_id, "clear")
            command = ReleaseAllocation("operator", now, detail=detail)
            try:
                await self._commands.execute(self._allocation, claim.tenant_id, claim.allocation_id, command, cause)
            except Rejected as gone:
                _log.info("%s need not be ended: %s", claim.allocation_id, gone.detail)
            self._told.add(key)


def _cause(name: str, project_id: str, step: str) -> Cause:
    return Cause(id=name, actor=SERVICE, actor_kind="service", project_id=project_id, step=step, relief=True)
