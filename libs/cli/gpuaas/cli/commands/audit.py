"""`gpuaas audit`: the trail. One law: what it shows can be proved with `gpuaas verify`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import click
from gpuaas.cli.commands import personal_data
from gpuaas.cli.here import in_tenant, open_suite, tenant_path
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json, print_table

if TYPE_CHECKING:
    from gpuaas.cli.client import Suite

FOLLOW_WAIT_S: Final = 20
PAGE_LIMIT: Final = 500
ROWS_MAX: Final = 100_000


@click.group()
def command() -> None:
    """The trail: search it, fetch checkpoints, save rows with their proofs; holds and erasures of personal data."""


for _each in personal_data.COMMANDS:
    command.add_command(_each)


@command.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Only this tenant's trail (default: all, for operators).")
@click.option("--actor", help="Only what this actor did.")
@click.option("--type", "type_", help="Event type, whole.")
@click.option("--project", help="Only this project's.")
@click.option("--correlation", help="Only this correlation id's.")
@click.option("--outcome", type=click.Choice(["success", "failure", "unknown"]), help="How it ended.")
@click.option("--resource", help="One thing's history, as KIND/ID: allocation/al-1, invoice/inv-7.")
@click.option("--since", help="RFC 3339.")
@click.option("--until", help="RFC 3339.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="At most this many.")
@click.option("--proof", type=click.Path(dir_okay=False, path_type=Path), help="Save for `gpuaas verify rows`.")
@click.option("--follow", is_flag=True, help="Then wait for what comes, until Ctrl-C.")
@as_json
def search(
    tenant: str | None,
    limit: int,
    proof: Path | None,
    follow: bool,
    json_: bool,
    type_: str | None,
    **sought: str | None,
) -> None:
    """Newest first: who did what, when. With --follow: oldest first, and on."""
    path = tenant_path(tenant, "trail") if tenant else "/v1/trail"
    if follow:
        finish(lambda: _follow(path, limit, json_, {**sought, "type": type_}))
        return

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            given: dict[str, Any] = {**sought, "type": type_, "proof": 1 if proof else None}
            return {"items": await _rows(suite, path, limit, given)}

    page = finish(work)
    if proof is not None:
        proof.write_text(json.dumps(page), "utf-8")
        click.echo(f"{len(page['items'])} rows with proofs in {proof}", err=True)
    columns = {"position": "position", "time": "time", "type": "type", "actor": "actor", "tenant": "tenant_id"}
    print_items("Trail", columns, page["items"], json_)


async def _rows(suite: Suite, path: str, limit: int, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first rows, page by page: what arrives meanwhile changes none of them."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = await suite.get("audit", path, limit=min(limit - len(rows), PAGE_LIMIT), cursor=cursor, **given)
        rows += page["items"]
        cursor = page["next_cursor"]
        if cursor is None or len(rows) >= limit:
            return rows


async def _follow(path: str, limit: int, json_: bool, sought: dict[str, Any]) -> None:
    async with open_suite() as suite:
        newest = (await _rows(suite, path, limit, sought))[::-1]
        last = 0
        while True:
            for row in newest:
                last = row["position"]
                told = json.dumps(row) if json_ else f"{last:>10}  {row['time']}  {row['actor'] or '–'}  {row['type']}"
                click.echo(told)
            behind = {"order": "oldest", "after_position": last, "wait_s": FOLLOW_WAIT_S, "limit": 500}
            newest = (await suite.get("audit", path, at_least=0, **{**sought, **behind}))["items"]


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@in_tenant
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "csv", "ocsf", "tar"]),
    default="jsonl",
    show_default=True,
    help="How the rows are written.",
)
@click.option("--actor", help="Only what this actor did.")
@click.option("--type", "type_", help="Event type, whole.")
@click.option("--resource", help="One entity, `<kind>/<id>`.")
@click.option("--since", help="RFC 3339.")
@click.option("--until", help="RFC 3339.")
@click.option(
    "--complete", is_flag=True, help="Carry what shows that nothing asked for was left out (tar, no --actor)."
)
@as_json
def export(
    file: Path, tenant: str, format_: str, type_: str | None, complete: bool, json_: bool, **sought: str | None
) -> None:
    """Save a copy of a tenant's trail; the copy is recorded in the trail."""
    given = {"format": format_, "type": type_, "complete": "1" if complete else None, **sought}
    asked = urlencode({name: value for name, value in given.items() if value is not None})

    async def work() -> int:
        async with open_suite() as suite:
            return await suite.save("audit", f"{tenant_path(tenant, 'export')}?{asked}", file)

    size = finish(work)
    if json_:
        print_json({"file": str(file), "bytes": size, "format": format_})
    else:
        click.echo(f"{size:,} bytes in {file}", err=True)


