"""`gpuaas iam provider…` and `identit…`: who vouches for people. One law: a secret is never an argument."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import as_json, finish, print_items, print_json

Ask = dict[str, Any]
_reason = click.option("--reason", required=True, help="Why, for the people who review access.")


def _list(title: str, path: str, columns: dict[str, str], json_: bool) -> None:
    async def work() -> list[Ask]:
        async with open_suite() as suite:
            return [item async for item in suite.items("iam", path)]

    print_items(title, columns, finish(work), json_)


def _done(method: str, path: str, body: Ask, said: str, json_: bool) -> None:
    async def work() -> Ask:
        async with open_suite() as suite:
            told: Ask = await (suite.put if method == "PUT" else suite.post)("iam", path, body)
            return told

    told = finish(work)
    print_json(told) if json_ else click.echo(said.format(**told))


@click.command()
@as_json
def providers(json_: bool) -> None:
    """Sign-in providers and their conditions."""
    columns = {"provider": "provider_id", "name": "display_name", "issuer": "issuer", "client": "client_id"}
    columns |= {"domains": "email_domains", "claims": "required_claims", "new people": "new_people"}
    _list("Sign-in providers", "/v1/identity-providers", columns, json_)


@click.command("provider-set")
@click.argument("provider_id")
@click.option("--name", required=True, help="What people read on the button.")
@click.option("--issuer", required=True, help="The provider's issuer identifier.")
@click.option("--client-id", required=True, help="As what this installation is registered there.")
@click.option("--scope", "scopes", multiple=True, default=("email", "profile"), help="Asked for beside openid.")
@click.option("--email-domain", "domains", multiple=True, help="Let in only verified addresses there.")
@click.option("--require", "claims", multiple=True, metavar="CLAIM=VALUE", help="A claim that must say this.")
@click.option(
    "--new-people",
    type=click.Choice(["refuse", "register"]),
    default="refuse",
    show_default=True,
    help="What becomes of somebody who was never here.",
)
@_reason
@as_json
def provider_set(
    provider_id: str,
    name: str,
    issuer: str,
    client_id: str,
    scopes: tuple[str, ...],
    domains: tuple[str, ...],
    claims: tuple[str, ...],
    new_people: str,
    reason: str,
    json_: bool,
) -> None:
    """Believe a provider so. A client secret goes into the file that GPUAAS_IAM_PROVIDER_SECRETS_FILE names."""
    if any("=" not in each for each in claims):
        raise click.UsageError("write --require CLAIM=VALUE")
    body: Ask = {
        "display_name": name,
        "issuer": issuer,
        "client_id": client_id,
        "scopes": scopes,
        "email_domains": domains,
        "required_claims": dict(each.split("=", 1) for each in claims),
        "new_people": new_people,
        "reason": reason,
    }
    _done("PUT", f"/v1/identity-providers/{provider_id}", body, "{id} is believed so from now on", json_)


@click.command("provider-remove")
@click.argument("provider_id")
@_reason
@as_json
def provider_remove(provider_id: str, reason: str, json_: bool) -> None:
    """Let nobody sign in through it any more."""
    path = f"/v1/identity-providers/{provider_id}/remove"
    _done("POST", path, {"reason": reason}, "nobody signs in through {id} any more", json_)


@click.command()
@click.argument("user_id")
@as_json
def identities(user_id: str, json_: bool) -> None:
    """Who a person is at sign-in providers."""
    columns = {"identity": "identity_id", "provider": "provider_id", "by": "origin", "since": "linked_at"}
    _list("Identities", f"/v1/users/{user_id}/identities", columns | {"until": "unlinked_at"}, json_)


@click.command("identity-link")
@click.argument("user_id")
@click.argument("provider_id")
@click.argument("subject")
@as_json
def identity_link(user_id: str, provider_id: str, subject: str, json_: bool) -> None:
    """Say that SUBJECT at the provider is this person."""
    body = {"provider_id": provider_id, "subject": subject}
    _done("POST", f"/v1/users/{user_id}/identities", body, "{id} linked", json_)


@click.command("identity-unlink")
@click.argument("user_id")
@click.argument("identity_id")
@_reason
@as_json
def identity_unlink(user_id: str, identity_id: str, reason: str, json_: bool) -> None:
    """Let that identity be nobody's; the person's sessions end."""
    path = f"/v1/users/{user_id}/identities/{identity_id}/unlink"
    _done("POST", path, {"reason": reason}, "{id} is nobody's any more", json_)


def join(group: click.Group) -> None:
    """Be commands of `gpuaas iam`."""
    for each in (providers, provider_set, provider_remove, identities, identity_link, identity_unlink):
        group.add_command(each)
