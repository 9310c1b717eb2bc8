"""`gpuaas why-not`: why an allocation is not on a machine. One law: asked of the pool as it is, or as it was."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_json


@click.command("why-not")
@click.option("--as-of", type=click.IntRange(1), help="Position of the log to answer from.")
@click.argument("allocation_id")
@click.argument("node_id")
@as_json
def command(allocation_id: str, node_id: str, as_of: int | None, json_: bool) -> None:
    """Why ALLOCATION_ID is not on machine NODE_ID; for operators."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            path = f"/v1/allocations/{quote(allocation_id, safe='')}/why-not/{quote(node_id, safe='')}"
            told: dict[str, Any] = await suite.get("allocations", path, as_of=as_of)
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        click.echo(f"{told['why_not']} (version {told['pool_version']} of the pool)")
