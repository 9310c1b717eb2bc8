"""`gpuaas nodes maintenance`: windows, for those who plan them and those they touch. One law: times are the world's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click
from gpuaas.cli.here import in_tenant, open_suite, order, tenant_path
from gpuaas.cli.output import as_json, finish, print_items, print_json

HOME = "/v1/maintenance-windows"


class _Moment(click.ParamType[str]):
    """A time with its zone, as RFC 3339 writes it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        except ValueError:
            self.fail(f"{value!r} is no time; write 2026-08-05T02:00:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no time zone; write 2026-08-05T02:00:00Z", param, ctx)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _goal(text: str) -> dict[str, str]:
    component, _, version = text.partition("=")
    if not component or not version:
        raise click.BadParameter(f"{text!r} is no firmware goal; write bmc=1.3")
    return {"component": component, "version": version}


@click.group()
def command() -> None:
    """Windows of time in which machines are drained, worked on, validated and returned."""


@command.command()
@click.argument("window_id")
@click.option("--node", "nodes", multiple=True, help="A machine; again for more.")
@click.option("--rack", "racks", multiple=True, help="All machines of a rack that have not retired; again for more.")
@click.option("--starts-at", type=_Moment(), required=True, help="When the machines are to be empty.")
@click.option("--ends-at", type=_Moment(), required=True, help="When they are expected back.")
@click.option("--notice-s", type=click.IntRange(0), default=86_400, show_default=True, help="Seconds of notice.")
@click.option(
    "--mode",
    type=click.Choice(["let-finish", "notice-then-stop", "now"]),
    default="notice-then-stop",
    show_default=True,
    help="How what runs there ends.",
)
@click.option("--postpone-max-s", type=click.IntRange(0), default=0, show_default=True, help="How far it may be moved.")
@click.option("--postponements-max", type=click.IntRange(0, 16), default=0, show_default=True, help="How often.")
@click.option("--firmware", multiple=True, help="component=version, in order; again for more.")
@click.option("--reason", required=True, help="What and why, in a sentence that tenants may read.")
@click.option("--over-promises", is_flag=True, help="Though reservations are left with too few GPUs by it.")
@as_json
def plan(
    window_id: str, nodes: tuple[str, ...], racks: tuple[str, ...], firmware: tuple[str, ...], json_: bool, **given: Any
) -> None:
    """Plan WINDOW_ID; tenants with work on its machines are told. Refused where it would break a reservation."""
    named = sorted({*nodes, *finish(lambda: _standing_in(racks))})
    if not named:
        raise click.UsageError("name machines with --node, or racks that have some with --rack")
    body = {"window_id": window_id, "node_ids": named, **given}
    order("nodes", HOME, body | {"firmware": [_goal(each) for each in firmware]}, json_)


async def _standing_in(racks: tuple[str, ...]) -> list[str]:
    """The machines of these racks that have not retired."""
    if not racks:
        return []
    async with open_suite() as suite:
        return [
            item["node_id"]
            for rack in racks
            async for item in suite.items("nodes", "/v1/nodes", rack=rack)
            if item["lifecycle"] != "retired"
        ]


@command.command(name="list")
@click.option("--stage", type=click.Choice(["scheduled", "started", "ended"]), help="Only this stage.")
@as_json
def list_windows(stage: str | None, json_: bool) -> None:
    """Windows by id."""

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("nodes", HOME, stage=stage)]

    columns = {"window": "window_id", "stage": "stage", "outcome": "outcome", "starts": "starts_at", "ends": "ends_at"}
    print_items("Maintenance windows", columns | {"reason": "reason"}, finish(work), json_)


@command.command()
@click.argument("window_id")
@as_json
def show(window_id: str, json_: bool) -> None:
    """One window: how far each machine is, and which claims stand on them."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            found: dict[str, Any] = await suite.get("nodes", _window(window_id))
            return found

    found = finish(work)
    if json_:
        print_json(found)
        return
    title = f"{window_id}: {found['stage']}, {found['starts_at']} to {found['ends_at']}: {found['reason']}"
    print_items(title, {"node": "node_id", "progress": "progress"}, found["nodes"], json_)
    columns = {"node": "node_id", "allocation": "allocation_id", "tenant": "tenant_id", "GPUs": "gpus"}
    print_items("Claims that stand", columns, found["claims"], json_)


@command.command()
@click.argument("window_id")
@click.option("--starts-at", type=_Moment(), required=True, help="When the machines are to be empty.")
@click.option("--reason", required=True, help="Why, in a sentence that tenants may read.")
@click.option("--tenant", envvar="GPUAAS_TENANT", help="Ask as this tenant, whose work the window touches.")
@as_json
def postpone(window_id: str, starts_at: str, reason: str, tenant: str | None, json_: bool) -> None:
    """Have WINDOW_ID begin later, within its policy."""
    path = _window(window_id) if tenant is None else tenant_path(tenant, "maintenance-windows", window_id)
    order("nodes", f"{path}/postpone", {"starts_at": starts_at, "reason": reason}, json_)


@command.command()
@click.argument("window_id")
@click.option("--reason", required=True, help="Why, in a sentence that tenants may read.")
@as_json
def cancel(window_id: str, reason: str, json_: bool) -> None:
    """Call WINDOW_ID off before it has begun."""
    order("nodes", f"{_window(window_id)}/cancel", {"reason": reason}, json_)


@command.command()
@click.argument("window_id")
@as_json
def start(window_id: str, json_: bool) -> None:
    """Begin WINDOW_ID early; every affected tenant must have accepted it."""
    order("nodes", f"{_window(window_id)}/start", {}, json_)


@command.command()
@click.argument("window_id")
@click.argument("node_id")
@click.option("--failed", help="What did not succeed; the machine then goes to repair.")
@as_json
def done(window_id: str, node_id: str, failed: str | None, json_: bool) -> None:
    """Say that the work on NODE_ID is over; it is looked at and validated next."""
    order(
        "nodes",
        f"{_window(window_id)}/nodes/{quote(node_id, safe='')}/done",
        {"failed": failed} if failed else {},
        json_,
    )


@command.command()
@click.argument("window_id")
@click.option("--reason", required=True, help="Why, in a sentence that tenants may read.")
@as_json
def end(window_id: str, reason: str, json_: bool) -> None:
    """Close WINDOW_ID as things stand; machines that never became empty stay in service."""
    order("nodes", f"{_window(window_id)}/end", {"reason": reason}, json_)


@command.command()
@in_tenant
@as_json
def notices(tenant: str, json_: bool) -> None:
    """Windows that touch a tenant's work."""

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("nodes", tenant_path(tenant, "maintenance-windows"))]

    columns = {
        "window": "window_id",
        "stage": "stage",
        "starts": "starts_at",
        "ends": "ends_at",
        "accepted": "accepted",
    }
    columns |= {"moves left": "postponements_left", "reason": "reason"}
    print_items(f"Maintenance that touches {tenant}", columns, finish(work), json_)


@command.command()
@click.argument("window_id")
@in_tenant
@as_json
def accept(window_id: str, tenant: str, json_: bool) -> None:
    """Agree to WINDOW_ID as it stands; when all affected tenants have, it may begin early."""
    order("nodes", f"{tenant_path(tenant, 'maintenance-windows', window_id)}/accept", {}, json_)


def _window(window_id: str) -> str:
    return f"{HOME}/{quote(window_id, safe='')}"
