"""`gpuaas idle`: what was noticed as idle, and what came of it. One law: findings, not samples."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import open_suite, project_path
from gpuaas.cli.output import as_json, fail, finish, print_items


@click.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Tenant id [GPUAAS_TENANT].")
@click.option("--project", envvar="GPUAAS_PROJECT", help="Project id [GPUAAS_PROJECT].")
@click.option("--pool", help="All of this pool, for operators.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most this many.")
@as_json
def command(tenant: str | None, project: str | None, pool: str | None, limit: int, json_: bool) -> None:
    """Allocations that used none of their GPUs for too long: when noticed, when taken back, or why not."""
    if pool:
        path = f"/v1/pools/{quote(pool, safe='')}/idle-findings"
    elif tenant and project:
        path = project_path(tenant, project, "idle-findings")
    else:
        fail("say whose: --tenant and --project, or --pool for all of a pool")

    async def work() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with open_suite() as suite:
            async for item in suite.items("allocations", path):
                found.append(item)
                if len(found) >= limit:
                    break
        return found

    columns = {
        "allocation": "allocation_id",
        "tenant": "tenant_id",
        "idle since": "idle_since",
        "noticed": "noticed_at",
    }
    columns |= {"taken back at": "reclaim_at", "samples": "samples", "what came of it": "outcome", "over": "over_at"}
    print_items("Idle", columns, finish(work), json_)
