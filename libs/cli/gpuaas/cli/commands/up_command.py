"""`gpuaas up`: the whole suite on this machine. One law: Ctrl-C ends everything it started, in order."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.commands.profile import NAMES, setting
from gpuaas.cli.output import as_json, finish, print_json, print_table


@click.command()
@click.option(
    "--profile",
    type=click.Choice(NAMES),
    default="dev",
    show_default=True,
    help="Environment that it is run as.",
)
@setting
@as_json
def command(profile: str, given: tuple[str, ...], json_: bool) -> None:
    """Start NATS, PostgreSQL and the seven services; say where they are; stay until Ctrl-C."""
    from dataclasses import asdict

    from gpuaas.cli.profile import load
    from gpuaas.cli.up import Stack
    from rich.console import Console

    console = Console(stderr=True)
    shown: dict[str, str] = {}

    async def work() -> None:
        with console.status("starting") as status:

            def tell(step: Any) -> None:
                shown[step.name] = step.state
                status.update(", ".join(f"{name} {state}" for name, state in shown.items()))

            stack = Stack(profile=load(profile, given), progress=tell)
            endpoints = await stack.start()
        try:
            if json_:
                print_json(asdict(endpoints))
            else:
                print_table("Running", ["service", "address"], [list(pair) for pair in endpoints.services.items()])
                click.echo("Ctrl-C stops everything. In another terminal: gpuaas status")
            await stack.until_ended()
        finally:
            await stack.stop()

    finish(work)
