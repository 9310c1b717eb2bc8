"""`gpuaas bill prices|agree|agreements|…`: what things cost, and for whom. One law: prices are told, never computed."""

from __future__ import annotations

import json
from typing import Any, Final, TextIO

import click
from gpuaas.cli.here import open_suite, tenant_path
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json, print_table

_WHOSE: Final = "say either which tenant with --tenant, or --all for a campaign for every tenant"


@click.command()
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many versions.")
@as_json
def prices(limit: int, json_: bool) -> None:
    """List prices: every version of every currency's book, with its hours of the week."""
    found = _asked("/v1/price-books", limit)
    if json_:
        print_json(found)
        return
    rows = []
    for version in found:
        named = f"{version['price_book_id']}.{version['version']}"
        since, until = version["effective_from"][:19], (version["effective_until"] or "")[:19]
        for price in version["prices"]:
            rows.append([named, since, until, price["gpu_model"], "", price["amount"]])
            for band in price["bands"] or ():
                days = "".join(str(day) for day in band["weekdays"])
                hours = f"{band['band_id']}: {band['begins']}-{band['ends']} on {days}, {version['time_zone']}"
                rows.append([named, since, until, price["gpu_model"], hours, band["amount"]])
    print_table("List prices for a GPU-hour", ["version", "from", "until", "GPU model", "hours", "amount"], rows)


@click.command(name="publish-prices")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@as_json
def publish_prices(file: TextIO, json_: bool) -> None:
    """Publish the next version of a currency's list prices from FILE, JSON as `POST /v1/price-books` takes it."""
    try:
        body = json.load(file)
    except ValueError as broken:
        fail(f"{file.name} is not JSON: {broken}", 2)
    _ordered("/v1/price-books", body, json_)


@click.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Whose prices, or --all [GPUAAS_TENANT].")
@click.option("--all", "everybody", is_flag=True, help="A campaign for every tenant that pays in --currency.")
@click.option("--currency", help="With --all: such as EUR.")
@click.option("--campaign", is_flag=True, help="For this tenant a campaign instead of a contract.")
@click.option("--from", "start", required=True, help="First instant (RFC 3339); not in time that is billed.")
@click.option("--until", help="First instant it is no longer for.")
@click.option("--rule", "rules", multiple=True, required=True, help="See above; may repeat, the first that fits holds.")
@click.option("--precedence", type=click.IntRange(0, 1000), default=0, show_default=True, help="The highest holds.")
@click.option("--on-list", is_flag=True, help="A campaign's percentage is taken of the list price.")
@click.option("--reason", required=True, help="Number or name; it stands on each line.")
@click.option("--id", "agreement_id", help="Made by the service when left out.")
@as_json
def agree(
    tenant: str | None,
    everybody: bool,
    currency: str | None,
    campaign: bool,
    start: str,
    until: str | None,
    rules: tuple[str, ...],
    precedence: int,
    on_list: bool,
    reason: str,
    agreement_id: str | None,
    json_: bool,
) -> None:
    """Agree on other prices than the list's: a contract with a tenant, or a campaign.

    A rule is written price=AMOUNT or off=PERCENT, after what it is for: model=…, project=…, label=NAME:VALUE, such as
    `--rule model=nvidia-h100-sxm-80gb,price=2.05 --rule off=12.5`. Several models or projects: write them with +.
    """
    if everybody == (tenant is not None) or everybody != (currency is not None):
        fail(f"{_WHOSE} (then also --currency)", 2)
    body: dict[str, Any] = {"effective_from": start, "precedence": precedence, "reason": reason}
    body |= {"rules": [_rule(each) for each in rules], "calculated_on": "list" if on_list else "contract"}
    body |= {name: told for name, told in (("effective_until", until), ("agreement_id", agreement_id)) if told}
    if tenant is None:
        _ordered("/v1/price-campaigns", body | {"currency": currency}, json_)
        return
    body["kind"] = "campaign" if campaign else "contract"
    _ordered(tenant_path(tenant, "price-agreements"), body, json_)


@click.command()
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Whose, with the campaigns for all; or --all [GPUAAS_TENANT].")
@click.option("--all", "everybody", is_flag=True, help="Only the campaigns for every tenant.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many.")
@as_json
def agreements(tenant: str | None, everybody: bool, limit: int, json_: bool) -> None:
    """Contracts and campaigns, in the order they were made."""
    items = _asked(f"{_home(tenant, everybody)}", limit)
    shown = [
        each
        | {
            "prices": "; ".join(_told(rule) for rule in each["rules"]),
            "until": each["ends_at"] or each["effective_until"],
        }
        for each in items
    ]
    columns = {"agreement": "agreement_id", "kind": "kind", "for": "tenant_id", "from": "effective_from"}
    columns |= {"until": "until", "precedence": "precedence", "prices": "prices", "reason": "reason"}
    print_items("Agreements on prices", columns, items if json_ else shown, json_)


@click.command(name="end-agreement")
@click.argument("agreement_id")
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Whose, or --all [GPUAAS_TENANT].")
@click.option("--all", "everybody", is_flag=True, help="A campaign for every tenant.")
@click.option("--at", help="First instant it is no longer for (RFC 3339); left out: now.")
@click.option("--reason", required=True, help="Why.")
@as_json
def end_agreement(
    agreement_id: str, tenant: str | None, everybody: bool, at: str | None, reason: str, json_: bool
) -> None:
    """End AGREEMENT_ID before its time; what was used before stays priced by it."""
    body = {"reason": reason} | ({"ends_at": at} if at else {})
    _ordered(f"{_home(tenant, everybody)}/{agreement_id}/end", body, json_)


def _home(tenant: str | None, everybody: bool) -> str:
    if everybody == (tenant is not None):
        fail(_WHOSE, 2)
    return "/v1/price-campaigns" if tenant is None else tenant_path(tenant, "price-agreements")


def _asked(path: str, limit: int) -> list[dict[str, Any]]:
    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            found: list[dict[str, Any]] = []
            async for item in suite.items("billing", path):
                found.append(item)
                if len(found) == limit:
                    break
            return found

    return finish(work)


def _ordered(path: str, body: dict[str, Any], json_: bool) -> None:
    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.post("billing", path, body)

    accepted = finish(work)
    if json_:
        print_json(accepted)
    else:
        click.echo(f"{accepted['id']}: accepted at position {accepted['position']}")


def _rule(told: str) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    for part in told.split(","):
        name, found, value = part.strip().partition("=")
        if not found or not value:
            fail(
                f"{part!r} is no part of a rule; write it as model=…, project=…, label=NAME:VALUE, price=… or off=…", 2
            )
        match name:
            case "model":
                rule["gpu_models"] = value.split("+")
            case "project":
                rule["project_ids"] = value.split("+")
            case "label":
                label, has_value, wanted = value.partition(":")
                rule |= {"label_name": label} | ({"label_value": wanted} if has_value else {})
            case "price":
                rule["amount"] = value
            case "off":
                rule["percent_off"] = value
            case _:
                fail(f"{name!r} is no part of a rule; use model, project, label, price or off", 2)
    return rule


def _told(rule: dict[str, Any]) -> str:
    price = rule["amount"] if rule["percent_off"] is None else f"-{rule['percent_off']} %"
    label = rule["label_name"] and f"{rule['label_name']}={rule['label_value'] or '*'}"
    named = [*(rule["gpu_models"] or ()), *(rule["project_ids"] or ()), *([label] if label else ())]
    return f"{price} for {', '.join(named)}" if named else f"{price}"


price_commands: Final = (prices, publish_prices, agree, agreements, end_agreement)
