"""`gpuaas quota`: who is entitled to how many GPUs. One law: operators say what a tenant has, it divides that."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import open_suite, tenant_path
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json


@click.group("quota")
def command() -> None:
    """Quotas of tenants and projects in a pool."""


@command.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Tenant id [GPUAAS_TENANT].")
@click.option("--pool", help="All quotas of this pool, for operators.")
@as_json
def show(tenant: str | None, pool: str | None, json_: bool) -> None:
    """Quotas of a tenant, or of a whole pool."""
    if pool:
        path = f"/v1/pools/{quote(pool, safe='')}/quotas"
    elif tenant:
        path = tenant_path(tenant, "quotas")
    else:
        fail("say whose: --tenant, or --pool for all of a pool")

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("allocations", path)]

    columns = {"pool": "pool_id", "tenant": "tenant_id", "project": "project_id", "model": "gpu_model"}
    amounts = {"entitled": "nominal_gpus", "may borrow": "borrow_gpus", "weight": "weight", "reason": "reason"}
    print_items("Quotas", columns | amounts, finish(work), json_)


@command.command("set")
@click.option("--tenant", envvar="GPUAAS_TENANT", required=True, help="Tenant id [GPUAAS_TENANT].")
@click.option("--project", help="A project's part; left out: the tenant as a whole, for operators.")
@click.option("--pool", default="main", show_default=True, help="Pool it counts in.")
@click.option("--model", required=True, help="GPU model.")
@click.option("--gpus", type=click.IntRange(0), required=True, help="GPUs it is entitled to.")
@click.option("--borrow", type=click.IntRange(0), help="GPUs beyond these; left out: as many as are idle.")
@click.option("--weight", type=click.IntRange(1, 1_000), default=1, show_default=True, help="Among those that borrow.")
@click.option("--reason", required=True, help="Why, for those who read the trail.")
@as_json
def set_quota(tenant: str, project: str | None, pool: str, json_: bool, **amounts: Any) -> None:
    """Entitle a tenant or one of its projects."""
    body: dict[str, Any] = {
        "gpu_model": amounts["model"],
        "nominal_gpus": amounts["gpus"],
        "borrow_gpus": amounts["borrow"],
        "weight": amounts["weight"],
        "reason": amounts["reason"],
    }
    path = tenant_path(tenant, "quotas") if project else f"/v1/pools/{quote(pool, safe='')}/quotas"
    body |= {"pool_id": pool, "project_id": project} if project else {"tenant_id": tenant}
    body = {name: value for name, value in body.items() if value is not None}

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.post("allocations", path, body)
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        click.echo(f"{project or tenant} is entitled to {body['nominal_gpus']} GPUs of {body['gpu_model']} in {pool}")
