"""`gpuaas logs`: what a workload says. One law: following shows every byte once and ends with the workload."""

from __future__ import annotations

import json
from typing import Any, Final

import click
from gpuaas.cli.here import in_project, open_suite, project_path
from gpuaas.cli.output import as_json, finish

_WAIT_S: Final = 20.0


@click.command()
@in_project
@click.option("--follow", "-f", is_flag=True, help="Go on until the workload has ended.")
@click.option("--from", "offset", type=click.IntRange(0), default=0, show_default=True, help="Byte to begin at.")
@click.argument("allocation_id")
@as_json
def command(tenant: str, project: str, allocation_id: str, follow: bool, offset: int, json_: bool) -> None:
    """What the workload of ALLOCATION_ID has said."""

    async def work() -> None:
        at = offset
        async with open_suite() as suite:
            path = project_path(tenant, project, "allocations", allocation_id, "logs")
            while True:
                part: dict[str, Any] = await suite.get(
                    "allocations", path, offset=at, wait_s=_WAIT_S if follow else None
                )
                if json_:
                    click.echo(json.dumps(part, ensure_ascii=False))
                else:
                    click.echo(part["text"], nl=False)
                at = part["next_offset"]
                if part["complete"] or (not follow and at >= part["size"]):
                    return

    finish(work)
