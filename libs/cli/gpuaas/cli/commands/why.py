"""`gpuaas why`: what happened to an allocation. One law: told from the log, not from memory."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import in_project, open_suite, project_path
from gpuaas.cli.output import as_json, finish, print_json


@click.command()
@in_project
@click.argument("allocation_id")
@click.option("--as-of", type=click.IntRange(1), help="As it stood at this position of the log.")
@as_json
def command(tenant: str, project: str, allocation_id: str, as_of: int | None, json_: bool) -> None:
    """What happened to ALLOCATION_ID and why, with the receipt of its placement."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            path = project_path(tenant, project, "allocations", allocation_id, "why")
            asked = {} if as_of is None else {"as_of": as_of}
            told: dict[str, Any] = await suite.get("allocations", path, **asked)
            return told

    told = finish(work)
    if json_:
        print_json(told)
        return
    click.secho(f"{allocation_id} is {told['state']}: {told['why']}", bold=True)
    for step in told["history"]:
        click.echo(f"{step['position']:>9}  {step['time'][:19]}  {step['what']}")
    receipt = told["receipt"]
    if receipt:
        out = ", ".join(f"{each['nodes']} {each['reason']}" for each in receipt["exclusions"]) or "none"
        click.echo(
            f"placed by {receipt['policy']} on pool version {receipt['pool_version']}: "
            f"{receipt['nodes_considered']} nodes considered, excluded {out}; "
            f"runner-up {receipt.get('runner_up_node_id') or 'none'}"
        )
