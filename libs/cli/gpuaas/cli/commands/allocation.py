"""`gpuaas allocation`: one allocation. One law: it shows what the door says, nothing of its own."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.commands.quotes import in_words
from gpuaas.cli.here import in_project, open_suite, project_path
from gpuaas.cli.output import as_json, finish, print_json

_HIDDEN = frozenset({"members", "quoted_start", "idle", "labels", "workload", "position"})


@click.group("allocation")
def command() -> None:
    """One allocation."""


@command.command()
@in_project
@click.argument("allocation_id")
@as_json
def show(tenant: str, project: str, allocation_id: str, json_: bool) -> None:
    """ALLOCATION_ID as it stands; while it waits, when it is expected to start."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.get(
                "allocations", project_path(tenant, project, "allocations", allocation_id)
            )
            return told

    told = finish(work)
    if json_:
        print_json(told)
        return
    click.secho(f"{allocation_id} is {told['state']}", bold=True)
    for name, value in told.items():
        if value is not None and name not in _HIDDEN:
            click.echo(f"{name:>20}  {value}")
    for member in told["members"]:
        click.echo(f"{'member ' + str(member['member']):>20}  {member['node_id']}: {', '.join(member['device_ids'])}")
    if told["idle"]:
        idle = told["idle"]
        click.echo(f"idle since {idle['idle_since'][:19]}; taken back at {idle['reclaim_at'][:19]} unless it is used")
    if told["state"] in ("requested", "queued"):
        click.echo(in_words(told["quoted_start"]))
