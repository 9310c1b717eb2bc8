"""A runtime that only keeps time. One law: a workload runs exactly as long as it says, however late anyone looks.

It understands `["sleep", "<seconds>"]` (also `infinity`), in world time: a run started at s ends at s + seconds, to
the microsecond, with exit code 0. `["idle", "<seconds>"]` is the same without using its GPUs; with two numbers more it
is idle only between so many seconds after its start: `["idle", "7200", "600", "3600"]`. No command at all runs until it
is stopped. Anything else ends at once, with the
exit code that a shell would give: 127 for a program it does not have, 1 for a time it cannot read.

It holds nothing that matters: what runs, and since when, is in the log. One heap of due times serves all runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from heapq import heappop, heappush
from typing import Final

from gpuaas.allocations.domain.idleness import Sample
from gpuaas.allocations.ports import Ended, Executed, LogPart, Run
from gpuaas.common.clock import Clock
from gpuaas.common.errors import Rejected
from gpuaas.contracts.allocations import IdlenessSource

LOOK_AGAIN_S: Final = 0.2
"""Longest real time between two looks at the clock, whose pace may change."""
_SHORTEST_S: Final = 0.002
_SAMPLE_EVERY: Final = timedelta(seconds=60)
_SAMPLES_MAX: Final = 1_440
_SECONDS_MAX: Final = Decimal(10) ** 9
SIGTERM_EXIT: Final = 143
NOT_FOUND_EXIT: Final = 127
UNREADABLE_EXIT: Final = 1
_NOTHING_BESIDE: Final = "a simulated workload has nothing that a command could run beside"


@dataclass(frozen=True, slots=True)
class Nature:
    """What a command does when it is left alone: end after `length` (None: never) with `exit_code`.

    Attributes:
        idle: from when to when after its start it uses no GPU; None: it always does.
    """

    length: timedelta | None
    exit_code: int
    idle: tuple[timedelta, timedelta] | None = None


def nature_of(command: Sequence[str]) -> Nature:
    """How long a command runs and how it ends."""
    if not command:
        return Nature(None, 0)
    if command[0] == "idle":
        return _idle_nature(command)
    if command[0] != "sleep":
        return Nature(timedelta(0), NOT_FOUND_EXIT)
    if len(command) != 2:
        return Nature(timedelta(0), UNREADABLE_EXIT)
    if command[1] == "infinity":
        return Nature(None, 0)
    length = _length(command[1])
    return Nature(timedelta(0), UNREADABLE_EXIT) if length is None else Nature(length, 0)


def _idle_nature(command: Sequence[str]) -> Nature:
    match [_length(word) for word in command[1:]]:
        case [timedelta() as length]:
            return Nature(length, 0, (timedelta(0), length))
        case [timedelta() as length, timedelta() as since, timedelta() as until]:
            return Nature(length, 0, (since, until))
        case _:
            return Nature(timedelta(0), UNREADABLE_EXIT)


def _length(word: str) -> timedelta | None:
    """Seconds as a command gives them; None: that is no number of seconds."""
    try:
        seconds = Decimal(word)
    except InvalidOperation:
        return None
    if not (seconds.is_finite() and 0 <= seconds <= _SECONDS_MAX):
        return None
    return timedelta(microseconds=int(seconds * 1_000_000))


class SimRuntime:
    """A `Runtime` on the clock it is given, which also knows what its workloads use."""

    source: IdlenessSource = "runtime"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[datetime, str]] = []
        self._watched: dict[str, Ended] = {}
        self._news = asyncio.Event()

    async def prepare(self, run: Run) -> None:
        """Nothing is needed to keep time."""

    async def start(self, run: Run) -> datetime:
        return self._clock.now()

    async def stop(self, run: Run, started_at: datetime | None, at: datetime) -> Ended:
        if started_at is None:
            return Ended(run.allocation_id, at, "stopped")
        natural = _natural_end(run, started_at)
        if natural is not None and natural.ended_at <= at:
            return natural
        return Ended(run.allocation_id, max(at, started_at), "stopped", SIGTERM_EXIT)

    async def read_log(self, run: Run, offset: int, size_max: int) -> LogPart:
        """What only keeps time says nothing."""
        return LogPart(content=b"", size=0, complete=False)

    def demand_commands_allowed(self) -> None:
        raise Rejected(_NOTHING_BESIDE)

    async def execute(self, run: Run, command: Sequence[str], timeout_s: float) -> Executed:
        raise Rejected(_NOTHING_BESIDE)

    def samples(self, run: Run, started_at: datetime, after: datetime, until: datetime) -> Sequence[Sample]:
        """One a minute, counted from the start, however late anybody asks; of a long time the last day."""
        idle = nature_of(run.command).idle
        first = max((after - started_at) // _SAMPLE_EVERY + 1, (until - started_at) // _SAMPLE_EVERY - _SAMPLES_MAX, 0)
        found: list[Sample] = []
        while (at := started_at + first * _SAMPLE_EVERY) <= until:
            rests = idle is not None and idle[0] <= at - started_at < idle[1]
            found.append(Sample(at, 0 if rests else 100))
            first += 1
        return found

    def watch(self, run: Run, started_at: datetime) -> None:
        if run.allocation_id in self._watched:
            return
        natural = _natural_end(run, started_at)
        if natural is not None:
            self._watched[run.allocation_id] = natural
            heappush(self._due, (natural.ended_at, run.allocation_id))
            if self._due[0][1] == run.allocation_id:
                self._news.set()

    def forget(self, allocation_id: str) -> None:
        self._watched.pop(allocation_id, None)

    async def ended(self, within_s: float) -> Sequence[Ended]:
        deadline = asyncio.get_running_loop().time() + within_s
        while not (found := self._fallen_due()):
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                return ()
            self._news.clear()
            try:
                async with asyncio.timeout(min(left_s, self._next_look_s())):
                    await self._news.wait()
            except TimeoutError:
                continue
        return found

    def _fallen_due(self) -> list[Ended]:
        now = self._clock.now()
        found: list[Ended] = []
        while self._due and self._due[0][0] <= now:
            _, allocation_id = heappop(self._due)
            if (end := self._watched.get(allocation_id)) is not None:
                found.append(end)
        return found

    def _next_look_s(self) -> float:
        if not self._due:
            return LOOK_AGAIN_S
        wait_s = self._clock.real_seconds((self._due[0][0] - self._clock.now()).total_seconds())
        return min(max(wait_s, _SHORTEST_S), LOOK_AGAIN_S)


def _natural_end(run: Run, started_at: datetime) -> Ended | None:
    nature = nature_of(run.command)
    if nature.length is None:
        return None
    return Ended(run.allocation_id, started_at + nature.length, "exited", nature.exit_code)
