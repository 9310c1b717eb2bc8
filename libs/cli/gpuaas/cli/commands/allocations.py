"""`gpuaas allocations`: a project's allocations, newest first."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import in_project, open_suite, project_path
from gpuaas.cli.output import as_json, finish, print_items


@click.command()
@in_project
@click.option("--state", multiple=True, help="Only these states; may repeat.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most this many.")
@as_json
def command(tenant: str, project: str, state: tuple[str, ...], limit: int, json_: bool) -> None:
    """Allocations of a project, newest first."""

    async def work() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with open_suite() as suite:
            path = project_path(tenant, project, "allocations")
            async for item in suite.items("allocations", path, state=list(state) or None):
                found.append(item)
                if len(found) >= limit:
                    break
        return found

    columns = {"allocation": "allocation_id", "state": "state", "GPUs": "gpu_count", "model": "gpu_model"}
    print_items("Allocations", columns | {"waits for": "pending_reason", "started": "started_at"}, finish(work), json_)
