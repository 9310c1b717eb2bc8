"""`gpuaas logout`: end the session here. One law: the file goes even where iam cannot be told."""

from __future__ import annotations

import click
from gpuaas.cli.client import Refused, Suite, Unreachable
from gpuaas.cli.here import addresses, session_file
from gpuaas.cli.output import as_json, finish, print_json
from gpuaas.cli.session import SignedOut
from gpuaas.common.errors import Misconfigured


@click.command()
@as_json
def command(json_: bool) -> None:
    """End the session of `gpuaas login`, here and in every service."""
    file = session_file()
    if not file.path.exists():
        _tell("Nobody is signed in here.", json_)
        return

    async def work() -> str:
        try:
            session = file.read()
            async with Suite(addresses(), file) as suite:
                await suite.post("iam", f"/v1/me/sessions/{session.session_id if session else ''}/end")
        except SignedOut:
            return "The session was over already."
        except (Refused, Unreachable, Misconfigured) as lost:
            return f"Forgotten here; iam could not be told ({lost}), so the session lasts until it expires."
        return "Signed out."

    said = finish(work)
    file.forget()
    _tell(said, json_)


def _tell(said: str, json_: bool) -> None:
    print_json({"said": said}) if json_ else click.echo(said)
