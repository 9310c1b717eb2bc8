"""`gpuaas iam …` for invitations. One law: the token is shown once, to who invites, and handed on by them."""

from __future__ import annotations

from typing import Final

import click
from gpuaas.cli.levels import at, at_project, at_tenant, listed, post
from gpuaas.cli.output import as_json, print_json

_why = click.option("--reason", required=True, help="Why, for the people who review access.")
_token = click.option("--token", prompt=True, hide_input=True, help="What you were handed.")


@click.command()
@click.argument("email")
@click.argument("role")
@at_tenant
@at_project
@click.option("--own", is_flag=True, help="ROLE is one of the tenant's own.")
@click.option(
    "--days", type=click.IntRange(1, 30), default=7, show_default=True, help="For how long it can be accepted."
)
@click.option("--until", help="When the binding ends by itself (RFC 3339).")
@_why
@as_json
def invite(
    email: str,
    role: str,
    tenant: str | None,
    project: str | None,
    own: bool,
    days: int,
    until: str | None,
    reason: str,
    json_: bool,
) -> None:
    """Invite whoever has EMAIL to ROLE there. The token is shown now and never again: hand it to them."""
    body = {"email": email, "role": role, "days": days, "reason": reason}
    body |= ({"role_tenant_id": tenant} if own and tenant else {}) | ({"valid_until": until} if until else {})
    told = post(at(tenant, project, "invitations"), body)
    print_json(told) if json_ else click.echo(f"{told['token']}\ninvitation {told['id']}, until {told['expires_at']}")


@click.command()
@at_tenant
@at_project
@as_json
def invitations(tenant: str | None, project: str | None, json_: bool) -> None:
    """Who was invited there, and what came of it."""
    columns = {"invitation": "invitation_id", "e-mail": "email", "role": "role", "project": "project_id"}
    columns |= {"status": "status", "until": "expires_at", "by": "invited_by_id"}
    listed("Invitations", at(tenant, project, "invitations"), columns, json_)


@click.command("withdraw-invitation")
@click.argument("invitation_id")
@at_tenant
@at_project
@_why
@as_json
def withdraw(invitation_id: str, tenant: str | None, project: str | None, reason: str, json_: bool) -> None:
    """Take an invitation back."""
    told = post(at(tenant, project, "invitations", invitation_id, "withdraw"), {"reason": reason})
    print_json(told) if json_ else click.echo(f"invitation {invitation_id} is withdrawn")


@click.command("accept-invitation")
@_token
@as_json
def accept(token: str, json_: bool) -> None:
    """Accept an invitation to the address you are registered with, signed in."""
    told = post("/v1/invitation-answers", {"token": token, "answer": "accept"})
    print_json(told) if json_ else click.echo("accepted; `gpuaas whoami` shows what you hold")


@click.command("decline-invitation")
@_token
@click.option("--reason", default="not wanted", show_default=True, help="Why, for who invited you.")
@as_json
def decline(token: str, reason: str, json_: bool) -> None:
    """Decline an invitation."""
    told = post("/v1/invitation-answers", {"token": token, "answer": "decline", "reason": reason})
    print_json(told) if json_ else click.echo("declined")


COMMANDS: Final = (invite, invitations, withdraw, accept, decline)


def join(group: click.Group) -> None:
    """Be commands of `gpuaas iam`."""
    for each in COMMANDS:
        group.add_command(each)
