"""`gpuaas release`: give GPUs back. One law: releasing what is released is no error."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import in_project, open_suite, project_path
from gpuaas.cli.output import as_json, finish, print_json


@click.command()
@in_project
@click.argument("allocation_id")
@as_json
def command(tenant: str, project: str, allocation_id: str, json_: bool) -> None:
    """Give the GPUs of ALLOCATION_ID back."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            path = project_path(tenant, project, "allocations", allocation_id, "release")
            accepted: dict[str, Any] = await suite.post("allocations", path)
            return accepted

    accepted = finish(work)
    if json_:
        print_json(accepted)
    else:
        click.echo(f"{allocation_id}: release accepted at position {accepted['position']}")
