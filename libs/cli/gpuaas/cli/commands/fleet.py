"""`gpuaas nodes`: the fleet. One law: a hold says why, and its owner lifts it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_items, print_json


@click.group()
def command() -> None:
    """Machines: list them, see capacity, hold and lift."""


@command.command(name="list")
@click.option("--lifecycle", help="Only this state.")
@click.option("--rack", help="Only this rack.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@as_json
def list_nodes(lifecycle: str | None, rack: str | None, limit: int, json_: bool) -> None:
    """Machines by id."""

    async def work() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with open_suite() as suite:
            async for item in suite.items("nodes", "/v1/nodes", lifecycle=lifecycle, rack=rack):
                found.append(item)
                if len(found) >= limit:
                    break
        return found

    columns = {"node": "node_id", "lifecycle": "lifecycle", "placeable": "placeable", "pool": "pool_id", "rack": "rack"}
    items = [item if json_ else {**item, **item["topology"]} for item in finish(work)]
    print_items("Nodes", columns, items, json_)


@command.command()
@as_json
def capacity(json_: bool) -> None:
    """GPUs by pool and model: total, free, held, withdrawn."""

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            pools: list[dict[str, Any]] = (await suite.get("allocations", "/v1/pools"))["items"]
            return pools

    columns = {"pool": "pool_id", "model": "gpu_model", "machines": "machines", "GPUs": "gpus", "free": "free"}
    columns |= {"held": "held", "machines withdrawn": "machines_withdrawn"}
    print_items("Capacity", columns, finish(work), json_)


@command.command()
@click.argument("node_id")
@click.option("--hold", "hold_id", required=True, help="Name of the hold.")
@click.option("--cause", required=True, help="Why, for those who find it.")
@as_json
def hold(node_id: str, hold_id: str, cause: str, json_: bool) -> None:
    """Close NODE_ID for new work; what runs there goes on."""
    _give(node_id, "holds", {"hold_id": hold_id, "cause": cause}, json_)


@command.command()
@click.argument("node_id")
@click.option("--hold", "hold_id", required=True)
@click.option("--reason", required=True)
@as_json
def lift(node_id: str, hold_id: str, reason: str, json_: bool) -> None:
    """Lift a hold of your own on NODE_ID."""
    _give(node_id, f"holds/{quote(hold_id, safe='')}/lift", {"reason": reason}, json_)


def _give(node_id: str, what: str, body: dict[str, str], json_: bool) -> None:
    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            accepted: dict[str, Any] = await suite.post("nodes", f"/v1/nodes/{quote(node_id, safe='')}/{what}", body)
            return accepted

    accepted = finish(work)
    if json_:
        print_json(accepted)
    else:
        click.echo(f"accepted at position {accepted['position']}")
