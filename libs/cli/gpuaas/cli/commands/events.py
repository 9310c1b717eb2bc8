"""`gpuaas events`: the log itself. One law: reading has no effect; what is shown is what is stored."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from gpuaas.audit.domain.outcomes import outcome_of
from gpuaas.cli.here import open_log
from gpuaas.cli.log_reading import filters, position_as_of, position_before, read, since
from gpuaas.cli.output import as_json, fail, finish, print_json, print_table
from gpuaas.common.envelope import Envelope, Recorded, decode
from gpuaas.common.errors import Unreadable
from gpuaas.common.logs.jetstream import JetStreamLog

_COLOURS = {
    "iam": "magenta",
    "nodes": "cyan",
    "inventory": "blue",
    "allocations": "green",
    "billing": "yellow",
    "audit": "bright_black",
    "evidence": "bright_blue",
}
_as_of = click.option("--as-of", help="Only what the log had taken at this time (RFC 3339).")


@click.group()
def command() -> None:
    """The append-only log: tail it, show one event with its causes and effects, replay it, count it."""


@command.command()
@click.option("--from", "begin", type=click.IntRange(1), help="Begin at this position (default: only what is new).")
@since
@click.option("--count", type=click.IntRange(1), help="Stop after this many.")
@filters
@click.option("--json", "json_", is_flag=True, help="One stored event per line, as it is.")
def tail(begin: int | None, since_: str | None, count: int | None, json_: bool, **wanted: str | None) -> None:
    """Follow the log until Ctrl-C."""

    async def work() -> None:
        async with open_log() as log:
            after = await log.last_position() if begin is None and since_ is None else await _after(log, begin, since_)
            shown = 0
            async for event in read(log, after, None, wanted):
                _print(event, json_)
                shown += 1
                if count is not None and shown >= count:
                    return

    finish(work)


@command.command()
@click.option("--from", "begin", type=click.IntRange(1), help="First position (default: 1).")
@since
@click.option("--to", "end", type=click.IntRange(1), help="Last position (default: the end as it is now).")
@_as_of
@filters
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write there instead of to the screen.")
@click.option("--into", metavar="SERVICE.VIEW", help="Dry run: fold from position 1 into scratch tables, and compare.")
@click.option("--json", "json_", is_flag=True, help="One stored event per line, as it is; with --into, one document.")
def replay(
    begin: int | None,
    since_: str | None,
    end: int | None,
    as_of: str | None,
    out: Path | None,
    into: str | None,
    json_: bool,
    **wanted: str | None,
) -> None:
    """Read a stretch of the log again, in order. Nothing is repeated: readers of events do not see a replay."""
    if into is not None and (out is not None or begin not in (None, 1) or since_ is not None):
        fail("--into folds from the beginning and writes nothing else; leave out --from, --since and --out")

    async def work() -> Any:
        async with open_log() as log:
            last = await _end(log, end, as_of)
            if into is not None:
                from gpuaas.cli.scratch import fold_into_scratch

                return (await fold_into_scratch(log, into, last, wanted)).document()
            found = 0
            with out.open("wb") if out is not None else _Nowhere() as file:
                async for event in read(log, await _after(log, begin, since_), last, wanted):
                    if out is None:
                        _print(event, json_)
                    else:
                        file.write(event.payload + b"\n")
                    found += 1
            return found

    done = finish(work)
    if into is not None:
        _print_folded(done, json_)
    elif out is not None:
        click.echo(f"{done:,} events in {out}", err=True)
    elif not done:
        click.echo("no event there matches; `gpuaas events stats` counts what the log holds", err=True)


class _Nowhere:
    """A file that is not asked for."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""


async def _after(log: JetStreamLog, begin: int | None, since_: str | None) -> int:
    """The position behind which to read: the later one of those asked for."""
    by_time = 0 if since_ is None else await position_before(log, since_)
    return max((begin or 1) - 1, by_time)


async def _end(log: JetStreamLog, end: int | None, as_of: str | None) -> int:
    """The last position to read."""
    last = await log.last_position()
    if as_of is not None:
        last = min(last, await position_as_of(log, as_of))
    return last if end is None else min(end, last)


def _print_folded(told: dict[str, Any], json_: bool) -> None:
    if json_:
        print_json(told)
    else:
        compared = {
            None: "not compared: the live tables stand elsewhere, or events were left out",
            True: "the live tables hold the same",
            False: "THE LIVE TABLES DIFFER: rebuild them, or look for what wrote to them",
        }[told["agrees"]]
        note = f"{told['events']:,} events up to {told['position']:,} in {told['took_s']} s; {compared}"
        print_table(f"{told['projection']}, dry run", ["table", "rows"], list(told["rows"].items()), note)
    if told["agrees"] is False:
        sys.exit(1)


@command.command()
@click.argument("which")
@click.option(
    "--whole", is_flag=True, help="Everything of its correlation, also what is neither cause nor effect of it."
)
@as_json
def show(which: str, whole: bool, json_: bool) -> None:
    """One event, by position or id, with what caused it and what followed from it."""

    async def work() -> tuple[Recorded, list[Recorded]]:
        async with open_log() as log:
            last = await log.last_position()
            chosen = await log.at(int(which)) if which.isdecimal() and len(which) < 19 else None
            if chosen is None:
                async for event in read(log, 0, last, {}):
                    envelope = _envelope(event)
                    if envelope is not None and envelope.id == which:
                        chosen = event
                        break
            if chosen is None:
                fail(f"no event {which}: give a position between 1 and {last:,}, or an event id")
            told = _envelope(chosen)
            if told is None:
                return chosen, []
            return chosen, [event async for event in read(log, 0, last, {"correlation": told.correlationid})]

    chosen, family = finish(work)
    if json_:
        related = [{"position": event.position, "event": json.loads(event.payload)} for event in family]
        event = json.loads(chosen.payload) if family else chosen.payload.decode("utf-8", "replace")
        print_json({"position": chosen.position, "subject": chosen.subject, "event": event, "correlated": related})
        return
    _print_one(chosen, family, whole)


