"""`gpuaas queue-rules`: how a pool's waiting line goes. One law: rules are set whole, never in parts."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_json

_POOL = click.option("--pool", default="main", show_default=True, help="Pool.")


@click.group("queue-rules")
def command() -> None:
    """Rules of a pool's waiting line."""


@command.command()
@_POOL
@as_json
def show(pool: str, json_: bool) -> None:
    """The rules in force."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.get("allocations", _path(pool))
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        for name, value in told.items():
            click.echo(f"{name}: {'nobody has set any' if value is None else value}")


@command.command("set")
@_POOL
@click.option(
    "--discipline",
    type=click.Choice(["best-effort", "strict-fifo"]),
    default="best-effort",
    show_default=True,
    help="Whether others may pass who does not fit.",
)
@click.option(
    "--preemption",
    type=click.Choice(["off", "reclaim", "reclaim-and-priority"]),
    default="reclaim-and-priority",
    show_default=True,
    help="Which running work is ended for other work.",
)
@click.option(
    "--min-run", "min_run_s", type=click.IntRange(0), default=0, show_default=True, help="Seconds before that."
)
@click.option(
    "--half-life",
    "half_life_s",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seconds after which past use counts half among those that borrow; 0: it does not count.",
)
@click.option(
    "--idle-after",
    "idle_after_s",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seconds without use after which GPUs are taken back where a request says nothing of it; 0: never.",
)
@click.option(
    "--idle-grace",
    "idle_grace_s",
    type=click.IntRange(0),
    default=600,
    show_default=True,
    help="Seconds between the notice of that and the end.",
)
@click.option("--reason", required=True, help="Why, for those who read the trail.")
@as_json
def set_rules(pool: str, json_: bool, **body: Any) -> None:
    """Set all rules of a pool's line at once."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.post("allocations", _path(pool), body)
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        click.echo(f"the line of {pool} goes by {body['discipline']}, preemption {body['preemption']}")


def _path(pool: str) -> str:
    return f"/v1/pools/{quote(pool, safe='')}/queue-rules"
