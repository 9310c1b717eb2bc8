"""`gpuaas iam diff`: who could do what then and now. One law: every page compares the same two positions."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.levels import at, at_project, at_tenant
from gpuaas.cli.output import as_json, finish, print_json, print_table


@click.command()
@click.option("--since", type=int, required=True, help="The earlier log position.")
@click.option("--until", type=int, help="The later one; default: now.")
@at_tenant
@at_project
@as_json
def diff(since: int, until: int | None, tenant: str | None, project: str | None, json_: bool) -> None:
    """Who gained and lost what there between two positions of the log: the platform, a tenant or a project."""

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            path = at(tenant, project, "explain", "changes")
            return [each async for each in suite.items("iam", path, since=since, until=until)]

    found = finish(work)
    if json_:
        print_json(found)
        return
    rows = [
        [row["principal_kind"], row["principal_id"], _place(row), each["permission"], f"{each['was']} → {each['is']}"]
        for row in found
        for each in row["changes"]
    ]
    title = f"From position {since} to {until or 'now'}"
    print_table(title, ["kind", "id", "where", "permission", "was → is"], rows, "" if rows else "nothing changed")


def _place(row: dict[str, Any]) -> str:
    return "/".join(each for each in (row["tenant_id"], row["project_id"]) if each) or "platform"


def join(group: click.Group) -> None:
    """Be a command of `gpuaas iam`."""
    group.add_command(diff)
