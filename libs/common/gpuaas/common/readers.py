"""What projections and reactions share: a private reader that applies and moves on. One law: it stops loudly.

A reader applies batches in order. What it cannot apply leaves it *stopped*: named, with the position and the reason,
visible in `/readyz` and `gpuaas projections status`. It tries again after a pause, so that a repaired cause (a
deployed fix, a dependency that came back) needs no further action; it never moves past the event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from dataclasses import dataclass
from typing import Final

from gpuaas.common.errors import Conflict, GpuaasError, Unavailable, Unreadable
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.logs.chain import Delivered, Missed
from gpuaas.common.telemetry import READER_EVENTS, READER_POSITION, READER_STOPPED
from nats.errors import Error as NatsError

RETRY_S: Final = 2.0
"""Pause before a stopped reader tries its event again."""
TRANSIENT_S: Final = 0.5
AWAY_MAX_S: Final = 10.0
"""A reader whose broker or database is away longer than this counts as stopped."""
_SETTLE_S: Final = 0.02
_log = logging.getLogger(__name__)


class Moved(Conflict):
    """Another instance moved this reader's position; read it and go on from there."""


@dataclass(frozen=True, slots=True)
class ReaderStatus:
    """Where a reader stands.

    Attributes:
        position: every event that concerns it up to here has been applied.
        stopped: why it stands still, or None.
        rebuilding: share done of a rebuild under way, 0 to 1, or None.
    """

    name: str
    position: int
    caught_up: bool
    stopped: str | None
    rebuilding: float | None


class Reader:
    """Follows the log from its own position and applies what it reads. Subclasses say how.

    Attributes:
        notes_holes: it is told of whole histories and says itself what is missing in them; others stop there.
    """

    notes_holes = False

    def __init__(self, name: str, log: EventLog) -> None:
        self.name = name
        self._log = log
        self.position = 0
        self._stored = 0
        self.caught_up = False
        self.stopped: str | None = None
        self.rebuilding: float | None = None
        self._follower: Follower | None = None
        self._moved = asyncio.Condition()
        self._again = False
        self._applying = False
        self._away_since = 0.0
        self._missed: Missed | None = None

    async def _begin(self) -> int:
        """Make ready and give the position to read after."""
        raise NotImplementedError

    def _follow(self, after: int) -> Follower:
        raise NotImplementedError

    async def _apply(self, batch: Batch, after: int) -> None:
        """Apply `batch` and move the stored position from `after` to `batch.seen`.

        `position` may be ahead of what is stored: past events that do not concern this reader.
        """
        raise NotImplementedError

    def status(self) -> ReaderStatus:
        return ReaderStatus(self.name, self.position, self.caught_up, self.stopped, self.rebuilding)

    async def begin_again(self) -> None:
        """Read the stored position anew, at once: someone else has moved it."""
        self._again = True
        if self._follower is not None:
            await self._follower.close()

    async def run(self) -> None:
        """Read for ever. Cancel to stop; a batch is applied whole or not at all."""
        while True:
            try:
                await self._run_once()
            except Moved:
                # Two instances take turns; without a pause each turn would leave a consumer behind at the broker.
                await asyncio.sleep(TRANSIENT_S * (0.5 + random.random()))
            except (Unavailable, OSError, NatsError) as away:
                self._wait_out(away)
                await asyncio.sleep(TRANSIENT_S)
            except Missed as hole:
                # What stands after it has been applied: to begin again would not bring it back.
                self._missed = hole if hole.position <= self._stored else None
                self._stop(hole)
                await asyncio.sleep(RETRY_S)
            except Exception as failure:  # noqa: BLE001 - whatever it is, this reader stands still and says why
                self._stop(failure)
                await asyncio.sleep(RETRY_S)

    def _wait_out(self, away: Exception) -> None:
        """Something this reader needs is away: it waits, and after a while it says so as one that has stopped."""
        _log.warning("%s waits: %s", self.name, away)
        self.caught_up = False
        now = time.monotonic()
        self._away_since = self._away_since or now
        if now - self._away_since > AWAY_MAX_S:
            self.stopped = f"waits since {now - self._away_since:.0f} s: {away}"
            READER_STOPPED.labels(self.name).set(1)

    def _stop(self, failure: Exception) -> None:
        said = failure.detail if isinstance(failure, GpuaasError) else f"{type(failure).__name__}: {failure}"
        if said != self.stopped:
            _log.error("%s stopped after %d: %s", self.name, self.position, said, exc_info=failure)
        self.stopped = said
        self.caught_up = False
        READER_STOPPED.labels(self.name).set(1)

    async def _run_once(self) -> None:
        self.position = self._stored = await self._begin()
        self._again = False
        if self._missed is not None:
            raise self._missed
        follower = self._follower = self._follow(self.position)
        delivered = Delivered(self.position)
        try:
            async for batch in follower.batches():
                if self._again:
                    return
                if batch.events and batch.events[0].position <= self._stored:
                    raise Unreadable(f"{self.name} was given {batch.events[0].position} after {self._stored}")
                if not self.notes_holes:
                    delivered.take(batch.events)
                if batch.seen > self._stored:
                    self._applying = True
                    await self._apply(batch, self._stored)
                    self._stored = batch.seen
                    self._applying = False
                await self._arrive(batch)
        finally:
            self._follower = None
            self._applying = False
            await follower.close()

    async def _arrive(self, batch: Batch) -> None:
        self.position = max(self.position, batch.seen)
        self.caught_up = batch.caught_up
        if batch.events or batch.caught_up:
            self.stopped = None
            self._away_since = 0.0
            READER_STOPPED.labels(self.name).set(0)
        READER_POSITION.labels(self.name).set(self.position)
        READER_EVENTS.labels(self.name).inc(len(batch.events))
        async with self._moved:
            self._moved.notify_all()

    async def reached(self, position: int, within_s: float) -> None:
        """Wait until everything that concerns this reader up to `position` is applied.

        Raises:
            Unavailable: not within `within_s` seconds, or the reader has stopped.
        """
        if self.position >= position:
            return
        try:
            async with asyncio.timeout(within_s):
                await self._wait_for(position)
        except TimeoutError:
            why = f": it has stopped ({self.stopped})" if self.stopped else ""
            raise Unavailable(
                f"{self.name} stands at {self.position}, {position} was asked for{why}", reader=self.name
            ) from None

    async def _wait_for(self, position: int) -> None:
        """Arrivals wake it; what does not concern this reader never arrives, so now and then it asks the broker."""
        pause_s = _SETTLE_S
        while self.position < position:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s), self._moved:
                    await self._moved.wait_for(lambda: self.position >= position)
                    return
            pause_s = min(pause_s * 2, 0.5)
            self.position = max(self.position, await self._settled())

    async def _settled(self) -> int:
        """Up to where nothing is left to apply. What was handed out but is still being applied does not count."""
        follower = self._follower
        if follower is None or self._applying:
            return self.position
        settled = await follower.settle()
        return self.position if self._applying or self._follower is not follower else settled
