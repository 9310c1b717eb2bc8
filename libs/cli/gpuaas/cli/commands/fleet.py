"""`gpuaas nodes`: the fleet. One law: a hold says why, and its owner lifts it.

`cordon` is a hold of the caller's own under a fixed name; `drain` is an order that also ends what runs there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from gpuaas.cli.commands.enrolment import claims, look, register, retire, utilisation
from gpuaas.cli.commands.health import command as health
from gpuaas.cli.commands.maintenance import command as maintenance
from gpuaas.cli.here import open_suite, order
from gpuaas.cli.output import as_json, finish, print_items, print_json, print_table


@click.group()
def command() -> None:
    """Machines: list them, see capacity, hold, cordon, drain, maintain them, and what their faults come to."""


command.add_command(maintenance, "maintenance")
command.add_command(health, "health")
for each in (register, look, retire, claims, utilisation):
    command.add_command(each)


@command.command(name="list")
@click.option("--lifecycle", help="Only this state.")
@click.option("--rack", help="Only this rack.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most this many.")
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
    """GPUs by pool and model: total, free, claimed by tenants, withdrawn.

    What a hold closes is `withdrawn` here and `held` in `gpuaas inventory capacity`.
    """

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            pools: list[dict[str, Any]] = (await suite.get("allocations", "/v1/pools"))["items"]
            return pools

    columns = {"pool": "pool_id", "model": "gpu_model", "machines": "machines", "GPUs": "gpus", "free": "free"}
    columns |= {"claimed": "held", "machines withdrawn": "machines_withdrawn"}
    print_items("Capacity", columns, finish(work), json_)


@command.command()
@click.argument("node_id")
@click.option("--hold", "hold_id", required=True, help="Name of the hold.")
@click.option("--cause", required=True, help="Why, for those who find it.")
@as_json
def hold(node_id: str, hold_id: str, cause: str, json_: bool) -> None:
    """Close NODE_ID for new work under a name of your own, beside other holds; `lift` ends it."""
    order("nodes", f"{_path(node_id)}/holds", {"hold_id": hold_id, "cause": cause}, json_)


@command.command()
@click.argument("node_id")
@click.option("--hold", "hold_id", required=True, help="Name of the hold.")
@click.option("--reason", required=True, help="Why, for those who read the trail.")
@as_json
def lift(node_id: str, hold_id: str, reason: str, json_: bool) -> None:
    """Lift a hold of your own on NODE_ID."""
    order("nodes", f"{_path(node_id)}/holds/{quote(hold_id, safe='')}/lift", {"reason": reason}, json_)


@command.command()
@click.argument("node_id")
@as_json
def show(node_id: str, json_: bool) -> None:
    """One machine: where it stands, why it is closed, who has GPUs on it."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            found: dict[str, Any] = await suite.get("nodes", _path(node_id))
            found["claims"] = (await suite.get("nodes", f"{_path(node_id)}/claims"))["items"]
            return found

    found = finish(work)
    if json_:
        print_json(found)
        return
    holds = "; ".join(f"{hold['hold_id']} ({hold['owner']}): {hold['cause']}" for hold in found["admission"]["holds"])
    drained = found["drain"]
    emptied = drained and (f"empty since {drained['drained_at']}" if drained["drained_at"] else "not yet empty")
    lines = {
        "lifecycle": f"{found['lifecycle']} since {found['lifecycle_since']}",
        "health": ", ".join(f"{part} {state}" for part, state in found["health"].items()),
        "custody": found["custody"],
        "admission": holds or "open",
        "drain": drained and f"{drained['mode']}, {emptied}",
        "maintenance window": found["maintenance_window"],
        "burn-in": found["burn_in"] and _burn_in(found["burn_in"]),
        "remedy": found["remedy"] and f"{found['remedy']['action']}: {found['remedy']['reason']}",
        "placeable": found["placeable"],
    }
    print_table(node_id, ["", ""], list(lines.items()))
    columns = {"allocation": "allocation_id", "tenant": "tenant_id", "project": "project_id", "GPUs": "gpus"}
    print_items("Claims", columns, found["claims"], json_)


CORDON: Final = "cordon"
"""Name of the hold that `cordon` places."""


