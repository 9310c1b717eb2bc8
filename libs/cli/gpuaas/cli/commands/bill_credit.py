"""`gpuaas bill credit|grant|…`: prepaid credit, budgets, the ladder. One law: orders say what they did and where."""

from __future__ import annotations

from typing import Any, Final

import click
from gpuaas.cli.here import in_tenant, open_suite, tenant_path
from gpuaas.cli.output import as_json, finish, print_items, print_json, print_table


def ask(tenant: str, *path: str, **query: Any) -> Any:
    """The answer of billing to a question about a tenant."""

    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.get("billing", tenant_path(tenant, *path), **query)

    return finish(work)


def order(tenant: str, body: dict[str, Any], json_: bool, *path: str) -> None:
    """Give billing an order about a tenant and say that it was taken."""

    async def work() -> Any:
        async with open_suite() as suite:
            given = {name: value for name, value in body.items() if value is not None}
            return await suite.post("billing", tenant_path(tenant, *path), given)

    accepted = finish(work)
    if json_:
        print_json(accepted)
    else:
        click.echo(f"{accepted['id']}: accepted at position {accepted['position']}")


@click.command()
@in_tenant
@click.option("--at", help="As it stood at this moment (RFC 3339).")
@as_json
def credit(tenant: str, at: str | None, json_: bool) -> None:
    """Prepaid credit: what each grant has left, what is held, how long it lasts."""
    told = ask(tenant, "credits", at=at)
    if json_:
        print_json(told)
        return
    hold = told["hold"]
    note = f"free {told['free']}, held {told['held']} {told['currency']} as of {told['as_of'][:19]}"
    if hold is not None:
        note += f"; {hold['burn_per_hour']} an hour, {hold['uncovered']} not covered, held until {hold['covers_until']}"
    columns = ("grant", "kind", "priority", "ends", "granted", "free", "held", "applied", "lapsed")
    fields = ("grant_id", "kind", "priority", "expires_at", "amount", "free", "held", "applied", "lapsed")
    print_table(f"Credit of {tenant}", columns, [[each[name] for name in fields] for each in told["grants"]], note)


@click.command()
@in_tenant
@click.option("--amount", required=True, help="In the tenant's currency, such as 500.00.")
@click.option("--reference", required=True, help="Order, contract or campaign.")
@click.option(
    "--kind",
    type=click.Choice(["purchased", "promotional"]),
    default="purchased",
    show_default=True,
    help="Paid for, or given.",
)
@click.option("--priority", type=click.IntRange(0, 100), default=50, show_default=True, help="Lower burns first.")
@click.option("--project", "projects", multiple=True, help="Only for this project; may repeat.")
@click.option("--expires", help="When the rest lapses (RFC 3339).")
@as_json
def grant(
    tenant: str,
    amount: str,
    reference: str,
    kind: str,
    priority: int,
    projects: tuple[str, ...],
    expires: str | None,
    json_: bool,
) -> None:
    """Grant prepaid credit."""
    body = {"amount": amount, "reference": reference, "kind": kind, "priority": priority}
    order(tenant, body | {"project_ids": list(projects), "expires_at": expires}, json_, "credits")


@click.command()
@in_tenant
@click.argument("grant_id")
@click.option("--reason", required=True, help="Why, for those who read the trail.")
@as_json
def void(tenant: str, grant_id: str, reason: str, json_: bool) -> None:
    """Take back what is left of GRANT_ID."""
    order(tenant, {"reason": reason}, json_, "credits", grant_id, "void")


@click.command()
@in_tenant
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def movements(tenant: str, limit: int, json_: bool) -> None:
    """Every movement of credit, newest first."""
    columns = {"when": "moved_at", "grant": "grant_id", "what": "kind", "free": "free", "held": "held"}
    columns |= {"project": "project_id", "document": "document_id"}
    print_items("Credit movements", columns, ask(tenant, "credit-movements", limit=limit)["items"], json_)


@click.command()
@in_tenant
@as_json
def spending(tenant: str, json_: bool) -> None:
    """The spending ladder: where the tenant, its budgets and operators' orders stand."""
    columns = {"scope": "scope_id", "project": "project_id", "level": "level", "cause": "cause"}
    columns |= {"runway s": "runway_s", "ends": "grace_until", "why": "detail"}
    print_items(f"Spending of {tenant}", columns, ask(tenant, "spending")["items"], json_)


@click.command(name="set-spending")
@in_tenant
@click.argument("level", type=click.Choice(["open", "blocked", "stopping"]))
@click.option("--detail", required=True, help="Why; the tenant reads it.")
@click.option("--grace", "grace_s", type=click.IntRange(0), help="With stopping: seconds until what runs ends.")
@as_json
def set_spending(tenant: str, level: str, detail: str, grace_s: int | None, json_: bool) -> None:
    """Block, stop or open a tenant's spending by an operator's word."""
    order(tenant, {"level": level, "detail": detail, "grace_s": grace_s}, json_, "spending")


@click.command()
@in_tenant
@as_json
def budgets(tenant: str, json_: bool) -> None:
    """Budgets and how far they are this month."""
    columns = {"budget": "budget_id", "project": "project_id", "label": "label_name", "month": "month"}
    columns |= {"amount": "amount", "spent": "spent", "an hour": "per_hour", "action": "action"}
    print_items(f"Budgets of {tenant}", columns, ask(tenant, "budgets")["items"], json_)


@click.command(name="set-budget")
@in_tenant
@click.argument("budget_id")
@click.option("--amount", required=True, help="What a month may cost.")
@click.option("--project", help="Only this project.")
@click.option("--label", help="Only allocations with this label, as name=value.")
@click.option("--actual", type=click.IntRange(1, 1000), multiple=True, help="Percent spent at which to say so.")
@click.option("--forecast", type=click.IntRange(1, 1000), multiple=True, help="Percent forecast at which to say so.")
@click.option("--block", is_flag=True, help="Nothing new starts once it is spent.")
@as_json
def set_budget(
    tenant: str,
    budget_id: str,
    amount: str,
    project: str | None,
    label: str | None,
    actual: tuple[int, ...],
    forecast: tuple[int, ...],
    block: bool,
    json_: bool,
) -> None:
    """Set a monthly budget, or another in its place."""
    name, _, value = (label or "").partition("=")
    said = [("actual", each) for each in actual or (() if forecast else (100,))]
    said += [("forecast", each) for each in forecast]
    body: dict[str, Any] = {"budget_id": budget_id, "amount": amount, "project_id": project}
    body |= {"label_name": name or None, "label_value": value or None, "action": "block" if block else "notify"}
    body["thresholds"] = [{"percent": percent, "of": of} for of, percent in said]
    order(tenant, body, json_, "budgets")


@click.command()
@as_json
def conservation(json_: bool) -> None:
    """Lines, invoices, receivables, balances and usage compared; exit status 1 when something differs."""

    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.get("billing", "/v1/conservation")

    told = finish(work)
    columns = {"check": "check", "tenant": "tenant_id", "thing": "thing", "one": "left", "other": "right"}
    if json_:
        print_json(told)
    else:
        print_items("Differences", columns, told["differences"], json_)
        click.echo(f"{told['invoices']} invoices, {told['usage_records']} usage records, {told['transfers']} transfers")
    if not told["conserved"]:
        raise SystemExit(1)


credit_commands: Final = (credit, grant, void, movements)
budget_commands: Final = (spending, set_spending, budgets, set_budget, conservation)
