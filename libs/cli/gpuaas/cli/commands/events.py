"""`gpuaas events`: the log itself. One law: reading has no effect; what is shown is what is stored."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import click
from gpuaas.cli.here import open_log
from gpuaas.cli.output import as_json, fail, finish, print_json, print_table
from gpuaas.common.envelope import Recorded, decode
from gpuaas.common.errors import Unreadable

_COLOURS = {"iam": "magenta", "nodes": "cyan", "inventory": "blue", "allocations": "green", "billing": "yellow"}


def _filters(work: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--type", "type_", help="Only types that contain this."),
        click.option("--tenant", help="Only this tenant's."),
        click.option("--service", help="Only this service's."),
        click.option("--correlation", help="Only this correlation id's."),
    ):
        work = option(work)
    return work


@click.group()
def command() -> None:
    """The append-only log: tail it, show one event with its causes and effects, replay it, count it."""


@command.command()
@click.option("--from", "begin", type=click.IntRange(1), help="Begin at this position (default: only what is new).")
@click.option("--count", type=click.IntRange(1), help="Stop after this many.")
@_filters
@click.option("--json", "json_", is_flag=True, help="One stored event per line, as it is.")
def tail(begin: int | None, count: int | None, json_: bool, **wanted: str | None) -> None:
    """Follow the log until Ctrl-C."""

    async def work() -> None:
        async with open_log() as log:
            after = await log.last_position() if begin is None else begin - 1
            shown = 0
            async for event in _read(log, after, None, wanted):
                _print(event, json_)
                shown += 1
                if count is not None and shown >= count:
                    return

    finish(work)


@command.command()
@click.option("--from", "begin", type=click.IntRange(1), default=1, show_default=True)
@click.option("--to", "end", type=click.IntRange(1), help="Last position (default: the end as it is now).")
@_filters
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write there instead of to the screen.")
@click.option("--json", "json_", is_flag=True, help="One stored event per line, as it is.")
def replay(begin: int, end: int | None, out: Path | None, json_: bool, **wanted: str | None) -> None:
    """Read a stretch of the log again, in order. Nothing is repeated: readers of events do not see a replay."""

    async def work() -> int:
        from rich.progress import Progress

        async with open_log() as log:
            last = await log.last_position() if end is None else min(end, await log.last_position())
            found = 0
            if out is None:
                async for event in _read(log, begin - 1, last, wanted):
                    _print(event, json_)
                    found += 1
                return found
            with out.open("wb") as file, Progress(disable=not sys.stderr.isatty()) as progress:
                bar = progress.add_task("events", total=max(0, last - begin + 1))
                async for event in _read(log, begin - 1, last, wanted):
                    file.write(event.payload + b"\n")
                    found += 1
                    progress.update(bar, completed=event.position - begin + 1)
            return found

    found = finish(work)
    if out is not None:
        click.echo(f"{found:,} events in {out}")


@command.command()
@click.argument("which")
@as_json
def show(which: str, json_: bool) -> None:
    """One event, by position or id, with what caused it and what followed from it."""

    async def work() -> tuple[Recorded, list[Recorded]]:
        async with open_log() as log:
            chosen: Recorded | None = None
            last = await log.last_position()
            if which.isdecimal():
                chosen = await log.at(int(which))
            family: list[Recorded] = []
            everything = [event async for event in _read(log, 0, last, {})]
            for event in everything:
                if chosen is None and f'"id":"{which}"'.encode() in event.payload:
                    chosen = event
            if chosen is None:
                fail(f"no event {which}: give a position between 1 and {last:,}, or an event id")
            correlation = decode(chosen.payload).correlationid
            marker = f'"correlationid":"{correlation}"'.encode()
            family = [event for event in everything if marker in event.payload]
            return chosen, family

    chosen, family = finish(work)
    document = json.loads(chosen.payload)
    if json_:
        related = [{"position": event.position, "event": json.loads(event.payload)} for event in family]
        print_json({"position": chosen.position, "subject": chosen.subject, "event": document, "correlated": related})
        return
    click.secho(f"{chosen.position}  {document['type']}", bold=True)
    click.echo(f"{chosen.subject}\nrecorded {chosen.recorded_at.isoformat()}")
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    click.secho("\ncause and effect", bold=True)
    for depth, event in _tree(family):
        mark = " ◀" if event.position == chosen.position else ""
        click.echo(f"{event.position:>9}  {'  ' * depth}{decode(event.payload).type}{mark}")


@command.command()
@as_json
def stats(json_: bool) -> None:
    """Events by type, and how fast the log can be read here."""

    async def work() -> tuple[Counter[str], int, float]:
        async with open_log() as log:
            last = await log.last_position()
            began = time.perf_counter()
            kinds: Counter[str] = Counter()
            size = 0
            async for event in _read(log, 0, last, {}):
                kinds[event.type] += 1
                size += len(event.payload)
            return kinds, size, time.perf_counter() - began

    kinds, size, took_s = finish(work)
    total = sum(kinds.values())
    if json_:
        print_json({"events": total, "bytes": size, "read_s": round(took_s, 3), "by_type": dict(kinds.most_common())})
        return
    note = f"{total:,} events, {size / 1e6:,.1f} MB, read in {took_s:.2f} s ({total / max(took_s, 1e-9):,.0f}/s)"
    print_table("Events by type", ["type", "events"], list(kinds.most_common()), note)


async def _read(log: Any, after: int, last: int | None, wanted: dict[str, str | None]) -> AsyncIterator[Recorded]:
    """Events after a position, up to `last` where one is given, that match the filters."""
    if last is not None and after >= last:
        return
    service = wanted.get("service")
    follower = log.follow([f"events.{service}.>" if service else "events.>"], after)
    try:
        async for batch in follower.batches():
            for event in batch.events:
                if last is not None and event.position > last:
                    return
                if _matches(event, wanted):
                    yield event
            if last is not None and (batch.seen >= last or batch.caught_up):
                return
    finally:
        await follower.close()


def _matches(event: Recorded, wanted: dict[str, str | None]) -> bool:
    if (type_ := wanted.get("type_")) and type_ not in event.type:
        return False
    if (tenant := wanted.get("tenant")) and event.subject.split(".")[3] != tenant:
        return False
    correlation = wanted.get("correlation")
    return not correlation or f'"correlationid":"{correlation}"'.encode() in event.payload


def _print(event: Recorded, json_: bool) -> None:
    if json_:
        click.echo(event.payload)
        return
    try:
        envelope = decode(event.payload)
    except Unreadable as broken:
        click.secho(f"{event.position:>9}  {event.subject}  {broken.detail}", fg="red")
        return
    _, service, fact, _ = envelope.type.split(".", 3)
    what = click.style(f"{service:<12}{fact:<28}", fg=_COLOURS.get(service, "white"))
    who = f"{envelope.actorkind}:{envelope.actor}"
    click.echo(f"{event.position:>9}  {envelope.time[:19]}  {what}{envelope.subject}  {who}")


def _tree(family: Sequence[Recorded]) -> list[tuple[int, Recorded]]:
    """Events in order of cause: each below the event that caused it."""
    by_id = {decode(event.payload).id: event for event in family}
    below: dict[str, list[Recorded]] = {}
    roots: list[Recorded] = []
    for event in family:
        cause = decode(event.payload).causationid
        (below.setdefault(cause, []) if cause in by_id else roots).append(event)
    lines: list[tuple[int, Recorded]] = []

    def walk(event: Recorded, depth: int) -> None:
        lines.append((depth, event))
        for child in below.get(decode(event.payload).id, []):
            walk(child, depth + 1)

    for root in roots:
        walk(root, 0)
    return lines
