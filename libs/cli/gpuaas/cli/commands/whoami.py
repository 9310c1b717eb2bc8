"""`gpuaas whoami`: as whom the other commands speak. One law: it is what iam says, not what a file says."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_json, print_table


@click.command()
@as_json
def command(json_: bool) -> None:
    """Who you are here, and which roles you hold where."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.get("iam", "/v1/me")
            return told

    me = finish(work)
    if json_:
        print_json(me)
        return
    who = me["principal"]
    by = f"session {me['session_id']}" if me["session_id"] else f"API key {me['key_id']}"
    rows = [[each["role"], place(each["scope"]), each["valid_until"]] for each in me["bindings"]]
    title = f"{who['kind']} {who['id']} of {who['tenant_id']}, by {by}"
    print_table(title, ["role", "where", "until"], rows, "" if rows else "holds nothing")


def place(scope: dict[str, str | None]) -> str:
    """A scope in words."""
    if scope["tenant_id"] is None:
        return "the platform"
    return "/".join(part for part in (scope["tenant_id"], scope["project_id"]) if part)
