"""Watches that the log is still what the trail has seen of it. One law: a look changes nothing but what it then says.

Three things, by what they cost. How the log is kept (made anew, restored, its server restarted, messages gone) is asked
before every epoch and answers at once. When that has changed, the whole log is compared before another epoch is sealed.
And a window walks through the log for ever, for bytes that were changed in place behind a running server's back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from gpuaas.audit.adapters.watch_memory import WatchMemory
from gpuaas.audit.domain.divergences import ReportDivergence
from gpuaas.audit.domain.watches import Watch, compared, seen, window
from gpuaas.audit.entities import DIVERGENCE, own_cause
from gpuaas.audit.projections.trail_state import Compared, compared_rows, first_gap, known_log, trail_position
from gpuaas.common.commands import Commands
from gpuaas.common.envelope import PLATFORM, Recorded
from gpuaas.common.errors import GpuaasError, Unavailable
from gpuaas.common.log import EventLog
from gpuaas.common.tables import Database

TAIL: Final = 256
"""Newest positions compared at every look."""
STRETCH: Final = 5_000
"""Positions read and compared at once in a sweep."""
READ_TIMEOUT_S: Final = 60.0
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Watching:
    """Compares the log with the trail.

    Attributes:
        projection: name of the trail's reader.
        least: positions compared per look at least, besides the newest.
        pass_s: seconds within which every position is to be compared again.
        standing: what the last look found; a log that was set back or made anew cannot tell of it to the trail.
        wake: set when there is something to look at before the next look is due.
    """

    log: EventLog
    database: Database
    commands: Commands
    projection: str
    memory: WatchMemory
    least: int
    pass_s: float
    standing: tuple[ReportDivergence, ...] = ()
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    looked_s: float | None = None

    async def cleared(self) -> bool:
        """Whether an epoch may be sealed: the log is kept as it was, or all of it has been compared since."""
        watch = await self._noticed(await trail_position(self.database))
        if watch.sweeping:
            self.wake.set()
        return not watch.sweeping

    async def look(self) -> list[ReportDivergence]:
        """One look; what it found is said, once each."""
        self.wake.clear()
        findings = await self._findings()
        self.standing = tuple(findings)
        for finding in findings:
            await report(self.commands, finding)
        return findings

    async def told(self) -> dict[str, Any]:
        """Where it stands, for people."""
        watch = await self.memory.recall()
        return {
            "every_position_since": watch.whole_since,
            "pass_is_at": str(watch.cursor),
            "pass_began": watch.pass_began,
            "sweeping": watch.sweeping,
            "pass_s": self.pass_s,
        }

    async def _noticed(self, end: int) -> Watch:
        before = await self.memory.recall()
        watch = seen(before, await self.log.imprint(), end)
        if watch != before:
            await self.memory.keep(watch)
        if watch.sweeping and not before.sweeping:
            _log.warning("the log is kept otherwise than before: all of it is compared before the next epoch")
        return watch

    async def _findings(self) -> list[ReportDivergence]:
        known = await known_log(self.database, self.projection)
        if known is None:
            return []
        if known != await self.log.incarnation():
            detail = f"the trail was folded from the log {known}; this log is another under the same name"
            return [ReportDivergence("recreated", 1, None, None, detail)]
        findings: list[ReportDivergence] = []
        if (gap := await first_gap(self.database)) is not None:
            findings.append(ReportDivergence("vanished", gap, None, None, f"position {gap} holds no event"))
        end = await trail_position(self.database)
        head = await self.log.last_position()
        if head < end:
            findings.append(await self._rewound(head, end))
        return findings + await self._walked(min(head, end))

    async def _walked(self, end: int) -> list[ReportDivergence]:
        """Compare what is due: everything in a sweep, else the newest positions and the next window."""
        watch, now_s = await self._noticed(end), time.monotonic()
        count = window(end, now_s - (self.looked_s or now_s), self.least, self.pass_s)
        self.looked_s = now_s
        findings: list[ReportDivergence] = []
        while watch.sweeping and watch.cursor < end:
            watch, found = await self._next(watch, STRETCH, end)
            findings += found
        if end > count:
            findings += await self._compare(max(0, end - TAIL), end)
        _, found = await self._next(watch, count, end)
        return [*findings, *(each for each in found if each not in findings)]

    async def _next(self, watch: Watch, count: int, end: int) -> tuple[Watch, list[ReportDivergence]]:
        """Compare the next `count` positions of the running pass."""
        after = watch.cursor if watch.cursor < end else 0
        upto, began = min(after + count, end), datetime.now(UTC)
        found = await self._compare(after, upto)
        after_it = compared(replace(watch, cursor=after), upto, end, began)
        await self.memory.keep(after_it)
        return after_it, found

    async def _rewound(self, head: int, end: int) -> ReportDivergence:
        [lost] = await compared_rows(self.database, head, head + 1) or [Compared(head + 1, "", b"")]
        detail = f"the log ends at {head}; the trail has seen it up to {end}"
        return ReportDivergence("rewound", head + 1, lost.sha256.hex() or None, None, detail)

    async def _compare(self, after: int, upto: int) -> list[ReportDivergence]:
        """Positions (after, upto] of the log against the trail's rows."""
        if upto <= after:
            return []
        found = await self._read(after, upto)
        findings: list[ReportDivergence] = []
        for row in await compared_rows(self.database, after, upto):
            stored = found.get(row.position)
            if stored is None:
                detail = f"position {row.position} held {row.subject} and is empty"
                findings.append(ReportDivergence("vanished", row.position, row.sha256.hex(), None, detail))
            elif (now := Compared.of(stored)) != row:
                detail = f"position {row.position} holds other bytes or another subject than {row.subject} had"
                findings.append(ReportDivergence("rewritten", row.position, row.sha256.hex(), now.sha256.hex(), detail))
        return list(_runs(findings))

    async def _read(self, after: int, upto: int) -> dict[int, Recorded]:
        follower = self.log.follow(["events.>"], after)
        found: dict[int, Recorded] = {}
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                async for batch in follower.batches():
                    found |= {event.position: event for event in batch.events if event.position <= upto}
                    if batch.seen >= upto or batch.caught_up:
                        break
        except TimeoutError:
            raise Unavailable(f"the log did not give the positions {after + 1} to {upto} in time") from None
        finally:
            await follower.close()
        return found


