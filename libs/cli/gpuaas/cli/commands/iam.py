"""`gpuaas iam`: people, sessions and rights. One law: what may not be done says why, and who could change that."""

from __future__ import annotations

from urllib.parse import quote

import click
from gpuaas.cli.commands.iam_administration import COMMANDS
from gpuaas.cli.here import open_suite, tenant_path
from gpuaas.cli.levels import Told, at, at_project, at_tenant, get, listed, post
from gpuaas.cli.output import as_json, finish, print_json, print_table


@click.group()
def command() -> None:
    """People, sessions, and who may do what."""


for each in COMMANDS:
    command.add_command(each)


# -- people and sessions --------------------------------------------------------------------------------------------


@command.command()
@as_json
def users(json_: bool) -> None:
    """People known to the platform."""
    columns = {"user": "principal_id", "e-mail": "email", "name": "display_name", "since": "created_at"}
    listed("People", "/v1/users", columns, json_)


@command.command()
@click.argument("email")
@click.option("--name", required=True, help="The person's name as they write it.")
@as_json
def register(email: str, name: str, json_: bool) -> None:
    """Make a person known; then hand them a code with `password-code`."""
    told = post("/v1/users", {"email": email, "display_name": name})
    print_json(told) if json_ else click.echo(f"{told['id']} registered")


@command.command("password-code")
@click.argument("user_id")
@as_json
def password_code(user_id: str, json_: bool) -> None:
    """A code with which a person chooses their password, once. It is shown now and never again."""
    told = post(f"/v1/users/{user_id}/password-codes")
    print_json(told) if json_ else click.echo(f"{told['code']}\nuntil {told['expires_at']}")


@command.command()
@click.option("--code", prompt=True, help="The code you were handed.")
@as_json
def password(code: str, json_: bool) -> None:
    """Choose your password with the code you were handed."""
    import httpx
    from gpuaas.cli.here import addresses
    from gpuaas.cli.output import fail

    chosen = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    body = {"code": code, "password": chosen}

    async def work() -> httpx.Response:
        async with httpx.AsyncClient(base_url=addresses()["iam"], timeout=30) as http:
            return await http.post("/v1/passwords", json=body)

    answer = finish(work)
    if answer.status_code >= 400:
        fail(str(answer.json().get("detail")))
    if json_:
        print_json(answer.json())
        return
    click.echo("Your password is set; sign in with `gpuaas login --password`.")


@command.command()
@click.argument("user_code")
@click.option("--deny", is_flag=True, help="Do not let it in.")
@as_json
def approve(user_code: str, deny: bool, json_: bool) -> None:
    """Let a program that shows this code have a session of yours."""
    told = post("/v1/device-approvals", {"user_code": user_code, "approve": not deny})
    print_json(told) if json_ else click.echo(f"{told['client']}: {'denied' if deny else 'let in'}")


@command.command()
@click.option("--user", help="Somebody else's (for operators); default: yours.")
@as_json
def sessions(user: str | None, json_: bool) -> None:
    """Where you are signed in, and where you were."""
    columns = {"session": "session_id", "with": "client", "by": "method", "began": "started_at"}
    columns |= {"over at": "expires_at", "ended": "ended_at", "why": "end_cause"}
    listed("Sessions", f"/v1/users/{user}/sessions" if user else "/v1/me/sessions", columns, json_)


@command.command("end-session")
@click.argument("session_id")
@click.option("--user", help="Whose it is (for operators); default: yours.")
@click.option("--reason", help="Why, with --user.")
@as_json
def end_session(session_id: str, user: str | None, reason: str | None, json_: bool) -> None:
    """Refuse everything of a session from now on, in every service."""
    if user and not reason:
        raise click.UsageError("say why with --reason: the people who review access read it")
    if user:
        told = post(f"/v1/users/{user}/sessions/{session_id}/revoke", {"reason": reason})
    else:
        told = post(f"/v1/me/sessions/{session_id}/end")
    print_json(told) if json_ else click.echo(f"session {session_id} has ended")


@command.command("end-sessions")
@click.option("--user", help="All of this person's.")
@click.option("--tenant", help="All of everybody's who holds something in this tenant.")
@click.option("--reason", required=True, help="Why, for the people who review access.")
@as_json
def end_sessions(user: str | None, tenant: str | None, reason: str, json_: bool) -> None:
    """Sign out a person, or all people of a tenant, everywhere and now (for operators)."""
    if (user is None) == (tenant is None):
        raise click.UsageError("say either --user or --tenant")
    path = f"/v1/users/{user}/sessions/revoke" if user else f"{tenant_path(str(tenant), 'sessions', 'revoke')}"
    told = post(path, {"reason": reason})
    print_json(told) if json_ else click.echo(f"{user or tenant}: signed out everywhere")


