"""`gpuaas bill document|focus|set-party|…`: papers as files. One law: bytes are kept as they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

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
    """Save an invoice or credit note, by NUMBER or id, as PDF, UBL 2.1 (EN 16931), FOCUS or plain CSV."""

    async def work() -> bytes | None:
        async with open_suite() as suite:
            for kind, id_ in (("invoices", "invoice_id"), ("credit-notes", "credit_note_id")):
                async for item in suite.items("billing", tenant_path(tenant, kind)):
                    if number in (item["number"], item[id_]):
                        path = tenant_path(tenant, kind, item[id_])
                        plain = form == "csv" and kind == "invoices"
                        path += "?format=csv" if plain else f"/document?format={form}"
                        return await suite.get_bytes("billing", path)
        return None

    content = finish(work)
    if content is None:
        fail(f"{tenant} has no invoice or credit note {number}; `gpuaas bill --tenant {tenant}` lists invoices")
    out.write_bytes(content)
    _saved(out, len(content), form, json_)


@click.command()
@in_tenant
@click.option("--since", help="Only periods that begin here or later (RFC 3339).")
@click.option("--until", help="Only periods that end here or before.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where to save it.")
@as_json
def focus(tenant: str, since: str | None, until: str | None, out: Path, json_: bool) -> None:
    """Save all invoices and credit notes as FOCUS rows; the sum of BilledCost is what is owed for them."""
    asked = urlencode({name: value for name, value in (("since", since), ("until", until)) if value})

    async def work() -> int:
        async with open_suite() as suite:
            return await suite.save("billing", tenant_path(tenant, "focus") + (f"?{asked}" if asked else ""), out)

    _saved(out, finish(work), "focus", json_)


def _saved(out: Path, size: int, form: str, json_: bool) -> None:
    if json_:
        print_json({"file": str(out), "bytes": size, "format": form})
    else:
        click.echo(f"{out}: {size:,} bytes")


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


document_commands: Final = (document, focus, party, set_party, seller, set_seller)
