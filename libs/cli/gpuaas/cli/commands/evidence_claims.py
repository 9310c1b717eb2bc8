"""`gpuaas evidence`: releases and claims, by hand. One law: what will be covered is said before the run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json
from gpuaas.common.errors import NotFound

if TYPE_CHECKING:
    from gpuaas.cli.client import Suite

PROFILES: Final = ("kind", "dev", "demo", "staging", "production")
PIECE_BYTES: Final = 1 << 20
JSON: Final = "application/json"
in_days = click.IntRange(1, 366)


@click.command()
@as_json
def releases(json_: bool) -> None:
    """Registered releases, newest first."""
    columns = {"release": "name", "root": "root_sha256", "registered": "registered_at", "by": "registered_by"}
    print_items("Releases", columns, _all_of("/v1/releases"), json_)


@click.command()
@as_json
def openings(json_: bool) -> None:
    """Claims that were opened and neither submitted nor abandoned yet."""
    columns = {"claim": "claim_id", "requirement": "requirement_id", "profile": "profile", "until": "closes_at"}
    print_items("Opened", columns, _all_of("/v1/openings"), json_)


@click.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kind", default="document", show_default=True, help="What they are: wheel, image, source, schema, …")
@click.option("--commit", help="Revision that they were made from.")
@as_json
def register(name: str, files: tuple[Path, ...], kind: str, commit: str | None, json_: bool) -> None:
    """Register the release NAME by the digests of FILES; nothing is uploaded."""
    parts = []
    for file in files:
        digest, size = _digest_of(file)
        parts.append({"name": file.name, "kind": kind, "sha256": digest, "size_bytes": size})
    body: dict[str, Any] = {"name": name, "components": parts} | ({"commit": commit} if commit else {})
    told = _posted("/v1/releases", body)
    print_json(told) if json_ else click.echo(told["root_sha256"])


@click.command("open")
@click.argument("claim")
@click.argument("release")
@click.option("--requirement", required=True, help="What it will show.")
@click.option("--profile", type=click.Choice(PROFILES), required=True, help="Environment that it will run in.")
@click.option("--procedure", required=True, help="What will be done, so that others can do it again.")
@click.option("--procedure-id", help="Name in the service's list of what may be run again (R3).")
@click.option("--covers", "scope", multiple=True, required=True, help="What it will cover; may repeat.")
@click.option("--closes-in-days", type=in_days, default=7, show_default=True, help="Time to submit.")
@as_json
def open_claim(claim: str, release: str, scope: tuple[str, ...], closes_in_days: int, json_: bool, **said: Any) -> None:
    """Open CLAIM about RELEASE before its run: afterwards nothing of this can be changed."""
    from gpuaas.cli.evidence_lookup import days_from_now, subject_of

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            subject = await subject_of(suite, release)
            body = {
                "requirement_id": said["requirement"],
                "subject_sha256": subject,
                "profile": said["profile"],
                "procedure": said["procedure"],
                "scope": scope,
                "closes_at": await days_from_now(suite, subject, said["profile"], closes_in_days),
            }
            if said["procedure_id"]:
                body["procedure_id"] = said["procedure_id"]
            told: dict[str, Any] = await suite.post("evidence", f"/v1/claims/{claim}/opening", body)
            return told

    _accepted(finish(work), json_)


@click.command()
@click.argument("claim")
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--result", type=click.Choice(["passed", "failed"]), required=True, help="What came out.")
@click.option("--media-type", default=JSON, show_default=True, help="What the report is; it chooses the parser.")
@click.option("--fact", "facts", multiple=True, help="NAME=VALUE@POINTER into the report (RFC 6901); may repeat.")
@click.option("--expires-in-days", type=in_days, default=7, show_default=True, help="How long it counts.")
@as_json
def submit(
    claim: str,
    report: Path,
    result: str,
    media_type: str,
    facts: tuple[str, ...],
    expires_in_days: int,
    json_: bool,
) -> None:
    """Submit the opened CLAIM with its REPORT: uploaded, signed, recorded and read back."""
    from gpuaas.cli.evidence_lookup import days_from_now

    stated = [_fact(text) for text in facts]

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            opened = await _opened(suite, claim)
            digest, size = _digest_of(report)
            await suite.put_bytes("evidence", f"/v1/artefacts/{digest}", Pieces(report), media_type)
            named = {"name": "report", "sha256": digest, "size_bytes": size, "media_type": media_type}
            same = ("claim_id", "requirement_id", "subject_sha256", "profile", "procedure", "procedure_id", "scope")
            body = {
                **{name: opened[name] for name in same if name in opened},
                "result": result,
                "artefacts": [named],
                "facts": stated,
                "expires_at": await days_from_now(suite, opened["subject_sha256"], opened["profile"], expires_in_days),
            }
            told: dict[str, Any] = await suite.post("evidence", "/v1/claims", body)
            return told

    _accepted(finish(work), json_)


@click.command()
@click.argument("claim")
@click.option("--reason", required=True, help="Why the run gave nothing; the gate repeats it.")
@as_json
def abandon(claim: str, reason: str, json_: bool) -> None:
    """Say that the run CLAIM was opened for gave nothing to show."""
    _accepted(_posted(f"/v1/claims/{claim}/abandonment", {"reason": reason}), json_)


@click.command("read-back")
@click.argument("claim")
@click.option("--level", type=click.Choice(["R1", "R2", "R3", "R4"]), default="R2", show_default=True, help="How deep.")
@as_json
def read_back(claim: str, level: str, json_: bool) -> None:
    """Read CLAIM back now: bytes, facts, the procedure run again, or what runs. Exit status 1 unless confirmed."""
    told = _posted(f"/v1/claims/{claim}/readbacks", {"level": level})
    print_items(
        f"{claim} at {level}", {"level": "level", "outcome": "outcome", "what": "detail"}, told["readbacks"], json_
    )
    if any(one["outcome"] != "confirmed" for one in told["readbacks"]):
        raise SystemExit(1)


@click.command()
@click.argument("sha256")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@as_json
def fetch(sha256: str, file: Path, json_: bool) -> None:
    """Save the artefact or statement with this digest as FILE; it is hashed here again."""

    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            content = await suite.get_bytes("evidence", f"/v1/artefacts/{sha256}")
        return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content), "content": content}

    found = finish(work)
    content = found.pop("content")
    if found["sha256"] != sha256:
        fail(f"the bytes that came hash to {found['sha256']}; nothing was saved")
    file.write_bytes(content)
    print_json(found) if json_ else click.echo(f"{found['size_bytes']:,} bytes in {file}")


class Pieces:
    """A file as a body that is read piece by piece, from its beginning each time it is sent."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def __aiter__(self) -> Any:
        with self._file.open("rb") as opened:
            while piece := opened.read(PIECE_BYTES):
                yield piece