def _runs(findings: Iterable[ReportDivergence]) -> Iterable[ReportDivergence]:
    """One finding for neighbouring positions of one kind: a log that was exchanged as a whole is said once."""
    first, last = None, 0
    for finding in findings:
        if first is not None and (finding.kind, finding.position) == (first.kind, last + 1):
            last += 1
            continue
        if first is not None:
            yield _run(first, last)
        first, last = finding, finding.position
    if first is not None:
        yield _run(first, last)


def _run(first: ReportDivergence, last: int) -> ReportDivergence:
    more = "" if last == first.position else f"; so it is up to position {last}"
    return replace(first, detail=first.detail + more)


async def report(commands: Commands, finding: ReportDivergence) -> None:
    """Say a finding on the log, once."""
    cause = own_cause("divergence", finding.divergence_id, finding.found_sha256 or "")
    said = await commands.execute(DIVERGENCE, PLATFORM, finding.divergence_id, finding, cause)
    if said.events and not said.repeated:
        _log.error("the log is not what was sealed: %s", finding.detail)


async def forever(work: Callable[[], Awaitable[object]], interval_s: float, wake: asyncio.Event | None = None) -> None:
    """Do it, sleep, and again, sooner when woken; a failure is said and tried again."""
    waken = wake or asyncio.Event()
    while True:
        try:
            await work()
        except GpuaasError as failure:
            _log.warning("%s waits: %s", getattr(work, "__qualname__", work), failure.detail)
            await asyncio.sleep(interval_s)
            continue
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waken.wait(), interval_s)
