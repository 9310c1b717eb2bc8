"""`gpuaas inventory`: what exists, what was expected, what is missing. One law: every difference says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.batches import hand_in, read_json
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json, print_table

limited = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most this many."
)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
US_PER_HOUR = 3_600_000_000
LEVELS = ("region", "site", "pod", "rack", "nvlink_domain", "machine_id")
DIMENSIONS = "region, site, pod, rack, pool_id, gpu_model"
BUCKETS = ("sold", "idle", "reserved", "held", "down")


@click.group()
def command() -> None:
    """What exists, what was expected, and what is missing."""


@command.command()
@click.option("--verdict", help="as-planned, unplanned, mismatched, silent, missing or gone.")
@click.option("--pool", "pool_id", help="Only this pool.")
@click.option("--site", help="Only this site.")
@click.option("--rack", help="Only this rack.")
@limited
@as_json
def expected(
    verdict: str | None, pool_id: str | None, site: str | None, rack: str | None, limit: int, json_: bool
) -> None:
    """Machines: what was planned against what was found, and why they differ."""
    wanted = {"verdict": verdict, "pool_id": pool_id, "site": site, "rack": rack}
    columns = {"machine": "machine_id", "verdict": "verdict", "why": "why"}
    print_items("Expected and found", columns, _listed("/v1/expectations", limit, **wanted), json_)


@command.command()
@as_json
def missing(json_: bool) -> None:
    """How many machines are as planned, missing, different or silent."""
    counts = finish(lambda: _get("/v1/expectation-counts"))
    if json_:
        print_json(counts)
    else:
        print_table("Machines", ["verdict", "machines"], [[name, count] for name, count in counts.items()])


@command.command()
@click.option("--status", help="accepted, mismatched or removed.")
@click.option("--pool", "pool_id", help="Only this pool.")
@click.option("--rack", help="Only this rack.")
@limited
@as_json
def machines(status: str | None, pool_id: str | None, rack: str | None, limit: int, json_: bool) -> None:
    """Machines in the books."""
    columns = {"machine": "machine_id", "status": "status", "pool": "pool_id", "model": "gpu_model"}
    columns |= {"GPUs": "gpu_count", "serial": "machine_serial"}
    print_items("Machines", columns, _listed("/v1/machines", limit, status=status, pool_id=pool_id, rack=rack), json_)


@command.command()
@click.argument("serial")
@as_json
def device(serial: str, json_: bool) -> None:
    """One GPU by its serial number, and everywhere it has been."""
    found = finish(lambda: _get(f"/v1/devices/{quote(serial, safe='')}"))
    if json_:
        print_json(found)
        return
    columns = ["machine", "slot", "since", "until"]
    stays = [[stay["machine_id"], stay["slot"], stay["since"], stay["until"]] for stay in found["stays"]]
    print_table(f"{found['gpu_model']} {serial}", columns, stays)


@command.command()
@click.argument("serial")
@limited
@as_json
def faults(serial: str, limit: int, json_: bool) -> None:
    """Every fault of one GPU by its serial number, wherever it sat."""
    columns = {"when": "observed_at", "machine": "machine_id", "fault": "fault_class", "code": "code"}
    path = f"/v1/devices/{quote(serial, safe='')}/faults"
    print_items(f"Faults of {serial}", columns | {"detail": "detail"}, _listed(path, limit), json_)


@command.command()
@click.option("--by", default="pool_id", show_default=True, help="Any of pool_id, gpu_model; empty: one total.")
@as_json
def health(by: str, json_: bool) -> None:
    """GPUs in the books by condition, and how many offend again and again."""
    columns = {name: name for name in _names(by)} | {"GPUs": "gpus", "healthy": "healthy", "suspect": "suspect"}
    columns |= {"degraded": "degraded", "failed": "failed", "repeat offenders": "repeat_offenders", "faults": "faults"}
    print_items("Fleet health", columns, finish(lambda: _get("/v1/fleet-health", by=by))["items"], json_)


@command.command()
@click.argument("path", default="")
@click.option("--pool", "pool_id", help="Only this pool.")
@limited
@as_json
def below(path: str, pool_id: str | None, limit: int, json_: bool) -> None:
    """What stands right below PATH: region/site/pod/rack/NVLink domain/machine; without it: the regions."""
    names = [name for name in path.split("/") if name]
    if len(names) > len(LEVELS):
        fail(f"a place has at most {len(LEVELS)} names: {'/'.join(LEVELS)}", 2)
    wanted = dict(zip(LEVELS, names, strict=False))
    columns = {"level": "level", "name": "name", "machines": "machines", "GPUs": "gpus", "slot": "slot"}
    items = _listed("/v1/topology/below", limit, **wanted, pool_id=pool_id)
    leaves = bool(items) and items[0]["level"] == "gpu"
    shown = {title: key for title, key in columns.items() if (key == "slot") is leaves or key in ("level", "name")}
    print_items(path or "The fleet", shown, items, json_)


@command.command()
@click.option("--at", help="A moment of world time; without it: now.")
@click.option("--pool", "pool_id", help="Only this pool.")
@as_json
def parts(at: str | None, pool_id: str | None, json_: bool) -> None:
    """How many instances of each profile (MIG) would fit into what is idle."""
    columns = {"pool": "pool_id", "model": "gpu_model", "profile": "profile", "instances": "instances"}
    items = finish(lambda: _get("/v1/capacity/partitions", at=at, pool_id=pool_id))["items"]
    print_items("Instances that would fit", columns, items, json_)


@command.command()
@click.argument("machine_id")
@as_json
def compare(machine_id: str, json_: bool) -> None:
    """Compare MACHINE_ID with the books once more, such as when what kept it out is settled."""
    _given(f"/v1/machines/{quote(machine_id, safe='')}/comparisons", {}, json_)


@command.command()
@click.option("--sku", "sku_id", help="Only this SKU.")
@limited
@as_json
def skus(sku_id: str | None, limit: int, json_: bool) -> None:
    """Kinds of machines that can be ordered, every version."""
    columns = {"SKU": "sku_id", "version": "version", "title": "title", "model": "gpu_model", "GPUs": "gpu_count"}
    columns |= {"NVLink": "nvlink_scope", "retired": "retired_at"}
    print_items("SKUs", columns, _listed("/v1/skus", limit, sku_id=sku_id), json_)


@command.command()
@click.argument("file", type=FILE)
@as_json
def publish(file: Path, json_: bool) -> None:
    """Publish a SKU, or its next version, from a JSON FILE (the body of `POST /v1/skus`)."""
    _given("/v1/skus", read_json(file), json_)


@command.command()
@click.argument("sku_id")
@click.argument("version", type=click.IntRange(1))
@click.option("--reason", required=True, help="Why, for those who read the trail.")
@as_json
def retire(sku_id: str, version: int, reason: str, json_: bool) -> None:
    """Take no new plans with VERSION of SKU_ID."""
    _given(f"/v1/skus/{quote(sku_id, safe='')}/retirements", {"version": version, "reason": reason}, json_)


@command.command()
@click.argument("file", type=FILE)
@as_json
def plan(file: Path, json_: bool) -> None:
    """Expect the machines of a JSON FILE: a list of {machine_id, sku_id, pool_id, topology, …}."""
    hand_in(file, "inventory", "/v1/machine-plans/batch", "plans", ("planned", "machine"), json_)


@command.command()
@click.argument("machine_id")
@click.option("--reason", required=True, help="Why, for those who read the trail.")
@as_json
def withdraw(machine_id: str, reason: str, json_: bool) -> None:
    """Expect MACHINE_ID no longer."""
    _given(f"/v1/machine-plans/{quote(machine_id, safe='')}/withdraw", {"reason": reason}, json_)


@command.command()
@click.option("--at", help="A moment of world time, such as 2026-11-25T12:00:00Z; without it: now.")
@click.option("--by", default="pool_id,gpu_model", show_default=True, help=f"Any of {DIMENSIONS}; empty: a total.")
@as_json
def capacity(at: str | None, by: str, json_: bool) -> None:
    """GPUs that were sold, idle, reserved, held and down at a moment."""
    answer = finish(lambda: _get("/v1/capacity/moment", at=at, by=by))
    if json_:
        print_json(answer)
        return
    names = [*_names(by), "gpus"]
    rows = [[*(item[n] for n in names), *(item[f"{b}_milli"] / 1000 for b in BUCKETS)] for item in answer["items"]]
    print_table(f"Capacity at {answer['at']}", [*names, *BUCKETS], rows, "GPUs; parts of one are shares that are sold")


@command.command()
@click.option("--since", help="Beginning, world time; without it: when the first GPU came.")
@click.option("--until", help="End, world time; without it: now.")
@click.option("--by", default="pool_id,gpu_model", show_default=True, help=f"Any of {DIMENSIONS}; empty: a total.")
@as_json
def conservation(since: str | None, until: str | None, by: str, json_: bool) -> None:
    """Where every GPU's time went. Exit status 1 if it does not add up."""
    answer = finish(lambda: _get("/v1/conservation", since=since, until=until, by=by))
    total = answer["total"]
    if json_:
        print_json(answer)
    else:
        names = _names(by)
        shown = ["elapsed", *BUCKETS]
        rows = [
            [*(item.get(name, "all") for name in names), item["gpus"], *(_hours(item[f"{b}_us"]) for b in shown)]
            for item in (*answer["items"], total)
        ]
        note = f"GPU-hours, {answer['since']} to {answer['until']}; the last line is the total, exact numbers: --json. "
        note += f"Difference: {int(total['difference_us']) // 1000} GPU-ms."
        if "metered_us" in total:
            sold, metered = (int(total[name]) // 1000 for name in ("ended_sales_us", "metered_us"))
            note += f" Of ended allocations {sold:,} GPU-ms were sold, billing metered {metered:,}."
        print_table("Where GPU time went", [*names, "GPUs", *shown], rows, note)
    if int(total["difference_us"]):
        raise SystemExit(1)


def _hours(us: str) -> float:
    return int(us) / US_PER_HOUR


def _names(by: str) -> list[str]:
    return [name.strip() for name in by.split(",") if name.strip()]


async def _get(path: str, **params: Any) -> Any:
    async with open_suite() as suite:
        return await suite.get("inventory", path, **params)


def _listed(path: str, limit: int, **wanted: str | None) -> list[dict[str, Any]]:
    async def work() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with open_suite() as suite:
            async for item in suite.items("inventory", path, **wanted):
                found.append(item)
                if len(found) >= limit:
                    break
        return found

    return finish(work)


def _given(path: str, body: Any, json_: bool) -> None:
    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.post("inventory", path, body)

    accepted = finish(work)
    if json_:
        print_json(accepted)
    else:
        click.echo(f"{accepted['id']} accepted at position {accepted['position']}")
