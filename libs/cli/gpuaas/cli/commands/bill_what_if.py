"""`gpuaas bill what-if`: a past period under other prices. One law: it asks and changes nothing."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import open_suite, tenant_path
from gpuaas.cli.output import as_json, fail, finish, print_json, print_table


@click.command(name="what-if")
@click.option("--tenant", envvar="GPUAAS_TENANT", help="One tenant [GPUAAS_TENANT]; or all with --currency.")
@click.option("--currency", help="All tenants that pay in it, such as EUR.")
@click.option("--from", "start", required=True, help="First instant of the period (RFC 3339).")
@click.option("--to", "end", required=True, help="First instant behind it.")
@click.option("--price", "prices", multiple=True, required=True, help="MODEL=AMOUNT for a GPU-hour; may repeat.")
@as_json
def what_if(
    tenant: str | None, currency: str | None, start: str, end: str, prices: tuple[str, ...], json_: bool
) -> None:
    """What a past period costs under other prices, against its invoices (or list prices), by tenant and line."""
    if (tenant is None) == (currency is None):
        fail("say either which tenant with --tenant, or all of a currency with --currency", 2)
    body: dict[str, Any] = {"period_start": start, "period_end": end, "versions": [{"prices": _prices(prices)}]}

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            if tenant is not None:
                return [await suite.post("billing", tenant_path(tenant, "re-ratings"), body)]
            found: list[dict[str, Any]] = []
            cursor: str | None = ""
            while cursor is not None:
                path = f"/v1/re-ratings?cursor={cursor}" if cursor else "/v1/re-ratings"
                page = await suite.post("billing", path, body | {"currency": currency})
                found += page["items"]
                cursor = page["next_cursor"]
            return found

    found = finish(work)
    if json_:
        print_json(found)
        return
    fields = ("project_id", "gpu_model", "gpu_ms", "before", "after", "difference")
    rows = [[each["tenant_id"], *(line[name] for name in fields)] for each in found for line in each["lines"]]
    sums = [f"{each['tenant_id']}: {each['difference']} {each['currency']} (to {each['against']})" for each in found]
    columns = ["tenant", "project", "GPU model", "GPU-ms", "before", "after", "difference"]
    print_table(f"{start} to {end} under other prices", columns, rows, "; ".join(sums) or "nothing was used")


def _prices(told: tuple[str, ...]) -> list[dict[str, str]]:
    pairs = [each.partition("=") for each in told]
    if wrong := [name for name, _, amount in pairs if not name or not amount]:
        fail(f"{wrong[0]!r} is no price; write it as MODEL=AMOUNT", 2)
    return [{"gpu_model": name, "amount": amount} for name, _, amount in pairs]
