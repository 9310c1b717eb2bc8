"""`gpuaas evidence`: waivers. One law: one person asks, another approves, and everybody can read why."""

from __future__ import annotations

from typing import Any, Final

import click
from gpuaas.cli.here import open_suite, order
from gpuaas.cli.output import as_json, finish, print_items, print_json

PROFILES: Final = ("kind", "dev", "demo", "staging", "production")


@click.command()
@as_json
def waivers(json_: bool) -> None:
    """Waivers, newest first, with who stands behind them."""

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("evidence", "/v1/waivers")]

    found = finish(work)
    shown = [
        {
            **one,
            "approved_by": ", ".join(each["approved_by"] for each in one["approvals"]) or None,
            "gone": one["withdrawn"] and one["withdrawn"]["reason"],
        }
        for one in found
    ]
    columns = {"waiver": "waiver_id", "requirement": "requirement_id", "profile": "profile", "asked by": "requested_by"}
    more = {"approved by": "approved_by", "until": "expires_at", "withdrawn": "gone", "why": "reason"}
    if json_:
        print_json(found)
    else:
        print_items("Waivers", columns | more, shown, json_)


@click.command()
@click.argument("waiver")
@click.argument("release")
@click.option("--requirement", required=True, help="What may be missing.")
@click.option("--profile", type=click.Choice(PROFILES), required=True, help="Environment that it is for.")
@click.option("--reason", required=True, help="Why, for whoever approves it and for those who read it later.")
@click.option("--days", type=click.IntRange(1, 90), default=7, show_default=True, help="How long it counts.")
@as_json
def waive(waiver: str, release: str, requirement: str, profile: str, reason: str, days: int, json_: bool) -> None:
    """Ask that RELEASE may pass without a requirement for a while; somebody else has to approve WAIVER."""
    from gpuaas.cli.evidence_lookup import days_from_now, subject_of

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            subject = await subject_of(suite, release)
            body = {
                "waiver_id": waiver,
                "requirement_id": requirement,
                "subject_sha256": subject,
                "profile": profile,
                "reason": reason,
                "expires_at": await days_from_now(suite, subject, profile, days),
            }
            told: dict[str, Any] = await suite.post("evidence", "/v1/waivers", body)
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        click.echo(f"asked at position {told['position']}; another person: gpuaas evidence approve {waiver}")


@click.command()
@click.argument("waiver")
@as_json
def approve(waiver: str, json_: bool) -> None:
    """Be the second person behind WAIVER."""
    order("evidence", f"/v1/waivers/{waiver}/approval", {}, json_)


@click.command()
@click.argument("waiver")
@click.option("--reason", required=True, help="Why it is refused or taken back.")
@as_json
def withdraw(waiver: str, reason: str, json_: bool) -> None:
    """Refuse WAIVER, or take it back; gates that rest on it decide again."""
    order("evidence", f"/v1/waivers/{waiver}/withdrawal", {"reason": reason}, json_)


COMMANDS: Final = (waivers, waive, approve, withdraw)
