"""`gpuaas evidence`: claims and gates. One law: a no says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from gpuaas.cli.commands import evidence_claims, evidence_waivers
from gpuaas.cli.evidence_lookup import subject_of
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_items, print_json, print_table

PROFILES: Final = ("kind", "dev", "demo", "staging", "production")


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
@click.argument("release")
@click.option("--profile", type=click.Choice(PROFILES), required=True, help="Environment that it is for.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Also write a report to print.")
@as_json
def status(release: str, profile: str, html: Path | None, json_: bool) -> None:
    """How RELEASE (name, id or root digest) stands: satisfied, unknown, violated, waived, and why.

    Exit status 1 unless the verdict is pass.
    """

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            subject = await subject_of(suite, release)
            told: dict[str, Any] = await suite.get("evidence", f"/v1/releases/{subject}/status", profile=profile)
            return told

    told = finish(work)
    if html is not None:
        from gpuaas.cli.evidence_report import as_html

        html.write_text(as_html(told), "utf-8")
    if json_:
        print_json(told)
    else:
        _print_status(release, told)
    if told["verdict"] != "pass":
        raise SystemExit(1)


@command.command()
@click.argument("release")
@click.option("--profile", type=click.Choice(PROFILES), required=True, help="Environment that it is for.")
@click.option("--gate", default="release", show_default=True, help="Name of the gate.")
@click.option("--kind", "kinds", multiple=True, help="Only requirements of this kind; may repeat.")
@as_json
def decide(release: str, profile: str, gate: str, kinds: tuple[str, ...], json_: bool) -> None:
    """Let a gate decide about RELEASE, now, on record. Who claimed or waived may not ask."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            body = {"gate_id": gate, "subject_sha256": await subject_of(suite, release), "profile": profile}
            told: dict[str, Any] = await suite.post("evidence", "/v1/gates", {**body, "kinds": kinds})
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        rows = [[each["requirement_id"], each["verdict"], each["why"]] for each in told["reasons"]]
        print_table(f"{release} in {profile}: {told['verdict']}", ["requirement", "verdict", "why"], rows)
    if told["verdict"] != "pass":
        raise SystemExit(1)


@command.command()
@click.argument("release")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--profile", type=click.Choice(PROFILES), required=True, help="Environment that it is for.")
@click.option("--gate", default="release", show_default=True, help="Name of the gate.")
@click.option("--position", type=int, help="Where in the log the decision is; the newest one if not given.")
@as_json
def export(release: str, folder: Path, profile: str, gate: str, position: int | None, json_: bool) -> None:
    """Save a decision about RELEASE with its inputs and proofs, for `gpuaas verify decision FOLDER`."""
    from gpuaas.cli.evidence_export import export_decision

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            return await export_decision(suite, await subject_of(suite, release), profile, gate, folder, position)

    told = finish(work)
    if json_:
        print_json(told)
    else:
        click.echo(f"{told['rows']} records with proofs and {told['inputs_bytes']:,} bytes of inputs in {folder}")


@command.command()
@as_json
def controls(json_: bool) -> None:
    """Show the gate every poisoned package, now; exit status 1 unless each is refused for its own reason."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.post("evidence", "/v1/control-runs")
            return told

    told = finish(work)
    print_items("Negative controls", {"package": "name", "refused for": "found"}, told["controls"], json_)
    if told["not_refused"]:
        raise SystemExit(1)


@command.command("profile-diff")
@click.argument("weaker", type=click.Choice(PROFILES))
@click.argument("stronger", type=click.Choice(PROFILES))
@as_json
def profile_diff(weaker: str, stronger: str, json_: bool) -> None:
    """What is required otherwise in the one profile than in the other, by the requirements in force."""
    from gpuaas.cli.evidence_matrix import differences

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("evidence", "/v1/requirements")]

    found = differences(finish(work), weaker, stronger)
    columns = {"requirement": "requirement_id", "what": "what", weaker: weaker, stronger: stronger}
    print_items(f"{weaker} against {stronger}", columns, found, json_)


@command.command()
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another matrix.")
@as_json
def publish(file: Path | None, json_: bool) -> None:
    """Publish the requirement matrix; what says the same already stays the same version."""
    from gpuaas.cli.evidence_matrix import matrix

    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [await suite.post("evidence", "/v1/requirements", body) for body in matrix(file)]

    print_items("Requirements", {"requirement": "id", "version": "version"}, finish(work), json_)


def _print_status(release: str, told: dict[str, Any]) -> None:
    rows = [
        [each["requirement_id"], each["standing"], each["why"], f"/v1/artefacts/{each['statement_sha256']}"]
        if each["statement_sha256"]
        else [each["requirement_id"], each["standing"], each["why"], None]
        for each in told["requirements"]
    ]
    from gpuaas.cli.evidence_report import counted

    title = f"{release} in {told['profile']}: {told['verdict']} ({counted(told['requirements'])})"
    print_table(title, ["requirement", "stands", "why", "bytes"], rows)
    for each in told["revocations"]:
        click.echo(f"revoked {each['revoked_at']} by {each['gate_id']}: {each['cause']}")


def _list(what: str, columns: dict[str, str], json_: bool) -> None:
    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("evidence", f"/v1/{what}")]

    print_items(what.capitalize(), columns, finish(work), json_)


for _each in (*evidence_claims.COMMANDS, *evidence_waivers.COMMANDS):
    command.add_command(_each)
