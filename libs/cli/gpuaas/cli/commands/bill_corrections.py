"""`gpuaas bill correct|corrections|discrepancies|closing`. One law: what was billed stays, documents follow."""

from __future__ import annotations

from typing import Any, Final

import click
from gpuaas.cli.commands.bill_credit import ask, order
from gpuaas.cli.here import in_tenant
from gpuaas.cli.output import as_json, fail, print_items, print_json, print_table


@click.command()
@in_tenant
@click.option("--from", "start", required=True, help="First instant of the billed period (RFC 3339).")
@click.option("--to", "end", required=True, help="First instant behind it.")
@click.option(
    "--price", "prices", multiple=True, required=True, help="MODEL=AMOUNT or MODEL@VERSION=AMOUNT; may repeat."
)
@click.option("--detail", required=True, help="Why; the tenant reads it.")
@as_json
def correct(tenant: str, start: str, end: str, prices: tuple[str, ...], detail: str, json_: bool) -> None:
    """Rate a billed period again: too much is credited, what is missing is invoiced, in one step.

    See the difference before with `gpuaas bill what-if`.
    """
    body: dict[str, Any] = {"period_start": start, "period_end": end, "detail": detail}
    order(tenant, body | {"prices": [_price(told) for told in prices]}, json_, "corrections")


@click.command()
@in_tenant
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def corrections(tenant: str, limit: int, json_: bool) -> None:
    """Corrections of a tenant, newest first."""
    columns = {"correction": "correction_id", "from": "period_start", "to": "period_end", "difference": "difference"}
    items = ask(tenant, "corrections", limit=limit)["items"]
    print_items(f"Corrections of {tenant}", columns | {"currency": "currency", "why": "detail"}, items, json_)


@click.command()
@in_tenant
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def discrepancies(tenant: str, limit: int, json_: bool) -> None:
    """Where what was metered and another account of it disagree, newest first."""
    columns = {"allocation": "allocation_id", "what": "kind", "from": "found_from", "to": "found_until"}
    items = ask(tenant, "usage-discrepancies", limit=limit)["items"]
    print_items(f"Usage discrepancies of {tenant}", columns | {"GPU-ms": "gpu_ms", "detail": "detail"}, items, json_)


@click.command()
@in_tenant
@as_json
def closing(tenant: str, json_: bool) -> None:
    """What is left to do until a tenant's books are closed; exit status 1 while there is something."""
    told = ask(tenant, "closing")
    if json_:
        print_json(told)
    else:
        names = ("running", "unbilled", "owed", "credit_left")
        state = f"closed at {told['closed_at'][:19]}" if told["closed_at"] else "open"
        note = "; ".join(told["left_to_do"]) or "nothing is left to do"
        title = f"Books of {tenant} ({state}), last invoice {told['last_invoice'] or 'none'}"
        print_table(title, ["what", told["currency"]], [[name.replace("_", " "), told[name]] for name in names], note)
    if told["left_to_do"]:
        raise SystemExit(1)


def _price(told: str) -> dict[str, Any]:
    model, found, amount = told.partition("=")
    model, versioned, version = model.partition("@")
    if not model or not found or not amount or (versioned and not version.isdigit()):
        fail(f"{told!r} is no price; write it as MODEL=AMOUNT or MODEL@VERSION=AMOUNT", 2)
    return {"gpu_model": model, "amount": amount} | ({"price_book_version": int(version)} if versioned else {})


correction_commands: Final = (correct, corrections, discrepancies, closing)
