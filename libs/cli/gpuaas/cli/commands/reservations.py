"""`gpuaas reservations`: GPUs kept for a time to come. One law: times are given with a time zone, or are UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import in_project, open_suite, project_path
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json


@click.group("reservations")
def command() -> None:
    """Advance and recurring reservations of a project."""


def moment(text: str) -> str:
    """A time as the doors take it; without a zone it is UTC."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is not a time; write it like 2026-08-05T18:00 or 2026-08-05T18:00+02:00")
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).isoformat()


@command.command()
@in_project
@click.option("--pool", default="main", show_default=True, help="Pool that keeps the GPUs.")
@click.option("--model", required=True, help="GPU model.")
@click.option("--replicas", type=click.IntRange(1, 1_024), default=1, show_default=True, help="Groups of GPUs.")
@click.option("--gpus", type=click.IntRange(1, 64), required=True, help="GPUs of each group, on one machine.")
@click.option("--topology", type=click.Choice(["rack", "pod", "site"]), help="Keep the groups within one of these.")
@click.option("--required/--preferred", default=False, help="Whether the topology is a must.")
@click.option("--from", "starts_at", required=True, help="Start of the first window; UTC where no zone is given.")
@click.option("--until", "ends_at", required=True, help="End of the first window.")
@click.option("--every-days", type=click.IntRange(1, 366), help="Repeat it every so many days.")
@click.option("--times", type=click.IntRange(2, 64), help="Windows in all.")
@click.option("--reason", required=True, help="What it is for.")
@click.option("--key", help="Idempotency key; a repeat with the same key reserves nothing new.")
@as_json
def make(tenant: str, project: str, json_: bool, key: str | None, **ask: Any) -> None:
    """Keep GPUs for a window of time, once or again and again."""
    body: dict[str, Any] = {
        "pool_id": ask["pool"],
        "gpu_model": ask["model"],
        "replicas": ask["replicas"],
        "gpus_per_replica": ask["gpus"],
        "starts_at": moment(ask["starts_at"]),
        "ends_at": moment(ask["ends_at"]),
        "every_days": ask["every_days"],
        "occurrences": ask["times"],
        "reason": ask["reason"],
    }
    if ask["topology"]:
        body |= {"topology_level": ask["topology"], "topology_mode": "required" if ask["required"] else "preferred"}
    body = {name: value for name, value in body.items() if value is not None}
    path = project_path(tenant, project, "reservations")

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            accepted: dict[str, Any] = await suite.post("allocations", path, body, key=key)
            found: dict[str, Any] = await suite.get("allocations", f"{path}/{accepted['id']}")
            return found

    found = finish(work)
    if json_:
        print_json(found)
    else:
        click.echo(f"{found['reservation_id']} keeps {found['gpu_count']} GPUs in {found['occurrences']} window(s)")


@command.command("list")
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Tenant id [GPUAAS_TENANT].")
@click.option("--project", envvar="GPUAAS_PROJECT", help="Project id [GPUAAS_PROJECT].")
@click.option("--pool", help="All reservations of this pool, for operators.")
@as_json
def list_reservations(tenant: str | None, project: str | None, pool: str | None, json_: bool) -> None:
    """Reservations of a project, or of a whole pool."""
    if pool:
        path = f"/v1/pools/{quote(pool, safe='')}/reservations"
    elif tenant and project:
        path = project_path(tenant, project, "reservations")
    else:
        fail("say whose: --tenant and --project, or --pool for all of a pool")

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("allocations", path)]

    columns = {"reservation": "reservation_id", "project": "project_id", "GPUs": "gpu_count", "model": "gpu_model"}
    times = {"from": "starts_at", "until": "ends_at", "windows": "occurrences", "state": "state", "for": "reason"}
    print_items("Reservations", columns | times, finish(work), json_)


@command.command()
@in_project
@click.argument("reservation_id")
@as_json
def show(tenant: str, project: str, reservation_id: str, json_: bool) -> None:
    """One reservation with its windows and the GPUs that each of them lacks."""
    path = project_path(tenant, project, "reservations", reservation_id)

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            found: dict[str, Any] = await suite.get("allocations", path)
            return found

    found = finish(work)
    if json_:
        print_json(found)
        return
    click.echo(f"{found['reservation_id']} is {found['state']}: {found['gpu_count']} GPUs of {found['gpu_model']}")
    columns = {"window": "window", "from": "starts_at", "until": "ends_at", "missing GPUs": "missing_gpus"}
    print_items("Windows", columns, found["windows"], json_)


@command.command()
@in_project
@click.argument("reservation_id")
@click.option("--reason", required=True, help="Why it is not needed any more.")
@as_json
def end(tenant: str, project: str, reservation_id: str, reason: str, json_: bool) -> None:
    """Give up what is left of a reservation; what runs in it goes on until its lease ends."""
    path = project_path(tenant, project, "reservations", reservation_id)

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.post("allocations", f"{path}/end", {"reason": reason})
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        click.echo(f"nothing is kept for {reservation_id} any more")
