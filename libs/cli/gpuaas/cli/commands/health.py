"""`gpuaas nodes health`: faults, components, what the platform does by itself, and the rules. One law: a verdict says
which version of the rules judged, and other rules are shown before they judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.client import PAGE_LIMIT
from gpuaas.cli.here import open_suite, order
from gpuaas.cli.output import as_json, finish, print_items, print_json, print_table

RULES = "/v1/fault-rules"


@click.group()
def command() -> None:
    """Faults and verdicts: report, list offenders, recover, breaker, rules."""


@command.command()
@click.argument("node_id")
@click.option("--slot", type=click.IntRange(0, 63), required=True, help="Slot of the GPU.")
@click.option("--xid", type=click.IntRange(1, 100_000), help="NVIDIA driver code.")
@click.option("--class", "fault_class", help="Or a class of ours, such as thermal.")
@click.option("--detail", required=True, help="What was seen.")
@as_json
def report(node_id: str, slot: int, xid: int | None, fault_class: str | None, detail: str, json_: bool) -> None:
    """Report a fault of a GPU of NODE_ID; it is judged at once."""
    if (xid is None) is (fault_class is None):
        raise click.UsageError("give either --xid or --class")
    what: dict[str, Any] = {"xid": xid} if xid is not None else {"fault_class": fault_class}
    order("nodes", f"/v1/nodes/{quote(node_id, safe='')}/faults", {"slot": slot, "detail": detail, **what}, json_)


@command.command()
@click.option("--node", "node_id", help="Only components that sat in this machine last.")
@click.option("--condition", type=click.Choice(["healthy", "suspect", "degraded", "failed"]), help="Only these.")
@click.option("--faults-min", type=click.IntRange(0), default=0, help="With 2 or more: repeat offenders.")
@as_json
def components(node_id: str | None, condition: str | None, faults_min: int, json_: bool) -> None:
    """Components that ever had a fault, by id, over their whole lives."""

    async def work() -> list[dict[str, Any]]:
        asked = {"node_id": node_id, "condition": condition, "faults_min": faults_min or None}
        async with open_suite() as suite:
            return [item async for item in suite.items("nodes", "/v1/components", **asked)]

    columns = {"component": "component_id", "serial": "serial", "node": "node_id", "condition": "condition"}
    columns |= {"next": "action", "faults": "fault_count", "rules": "rule_version", "why": "reason"}
    print_items("Components", columns, finish(work), json_)


@command.command()
@click.argument("component_id")
@click.option("--reason", required=True, help="What was done and what proved it.")
@as_json
def recover(component_id: str, reason: str, json_: bool) -> None:
    """Say that COMPONENT_ID is healthy again; its machine opens when no other component keeps it closed."""
    order("nodes", f"/v1/components/{quote(component_id, safe='')}/recoveries", {"reason": reason}, json_)


@command.command()
@click.argument("pool_id")
@as_json
def automation(pool_id: str, json_: bool) -> None:
    """What the platform closed, reset and rebooted by itself in POOL_ID, and its breaker."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            found: dict[str, Any] = await suite.get("nodes", f"/v1/pools/{quote(pool_id, safe='')}/automation")
            return found

    found = finish(work)
    if json_:
        print_json(found)
        return
    breaker = "open, until a person closes it" if found["breaker_open"] else "closed"
    print_table(pool_id, ["", ""], [["breaker", breaker], ["withdrawn", ", ".join(found["withdrawn"]) or "none"]])
    columns = {"node": "node_id", "component": "component_id", "fault": "fault_number", "held back by": "guard"}
    columns |= {"for a promise": "leased", "answers": "attempt"}
    print_items("Left open, and asked for again", columns, found["withheld"], json_)
    columns = {"component": "component_id", "fault": "fault_number", "action": "action", "held back by": "guard"}
    print_items("Remedies", columns, found["remedies"], json_)


@command.command(name="close-breaker")
@click.argument("pool_id")
@click.option("--reason", required=True, help="What was found, for those who read the trail.")
@as_json
def close_breaker(pool_id: str, reason: str, json_: bool) -> None:
    """Let automation in POOL_ID go on after a look."""
    order("nodes", f"/v1/pools/{quote(pool_id, safe='')}/automation/breaker/close", {"reason": reason}, json_)


@command.group()
def rules() -> None:
    """The rules that judge faults: show them, try others, switch those on."""


@rules.command()
@as_json
def show(json_: bool) -> None:
    """Every XID with its class, verdict and sources. The JSON is what `try` and `switch-on` take, once changed."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            found: dict[str, Any] = await suite.get("nodes", RULES)
            return found

    found = finish(work)
    if json_:
        print_json(found)
        return
    columns = {"XID": "xid", "class": "fault_class", "condition": "condition", "action": "action", "NVIDIA": "nvidia"}
    items = [{**code, "sources": ", ".join(code["sources"])} for code in found["codes"]]
    print_items(f"Rules {found['version']}", columns | {"sources": "sources"}, items, json_)


@rules.command(name="try")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--limit", type=click.IntRange(0), default=50, show_default=True, help="Verdicts shown; 0: all.")
@as_json
def try_rules(file: Path, limit: int, json_: bool) -> None:
    """Judge all recorded faults by the rules in FILE too, and show which verdicts would differ."""

    async def work() -> dict[str, Any]:
        candidate, page_max = _candidate(file), min(limit or PAGE_LIMIT, PAGE_LIMIT)
        async with open_suite() as suite:
            found: dict[str, Any] = await suite.post("nodes", f"{RULES}/replays?limit={page_max}", candidate)
            while (cursor := found["next_cursor"]) and (limit == 0 or len(found["items"]) < limit):
                path = f"{RULES}/replays?limit={page_max}&cursor={quote(cursor, safe='')}"
                page = await suite.post("nodes", path, candidate)
                found = {**page, "items": found["items"] + page["items"]}
            return found

    found = finish(work)
    if json_:
        print_json(found)
        return
    title = f"{found['differences']} of {found['turns']} verdicts differ: {found['versions']['before']} → "
    columns = {"class": "fault_class", "before": "before", "after": "after"}
    print_items(title + found["versions"]["after"], columns | {"verdicts": "verdicts"}, _told(found["summary"]), json_)
    first = {"component": "component_id", "fault": "fault_number"}
    items = found["items"][: limit or None]
    print_items(f"The first {len(items)}", first | columns, _told(items), json_)


@rules.command(name="switch-on")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--differences", type=click.IntRange(0), required=True, help="How many `try` has shown you.")
@click.option("--reason", required=True, help="Why, for those who read the trail.")
@as_json
def switch_on(file: Path, differences: int, reason: str, json_: bool) -> None:
    """Let the rules in FILE judge from here on; refused when a replay shows other differences by now."""
    order("nodes", RULES, {**_candidate(file), "differences_seen": differences, "reason": reason}, json_)


def _candidate(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text("utf-8"))
        return {name: told[name] for name in ("version", "classes", "attempts", "xid")}
    except (ValueError, KeyError, TypeError) as wrong:
        hint = "begin with `gpuaas nodes health rules show --json`"
        raise click.BadParameter(f"{file} holds no rules: {wrong}; {hint}") from None


def _told(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "before": _verdict(each["before"]), "after": _verdict(each["after"])} for each in items]


def _verdict(verdict: dict[str, str]) -> str:
    return f"{verdict['condition']}, {verdict['action']}"
