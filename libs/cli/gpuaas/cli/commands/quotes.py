"""`gpuaas quotes`: when requests were expected to start, and how right that was. One law: judged by the first quote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import open_suite, project_path
from gpuaas.cli.output import as_json, fail, finish, print_items

_TOLD = {
    "allocation": "allocation_id",
    "GPUs": "gpu_count",
    "model": "gpu_model",
    "told at": "first_quoted_at",
    "by (1 in 2)": "first_p50_at",
    "by (9 in 10)": "first_p90_at",
    "started": "started_at",
}
_RIGHT = {
    "pool": "pool_id",
    "model": "gpu_model",
    "tenant": "tenant_id",
    "started": "started",
    "by the half": "covered_p50",
    "by the nine tenths": "covered_p90",
    "off by, s": "absolute_error_s_p50",
    "late by, s": "late_s_p50",
    "waited, s": "waited_s_p50",
}


def in_words(said: Mapping[str, Any] | None) -> str:
    """A quoted start, or that there is none."""
    if said is None:
        return "no start is quoted yet"
    if said["p50_at"] is None:
        return "no start is foreseen"
    surely = f"in nine cases of ten by {said['p90_at'][:19]}" if said["p90_at"] else "it may be much later"
    return f"expected to start by {said['p50_at'][:19]}, {surely}; {said['requests_ahead']} request(s) before it"


@click.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Tenant id [GPUAAS_TENANT].")
@click.option("--project", envvar="GPUAAS_PROJECT", help="Project id [GPUAAS_PROJECT].")
@click.option("--pool", help="All of this pool, for operators.")
@click.option("--by", type=click.Choice(["pool", "model", "tenant"]), help="How right they were, in these groups.")
@click.option("--as-of", type=click.IntRange(1), help="As it was known at this position of the log.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most this many.")
@as_json
def command(
    tenant: str | None,
    project: str | None,
    pool: str | None,
    by: str | None,
    as_of: int | None,
    limit: int,
    json_: bool,
) -> None:
    """When requests were first expected to start and when they did, the newest first; with --by, how right that was.

    Of the starts quoted, half are wanted by the half and nine in ten by the nine tenths.
    """
    kind = "quote-accuracy" if by else "start-quotes"
    if pool:
        path = f"/v1/pools/{quote(pool, safe='')}/{kind}"
    elif tenant and project:
        path = project_path(tenant, project, kind)
    else:
        fail("say whose: --tenant and --project, or --pool for all of a pool")
    params = {name: value for name, value in (("by", by), ("as_of", as_of)) if value is not None}

    async def work() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with open_suite() as suite:
            async for item in suite.items("allocations", path, **params):
                found.append(item)
                if len(found) >= limit:
                    break
        return found

    print_items("Quotes", _RIGHT if by else _TOLD, finish(work), json_)
