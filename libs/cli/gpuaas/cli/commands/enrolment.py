"""`gpuaas nodes register`, `look`, `retire` and what stands on a machine. One law: every machine has its own answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.batches import hand_in
from gpuaas.cli.here import open_suite, order
from gpuaas.cli.output import as_json, finish, print_items, print_json


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def register(file: Path, json_: bool) -> None:
    """Register the machines of a JSON FILE; each is then adopted, looked at and judged.

    The file is a list of {node_id, topology {region, site, pod, rack}, expected_gpu_model, expected_gpu_count,
    pool_id}, with "isolation": "machine" for those that are let to one tenant at a time. Status 1 where one is refused.
    """
    hand_in(file, "nodes", "/v1/nodes/batch", "nodes", ("registered", "node"), json_)


@click.command()
@click.argument("node_id")
@as_json
def look(node_id: str, json_: bool) -> None:
    """Look at NODE_ID now and judge it, such as after a repair."""
    order("nodes", f"{_path(node_id)}/observations", {}, json_)


@click.command()
@click.argument("node_id")
@click.option("--reason", required=True, help="Why, for those who read the trail.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def retire(node_id: str, reason: str, yes: bool, json_: bool) -> None:
    """Take NODE_ID out of the fleet for good; its id is not used again."""
    if not yes:
        click.confirm(f"{node_id} leaves the fleet for good. Go on?", abort=True, err=True)
    order("nodes", f"{_path(node_id)}/retire", {"reason": reason}, json_)


@click.command()
@click.argument("node_id")
@as_json
def claims(node_id: str, json_: bool) -> None:
    """Which allocations have GPUs on NODE_ID."""

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            found: list[dict[str, Any]] = (await suite.get("nodes", f"{_path(node_id)}/claims"))["items"]
            return found

    columns = {"allocation": "allocation_id", "tenant": "tenant_id", "project": "project_id", "GPUs": "gpus"}
    print_items(f"Claims on {node_id}", columns, finish(work), json_)


@click.command()
@click.argument("node_id")
@as_json
def utilisation(node_id: str, json_: bool) -> None:
    """What the GPUs of NODE_ID did when its agent told last, and what they count."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            found: dict[str, Any] = await suite.get("nodes", f"{_path(node_id)}/utilisation")
            return found

    found = finish(work)
    if json_:
        print_json(found)
        return
    columns = {"slot": "slot", "busy %": "gpu_percent", "MiB used": "memory_used_mib", "°C": "temperature_c"}
    columns |= {"W": "power_w", "ECC": "ecc_uncorrected", "NVLink errors": "nvlink_errors"}
    columns |= {"trained anew": "nvlink_recoveries", "PCIe replays": "pcie_replays", "rows replaced": "rows_remapped"}
    print_items(f"{node_id} at {found['sampled_at']}", columns, found["gpus"], json_)


def _path(node_id: str) -> str:
    return f"/v1/nodes/{quote(node_id, safe='')}"
