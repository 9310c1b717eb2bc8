"""`gpuaas calendar`: what a pool has free when. One law: a project sees what is free and its own, operators see all."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.commands.reservations import moment
from gpuaas.cli.here import open_suite, project_path
from gpuaas.cli.output import as_json, fail, finish, print_items


@click.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Tenant id [GPUAAS_TENANT].")
@click.option("--project", envvar="GPUAAS_PROJECT", help="Project id [GPUAAS_PROJECT].")
@click.option("--pool", default="main", show_default=True, help="The pool.")
@click.option("--whole", is_flag=True, help="With what is held, kept and closed; for operators.")
@click.option("--model", help="Only this GPU model.")
@click.option("--from", "starts_at", help="Begin here; UTC where no zone is given; left out: now.")
@click.option("--until", help="End here; left out: 14 days later.")
@click.option("--as-of", type=click.IntRange(1), help="As the calendar was at this position of the log.")
@as_json
def command(tenant: str | None, project: str | None, pool: str, whole: bool, json_: bool, **asked: Any) -> None:
    """What a pool has free when, in stretches in which nothing changes."""
    asks = {
        "from": moment(asked["starts_at"]) if asked["starts_at"] else None,
        "until": moment(asked["until"]) if asked["until"] else None,
        "gpu_model": asked["model"],
        "as_of": asked["as_of"],
    }
    columns = {"from": "starts_at", "until": "ends_at", "model": "gpu_model", "free": "free_gpus"}
    if whole:
        path = f"/v1/pools/{quote(pool, safe='')}/calendar"
        columns |= {"held": "held_gpus", "kept": "kept_gpus", "closed": "closed_gpus", "down": "down_gpus"}
        columns |= {"of": "gpus"}
    elif tenant and project:
        path = project_path(tenant, project, "calendar")
        asks["pool_id"] = pool
        columns |= {"kept for you": "own_reserved_gpus"}
    else:
        fail("say whose: --tenant and --project, or --whole for operators")
    params = {name: value for name, value in asks.items() if value is not None}

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("allocations", path, **params)]

    print_items("Calendar", columns, finish(work), json_)
