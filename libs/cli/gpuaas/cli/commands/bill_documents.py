"""`gpuaas bill document|set-party|…`: invoices as files, and whom they name. One law: bytes are kept as they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from gpuaas.cli.here import in_tenant, open_suite, tenant_path
from gpuaas.cli.output import as_json, fail, finish, print_json, print_table

_SELLER: Final = "/v1/invoice-seller"


@click.command()
@in_tenant
@click.argument("number")
@click.option(
    "--format",
    "form",
    type=click.Choice(["pdf", "ubl", "focus", "csv"]),
    default="pdf",
    show_default=True,
    help="What is saved.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where to save it.")
@as_json
def document(tenant: str, number: str, form: str, out: Path, json_: bool) -> None:
    """Save invoice NUMBER (or its id) as PDF, UBL 2.1 (EN 16931), FOCUS or plain CSV."""

    async def work() -> bytes | None:
        async with open_suite() as suite:
            async for item in suite.items("billing", tenant_path(tenant, "invoices")):
                if number in (item["number"], item["invoice_id"]):
                    path = tenant_path(tenant, "invoices", item["invoice_id"])
                    path += "?format=csv" if form == "csv" else f"/document?format={form}"
                    return await suite.get_bytes("billing", path)
        return None

    content = finish(work)
    if content is None:
        fail(f"{tenant} has no invoice {number}; `gpuaas bill --tenant {tenant}` lists them")
    out.write_bytes(content)
    if json_:
        print_json({"file": str(out), "bytes": len(content), "format": form})
    else:
        click.echo(f"{out}: {len(content):,} bytes")


def _particulars(work: Any) -> Any:
    """The options that say who somebody is on invoices."""
    for name, needed, help_ in (
        ("iban", False, "Account that invoices are paid to (the seller's)."),
        ("buyer-reference", False, "What the buyer wants to find on its invoices."),
        ("registration-id", False, "Number in the register of companies."),
        ("vat-id", False, "VAT identifier, such as DE123456789."),
        ("country", True, "Two letters, such as DE."),
        ("postal-code", True, "Postal code."),
        ("city", True, "City."),
        ("street", True, "Street and number."),
        ("legal-name", True, "Name in law."),
    ):
        work = click.option(f"--{name}", required=needed, help=help_)(work)
    return work


@click.command()
@in_tenant
@as_json
def party(tenant: str, json_: bool) -> None:
    """Who a tenant is on its invoices."""
    _show(tenant_path(tenant, "invoice-party"), f"{tenant} on invoices", json_)


@click.command(name="set-party")
@in_tenant
@_particulars
@as_json
def set_party(tenant: str, json_: bool, **told: str | None) -> None:
    """Say who a tenant is on invoices written from now on."""
    _order(tenant_path(tenant, "invoice-party"), told, json_)


@click.command()
@as_json
def seller(json_: bool) -> None:
    """Who sells, on every invoice."""
    _show(_SELLER, "Seller on invoices", json_)


@click.command(name="set-seller")
@_particulars
@as_json
def set_seller(json_: bool, **told: str | None) -> None:
    """Say who sells, on invoices written from now on."""
    _order(_SELLER, told, json_)


def _show(path: str, title: str, json_: bool) -> None:
    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            found: dict[str, Any] = await suite.get("billing", path)
            return found

    found = finish(work)
    if json_:
        print_json(found)
    else:
        print_table(title, ["what", "as told"], [[name, value] for name, value in found.items() if value])


def _order(path: str, told: dict[str, str | None], json_: bool) -> None:
    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            body = {name: value for name, value in told.items() if value is not None}
            accepted: dict[str, Any] = await suite.post("billing", path, body)
            return accepted

    accepted = finish(work)
    if json_:
        print_json(accepted)
    else:
        click.echo(f"{accepted['id']}: accepted at position {accepted['position']}")


document_commands: Final = (document, party, set_party, seller, set_seller)
