"""`gpuaas iam …` for those who hand out rights. One law: every order carries its reason into the log."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import click
from gpuaas.cli.conditions import on_condition
from gpuaas.cli.here import open_suite, tenant_path
from gpuaas.cli.levels import Told, at, at_project, at_tenant, get, listed, post
from gpuaas.cli.output import as_json, finish, print_json, print_table

_of_tenant = click.option("--tenant", envvar="GPUAAS_TENANT", required=True, help="Tenant id [GPUAAS_TENANT].")
_why = click.option("--reason", required=True, help="Why, for the people who review access.")
_principal = click.argument("kind", type=click.Choice(["user", "service-account", "group"]))


def _put(path: str, body: Any) -> Told:
    async def work() -> Told:
        async with open_suite() as suite:
            told: Told = await suite.put("iam", path, body)
            return told

    return finish(work)


def _said(told: Told, sentence: str, json_: bool) -> None:
    print_json(told) if json_ else click.echo(sentence)


@click.command("define-role")
@click.argument("role")
@click.argument("permissions", nargs=-1, required=True)
@click.option("--description", required=True, help="What its holder can do, in one sentence.")
@click.option("--tenant", help="The tenant whose own role it is; none: a role of the platform's.")
@as_json
def define_role(role: str, permissions: tuple[str, ...], description: str, tenant: str | None, json_: bool) -> None:
    """Define ROLE, or its next version, out of PERMISSIONS (service.resource.verb, `*` for any one word)."""
    body = {"description": description, "permissions": list(permissions)}
    told = post(tenant_path(tenant, "roles"), body | {"role": role}) if tenant else _put(f"/v1/roles/{role}", body)
    _said(told, f"role {role} is defined at position {told['position']}", json_)


@click.command()
@_principal
@click.argument("principal_id")
@click.argument("role")
@at_tenant
@at_project
@click.option("--own", is_flag=True, help="ROLE is one of the tenant's own.")
@click.option("--until", help="When it ends by itself (RFC 3339).")
@on_condition
@_why
@as_json
def bind(
    kind: str,
    principal_id: str,
    role: str,
    tenant: str | None,
    project: str | None,
    own: bool,
    until: str | None,
    condition: dict[str, Any],
    reason: str,
    json_: bool,
) -> None:
    """Give somebody ROLE there, always or on a condition: all that is named must hold."""
    body: dict[str, Any] = {"principal_kind": kind, "principal_id": principal_id, "role": role, "reason": reason}
    body |= {"role_tenant_id": tenant} if own and tenant else {}
    body |= {"valid_until": until} if until else {}
    body |= {"condition": condition} if condition else {}
    told = post(at(tenant, project, "bindings"), body)
    _said(told, f"binding {told['id']} stands", json_)


@click.command()
@click.argument("binding_id")
@at_tenant
@at_project
@_why
@as_json
def unbind(binding_id: str, tenant: str | None, project: str | None, reason: str, json_: bool) -> None:
    """End a binding now."""
    told = post(at(tenant, project, "bindings", binding_id, "end"), {"reason": reason})
    _said(told, f"binding {binding_id} has ended", json_)


@click.command()
@click.argument("kind", type=click.Choice(["user", "service-account"]))
@click.argument("principal_id")
@click.option("--since", type=int, required=True, help="The earlier log position.")
@click.option("--until", type=int, help="The later one; default: now.")
@at_tenant
@at_project
@as_json
def difference(
    kind: str,
    principal_id: str,
    since: int,
    until: int | None,
    tenant: str | None,
    project: str | None,
    json_: bool,
) -> None:
    """What somebody gained and lost between two positions of the log."""
    path = at(tenant, project, "explain", "difference")
    told = get(path, principal_kind=kind, principal_id=principal_id, since=since, until=until)
    if json_:
        print_json(told)
        return
    rows = [
        [sign, each["permission"], (each["binding"] or {}).get("role", "above what you may read")]
        for sign, kept in (("gained", "gained"), ("lost", "lost"))
        for each in told[kept]
    ]
    rows += [["now prohibited", each, None] for each in told["prohibited"]]
    rows += [["no longer prohibited", each, None] for each in told["no_longer_prohibited"]]
    title = f"{kind} {principal_id} from position {told['since']} to {told['until']}"
    print_table(title, ["what", "permission", "by"], rows, "" if rows else "nothing changed")


@click.command()
@as_json
def watermark(json_: bool) -> None:
    """Which revision of rights each service enforces, and since when it is known to be the newest."""
    from gpuaas.cli.here import service_names

    async def work() -> list[Told]:
        async with open_suite() as suite:
            names = service_names()
            told = await asyncio.gather(*map(suite.ready, names))
            return [
                {"service": name, **((each or {}).get("rights") or {})} for name, each in zip(names, told, strict=True)
            ]

    found = finish(work)
    if json_:
        print_json(found)
        return
    rows = [[each["service"], each.get("revision"), each.get("age_s"), each.get("frozen")] for each in found]
    print_table("Rights enforced", ["service", "revision", "seconds old", "frozen"], rows)


@click.command("support-policy")
@_of_tenant
@click.option("--set", "policy", type=click.Choice(["open", "sessions", "refused"]), help="None: show it.")
@click.option("--reason", help="Why, with --set.")
@as_json
def support_policy(tenant: str, policy: str | None, reason: str | None, json_: bool) -> None:
    """How the platform's people may reach what is a tenant's own."""
    path = tenant_path(tenant, "support-policy")
    if policy is None:
        told = get(path)
        _said(told, told["policy"], json_)
        return
    if not reason:
        raise click.UsageError("say why with --reason: the people who review access read it")
    _said(_put(path, {"policy": policy, "reason": reason}), f"support: {policy}", json_)


@click.command("support-start")
@_of_tenant
@click.option("--ticket", required=True, help="What it is about, as it was filed.")
@click.option("--minutes", type=click.IntRange(1, 480), default=60, show_default=True, help="For how long.")
@_why
@as_json
def support_start(tenant: str, ticket: str, minutes: int, reason: str, json_: bool) -> None:
    """Visit a tenant, for a reason and a time; it sees that you do."""
    body = {"ticket": ticket, "minutes": minutes, "reason": reason}
    told = post(tenant_path(tenant, "support-sessions"), body)
    _said(told, f"support session {told['id']} for {minutes} min", json_)


@click.command("support-sessions")
@_of_tenant
@as_json
def support_sessions(tenant: str, json_: bool) -> None:
    """Who of the platform is visiting a tenant, and why."""
    columns = {"session": "support_session_id", "kind": "principal_kind", "id": "principal_id", "ticket": "ticket"}
    columns |= {"reason": "reason", "until": "expires_at"}
    listed("Support sessions", tenant_path(tenant, "support-sessions"), columns, json_)


@click.command("support-end")
@click.argument("support_session_id")
@_of_tenant
@_why
@as_json
def support_end(support_session_id: str, tenant: str, reason: str, json_: bool) -> None:
    """End a visit now."""
    told = post(tenant_path(tenant, "support-sessions", support_session_id, "end"), {"reason": reason})
    _said(told, f"support session {support_session_id} has ended", json_)


@click.command()
@click.argument("kind", type=click.Choice(["user", "service-account"]))
@click.argument("principal_id")
@at_tenant
@at_project
@_why
@as_json
def delete(kind: str, principal_id: str, tenant: str | None, project: str | None, reason: str, json_: bool) -> None:
    """Refuse a person or a program for good; its bindings, keys and sessions end with it."""
    path = f"/v1/users/{principal_id}" if kind == "user" else at(tenant, project, "service-accounts", principal_id)
    told = post(f"{path}/delete", {"reason": reason})
    _said(told, f"{kind} {principal_id} is deleted", json_)


@click.command()
@_of_tenant
@click.option("--project", help="The project to close; none: the whole tenant (for operators).")
@_why
@as_json
def close(tenant: str, project: str | None, reason: str, json_: bool) -> None:
    """End a project, or a tenant without open projects, for good."""
    told = post(at(tenant, project, "close"), {"reason": reason})
    _said(told, f"{project or tenant} is closed", json_)


@click.command("separate-duties")
@click.option("--one", multiple=True, required=True, help="A permission of the one duty; may be repeated.")
@click.option("--other", multiple=True, required=True, help="A permission of the other duty; may be repeated.")
@at_tenant
@_why
@as_json
def separate_duties(one: tuple[str, ...], other: tuple[str, ...], tenant: str | None, reason: str, json_: bool) -> None:
    """Let nobody who holds something of the one do anything of the other, there."""
    told = post(at(tenant, None, "duty-rules"), {"one": list(one), "other": list(other), "reason": reason})
    _said(told, f"rule {told['id']} keeps them apart", json_)


@click.command("duty-rules")
@at_tenant
@as_json
def duty_rules(tenant: str | None, json_: bool) -> None:
    """Duties that are kept apart there."""
    listed("Duties", at(tenant, None, "duty-rules"), {"rule": "rule_id", "one": "one", "other": "other"}, json_)


@click.command("join-duties")
@click.argument("rule_id")
@at_tenant
@_why
@as_json
def join_duties(rule_id: str, tenant: str | None, reason: str, json_: bool) -> None:
    """End a rule that keeps duties apart."""
    told = post(at(tenant, None, "duty-rules", rule_id, "end"), {"reason": reason})
    _said(told, f"rule {rule_id} has ended", json_)


COMMANDS: Final = (
    *(separate_duties, duty_rules, join_duties),
    *(delete, close),
    *(define_role, bind, unbind, difference, watermark),
    *(support_policy, support_start, support_sessions, support_end),
)
