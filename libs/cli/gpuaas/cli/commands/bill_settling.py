"""`gpuaas bill due|credit-note|void-invoice|pay|tax`: what follows an invoice. One law: the invoice itself stays."""

from __future__ import annotations

from typing import Any, Final

import click
from gpuaas.cli.commands.bill_credit import ask, order
from gpuaas.cli.here import in_tenant
from gpuaas.cli.output import as_json, fail, print_items, print_json, print_table


@click.command()
@in_tenant
@click.argument("invoice_id")
@as_json
def due(tenant: str, invoice_id: str, json_: bool) -> None:
    """What is due for INVOICE_ID, and what lessened it."""
    told = ask(tenant, "invoices", invoice_id, "settlement")
    if json_:
        print_json(told)
        return
    rows = [[each["settled_at"][:19], each["kind"], each["document_id"], each["amount"]] for each in told["settled_by"]]
    note = f"net {told['net']}, gross {told['gross']}, due {told['due']} {told['currency']}: {told['status']}"
    print_table(f"{told['number']} of {tenant}", ["when", "what", "document", "amount"], rows, note)


@click.command(name="credit-note")
@in_tenant
@click.argument("invoice_id")
@click.option("--line", "lines", multiple=True, required=True, help="line=amount, such as l-1=2.49; may repeat.")
@click.option(
    "--reason",
    type=click.Choice(["correction", "goodwill"]),
    default="correction",
    show_default=True,
    help="What kind of note it is.",
)
@click.option("--detail", required=True, help="What happened; the tenant reads it.")
@as_json
def credit_note(tenant: str, invoice_id: str, lines: tuple[str, ...], reason: str, detail: str, json_: bool) -> None:
    """Give a part of INVOICE_ID back."""
    given: list[dict[str, str]] = []
    for line in lines:
        name, found, amount = line.partition("=")
        if not found:
            fail(f"{line!r} does not say how much; write line=amount, such as l-1=2.49", 2)
        given.append({"line_id": name, "amount": amount})
    body: dict[str, Any] = {"lines": given, "reason": reason, "detail": detail}
    order(tenant, body, json_, "invoices", invoice_id, "credit-notes")


@click.command(name="credit-notes")
@in_tenant
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def credit_notes(tenant: str, limit: int, json_: bool) -> None:
    """Credit notes of a tenant, newest first."""
    columns = {"number": "number", "for": "invoice_number", "reason": "reason", "net": "net", "gross": "gross"}
    items = ask(tenant, "credit-notes", limit=limit)["items"]
    print_items(f"Credit notes of {tenant}", columns | {"currency": "currency", "why": "detail"}, items, json_)


@click.command(name="void-invoice")
@in_tenant
@click.argument("invoice_id")
@click.option("--detail", required=True, help="Why; the tenant reads it.")
@as_json
def void_invoice(tenant: str, invoice_id: str, detail: str, json_: bool) -> None:
    """Give all that is left of INVOICE_ID back; refused once money has come in for it."""
    order(tenant, {"detail": detail}, json_, "invoices", invoice_id, "void")


@click.command()
@in_tenant
@click.argument("invoice_id")
@click.option("--amount", required=True, help="What came in.")
@click.option("--currency", help="What it came in as; the invoice's when left out.")
@click.option("--rate", help="Units of the invoice's currency for one of the paid one.")
@click.option("--reference", required=True, help="The bank's reference.")
@as_json
def pay(
    tenant: str, invoice_id: str, amount: str, currency: str | None, rate: str | None, reference: str, json_: bool
) -> None:
    """Record money that came in for INVOICE_ID."""
    body = {"amount": amount, "currency": currency, "rate": rate, "reference": reference}
    order(tenant, body, json_, "invoices", invoice_id, "payments")


@click.command()
@in_tenant
@click.option("--category", type=click.Choice(["S", "Z", "E", "AE", "O"]), help="Set it: UNCL5305 category.")
@click.option("--percent", default="0", show_default=True, help="Tax rate.")
@click.option("--exemption-reason", help="Why no tax is due, for E, AE and O.")
@click.option(
    "--payment-days", type=click.IntRange(0, 365), default=30, show_default=True, help="Until an invoice is due."
)
@as_json
def tax(
    tenant: str, category: str | None, percent: str, exemption_reason: str | None, payment_days: int, json_: bool
) -> None:
    """How a tenant is taxed; with --category set it for the next run on."""
    if category is None:
        print_json(ask(tenant, "tax-profile"))
        return
    body = {"category": category, "percent": percent, "exemption_reason": exemption_reason}
    order(tenant, body | {"payment_days": payment_days}, json_, "tax-profile")


settling_commands: Final = (due, credit_note, credit_notes, void_invoice, pay, tax)
