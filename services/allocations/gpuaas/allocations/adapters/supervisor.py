"""What the runtime sees becomes commands: workloads that end, leases that end or soon will. One law: the time said is
the time it happened, however late it was noticed.

One heap of leases for all runs, one call to the runtime for all ends. Ends are written down in order of their time,
many at once; one that could not be written is kept and tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Any, Final, TypeVar

from gpuaas.allocations.domain.orders import AllocationCommand, EndAllocation, NotifyAllocation, ReleaseAllocation
from gpuaas.allocations.ports import Ended, Observes, Run
from gpuaas.allocations.projections.board import Lease
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.errors import Conflict, Invalid, Rejected, Unavailable

AT_ONCE: Final = 64
"""Ends and expiries written down side by side."""
LOOK_AGAIN_S: Final = 0.2
RETRY_S: Final = 0.5
NOTICE_LEASE_MIN_S: Final = 600
"""Of a shorter lease nobody is told: it would end before anybody reads it."""
_SHORT_LEASE_PART: Final = 4
Thing = TypeVar("Thing")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    tenant_id: str
    started_at: datetime
    lease: Lease
    lease_end: datetime
    cause: Cause


class Supervisor:
    """Watches all runs of this service.

    Args:
        notice_s: seconds before the end of a lease at which its tenant is told; 0: never.
    """

    def __init__(
        self,
        commands: Commands,
        allocation: Entity[Any, AllocationCommand],
        runtime: Observes,
        clock: Clock,
        notice_s: int = 0,
    ) -> None:
        self._commands = commands
        self._allocation = allocation
        self._runtime = runtime
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._notice_s = notice_s
        self._notices: list[tuple[datetime, str]] = []
        self._leases: list[tuple[datetime, str]] = []
        self._unwritten: dict[str, Ended] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, run: Run, started_at: datetime, lease: Lease, tenant_id: str, cause: Cause) -> None:
        """`run` is active since `started_at`: watch it and its lease. Told twice, it is watched once."""
        if run.allocation_id in self._running:
            return
        running = _Running(tenant_id, started_at, lease, lease.end(started_at), cause)
        self._running[run.allocation_id] = running
        self._expect(run.allocation_id, running)
        self._runtime.watch(run, started_at)

    def renew(self, allocation_id: str, lease_s: int) -> None:
        """Its lease ends later now: `lease_s` after its start."""
        if (running := self._running.get(allocation_id)) is not None:
            lease = Lease(lease_s, running.lease.ends_by)
            longer = replace(running, lease=lease, lease_end=lease.end(running.started_at))
            self._running[allocation_id] = longer
            self._expect(allocation_id, longer)

    def _expect(self, allocation_id: str, running: _Running) -> None:
        """Its lease ends then, and its tenant is told before."""
        heappush(self._leases, (running.lease_end, allocation_id))
        length_s = (running.lease_end - running.started_at).total_seconds()
        before_s = min(self._notice_s, length_s / _SHORT_LEASE_PART)
        if self._notice_s and length_s >= NOTICE_LEASE_MIN_S:
            heappush(self._notices, (running.lease_end - timedelta(seconds=before_s), allocation_id))

    def over(self, allocation_id: str) -> None:
        """It has ended, and the log says so."""
        self._running.pop(allocation_id, None)
        self._unwritten.pop(allocation_id, None)
        self._runtime.forget(allocation_id)

    async def supervise(self) -> None:
        """For ever: write down what has ended, end what has run out."""
        while True:
            if self._unwritten:
                await _side_by_side(self._write_end, list(self._unwritten.values()))
            for end in await self._runtime.ended(self._next_look_s()):
                if end.allocation_id in self._running:
                    self._unwritten[end.allocation_id] = end
            if not self._unwritten:
                await _side_by_side(self._notify, self._to_be_told())
                await _side_by_side(self._expire, self._fallen_due())

    async def _write_end(self, end: Ended) -> None:
        running = self._running.get(end.allocation_id)
        if running is None:
            return
        command = EndAllocation(end.ended_at, end.how, end.exit_code)
        if await self._order(running, end.allocation_id, command, "ended"):
            self.over(end.allocation_id)

    async def _notify(self, allocation_id: str) -> None:
        running = self._running[allocation_id]
        command = NotifyAllocation(running.lease_end, None, "its lease ends then; renew it to keep the GPUs")
        if not await self._order(running, allocation_id, command, f"lease-notice {running.lease_end}"):
            heappush(self._notices, (self._clock.now(), allocation_id))

    def _to_be_told(self) -> list[str]:
        now, due = self._clock.now(), dict[str, None]()
        while self._notices and self._notices[0][0] <= now:
            _, allocation_id = heappop(self._notices)
            running = self._running.get(allocation_id)
            if running is not None and now < running.lease_end and self._is_near(running, now):
                due[allocation_id] = None
        return list(due)

    def _is_near(self, running: _Running, now: datetime) -> bool:
        """Not so any more where it was renewed: a later entry stands for that."""
        length_s = (running.lease_end - running.started_at).total_seconds()
        return (running.lease_end - now).total_seconds() <= min(self._notice_s, length_s / _SHORT_LEASE_PART)

    async def _expire(self, allocation_id: str) -> None:
        running = self._running[allocation_id]
        command = ReleaseAllocation("lease-expired", running.lease_end)
        if not await self._order(running, allocation_id, command, "lease-expired"):
            heappush(self._leases, (running.lease_end, allocation_id))

    async def _order(self, running: _Running, allocation_id: str, command: AllocationCommand, step: str) -> bool:
        """Give the command; False if it must be given again."""
        try:
            await self._commands.execute(
                self._allocation, running.tenant_id, allocation_id, command, running.cause.at(step)
            )
        except (Unavailable, Conflict) as away:
            _log.warning("%s of %s waits: %s", step, allocation_id, away.detail)
            await asyncio.sleep(RETRY_S)
            return False
        except (Rejected, Invalid) as refused:
            _log.warning("%s of %s came to nothing: %s", step, allocation_id, refused.detail)
        return True

    def _fallen_due(self) -> list[str]:
        now = self._clock.now()
        due: list[str] = []
        while self._leases and self._leases[0][0] <= now:
            _, allocation_id = heappop(self._leases)
            running = self._running.get(allocation_id)
            if running is not None and running.lease_end <= now:  # else it was renewed: a later entry stands for it
                due.append(allocation_id)
        return due

    def _next_look_s(self) -> float:
        while self._leases and self._leases[0][1] not in self._running:
            heappop(self._leases)
        if not self._leases:
            return LOOK_AGAIN_S
        wait_s = self._clock.real_seconds((self._leases[0][0] - self._clock.now()).total_seconds())
        return min(max(wait_s, 0.0), LOOK_AGAIN_S)


async def _side_by_side(work: Callable[[Thing], Awaitable[None]], things: Sequence[Thing]) -> None:
    """`work` on each, begun in this order, `AT_ONCE` under way at most."""
    waiting = iter(things)

    async def hand() -> None:
        for thing in waiting:
            await work(thing)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(things))):
            group.create_task(hand())
