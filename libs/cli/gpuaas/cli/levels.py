"""Questions and orders at a level: the platform, a tenant, a project. One law: without a project it is the tenant."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import open_suite, project_path, tenant_path
from gpuaas.cli.output import finish, print_items

Told = dict[str, Any]


def get(path: str, **params: Any) -> Told:
    async def work() -> Told:
        async with open_suite() as suite:
            told: Told = await suite.get("iam", path, **params)
            return told

    return finish(work)


def post(path: str, body: Any = None) -> Told:
    async def work() -> Told:
        async with open_suite() as suite:
            told: Told = await suite.post("iam", path, body)
            return told

    return finish(work)


def listed(title: str, path: str, columns: dict[str, str], json_: bool, **params: Any) -> None:
    async def work() -> list[Told]:
        async with open_suite() as suite:
            return [item async for item in suite.items("iam", path, **params)]

    print_items(title, columns, finish(work), json_)


def at(tenant: str | None, project: str | None, *more: str) -> str:
    """The path of a level: the platform, a tenant or a project."""
    if tenant is None:
        if project is not None:
            raise click.UsageError("a project is named with its tenant: give --tenant too")
        return "/".join(["/v1", *more])
    return tenant_path(tenant, *more) if project is None else project_path(tenant, project, *more)


at_tenant = click.option("--tenant", envvar="GPUAAS_TENANT", help="Tenant id; none: the platform [GPUAAS_TENANT].")
at_project = click.option("--project", envvar="GPUAAS_PROJECT", help="Project id; none: the tenant [GPUAAS_PROJECT].")
