"""`gpuaas queue`: who waits, and at which place. One law: a tenant sees its own places, an operator the whole line."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import open_suite, project_path
from gpuaas.cli.output import as_json, fail, finish, print_items


@click.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Tenant id [GPUAAS_TENANT].")
@click.option("--project", envvar="GPUAAS_PROJECT", help="Project id [GPUAAS_PROJECT].")
@click.option("--pool", help="The whole line of this pool, for operators.")
@click.option("--as-of", type=click.IntRange(1), help="Who waited at this position of the log.")
@as_json
def command(tenant: str | None, project: str | None, pool: str | None, as_of: int | None, json_: bool) -> None:
    """The waiting requests of a project, or of a whole pool."""
    if pool:
        path = f"/v1/pools/{quote(pool, safe='')}/queue"
    elif tenant and project:
        path = project_path(tenant, project, "queue")
    else:
        fail("say whose: --tenant and --project, or --pool for the whole line")

    asked = {} if as_of is None else {"as_of": as_of}

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("allocations", path, **asked)]

    columns = {
        "place": "queue_position",
        "GPUs ahead": "gpus_ahead",
        "allocation": "allocation_id",
        "tenant": "tenant_id",
        "priority": "priority",
        "waits for": "pending_reason",
        "starts by (1 in 2)": "p50_at",
        "(9 in 10)": "p90_at",
    }
    found = finish(work)
    if not json_:
        found = [item | (item.get("quoted_start") or {}) for item in found]
    print_items("Waiting", columns, found, json_)
