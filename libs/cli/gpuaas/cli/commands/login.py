"""`gpuaas login`: sign in as a person. One law: what is typed here is a code or a password, never kept.

By default this program shows a code (RFC 8628) that you approve where you are signed in already, with
`gpuaas iam approve`. With `--password` it asks for e-mail address and password, where the installation takes those.
With `--provider` your browser signs you in where your organisation does; `gpuaas login --providers` names them.
"""

from __future__ import annotations

import asyncio
import platform
from typing import Any

import click
import httpx
from gpuaas.cli.here import addresses, session_file
from gpuaas.cli.output import as_json, fail, finish, print_items, print_json
from gpuaas.cli.session import Session

CLIENT_MAX = 100
BROWSER_S = 600.0
"""How long somebody may take in the browser."""


@click.command()
@click.option("--password", "with_password", is_flag=True, help="Ask for e-mail address and password here.")
@click.option("--email", envvar="GPUAAS_EMAIL", help="Your e-mail address, with --password [GPUAAS_EMAIL].")
@click.option("--provider", envvar="GPUAAS_PROVIDER", help="Sign in in the browser through it [GPUAAS_PROVIDER].")
@click.option("--no-browser", is_flag=True, help="Show the address instead of opening a browser, with --provider.")
@click.option("--providers", is_flag=True, help="Show how people sign in here, and stop.")
@as_json
def command(
    with_password: bool, email: str | None, provider: str | None, no_browser: bool, providers: bool, json_: bool
) -> None:
    """Sign in; the other commands then speak as you, until `gpuaas logout`."""
    if with_password and provider:
        raise click.UsageError("sign in with --password or through a --provider")
    if providers:
        _options(json_)
        return
    client = f"gpuaas command line on {platform.node() or 'a machine'}"[:CLIENT_MAX]
    body: dict[str, str] = {}
    if with_password:
        email = email or click.prompt("E-mail address", err=True)
        body = {"email": email, "password": click.prompt("Password", hide_input=True, err=True), "client": client}

    async def work() -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=addresses()["iam"], timeout=30) as http:
            try:
                if provider:
                    return await _by_provider(http, provider, client, no_browser)
                return await (_by_password(http, body) if with_password else _by_approval(http, client))
            except httpx.TransportError as lost:
                fail(f"iam does not answer: {lost or type(lost).__name__}")

    session = Session.of(finish(work))
    session_file().write(session)
    if json_:
        print_json({"user_id": session.user_id, "session_id": session.session_id})
    else:
        click.echo(f"Signed in as {session.user_id} (session {session.session_id}).")


def _options(json_: bool) -> None:
    async def work() -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=addresses()["iam"], timeout=30) as http:
            return _told(await http.get("/v1/sign-in-options"))

    told = finish(work)
    if json_:
        print_json(told)
        return
    print_items("Sign-in providers", {"provider": "provider_id", "name": "display_name"}, told["providers"], False)
    click.echo(f"With a password: {'yes' if told['passwords'] else 'no'}")


async def _by_provider(http: httpx.AsyncClient, provider: str, client: str, no_browser: bool) -> dict[str, Any]:
    import webbrowser

    from gpuaas.cli.loopback import loopback

    async with loopback() as waiting:
        address = waiting.address(str(http.base_url).rstrip("/"), provider, client)
        opened = False if no_browser else await asyncio.to_thread(webbrowser.open, address)
        click.echo("Sign in in your browser." if opened else f"Open in your browser:\n  {address}", err=True)
        form = dict(await waiting.form(BROWSER_S))
    return _told(await http.post("/v1/oauth/token", data=form))


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