def _digest_of(file: Path) -> tuple[str, int]:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest(), file.stat().st_size


def _fact(text: str) -> dict[str, str]:
    name, equals, rest = text.partition("=")
    value, at, pointer = rest.rpartition("@")
    if not (name and equals and at):
        fail(f"{text!r} is no fact; write NAME=VALUE@POINTER, such as failed=0@/failed")
    return {"name": name, "value": value, "artefact": "report", "pointer": pointer}


async def _opened(suite: Suite, claim: str) -> dict[str, Any]:
    async for one in suite.items("evidence", "/v1/openings"):
        if one["claim_id"] == claim:
            return one
    raise NotFound(f"no claim {claim} waits to be submitted; `gpuaas evidence openings` lists those that do")


def _posted(path: str, body: dict[str, Any]) -> dict[str, Any]:
    async def work() -> dict[str, Any]:
        async with open_suite() as suite:
            told: dict[str, Any] = await suite.post("evidence", path, body)
            return told

    return finish(work)


def _all_of(path: str) -> list[dict[str, Any]]:
    async def work() -> list[dict[str, Any]]:
        async with open_suite() as suite:
            return [item async for item in suite.items("evidence", path)]

    return finish(work)


def _accepted(told: dict[str, Any], json_: bool) -> None:
    if json_:
        print_json(told)
    else:
        click.echo(f"accepted at position {told['position']}; signed as {told['statement_sha256']}")


COMMANDS: Final = (releases, openings, register, open_claim, submit, abandon, read_back, fetch)
