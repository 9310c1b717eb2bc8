"""`gpuaas policy-lab`: a stretch of the log under other rules. One law: it only asks; nothing changes."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_items, print_json


@click.command()
@click.option("--pool", default="main", show_default=True, help="Pool.")
@click.option("--after", type=click.IntRange(0), default=0, show_default=True, help="Requests after this position.")
@click.option("--until", type=click.IntRange(1), help="Requests up to this position; left out: to the end of the log.")
@click.option(
    "--policy",
    type=click.Choice(["least-fragments-v1", "best-fit-v1", "spread-v1", "random-v1"]),
    help="How a machine is chosen; left out: as in force, like all that follows.",
)
@click.option("--discipline", type=click.Choice(["best-effort", "strict-fifo"]), help="Who may pass whom.")
@click.option(
    "--preemption", type=click.Choice(["off", "reclaim", "reclaim-and-priority"]), help="What is ended early."
)
@click.option("--min-run", "min_run_s", type=click.IntRange(0), help="Seconds that work runs at least before that.")
@click.option("--half-life", "half_life_s", type=click.IntRange(0), help="Seconds after which past use counts half.")
@click.option("--without-quotas", is_flag=True, help="Let the line alone decide.")
@as_json
def command(pool: str, json_: bool, without_quotas: bool, **ask: Any) -> None:
    """Live through a stretch of the log again, as in force and under other rules, and compare."""
    body = {name: value for name, value in ask.items() if value is not None}
    if without_quotas:
        body["quotas"] = "none"

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            path = f"/v1/pools/{quote(pool, safe='')}/policy-labs"
            told: dict[str, Any] = await suite.post("allocations", path, body)
            return told

    told = finish(work)
    if json_:
        print_json(told)
        return
    rows = [
        {"what": name, **{way: told[way].get(name) for way in ("really", "in_force", "other")}}
        for name in told["other"]
    ]
    columns = {"what": "what", "really": "really", "as in force": "in_force", "other": "other"}
    print_items(f"{told['requests']} requests of {pool}", columns, rows, False)
