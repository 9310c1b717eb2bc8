"""`gpuaas evidence`: claims and gates. One law: a no says why."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_items, print_json, print_table


@click.group()
def command() -> None:
    """Claims, and what the gates decided on them."""


@command.command()
@as_json
def claims(json_: bool) -> None:
    """Claims, newest first."""
    _list(
        "claims",
        {"claim": "claim_id", "requirement": "requirement_id", "result": "result", "profile": "profile"},
        json_,
    )


@command.command()
@as_json
def gates(json_: bool) -> None:
    """Decisions, newest first."""
    _list("gates", {"gate": "gate_id", "subject": "subject_sha256", "profile": "profile", "verdict": "verdict"}, json_)


@command.command()
@click.argument("subject_sha256")
@click.option("--profile", required=True)
@as_json
def status(subject_sha256: str, profile: str, json_: bool) -> None:
    """What is shown, unknown or violated about a subject; exit status 1 unless the verdict is pass."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            path = f"/v1/releases/{subject_sha256}/status"
            told: dict[str, Any] = await suite.get("evidence", path, profile=profile)
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        rows = [[each["requirement_id"], each["verdict"], each["why"]] for each in told["reasons"]]
        print_table(f"{subject_sha256[:16]}… in {profile}: {told['verdict']}", ["requirement", "verdict", "why"], rows)
    if told["verdict"] != "pass":
        raise SystemExit(1)


def _list(what: str, columns: dict[str, str], json_: bool) -> None:
    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("evidence", f"/v1/{what}")]

    print_items(what.capitalize(), columns, finish(work), json_)
