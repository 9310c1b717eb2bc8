"""`gpuaas what-if`: what a request would meet. One law: nothing is asked for and nothing changes."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.commands.allocate import in_shape
from gpuaas.cli.commands.quotes import in_words
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_json

_POLICIES = ["least-fragments-v1", "best-fit-v1", "spread-v1", "random-v1"]


@click.command("what-if")
@click.option("--pool", default="main", show_default=True, help="Pool to look at.")
@click.option("--model", help="GPU model; any of the pool's when left out.")
@click.option("--replicas", type=click.IntRange(1, 1_024), default=1, show_default=True, help="Gang members.")
@click.option("--gpus", type=click.IntRange(1, 64), default=1, show_default=True, help="GPUs of each member.")
@click.option("--share", type=click.IntRange(1, 1_000), help="Thousandths of a GPU for each member.")
@click.option("--tenant", help="Whose it would be, where quotas matter.")
@click.option("--lease", "lease_s", type=click.IntRange(1), default=3_600, show_default=True, help="Seconds.")
@click.option("--priority", type=click.IntRange(0, 1_000), default=0, show_default=True, help="Higher is served first.")
@click.option("--policy", type=click.Choice(_POLICIES), help="Another placement policy.")
@click.option("--more", nargs=3, type=(int, str, int), help="COUNT MODEL GPUS: machines that are not there.")
@click.option("--as-of", type=click.IntRange(1), help="Position of the log to answer from.")
@as_json
def command(pool: str, json_: bool, as_of: int | None, more: tuple[int, str, int] | None, **ask: Any) -> None:
    """What a request would meet in a pool; for operators."""
    body: dict[str, Any] = {
        "gpu_model": ask["model"],
        "replicas": ask["replicas"],
        "gpus_per_replica": ask["gpus"],
        "share_milli": ask["share"],
        "tenant_id": ask["tenant"],
        "lease_s": ask["lease_s"],
        "priority": ask["priority"],
        "policy": ask["policy"],
        "more_machines": dict(zip(("count", "gpu_model", "gpus"), more, strict=True)) if more else None,
    }
    body = {name: value for name, value in body.items() if value is not None}

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            path = f"/v1/pools/{quote(pool, safe='')}/suppositions" + (f"?as_of={as_of}" if as_of else "")
            told: dict[str, Any] = await suite.post("allocations", path, body)
            return told

    told = finish(work)
    if json_:
        print_json(told)
        return
    for each in told["nearest"]:
        click.echo(f"possible: {in_shape(each)}")
    machines = ", ".join(sorted({member["node_id"] for member in told["members"]}))
    click.echo(f"{told['verdict']}: {machines or told['detail']} (version {told['pool_version']} of the pool)")
    if told["quoted_start"]:
        click.echo(in_words(told["quoted_start"]))
