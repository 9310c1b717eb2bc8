"""`gpuaas exec`: run a command beside a workload. One law: its exit code is ours."""

from __future__ import annotations

import sys
from typing import Any

import click
from gpuaas.cli.here import in_project, open_suite, project_path
from gpuaas.cli.output import as_json, finish, print_json


@click.command("exec", context_settings={"ignore_unknown_options": True})
@in_project
@click.option("--timeout", "timeout_s", type=click.IntRange(1, 60), default=30, show_default=True, help="Seconds.")
@click.argument("allocation_id")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
@as_json
def command(
    tenant: str, project: str, allocation_id: str, program: tuple[str, ...], timeout_s: int, json_: bool
) -> None:
    """Run PROGRAM beside the workload of ALLOCATION_ID: `gpuaas exec ID -- nvidia-smi`."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            path = project_path(tenant, project, "allocations", allocation_id, "commands")
            body = {"command": list(program), "timeout_s": timeout_s}
            done: dict[str, Any] = await suite.post("allocations", path, body)
            return done

    done = finish(work)
    if json_:
        print_json(done)
    else:
        click.echo(done["output"], nl=False)
        if done["timed_out"]:
            click.secho(f"ended after {timeout_s} s", err=True)
    sys.exit(done["exit_code"])