def _print_one(chosen: Recorded, family: Sequence[Recorded], whole: bool) -> None:
    envelope = _envelope(chosen)
    title = envelope.type if envelope else "no readable event; its bytes:"
    click.secho(f"{chosen.position}  {title}", bold=True, fg=None if envelope else "red")
    click.echo(f"{chosen.subject}\nrecorded {chosen.recorded_at.isoformat()}")
    if envelope is None:
        click.echo(repr(chosen.payload[:2_000]))
        return
    click.echo(json.dumps(json.loads(chosen.payload), indent=2, ensure_ascii=False))
    click.secho("\ncause and effect", bold=True)
    kin = family if whole else _kin(chosen, family)
    for depth, event in _tree(kin):
        told = decode(event.payload)
        what = click.style(told.type.removeprefix("gpuaas."), fg=_colour(told.type))
        mark = click.style(" ◀", bold=True) if event.position == chosen.position else ""
        click.echo(f"{event.position:>9}  {told.time[11:19]}  {'  ' * depth}{what}  {told.subject}{mark}")
    if len(kin) < len(family):
        rest = len(family) - len(kin)
        click.echo(f"{rest:,} more events have the same correlation {envelope.correlationid}: --whole shows them too")


@command.command()
@click.option(
    "--by",
    type=click.Choice(["type", "service", "tenant", "actor"]),
    default="type",
    show_default=True,
    help="Counted.",
)
@since
@_as_of
@filters
@as_json
def stats(by: str, since_: str | None, as_of: str | None, json_: bool, **wanted: str | None) -> None:
    """How many events of what, when the last came, and how fast the log can be read here."""

    async def work() -> tuple[Counter[str], dict[str, Recorded], int, float]:
        async with open_log() as log:
            last, after = await _end(log, None, as_of), await _after(log, None, since_)
            began = time.perf_counter()
            kinds: Counter[str] = Counter()
            newest: dict[str, Recorded] = {}
            size = 0
            async for event in read(log, after, last, wanted):
                name = _counted(event, by)
                kinds[name] += 1
                newest[name] = event
                size += len(event.payload)
            return kinds, newest, size, time.perf_counter() - began

    kinds, newest, size, took_s = finish(work)
    total = sum(kinds.values())
    if json_:
        told = {"events": total, "bytes": size, "read_s": round(took_s, 3), f"by_{by}": dict(kinds.most_common())}
        print_json(told | {"newest": {name: event.position for name, event in newest.items()}})
        return
    note = f"{total:,} events, {size / 1e6:,.1f} MB, read in {took_s:.2f} s ({total / max(took_s, 1e-9):,.0f}/s)"
    rows = [
        [name, count, newest[name].position, newest[name].recorded_at.isoformat(" ", "seconds")[:19]]
        for name, count in kinds.most_common()
    ]
    print_table(f"Events by {by}", [by, "events", "newest at", "recorded (UTC)"], rows, note)


def _counted(event: Recorded, by: str) -> str:
    """What an event counts as."""
    tokens = event.subject.split(".")
    match by:
        case "type":
            return event.type or "(no type)"
        case "service":
            return tokens[1] if len(tokens) > 1 else "(none)"
        case "tenant":
            return tokens[3] if len(tokens) == 5 else "(none)"
        case _:
            envelope = _envelope(event)
            return "(unreadable)" if envelope is None else f"{envelope.actorkind}:{envelope.actor}"


def _colour(event_type: str) -> str:
    """Red for what did not work, else its service's."""
    if outcome_of(event_type) == "failure":
        return "red"
    return _COLOURS.get(event_type.split(".")[1], "white")


def _envelope(event: Recorded) -> Envelope | None:
    try:
        return decode(event.payload)
    except Unreadable:
        return None


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
    what = click.style(f"{service:<12}{fact:<28}", fg=_colour(envelope.type))
    who = f"{envelope.actorkind}:{envelope.actor}"
    click.echo(f"{event.position:>9}  {envelope.time[:19]}  {what}{envelope.subject}  {who}")


def _kin(chosen: Recorded, family: Sequence[Recorded]) -> list[Recorded]:
    """What led to the event and what followed from it, without its cousins."""
    told = {event.position: decode(event.payload) for event in family}
    by_id = {envelope.id: envelope for envelope in told.values()}
    near = {told[chosen.position].id}
    cause = told[chosen.position].causationid
    while cause in by_id and cause not in near:
        near.add(cause)
        cause = by_id[cause].causationid
    below = {told[chosen.position].id}
    for event in family:  # in the order of the log an effect stands behind its cause
        if told[event.position].causationid in below:
            below.add(told[event.position].id)
    return [event for event in family if told[event.position].id in near | below]


def _tree(family: Sequence[Recorded]) -> list[tuple[int, Recorded]]:
    """Events in order of cause: each below the event that caused it."""
    by_id = {decode(event.payload).id: event for event in family}
    below: dict[str, list[Recorded]] = {}
    roots: list[Recorded] = []
    for event in family:
        cause = decode(event.payload).causationid
        (below.setdefault(cause, []) if cause in by_id else roots).append(event)
    lines: list[tuple[int, Recorded]] = []
    waiting = [(0, root) for root in reversed(roots)]
    while waiting:
        depth, event = waiting.pop()
        lines.append((depth, event))
        waiting += [(depth + 1, child) for child in reversed(below.get(decode(event.payload).id, []))]
    return lines
