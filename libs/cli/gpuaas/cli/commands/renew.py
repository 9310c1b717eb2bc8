"""`gpuaas renew`: keep GPUs for longer. One law: a lease is counted from the start; a repeat renews nothing twice."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import in_project, open_suite, project_path
from gpuaas.cli.output import as_json, finish, print_json


@click.command()
@in_project
@click.option("--lease", "lease_s", type=click.IntRange(1), required=True, help="Seconds from its start.")
@click.argument("allocation_id")
@as_json
def command(tenant: str, project: str, allocation_id: str, lease_s: int, json_: bool) -> None:
    """Lend ALLOCATION_ID its GPUs until --lease seconds after its start."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            path = project_path(tenant, project, "allocations", allocation_id, "renew")
            told: dict[str, Any] = await suite.post("allocations", path, {"lease_s": lease_s})
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        click.echo(f"{allocation_id} has its GPUs until {lease_s} s after its start")
