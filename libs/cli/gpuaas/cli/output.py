"""What a command prints. One law: tables for people, one JSON document with `--json` for machines, errors on stderr."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from rich.progress import Progress

Answer = TypeVar("Answer")

UNFOLDED: Final = 10_000
"""Columns of a page that nobody looks at."""

as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON document instead of a table.")


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, default=_plain, ensure_ascii=False))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = "") -> None:
    """A table on standard output; numbers to the right. In a pipe no cell is folded, so that ids can be searched."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for index, column in enumerate(columns):
        numbers = all(isinstance(row[index], int | float | Decimal) for row in rows) and bool(rows)
        table.add_column(Text(column), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        # As text: what people wrote may hold brackets, which rich would take for its markup.
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNFOLDED
    # Title and note stand outside: inside, rich folds them to the width of a narrow table.
    console.print(Text(title, style="italic"), soft_wrap=True)
    console.print(table)
    if note:
        console.print(Text(note, style="dim"), soft_wrap=True)


def progress_bar() -> Progress:
    """A bar on standard error while something lasts; standard output belongs to the answer."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _cell(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}"
        case Decimal():
            return f"{value:,f}"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case _:
            return str(value)


def print_items(title: str, columns: Mapping[str, str], items: Sequence[Mapping[str, Any]], json_: bool) -> None:
    """A list of documents: chosen fields as a table (heading → field), or whole as JSON."""
    if json_:
        print_json(items)
        return
    rows = [[item.get(field) for field in columns.values()] for item in items]
    print_table(title, list(columns), rows, "" if rows else "none")


def fail(sentence: str, code: int = 1) -> NoReturn:
    """End the command with a sentence on stderr."""
    click.echo(f"gpuaas: {sentence}", err=True)
    sys.exit(code)


def finish(work: Callable[[], Awaitable[Answer]]) -> Answer:
    """Run a command's asynchronous part; refusals and lost services become one sentence and exit status 1."""
    from gpuaas.cli.client import Refused, Unreachable
    from gpuaas.common.errors import GpuaasError

    async def whole() -> Answer:
        return await work()

    try:
        return asyncio.run(whole())
    except Refused as refused:
        more = refused.problem.get("sufficient_roles")
        hint = f" (a role that would suffice: {', '.join(more)})" if more else ""
        if decision := refused.problem.get("decision_id"):
            hint += f"\nwhy: gpuaas iam explain {decision}"
        fail(f"{refused}{hint}")
    except (Unreachable, GpuaasError) as lost:
        fail(str(lost))
    except KeyboardInterrupt:
        fail("interrupted", 130)