@command.command()
@as_json
def doctor(json_: bool) -> None:
    """Is the trail whole? Exit status 1 where it is not."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.get("audit", "/v1/examination")
            return told

    told = finish(work)
    wrong = [told[name] for name in ("unbalanced_epochs", "epochs_that_do_not_join", "divergences", "gaps")]
    if json_:
        print_json(told)
    else:
        _print_examination(told)
    if any(wrong):
        fail("the trail and the log do not agree: compare the log with its copies before anything else")


def _compared(told: dict[str, Any]) -> str:
    if told["sweeping"]:
        return f"all of it, now, at position {told['pass_is_at']}; no epoch is sealed before that has ended"
    since = told["every_position_since"]
    return f"every position since {since[:19]}" if since else "not yet as a whole"


def _print_examination(told: dict[str, Any]) -> None:
    whole = [
        ["epochs examined", told["epochs_examined"]],
        ["sealed up to position", told["last_position"]],
        ["leaves in them", told["leaves"]],
        ["gaps", len(told["gaps"])],
        ["epochs out of balance", ", ".join(map(str, told["unbalanced_epochs"])) or "none"],
        ["log compared", _compared(told["compared"])],
        ["epochs that do not join", ", ".join(map(str, told["epochs_that_do_not_join"])) or "none"],
    ]
    print_table("Trail", ["what", "is"], whole)
    seen = {"witness": "witness", "state": "state", "cosigned": "cosigned", "failed": "failed", "detail": "detail"}
    print_items(f"Witnesses (quorum {told['quorum']})", seen, told["witnesses"], False)
    for found in told["divergences"]:
        click.secho(f"{found['kind']} at position {found['position']}: {found['detail']}", fg="red")
        for name in ("trail_holds", "log_holds"):
            held = found[name]
            shown = base64.b64decode(held).decode("utf-8", "replace") if held else "nothing"
            click.echo(f"  {name.replace('_', ' ')}: {shown}")


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
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@in_tenant
@as_json
def epoch(file: Path, tenant: str, json_: bool) -> None:
    """Save the newest epoch and a tenant's place in it, for `gpuaas verify epoch`."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.get("audit", tenant_path(tenant, "epoch"))
            return told

    told = finish(work)
    file.write_text(json.dumps(told), "utf-8")
    if json_:
        print_json({"file": str(file), "epoch": told["epoch"], "last_position": told["last_position"]})
    else:
        click.echo(f"epoch {told['epoch']} in {file}; now: gpuaas verify epoch {file} --key …", err=True)


@command.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--tenant", envvar="GPUAAS_TENANT", help="This tenant's tree (default: the platform's).")
@as_json
def mirror(folder: Path, tenant: str | None, json_: bool) -> None:
    """Copy a whole tree as files (tlog-tiles) for `gpuaas verify tree`; again, it fetches what is new."""

    async def work() -> int:
        from gpuaas.cli.mirroring import mirror_tree

        async with open_suite() as suite:
            return await mirror_tree(suite, tenant_path(tenant) if tenant else "/v1/platform", folder)

    size = finish(work)
    if json_:
        print_json({"folder": str(folder), "leaves": size})
    else:
        click.echo(f"{size:,} leaves in {folder}; now: gpuaas verify tree {folder} --key …", err=True)


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
