"""`gpuaas iam …` across tenants: projects shared with others. One law: an offer gives nothing until it is accepted."""

from __future__ import annotations

from typing import Final

import click
from gpuaas.cli.here import project_path, tenant_path
from gpuaas.cli.levels import at, at_project, listed, post
from gpuaas.cli.output import as_json, print_json

_of_tenant = click.option("--tenant", envvar="GPUAAS_TENANT", required=True, help="Tenant id [GPUAAS_TENANT].")
_of_project = click.option("--project", envvar="GPUAAS_PROJECT", required=True, help="Project id [GPUAAS_PROJECT].")
_why = click.option("--reason", required=True, help="Why, for the people of both tenants who review access.")
_COLUMNS: Final = {
    "share": "share_id",
    "status": "status",
    "owner": "tenant_id",
    "project": "project_id",
    "with": "receiver_tenant_id",
    "kind": "principal_kind",
    "id": "principal_id",
    "role": "role",
    "until": "valid_until",
}


@click.command()
@click.argument("receiver")
@click.argument("kind", type=click.Choice(["user", "service-account", "group"]))
@click.argument("principal_id")
@click.argument("role")
@_of_tenant
@_of_project
@click.option("--own", is_flag=True, help="ROLE is one of the tenant's own.")
@click.option("--until", help="When it ends by itself (RFC 3339).")
@_why
@as_json
def share(
    receiver: str,
    kind: str,
    principal_id: str,
    role: str,
    tenant: str,
    project: str,
    own: bool,
    until: str | None,
    reason: str,
    json_: bool,
) -> None:
    """Offer ROLE in a project of yours to somebody of the tenant RECEIVER, as it named them to you."""
    body = {"receiver_tenant_id": receiver, "principal_kind": kind, "principal_id": principal_id, "role": role}
    body |= {"reason": reason} | ({"role_tenant_id": tenant} if own else {}) | ({"valid_until": until} if until else {})
    told = post(project_path(tenant, project, "shares"), body)
    print_json(told) if json_ else click.echo(f"share {told['id']} is offered; it counts once {receiver} accepts it")


@click.command()
@_of_tenant
@at_project
@as_json
def shares(tenant: str, project: str | None, json_: bool) -> None:
    """With whom a tenant shares its projects, and what it offers; also what is over."""
    listed("Shares", at(tenant, project, "shares"), _COLUMNS, json_)


@click.command()
@click.argument("share_id")
@_of_tenant
@_of_project
@_why
@as_json
def unshare(share_id: str, tenant: str, project: str, reason: str, json_: bool) -> None:
    """End a share of a project of yours, or take back its offer."""
    told = post(project_path(tenant, project, "shares", share_id, "end"), {"reason": reason})
    print_json(told) if json_ else click.echo(f"share {share_id} has ended")


@click.command("received-shares")
@_of_tenant
@as_json
def received_shares(tenant: str, json_: bool) -> None:
    """What other tenants share with yours, and what they offer."""
    listed("Received shares", tenant_path(tenant, "received-shares"), _COLUMNS, json_)


@click.command("accept-share")
@click.argument("share_id")
@_of_tenant
@_why
@as_json
def accept_share(share_id: str, tenant: str, reason: str, json_: bool) -> None:
    """Accept that somebody of yours holds a role in another tenant's project."""
    told = post(tenant_path(tenant, "received-shares", share_id, "accept"), {"reason": reason})
    print_json(told) if json_ else click.echo(f"share {share_id} stands")


@click.command("return-share")
@click.argument("share_id")
@_of_tenant
@_why
@as_json
def return_share(share_id: str, tenant: str, reason: str, json_: bool) -> None:
    """Decline an offered share, or give back one that stands."""
    told = post(tenant_path(tenant, "received-shares", share_id, "end"), {"reason": reason})
    print_json(told) if json_ else click.echo(f"share {share_id} is over")


COMMANDS: Final = (share, shares, unshare, received_shares, accept_share, return_share)


def join(group: click.Group) -> None:
    """Add these commands to `gpuaas iam`."""
    for each in COMMANDS:
        group.add_command(each)
