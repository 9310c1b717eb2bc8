"""`gpuaas bill run|runs`: a period is billed. One law: who watches changes nothing; the run goes on without them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import click
from gpuaas.cli.client import Suite, Unreachable
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json, progress_bar

POLL_S: Final = 0.5
RUNS: Final = "/v1/billing-runs"


@click.command()
@click.option("--from", "start", help="First instant of the period (RFC 3339).")
@click.option("--to", "end", help="First instant behind it.")
@click.option("--watch", "run_id", metavar="RUN", help="Start nothing: show how far this run is until it is done.")
@click.option("--no-wait", is_flag=True, help="Say that it was started and come back at once.")
@as_json
def run(start: str | None, end: str | None, run_id: str | None, no_wait: bool, json_: bool) -> None:
    """Bill a period: one invoice for each tenant with usage in it, with a bar while it is written.

    The run is the service's own work. It goes on when this command is interrupted, and after billing was killed: look
    at it again with --watch.
    """
    if (run_id is None) != (start is not None and end is not None) or (run_id and (start or end)):
        fail("say which period with --from and --to, or which run with --watch", 2)

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            wanted = run_id or str(await _started(suite, start, end))
            return await (_asked(suite, wanted) if no_wait else _watched(suite, wanted))

    told = finish(work)
    if json_:
        print_json(told)
        return
    sums = ", ".join(f"{amount} {currency}" for currency, amount in told["total_by_currency"].items()) or "nothing"
    click.echo(f"{told['run_id']}: {told['status']}, {told['invoices']} of {told['tenants']} tenants billed, {sums}")
    if told["void_reason"]:
        fail(told["void_reason"])


@click.command()
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def runs(limit: int, json_: bool) -> None:
    """Billing runs, newest first."""

    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.get("billing", RUNS, limit=limit)

    columns = {"run": "run_id", "status": "status", "from": "period_start", "to": "period_end"}
    columns |= {"read up to": "log_position", "done": "completed_at", "correction": "correction_id"}
    print_items("Billing runs", columns, finish(work)["items"], json_)


async def _started(suite: Suite, start: str | None, end: str | None) -> Any:
    return (await suite.post("billing", RUNS, {"period_start": start, "period_end": end}))["id"]


async def _asked(suite: Suite, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await suite.get("billing", f"{RUNS}/{run_id}")
    return found


async def _watched(suite: Suite, run_id: str) -> dict[str, Any]:
    """The run once it is done. Billing that is away is waited for: it carries the run on when it is back."""
    with progress_bar() as bar:
        task = bar.add_task("invoices", total=None)
        while True:
            try:
                told = await _asked(suite, run_id)
            except Unreachable:
                bar.update(task, description="billing is away")
            else:
                bar.update(task, description="invoices", completed=told["invoices"], total=told["tenants"] or None)
                if told["status"] != "running":
                    return told
            await asyncio.sleep(POLL_S)


run_commands: Final = (run, runs)