@command.command()
@click.argument("node_id")
@click.option("--reason", required=True, help="Why, for those who find it.")
@as_json
def cordon(node_id: str, reason: str, json_: bool) -> None:
    """Close NODE_ID for new work, as one hold named `cordon`; `uncordon` ends it. What runs there goes on."""
    order("nodes", f"{_path(node_id)}/holds", {"hold_id": CORDON, "cause": reason}, json_)


@command.command()
@click.argument("node_id")
@click.option("--reason", required=True, help="Why, for those who read the trail.")
@as_json
def uncordon(node_id: str, reason: str, json_: bool) -> None:
    """Open NODE_ID again: lift your cordon, and call off a drain that an operator ordered."""

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            found = await suite.get("nodes", _path(node_id))
            steps = []
            if found["drain"] and not found["drain"]["window_id"]:
                steps.append("drain/cancel")
            if any(hold["hold_id"] == CORDON for hold in found["admission"]["holds"]):
                steps.append(f"holds/{CORDON}/lift")
            return [await suite.post("nodes", f"{_path(node_id)}/{step}", {"reason": reason}) for step in steps]

    done = finish(work)
    if json_:
        print_json(done)
    else:
        click.echo(f"accepted at position {done[-1]['position']}" if done else f"{node_id} has no cordon and no drain")


@command.command()
@click.argument("node_id")
@click.option(
    "--mode",
    type=click.Choice(["let-finish", "notice-then-stop", "now"]),
    default="let-finish",
    show_default=True,
    help="How what runs there ends.",
)
@click.option("--notice-s", type=click.IntRange(0), default=0, show_default=True, help="Seconds that tenants get.")
@click.option("--reason", required=True, help="Why, in a sentence that tenants may read.")
@click.option("--over-promises", is_flag=True, help="Though reservations are left with too few GPUs by it.")
@as_json
def drain(node_id: str, mode: str, notice_s: int, reason: str, over_promises: bool, json_: bool) -> None:
    """Have NODE_ID become empty: nothing new lands there, and what runs ends as the mode says.

    Refused where a reservation could not be kept without it, unless --over-promises is given.
    """
    body = {"mode": mode, "notice_s": notice_s, "reason": reason}
    order("nodes", f"{_path(node_id)}/drain", body | ({"over_promises": True} if over_promises else {}), json_)


@command.command()
@click.argument("node_id")
@as_json
def promises(node_id: str, json_: bool) -> None:
    """What is kept on NODE_ID for reservations, and how many GPUs of it could not be kept elsewhere."""

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("nodes", f"{_path(node_id)}/promises")]

    columns = {"reservation": "reservation_id", "window": "window", "tenant": "tenant_id", "GPUs": "gpus"}
    columns |= {"starts": "starts_at", "ends": "ends_at", "not elsewhere": "not_elsewhere_gpus"}
    print_items(f"Promised on {node_id}", columns, finish(work), json_)


@command.command()
@click.argument("node_ids", nargs=-1, required=True)
@click.option("--broker", required=True, help="host:port that the machines reach.")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where the files are written."
)
@as_json
def agents(node_ids: tuple[str, ...], broker: str, folder: Path, json_: bool) -> None:
    """Make a broker user for the agent on each of NODE_IDS, who can report on that machine alone."""
    from gpuaas.cli.agent_users import agent_name, write_users

    async def work() -> Path:
        return write_users(node_ids, broker, folder)

    written = finish(work)
    made = [{"node_id": each, "user": agent_name(each), "file": str(folder / f"{each}.env")} for each in node_ids]
    if json_:
        print_json({"users_file": str(written), "agents": made})
        return
    print_items("Agents", {"node": "node_id", "user": "user", "for the machine": "file"}, made, json_)
    click.echo(f"put the entries of {written} into the users of the broker's account, and reload it")


def _burn_in(told: dict[str, Any]) -> str:
    ended = {step["step"]: step["outcome"] for step in told["steps_ended"]}
    steps = ", ".join(f"{step['step']} {ended.get(step['step'], 'to come')}" for step in told["steps"])
    return f"{told['plan']} ({told['occasion']}): {steps}"


def _path(node_id: str) -> str:
    return f"/v1/nodes/{quote(node_id, safe='')}"
