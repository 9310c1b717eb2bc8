"""`gpuaas bill`: what a tenant owes. One law: amounts are shown as the ledger has them, never computed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from gpuaas.cli.commands.bill_corrections import correction_commands
from gpuaas.cli.commands.bill_credit import budget_commands, credit_commands
from gpuaas.cli.commands.bill_documents import document_commands
from gpuaas.cli.commands.bill_ledger import ledger_commands
from gpuaas.cli.commands.bill_meters import meter_commands
from gpuaas.cli.commands.bill_prices import price_commands
from gpuaas.cli.commands.bill_runs import run_commands
from gpuaas.cli.commands.bill_settling import settling_commands
from gpuaas.cli.commands.bill_what_if import what_if
from gpuaas.cli.here import open_suite, tenant_path
from gpuaas.cli.output import as_json, fail, finish, print_json, print_table


@click.group(invoke_without_command=True)
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Tenant id [GPUAAS_TENANT].")
@click.option("--invoice", "number", help="This invoice with its lines (number or id).")
@click.option("--bundle", type=click.Path(dir_okay=False, path_type=Path), help="Save its proof for `gpuaas verify`.")
@as_json
@click.pass_context
def command(ctx: click.Context, tenant: str | None, number: str | None, bundle: Path | None, json_: bool) -> None:
    """Invoices of a tenant, what is not billed yet, and its ledger; with --invoice one of them."""
    if ctx.invoked_subcommand is not None:
        return
    if tenant is None:
        fail("say which tenant with --tenant, or a command such as `gpuaas bill credit`", 2)
    if number is None:
        if bundle is not None:
            fail("--bundle saves the proof of one invoice: say which with --invoice", 2)
        _summary(tenant, json_)
        return

    async def work() -> dict[str, Any] | None:
        async with open_suite() as suite:
            async for item in suite.items("billing", tenant_path(tenant, "invoices")):
                if number in (item["number"], item["invoice_id"]):
                    whole: dict[str, Any] = await suite.get(
                        "billing", tenant_path(tenant, "invoices", item["invoice_id"])
                    )
                    if bundle is not None:
                        path = tenant_path(tenant, "bundles", "invoices", item["invoice_id"])
                        bundle.write_bytes(await suite.get_bytes("audit", path))
                    return whole
        return None

    invoice = finish(work)
    if invoice is None:
        fail(f"{tenant} has no invoice {number}; `gpuaas bill --tenant {tenant}` lists them")
    if json_:
        print_json(invoice)
        return
    rows = [
        [
            line["project_id"],
            line["gpu_model"],
            int(line["gpu_ms"]),
            line["list_price"] or line["unit_price"],
            " ".join(f"{step['step']} {step['name']}: {step['price']};" for step in line["applied"] or ()).rstrip(";"),
            line["unit_price"],
            line["usage_count"],
            line["amount"],
        ]
        for line in invoice["lines"]
    ]
    title = f"{invoice['number']} of {tenant}, {invoice['period_start'][:10]} to {invoice['period_end'][:10]}"
    columns = [
        "project",
        "GPU model",
        "GPU-ms",
        "list price",
        "applied",
        "per GPU-hour",
        "allocations",
        invoice["currency"],
    ]
    print_table(title, columns, rows, f"total {invoice['total']} {invoice['currency']}")


def _summary(tenant: str, json_: bool) -> None:
    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            invoices = [item async for item in suite.items("billing", tenant_path(tenant, "invoices"))]
            charges = await suite.get("billing", tenant_path(tenant, "charges"))
            balances = await suite.get("billing", tenant_path(tenant, "ledger", "balances"))
            return {"invoices": invoices, "charges": charges, "balances": balances["items"]}

    told = finish(work)
    if json_:
        print_json(told)
        return
    rows = [
        [each["number"], each["period_start"][:10], each["period_end"][:10], each["total"]] for each in told["invoices"]
    ]
    charges = told["charges"]
    hour = "no price" if charges["per_hour"] is None else charges["per_hour"]["total"]
    note = (
        f"not billed yet: {charges['total']} {charges['currency']} as of {charges['as_of'][:19]}, "
        f"and {hour} for the next hour as it runs now"
    )
    print_table(f"Invoices of {tenant}", ["invoice", "from", "to", charges["currency"]], rows, note)
    accounts = [[each["account"], each["balance"], each["currency"]] for each in told["balances"]]
    print_table("Ledger", ["account", "balance", "currency"], accounts)


for _part in (
    *credit_commands,
    *budget_commands,
    *document_commands,
    *settling_commands,
    *correction_commands,
    *ledger_commands,
    *run_commands,
    *price_commands,
    *meter_commands,
    what_if,
):
    command.add_command(_part)
