"""The log in a list: for tests and what-if. One law: it keeps every promise that JetStream keeps, or it is wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from gpuaas.common.envelope import Recorded
from gpuaas.common.errors import Conflict, Invalid, TooLarge
from gpuaas.common.ids import new_id
from gpuaas.common.log import BATCH_MAX, Batch, Follower, Write


def check_guards(writes: Sequence[Write]) -> None:
    """Refuse a set of writes whose guards do not say exactly one thing per subject.

    Raises:
        Invalid: empty, a wildcard subject, a first write without guard or a later one with one.
        TooLarge: more than `BATCH_MAX`.
    """
    if not writes:
        raise Invalid("an append of no events says nothing")
    if len(writes) > BATCH_MAX:
        raise TooLarge(f"{len(writes)} events in one append; at most {BATCH_MAX} go together")
    seen: set[str] = set()
    for write in writes:
        if "*" in write.subject or ">" in write.subject:
            raise Invalid(f"{write.subject!r} is a pattern; an append names one entity's literal subject")
        if (write.subject in seen) != (write.expected is None):
            raise Invalid(f"{write.subject}: the first write of a subject states its guard, later ones do not")
        seen.add(write.subject)


class MemoryLog:
    """An `EventLog` that lives as long as the process."""

    def __init__(self) -> None:
        self._events: list[Recorded] = []
        self._by_subject: dict[str, list[Recorded]] = {}
        self._incarnation = new_id()
        self._grown = asyncio.Condition()

    async def append(self, writes: Sequence[Write]) -> list[int]:
        check_guards(writes)
        async with self._grown:
            for write in writes:
                last = self._last_of(write.subject)
                if write.expected is not None and write.expected != last:
                    raise Conflict(f"{write.subject} stands at {last}, the decision was taken at {write.expected}")
            positions = [self._take(write) for write in writes]
            self._grown.notify_all()
        return positions

    def _take(self, write: Write) -> int:
        recorded = Recorded(
            position=len(self._events) + 1,
            subject=write.subject,
            type=write.event_type,
            payload=write.payload,
            recorded_at=datetime.now(UTC),
            decided_on=write.expected,
        )
        self._events.append(recorded)
        self._by_subject.setdefault(write.subject, []).append(recorded)
        return recorded.position

    def _last_of(self, subject: str) -> int:
        history = self._by_subject.get(subject)
        return history[-1].position if history else 0

    async def history(
        self, subject: str, after: int = 0, limit: int | None = None, *, reaching: int = 0
    ) -> list[Recorded]:
        return [event for event in self._by_subject.get(subject, []) if event.position > after][:limit]

    async def at(self, position: int) -> Recorded | None:
        return self._events[position - 1] if 0 < position <= len(self._events) else None

    def follow(self, subjects: Sequence[str], after: int) -> Follower:
        return _MemoryFollower(self, subjects, after)

    async def newest(self, subjects: Sequence[str]) -> int:
        filters = [_tokens(subject) for subject in subjects]
        wanted = (
            event.position
            for event in reversed(self._events)
            if any(_matches(pattern, _tokens(event.subject)) for pattern in filters)
        )
        return next(wanted, 0)

    async def last_position(self) -> int:
        return len(self._events)

    async def incarnation(self) -> str:
        return self._incarnation

    async def imprint(self) -> str:
        return f"{self._incarnation} {await self.last_position() - len(self._events)}"

    async def _newer(self, after: int) -> Sequence[Recorded]:
        """The next events after `after`; waits until there are some."""
        async with self._grown:
            await self._grown.wait_for(lambda: len(self._events) > after)
            return self._events[after : after + BATCH_MAX]


class _MemoryFollower:
    def __init__(self, log: MemoryLog, subjects: Sequence[str], after: int) -> None:
        self._log = log
        self._filters = [_tokens(subject) for subject in subjects]
        self._after = after
        self._closed = False

    async def batches(self) -> AsyncIterator[Batch]:
        while not self._closed:
            newer = await self._log._newer(self._after)
            self._after = newer[-1].position
            wanted = [event for event in newer if self._wants(event.subject)]
            caught_up = self._after == await self._log.last_position()
            if wanted or caught_up:
                yield Batch(events=wanted, seen=self._after, caught_up=caught_up)

    async def settle(self) -> int:
        last = await self._log.last_position()
        waiting = any(self._wants(event.subject) for event in self._log._events[self._after :])
        return self._after if waiting else last

    async def close(self) -> None:
        self._closed = True
        with contextlib.suppress(RuntimeError):
            async with self._log._grown:
                self._log._grown.notify_all()

    def _wants(self, subject: str) -> bool:
        tokens = subject.split(".")
        return any(_matches(pattern, tokens) for pattern in self._filters)


def _tokens(subject: str) -> list[str]:
    return subject.split(".")


def _matches(pattern: Sequence[str], tokens: Sequence[str]) -> bool:
    """NATS subject matching: `*` is one token, a final `>` is one or more."""
    for index, part in enumerate(pattern):
        if part == ">":
            return len(tokens) > index
        if index >= len(tokens) or part not in ("*", tokens[index]):
            return False
    return len(tokens) == len(pattern)
