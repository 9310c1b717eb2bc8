"""`gpuaas audit person|hold|lift|erase|certificate`. One law: what cannot be taken back asks first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_json, print_table

BASES: Final = ("request", "retention-ended", "consent-withdrawn")
_reason = click.option("--reason", required=True, help="Why; it stays in the log for good, so name no personal data.")


def _of(person: str, rest: str = "") -> str:
    return f"/v1/data-subjects/{quote(person, safe='')}{rest}"


def _ordered(path: str, body: dict[str, Any], json_: bool, said: str) -> None:
    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.post("audit", path, body)
            return told

    told = finish(work)
    if json_:
        print_json(told)
    else:
        click.echo(said.format(**told))


@click.command()
@click.argument("person")
@as_json
def person(person: str, json_: bool) -> None:
    """What stands for a person's data: legal holds, and whether it was erased."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.get("audit", _of(person))
            return told

    told = finish(work)
    if json_:
        print_json(told)
        return
    rows = [[hold["hold_id"], hold["matter"]] for hold in told["holds"]]
    note = f"{told['status']}" + (f", erasure {told['erasure_id']}" if told["erasure_id"] else "")
    print_table(f"Legal holds of {person}", ["hold", "matter"], rows, note)


@click.command()
@click.argument("person")
@click.option("--matter", required=True, help="The case that demands it, as people cite it.")
@_reason
@as_json
def hold(person: str, matter: str, reason: str, json_: bool) -> None:
    """Forbid erasing a person's data while a case is open."""
    body = {"matter": matter, "reason": reason}
    _ordered(_of(person, "/legal-holds"), body, json_, f"hold {{id}} stands for {person}")


@click.command()
@click.argument("person")
@click.argument("hold")
@_reason
@as_json
def lift(person: str, hold: str, reason: str, json_: bool) -> None:
    """End a legal hold."""
    path = _of(person, f"/legal-holds/{quote(hold, safe='')}/lift")
    _ordered(path, {"reason": reason}, json_, f"hold {{id}} stands no longer for {person}")


@click.command()
@click.argument("person")
@click.option("--basis", type=click.Choice(BASES), default="request", show_default=True, help="On what ground in law.")
@_reason
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def erase(person: str, basis: str, reason: str, yes: bool, json_: bool) -> None:
    """Have a person's data erased for good: the key to it is destroyed. Refused while a legal hold stands."""
    if not yes:
        click.confirm(f"Destroy the key to everything personal of {person}? It cannot be taken back", abort=True)
    said = f"erasure {{id}} ordered; `gpuaas audit certificate {person} FILE` gives the proof"
    _ordered(_of(person, "/erasure"), {"basis": basis, "reason": reason}, json_, said)


@click.command()
@click.argument("person")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@as_json
def certificate(person: str, file: Path, json_: bool) -> None:
    """Save the proof that a person's data was erased; check it with `gpuaas verify erasure`."""

    async def work() -> bytes:
        async with open_suite() as suite:
            return await suite.get_bytes("audit", _of(person, "/erasure/certificate"))

    content = finish(work)
    file.write_bytes(content)
    if json_:
        print_json({"file": str(file), "bytes": len(content)})
    else:
        click.echo(f"{len(content):,} bytes in {file}; now: gpuaas verify erasure {file} --key …", err=True)


COMMANDS: Final = (person, hold, lift, erase, certificate)
