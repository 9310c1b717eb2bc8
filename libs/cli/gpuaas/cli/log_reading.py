"""The log as people read it: a stretch of it, filtered, with a bar where it is long. One law: reading has no effect."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
from gpuaas.audit.domain.outcomes import outcome_of
from gpuaas.common.envelope import Recorded, decode, moment
from gpuaas.common.errors import Invalid, Unreadable
from gpuaas.common.logs.jetstream import JetStreamLog

Wanted = Mapping[str, str | bool | None]
_SPAN: Final = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
LONG: Final = 5_000
"""Events from which on a bar is shown."""


def filters(work: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose events; each event has to satisfy all that are given."""
    for option in (
        click.option("--type", "type_", help="Only types that contain this."),
        click.option("--tenant", help="Only this tenant's."),
        click.option("--service", help="Only this service's."),
        click.option("--actor", help="Only what this actor did."),
        click.option("--correlation", help="Only this correlation id's."),
        click.option("--about", help="Only whose subject contains this: an allocation, a node, an invoice."),
        click.option("--failures", is_flag=True, help="Only what did not work, was not allowed, or cannot be read."),
    ):
        work = option(work)
    return work


def since(work: Callable[..., Any]) -> Callable[..., Any]:
    """The option that says where to begin by time."""
    told = "Only what the log took at this time (RFC 3339) or later, or within a span until now: 90s, 15m, 2h, 3d."
    decorated: Callable[..., Any] = click.option("--since", "since_", help=told)(work)
    return decorated


async def position_before(log: JetStreamLog, text: str) -> int:
    """The last position that the log had taken before a time or a span until now."""
    span = _SPAN.fullmatch(text)
    if span is None:
        return await position_as_of(log, text, "a time (2026-08-05T09:00:00Z) or a span (15m)")
    ago = timedelta(seconds=int(span[1]) * _UNITS_S[span[2]])
    return await position_as_of(log, (datetime.now(UTC) - ago).isoformat())


async def position_as_of(log: JetStreamLog, text: str, like: str = "it like 2026-08-05T09:00:00Z") -> int:
    """The last position that the log had taken at a time (RFC 3339); 0: none yet. A few reads, however long the log."""
    try:
        wanted = moment(text)
    except Unreadable as odd:
        raise Invalid(f"{odd.detail}; write {like}") from odd
    low, high = 0, await log.last_position()
    while low < high:
        middle = (low + high + 1) // 2
        taken = await _recorded_at(log, middle, high)
        if taken is not None and taken <= wanted:
            low = middle
        else:
            high = middle - 1
    return low


async def _recorded_at(log: JetStreamLog, position: int, last: int) -> datetime | None:
    """When the first event at or after `position` was taken; a log may have passed over positions."""
    for candidate in range(position, last + 1):
        if (stored := await log.at(candidate)) is not None:
            return stored.recorded_at
    return None


async def read(log: JetStreamLog, after: int, last: int | None, wanted: Wanted) -> AsyncIterator[Recorded]:
    """Events after a position, up to `last` where one is given, that match the filters."""
    if last is not None and after >= last:
        return
    service = wanted.get("service")
    follower = log.follow([f"events.{service}.>" if service else "events.>"], after)
    try:
        with _bar(after, last) as seen:
            async for batch in follower.batches():
                for event in batch.events:
                    if last is not None and event.position > last:
                        return
                    if matches(event, wanted):
                        yield event
                seen(batch.seen - after)
                if last is not None and (batch.seen >= last or batch.caught_up):
                    return
    finally:
        await follower.close()


class _bar:
    """A bar on standard error while a long stretch is read at a terminal; otherwise nothing."""

    def __init__(self, after: int, last: int | None) -> None:
        self._total = 0 if last is None or last - after < LONG or not sys.stderr.isatty() else last - after
        self._progress: Any = None

    def __enter__(self) -> Callable[[int], None]:
        if not self._total:
            return lambda _: None
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._progress.start()
        task = self._progress.add_task("events", total=self._total)
        return lambda done: self._progress.update(task, completed=done)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def matches(event: Recorded, wanted: Wanted) -> bool:
    """Whether the event satisfies every filter; one whose bytes cannot be read has a subject and a type only."""
    if (type_ := wanted.get("type_")) and str(type_) not in event.type:
        return False
    if wanted.get("failures") and outcome_of(event.type or None) == "success":
        return False
    if (tenant := wanted.get("tenant")) and event.subject.split(".")[3:4] != [tenant]:
        return False
    if (about := wanted.get("about")) and str(about) not in event.subject:
        return False
    actor, correlation = wanted.get("actor"), wanted.get("correlation")
    if not actor and not correlation:
        return True
    try:
        envelope = decode(event.payload)
    except Unreadable:
        return False
    return actor in (None, envelope.actor) and correlation in (None, envelope.correlationid)
