"""`gpuaas bill meters|define-meter|report|reports|metered`: reported usage. One law: said twice, it counts once."""

from __future__ import annotations

import json
from typing import Any, Final, TextIO

import click
from gpuaas.cli.commands.bill_credit import ask
from gpuaas.cli.here import in_tenant, open_suite, project_path
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json, print_table


@click.command()
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def meters(limit: int, json_: bool) -> None:
    """Meters for reported usage, every version with its prices."""

    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.get("billing", "/v1/meters", limit=limit)

    items = finish(work)["items"]
    columns = {"meter": "meter_id", "version": "version", "unit": "unit", "how": "aggregation", "price": "price_model"}
    print_items("Meters", columns | {"from": "effective_from", "currency": "currency"}, items, json_)


@click.command(name="define-meter")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@as_json
def define_meter(file: TextIO, json_: bool) -> None:
    """Define the next version of a meter from FILE, JSON as `POST /v1/meters` takes it."""
    try:
        body = json.load(file)
    except ValueError as broken:
        fail(f"{file.name} is not JSON: {broken}", 2)

    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.post("billing", "/v1/meters", body)

    accepted = finish(work)
    if json_:
        print_json(accepted)
    else:
        click.echo(f"{accepted['id']}: accepted at position {accepted['position']}")


@click.command()
@in_tenant
@click.option("--project", required=True, help="Which project used it.")
@click.option("--meter", "meter_id", required=True, help="Which meter counts it.")
@click.option("--source", required=True, help="Who says so.")
@click.option("--id", "source_event_id", required=True, help="The source's own id of it; sent again, it counts once.")
@click.option("--at", "used_at", required=True, help="When (RFC 3339); of a level, from when on.")
@click.option("--value", required=True, help="How much, a whole number of what the meter counts.")
@click.option("--subject", help="What it is about, such as a volume.")
@as_json
def report(tenant: str, project: str, json_: bool, **told: str | None) -> None:
    """Report usage that is not read from allocations, such as storage and tokens."""
    body = {"reports": [{name: value for name, value in told.items() if value is not None}]}

    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.post("billing", project_path(tenant, project, "usage-reports"), body)

    taken = finish(work)
    if json_:
        print_json(taken)
    else:
        stood = "stood already" if taken["items"][0]["repeated"] else f"taken at position {taken['position']}"
        click.echo(f"{taken['items'][0]['report_id']}: {stood}")


@click.command()
@in_tenant
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def reports(tenant: str, limit: int, json_: bool) -> None:
    """What sources reported for a tenant, in the order it was heard."""
    columns = {"source": "source", "id": "source_event_id", "project": "project_id", "meter": "meter_id"}
    columns |= {"about": "subject", "when": "used_at", "value": "value"}
    print_items(f"Reports of {tenant}", columns, ask(tenant, "usage-reports", limit=limit)["items"], json_)


@click.command()
@in_tenant
@click.option("--month", help="Such as 2026-08; left out: this one, so far.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def metered(tenant: str, month: str | None, limit: int, json_: bool) -> None:
    """What a month's reported usage comes to, by project and meter."""
    told = ask(tenant, "metered-charges", month=month, limit=limit)
    if json_:
        print_json(told)
        return
    fields = ("project_id", "meter_id", "quantity", "unit", "amount", "currency", "reports")
    rows = [[each[name] for name in fields] for each in told["items"]]
    columns = ["project", "meter", "counted", "sold by", "amount", "currency", "reports"]
    print_table(f"Reported usage of {tenant} in {told['month']}, as of {told['as_of'][:19]}", columns, rows)


meter_commands: Final = (meters, define_meter, report, reports, metered)
