"""`gpuaas login`: sign in as a person. One law: what is typed here is a code or a password, never kept.

By default this program shows a code (RFC 8628) that you approve where you are signed in already, with
`gpuaas iam approve`. With `--password` it asks for e-mail address and password, where the installation takes those.
"""

from __future__ import annotations

import asyncio
import platform
from typing import Any

import click
import httpx
from gpuaas.cli.here import addresses, session_file
from gpuaas.cli.output import as_json, fail, finish, print_json
from gpuaas.cli.session import Session

CLIENT_MAX = 100


@click.command()
@click.option("--password", "with_password", is_flag=True, help="Ask for e-mail address and password here.")
@click.option("--email", envvar="GPUAAS_EMAIL", help="Your e-mail address, with --password [GPUAAS_EMAIL].")
@as_json
def command(with_password: bool, email: str | None, json_: bool) -> None:
    """Sign in; the other commands then speak as you, until `gpuaas logout`."""
    client = f"gpuaas command line on {platform.node() or 'a machine'}"[:CLIENT_MAX]
    body: dict[str, str] = {}
    if with_password:
        email = email or click.prompt("E-mail address", err=True)
        body = {"email": email, "password": click.prompt("Password", hide_input=True, err=True), "client": client}

    async def work() -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=addresses()["iam"], timeout=30) as http:
            try:
                return await (_by_password(http, body) if with_password else _by_approval(http, client))
            except httpx.TransportError as lost:
                fail(f"iam does not answer: {lost or type(lost).__name__}")

    session = Session.of(finish(work))
    session_file().write(session)
    if json_:
        print_json({"user_id": session.user_id, "session_id": session.session_id})
    else:
        click.echo(f"Signed in as {session.user_id} (session {session.session_id}).")


async def _by_password(http: httpx.AsyncClient, body: dict[str, str]) -> dict[str, Any]:
    answer = await http.post("/v1/sessions", json=body)
    return _told(answer)


async def _by_approval(http: httpx.AsyncClient, client: str) -> dict[str, Any]:
    asked = _told(await http.post("/v1/oauth/device", data={"client_id": client}))
    click.echo(f"Your code is {asked['user_code']}. Approve it within {asked['expires_in'] // 60} minutes:", err=True)
    click.echo(f"  gpuaas iam approve {asked['user_code']}    where you are signed in already", err=True)
    interval = float(asked["interval"])
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": asked["device_code"]}
    while True:
        await asyncio.sleep(interval)
        answer = await http.post("/v1/oauth/token", data=form)
        match answer.json().get("error") if answer.status_code == 400 else None:
            case "authorization_pending":
                continue
            case "slow_down":
                interval += 5
            case _:
                return _told(answer)


def _told(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code >= 400:
        fail(str(answer.json().get("detail", f"iam answered {answer.status_code}")))
    told: dict[str, Any] = answer.json()
    return told
