"""`gpuaas audit`: the trail. One law: what it shows can be proved with `gpuaas verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from gpuaas.cli.here import open_suite, tenant_path
from gpuaas.cli.output import as_json, finish, print_items, print_json


@click.group()
def command() -> None:
    """The trail: search it, fetch checkpoints, save rows with their proofs."""


@command.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Only this tenant's trail (default: all, for operators).")
@click.option("--actor")
@click.option("--type", "type_", help="Event type, whole.")
@click.option("--project")
@click.option("--correlation")
@click.option("--since", help="RFC 3339.")
@click.option("--until", help="RFC 3339.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@click.option("--proof", type=click.Path(dir_okay=False, path_type=Path), help="Save for `gpuaas verify rows`.")
@as_json
def search(
    tenant: str | None, limit: int, proof: Path | None, json_: bool, type_: str | None, **sought: str | None
) -> None:
    """Newest first: who did what, when."""
    path = tenant_path(tenant, "trail") if tenant else "/v1/trail"

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            given: dict[str, Any] = {**sought, "type": type_, "limit": limit, "proof": 1 if proof else None}
            page: dict[str, Any] = await suite.get("audit", path, **given)
            return page

    page = finish(work)
    if proof is not None:
        proof.write_text(json.dumps(page), "utf-8")
        click.echo(f"{len(page['items'])} rows with proofs in {proof}", err=True)
    columns = {"position": "position", "time": "time", "type": "type", "actor": "actor", "tenant": "tenant"}
    print_items("Trail", columns, page["items"], json_)


@command.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="This tenant's tree (default: the platform's).")
def checkpoint(tenant: str | None) -> None:
    """The newest signed checkpoint of a tree, as it is."""

    async def work() -> bytes:
        async with open_suite() as suite:
            return await suite.get_bytes(
                "audit", tenant_path(tenant, "checkpoint") if tenant else "/v1/platform/checkpoint"
            )

    click.echo(finish(work), nl=False)


@command.command()
@as_json
def key(json_: bool) -> None:
    """The log's public key; give it to `gpuaas verify --key`, and keep a copy of your own."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.get("audit", "/v1/key")
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        click.echo(told["verifier_key"])
