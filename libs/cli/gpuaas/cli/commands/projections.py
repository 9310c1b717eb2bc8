"""`gpuaas projections`: the read models. One law: a rebuild is watched to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from gpuaas.cli.here import open_suite, service_names
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json, progress_bar

_LIST = "/v1/projections"


@click.group()
def command() -> None:
    """Read models and reactions: where they stand; fold one again."""


@command.command()
@click.option("--service", help="Only this service.")
@as_json
def status(service: str | None, json_: bool) -> None:
    """Every reader with its position; a stopped one says at which event and why. Exit status 1 if one is stopped."""

    async def ask() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with open_suite() as suite:
            for name in [service] if service else service_names():
                page = await suite.get(name, _LIST)
                found += [{"service": name, **item} for item in page["items"]]
        return found

    items = finish(ask)
    columns = {"service": "service", "reader": "name", "position": "position", "caught up": "caught_up"}
    print_items("Readers", columns | {"rebuilding": "rebuilding", "stopped": "stopped"}, items, json_)
    if any(item["stopped"] for item in items):
        raise SystemExit(1)


@command.command()
@click.argument("service")
@click.argument("projection")
@as_json
def rebuild(service: str, projection: str, json_: bool) -> None:
    """Fold PROJECTION of SERVICE from the first event beside the live one, then switch. It answers meanwhile."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            await suite.post(service, f"{_LIST}/{projection}/rebuild")
            with progress_bar() as progress:
                bar = progress.add_task(f"{service} {projection}", total=1.0)
                while True:
                    page = await suite.get(service, _LIST)
                    name = f"projection {projection}"
                    [reader] = [item for item in page["items"] if item["name"] == name]
                    progress.update(bar, completed=1.0 if reader["rebuilding"] is None else reader["rebuilding"])
                    if reader["rebuilding"] is None:
                        told = await suite.ready(service) or {}
                        failed = told.get("failures", {}).get(f"rebuild {projection}")
                        return {"service": service, **reader, "failed": failed}
                    await asyncio.sleep(0.1)

    reader = finish(work)
    if json_:
        print_json(reader)
    if reader["failed"]:
        fail(f"{projection} was not rebuilt: {reader['failed']}; the live one answers as before")
    if reader["stopped"]:
        fail(f"{projection} stopped: {reader['stopped']}")
    if not json_:
        click.echo(f"{projection} of {service} stands at {reader['position']:,}")
