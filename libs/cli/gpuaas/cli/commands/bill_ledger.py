"""`gpuaas bill balances|transfers|journal|trial-balance`: the books. One law: shown as the ledger has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click
from gpuaas.cli.commands.bill_credit import ask
from gpuaas.cli.here import in_tenant, open_suite, tenant_path
from gpuaas.cli.output import as_json, finish, print_items, print_json


@click.command()
@in_tenant
@click.option("--at", help="As it stood at this moment (RFC 3339).")
@as_json
def balances(tenant: str, at: str | None, json_: bool) -> None:
    """What each account of a tenant's ledger holds, now or as it was; a gain is positive."""
    columns = {"account": "account", "balance": "balance", "currency": "currency"}
    print_items(f"Ledger of {tenant}", columns, ask(tenant, "ledger", "balances", at=at)["items"], json_)


@click.command()
@in_tenant
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def transfers(tenant: str, limit: int, json_: bool) -> None:
    """Transfers of a tenant's ledger, newest first."""
    items = ask(tenant, "ledger", "transfers", limit=limit)["items"]
    for each in items if not json_ else ():
        each["moved"] = ", ".join(f"{entry['account']} {entry['amount']}" for entry in each["entries"])
    columns = {"posted": "posted_at", "what": "description", "moved": "moved", "currency": "currency"}
    print_items(f"Transfers of {tenant}", columns | {"transfer": "transfer_id"}, items, json_)


@click.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Only this tenant's ledger [GPUAAS_TENANT]; otherwise all.")
@click.option("--since", help="First instant (RFC 3339); what was before is brought forward.")
@click.option("--until", help="First instant behind it; up to now when left out.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where to save it.")
@as_json
def journal(tenant: str | None, since: str | None, until: str | None, out: Path, json_: bool) -> None:
    """Save a ledger as a beancount journal; `bean-check` adds it up again and compares every balance."""
    asked = urlencode({name: value for name, value in (("since", since), ("until", until)) if value})
    path = tenant_path(tenant, "ledger", "journal") if tenant else "/v1/ledger/journal"

    async def work() -> int:
        async with open_suite() as suite:
            return await suite.save("billing", f"{path}?{asked}" if asked else path, out)

    size = finish(work)
    if json_:
        print_json({"file": str(out), "bytes": size, "tenant_id": tenant})
    else:
        click.echo(f"{out}: {size:,} bytes")


@click.command(name="trial-balance")
@as_json
def trial_balance(json_: bool) -> None:
    """All ledgers together, by currency; exit status 1 when one does not sum to zero."""

    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.get("billing", "/v1/trial-balance")

    told = finish(work)
    if json_:
        print_json(told)
    else:
        columns = {"currency": "currency", "accounts": "accounts", "gained": "gained", "lost": "lost"}
        print_items("Trial balance", columns | {"difference": "difference"}, told["items"], json_)
    if not told["balanced"]:
        raise SystemExit(1)


ledger_commands: Final = (balances, transfers, journal, trial_balance)