# -- rights ---------------------------------------------------------------------------------------------------------


@command.command("may")
@click.argument("permission")
@at_tenant
@at_project
@as_json
def may(permission: str, tenant: str | None, project: str | None, json_: bool) -> None:
    """Whether you may do PERMISSION (service.resource.verb) there, and why; exit status 1 if not."""
    told = post("/v1/check", {"permission": permission, "tenant_id": tenant, "project_id": project})
    print_json(told) if json_ else click.echo(f"{'yes' if told['allowed'] else 'no'}: {told['reason']}")
    if not told["allowed"]:
        raise SystemExit(1)


@command.command("who-can")
@click.argument("permission")
@at_tenant
@at_project
@click.option("--as-of", type=int, help="As of this log position.")
@as_json
def who_can(permission: str, tenant: str | None, project: str | None, as_of: int | None, json_: bool) -> None:
    """Everybody who may do PERMISSION there, with the roles that let them."""

    async def work() -> list[Told]:
        async with open_suite() as suite:
            path = at(tenant, project, "explain", "who-can")
            return [each async for each in suite.items("iam", path, permission=permission, as_of=as_of)]

    found = finish(work)
    if json_:
        print_json(found)
        return
    rows = [
        [each["principal_kind"], each["principal_id"], ", ".join(sorted({b["role"] for b in each["bindings"]}))]
        for each in found
    ]
    print_table(f"May {permission}", ["kind", "id", "by"], rows, "" if rows else "nobody")


@command.command("what-can")
@click.argument("kind", type=click.Choice(["user", "service-account"]))
@click.argument("principal_id")
@at_tenant
@at_project
@click.option("--as-of", type=int, help="As of this log position.")
@as_json
def what_can(
    kind: str, principal_id: str, tenant: str | None, project: str | None, as_of: int | None, json_: bool
) -> None:
    """What somebody may do there, and by which binding."""
    path = at(tenant, project, "explain", "what-can")
    told = get(path, principal_kind=kind, principal_id=principal_id, as_of=as_of)
    if json_:
        print_json(told)
        return
    rows = [
        [each["permission"], (each["binding"] or {}).get("role", "above what you may read")] for each in told["given"]
    ]
    note = f"prohibited: {', '.join(told['prohibited'])}" if told["prohibited"] else ""
    print_table(f"{kind} {principal_id} at position {told['position']}", ["permission", "by"], rows, note)


@command.command()
@at_tenant
@at_project
@as_json
def bindings(tenant: str | None, project: str | None, json_: bool) -> None:
    """Who holds which role there."""
    columns = {"binding": "binding_id", "kind": "principal_kind", "id": "principal_id", "role": "role"}
    columns |= {"until": "valid_until", "on condition": "condition"}
    listed("Bindings", at(tenant, project, "bindings"), columns, json_)


@command.command()
@click.option("--tenant", help="A tenant's own roles; none: the platform's.")
@as_json
def roles(tenant: str | None, json_: bool) -> None:
    """The roles there are, in their newest version."""
    columns = {"role": "role", "version": "version", "description": "description", "permissions": "permissions"}
    listed("Roles", tenant_path(tenant, "roles") if tenant else "/v1/roles", columns, json_)


@command.command()
@click.argument("decision_id")
@as_json
def explain(decision_id: str, json_: bool) -> None:
    """Why a request was refused: DECISION_ID is in every refusal. Answered on the rights of then."""
    told = get(f"/v1/decisions/{quote(decision_id, safe='')}")
    if json_:
        print_json(told)
        return
    who, then = told["principal"], "allowed" if told["allowed"] else "refused"
    asked = f"{who['kind']} {who['id']}: {told['permission']} {then}" if who else then
    title = f"{asked} at position {told['position']}: {told['reason']}"
    rows = [
        [each["kind"], each.get("role"), each.get("scope"), each["counts"], each["why"]] for each in told["reasons"]
    ]
    rows += [["not held", None, None, True, each["permission"]] for each in told["beyond"]]
    notes = [] if told["allowed_now"] is None else [f"allowed now: {'yes' if told['allowed_now'] else 'no'}"]
    if told["suffices"]:
        notes.append(f"would suffice: {told['suffices']}")
    if told["who_may_grant"]:
        notes.append(f"may grant it: {', '.join(each['id'] for each in told['who_may_grant'])}")
    print_table(title, ["what", "role", "where", "counts", "why"], rows, "; ".join(notes))


from gpuaas.cli.commands import (  # noqa: E402  the group is whole before others join it
    iam_diff,
    iam_inviting,
    iam_keys,
    iam_providers,
    iam_sharing,
    iam_workloads,
)

for others in (iam_keys, iam_providers, iam_sharing, iam_inviting, iam_workloads, iam_diff):
    others.join(command)
