"""`gpuaas allocate`: ask for GPUs. One law: the same `--key` is the same request, however often it is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from gpuaas.cli.commands.quotes import in_words
from gpuaas.cli.commands.reservations import moment
from gpuaas.cli.here import in_project, open_suite, project_path
from gpuaas.cli.output import as_json, fail, finish, print_json

_WAIT_STEP_S = 0.2
_DONE = frozenset({"active", "released", "rejected"})
_CHECKED = frozenset(
    {
        *("pool_id", "gpu_model", "replicas", "gpus_per_replica", "share_milli", "topology_level", "topology_mode"),
        *(
            "lease_s",
            "start_at",
            "reservation_id",
            "gpu_models",
            "replicas_min",
            "alternatives",
            "priority",
            "preemptible",
        ),
    }
)
"""What a dry run looks at."""
_ALTERNATIVE = "Another shape that will do, as 8x4 or 8x4:MODEL (members × GPUs); may repeat, the most wanted first."
_CAUSES = ["failed", "runtime-lost", "node-lost", "preempted"]
_BACKOFF = "Seconds before the second attempt, doubled with each further one."


@click.command()
@in_project
@click.option("--pool", default="main", show_default=True, help="Pool to place in.")
@click.option("--model", multiple=True, help="GPU model; repeated: in order of preference; left out: any.")
@click.option("--replicas", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Gang members.")
@click.option("--replicas-min", type=click.IntRange(1, 1_024), help="It may start with as few members as this.")
@click.option("--or", "alternatives", multiple=True, help=_ALTERNATIVE)
@click.option("--gpus", type=click.IntRange(1, 64), default=1, show_default=True, help="GPUs of each member.")
@click.option("--share", type=click.IntRange(1, 1_000), help="Thousandths of a GPU for each member, of one GPU.")
@click.option("--topology", type=click.Choice(["rack", "pod", "site"]), help="Keep the gang within one of these.")
@click.option("--required/--preferred", default=False, help="Whether the topology is a must.")
@click.option("--priority", type=click.IntRange(0, 1_000), default=0, show_default=True, help="Higher is served first.")
@click.option(
    "--preemptible/--not-preemptible",
    default=None,
    help="May it end early for higher priority too, or never? Left out: only while it runs beyond the quota.",
)
@click.option("--lease", "lease_s", type=click.IntRange(1), default=3_600, show_default=True, help="Seconds.")
@click.option("--start-at", help="Not before this time; UTC where no zone is given.")
@click.option("--reservation", help="Use what this reservation keeps, and nothing else.")
@click.option("--gpu-hours-max", help="Most GPU-hours it may use; the lease is cut to that.")
@click.option("--cost-max", help="Most money it may cost at list prices; the lease is cut to that.")
@click.option("--currency", help="Currency of --cost-max, such as EUR.")
@click.option("--idle-after", type=click.IntRange(0, 2_592_000), help="Give back after so many idle seconds; 0: never.")
@click.option("--attempts", type=click.IntRange(1, 10), help="Ask again after a bad end, so many attempts in all.")
@click.option("--backoff", "backoff_s", type=click.IntRange(0, 86_400), default=30, show_default=True, help=_BACKOFF)
@click.option("--retry-on", type=click.Choice(_CAUSES), multiple=True, help="Only after these ends; may repeat.")
@click.option("--image", default="sim", show_default=True, help="What the runtime starts; `sim` is the simulated one.")
@click.option("--key", help="Idempotency key; a repeat with the same key asks for nothing new.")
@click.option("--dry-run", is_flag=True, help="Only say what it would meet now and could use at most; ask for nothing.")
@click.option("--wait", "wait_s", type=float, default=0.0, help="Wait up to this many seconds until it is active.")
@click.argument("workload", nargs=-1)
@as_json
def command(tenant: str, project: str, json_: bool, wait_s: float, key: str | None, **ask: Any) -> None:
    """Ask for GPUs in a project to run WORKLOAD (for the simulated runtime: `sleep 60`)."""
    body: dict[str, Any] = {
        "pool_id": ask["pool"],
        "gpu_model": ask["model"][0] if len(ask["model"]) == 1 else None,
        "gpu_models": list(ask["model"]) if len(ask["model"]) > 1 else None,
        "replicas_min": ask["replicas_min"],
        "alternatives": [_alternative(each) for each in ask["alternatives"]] or None,
        "replicas": ask["replicas"],
        "gpus_per_replica": ask["gpus"],
        "share_milli": ask["share"],
        "priority": ask["priority"],
        "preemptible": ask["preemptible"],
        "lease_s": ask["lease_s"],
        "start_at": moment(ask["start_at"]) if ask["start_at"] else None,
        "reservation_id": ask["reservation"],
        "gpu_hours_max": ask["gpu_hours_max"],
        "cost_max": ask["cost_max"],
        "currency": ask["currency"],
        "idle_after_s": ask["idle_after"],
        "image": ask["image"],
        "command": list(ask["workload"]) or ["sleep", str(ask["lease_s"])],
    }
    if ask["attempts"]:
        body["retry"] = {"attempts_max": ask["attempts"], "backoff_s": ask["backoff_s"]}
        body["retry"] |= {"causes": list(ask["retry_on"])} if ask["retry_on"] else {}
    if ask["topology"]:
        body |= {"topology_level": ask["topology"], "topology_mode": "required" if ask["required"] else "preferred"}
    body = {name: value for name, value in body.items() if value is not None}
    if ask["dry_run"]:
        _say_what_it_would_meet(tenant, project, body, json_)
        return

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            path = project_path(tenant, project, "allocations")
            accepted: dict[str, Any] = await suite.post("allocations", path, body, key=key)
            left = wait_s
            while True:
                found: dict[str, Any] = await suite.get("allocations", f"{path}/{accepted['id']}")
                if found["state"] in _DONE or left <= 0:
                    return found
                await asyncio.sleep(_WAIT_STEP_S)
                left -= _WAIT_STEP_S

    found = finish(work)
    if json_:
        print_json(found)
    else:
        click.echo(f"{found['allocation_id']} is {found['state']}; `gpuaas why` with its id tells more")
    if found["state"] == "rejected":
        fail(str(found.get("detail") or "the request can never be satisfied"))


def _alternative(text: str) -> dict[str, Any]:
    shape, _, model = text.partition(":")
    replicas, _, gpus = shape.partition("x")
    if not (replicas.isdecimal() and gpus.isdecimal()):
        raise click.BadParameter(f"{text!r} is not a shape such as 8x4 or 8x4:h100", param_hint="--or")
    return {"replicas": int(replicas), "gpus_per_replica": int(gpus)} | ({"gpu_model": model} if model else {})


def in_shape(shape: dict[str, Any]) -> str:
    """A possible shape in words."""
    size = f"{shape['share_milli']}/1000 GPU" if shape["share_milli"] else f"{shape['gpus_per_replica']} GPUs"
    return f"{shape['replicas']} × {size} of {shape['gpu_model'] or 'any model'} ({shape['change']})"


def _say_what_it_would_meet(tenant: str, project: str, body: dict[str, Any], json_: bool) -> None:
    question = {name: value for name, value in body.items() if name in _CHECKED}

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.post(
                "allocations", project_path(tenant, project, "allocation-checks"), question
            )
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        why = f" ({told['reason']}: {told['detail']})" if told["reason"] else ""
        click.echo(f"{told['verdict']}{why}; at most {told['gpu_hours_max']} GPU-hours")
        for each in told["nearest"]:
            click.echo(f"possible: {in_shape(each)}")
        if told["verdict"] != "never":
            click.echo(in_words(told["quoted_start"]))
