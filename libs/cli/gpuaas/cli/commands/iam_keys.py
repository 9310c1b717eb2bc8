"""`gpuaas iam keys`: API keys of people and programs. One law: a secret is shown once, and is never an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click
from gpuaas.cli.levels import Told, at, at_project, at_tenant, listed, post
from gpuaas.cli.output import as_json, print_json

_kind = click.argument("kind", type=click.Choice(["user", "service-account"]))
_days = click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How long it works.")


@click.group()
def keys() -> None:
    """API keys: which there are, when they were last used; issue, rotate and revoke them."""


def _path(kind: str, principal_id: str, tenant: str | None, project: str | None, *more: str) -> str:
    if kind == "user":
        return "/".join(["/v1/users", principal_id, "keys", *more])
    return at(tenant, project, "service-accounts", principal_id, "keys", *more)


def _until(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def _show(told: Told, json_: bool) -> None:
    if json_:
        print_json(told)
        return
    click.echo(told["api_key"] or "the key was shown when it was issued, and is shown only once")
    click.echo(f"key {told['id']}, until {told['expires_at']}; it is not shown again", err=True)


@keys.command("list")
@_kind
@click.argument("principal_id")
@at_tenant
@at_project
@as_json
def list_keys(kind: str, principal_id: str, tenant: str | None, project: str | None, json_: bool) -> None:
    """The keys of somebody: what each is for, how far it goes, when it ends and when it was last used."""
    columns = {"key": "key_id", "for": "label", "permissions": "permissions", "tenant": "narrowed_to_tenant_id"}
    columns |= {"project": "narrowed_to_project_id", "until": "expires_at", "last used": "last_used_at"}
    listed("API keys", _path(kind, principal_id, tenant, project), columns | {"revoked": "revoked_at"}, json_)


@keys.command()
@_kind
@click.argument("principal_id")
@click.option("--label", required=True, help="What it is for.")
@_days
@click.option("--permission", "permissions", multiple=True, help="The most it is good for; may be repeated.")
@click.option("--only-tenant", help="It is good for nothing outside of this tenant.")
@click.option("--only-project", help="It is good for nothing outside of this project of that tenant.")
@at_tenant
@at_project
@as_json
def issue(
    kind: str,
    principal_id: str,
    label: str,
    days: int,
    permissions: tuple[str, ...],
    only_tenant: str | None,
    only_project: str | None,
    tenant: str | None,
    project: str | None,
    json_: bool,
) -> None:
    """Issue a key; its secret is shown now and never again.

    Without --permission and --only-… it is good for all that its principal may.
    """
    body: dict[str, Any] = {"label": label, "expires_at": _until(days), "permissions": list(permissions)}
    if only_project and not only_tenant:
        only_tenant = tenant
    body |= {"only_tenant_id": only_tenant} if only_tenant else {}
    body |= {"only_project_id": only_project} if only_project else {}
    _show(post(_path(kind, principal_id, tenant, project), body), json_)


@keys.command()
@_kind
@click.argument("principal_id")
@click.argument("key_id")
@click.option("--label", required=True, help="What the new one is for.")
@_days
@click.option("--overlap-hours", type=click.IntRange(0, 720), default=24, show_default=True, help="Both work so long.")
@at_tenant
@at_project
@as_json
def rotate(
    kind: str,
    principal_id: str,
    key_id: str,
    label: str,
    days: int,
    overlap_hours: int,
    tenant: str | None,
    project: str | None,
    json_: bool,
) -> None:
    """Give a key a successor that is good for the same; both work for the overlap."""
    body = {"label": label, "expires_at": _until(days), "overlap_s": overlap_hours * 3600}
    _show(post(_path(kind, principal_id, tenant, project, key_id, "rotate"), body), json_)


@keys.command()
@_kind
@click.argument("principal_id")
@click.argument("key_id")
@click.option("--reason", required=True, help="Why, for the people who review access.")
@at_tenant
@at_project
@as_json
def revoke(
    kind: str, principal_id: str, key_id: str, reason: str, tenant: str | None, project: str | None, json_: bool
) -> None:
    """Refuse a key and every token that came from it, in every service, from now on."""
    told = post(_path(kind, principal_id, tenant, project, key_id, "revoke"), {"reason": reason})
    print_json(told) if json_ else click.echo(f"key {key_id} is refused from now on")


def join(group: click.Group) -> None:
    """Be commands of `gpuaas iam`."""
    group.add_command(keys)
