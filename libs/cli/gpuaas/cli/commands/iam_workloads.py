"""`gpuaas iam …` for workloads. One law: a token is read from a file or standard input, never an argument."""

from __future__ import annotations

from typing import Any, Final

import click
from gpuaas.cli.here import addresses, project_path, tenant_path
from gpuaas.cli.levels import Told, listed, post
from gpuaas.cli.output import as_json, fail, finish, print_json

_of_tenant = click.option("--tenant", envvar="GPUAAS_TENANT", required=True, help="Tenant id [GPUAAS_TENANT].")
_why = click.option("--reason", required=True, help="Why, for the people who review access.")
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPES: Final = {
    "workload": "urn:ietf:params:oauth:token-type:jwt",
    "ours": "urn:ietf:params:oauth:token-type:access_token",
}


@click.command()
@_of_tenant
@as_json
def trusts(tenant: str, json_: bool) -> None:
    """Which workloads may act as which service accounts."""
    columns = {"trust": "trust_id", "account": "service_account_id", "issuer": "issuer", "subject": "subject_pattern"}
    columns |= {"audience": "audience", "permissions": "permissions", "project": "project_id", "once": "single_use"}
    listed("Trusts in workloads", tenant_path(tenant, "workload-trusts"), columns, json_)


@click.command("trust")
@click.argument("service_account_id")
@click.argument("subject_pattern")
@click.option("--issuer", required=True, help="An OpenID Connect issuer, or `gpuaas` for allocations that run here.")
@click.option("--audience", help="For whom the issuer's tokens must be made; needed but for `gpuaas`.")
@click.option("--permission", "permissions", multiple=True, help="The most that comes of it; may be repeated.")
@click.option("--project", help="Nothing outside of this project comes of it.")
@click.option("--reusable", is_flag=True, help="A token of the issuer's is good until it expires, not once only.")
@_of_tenant
@_why
@as_json
def trust(
    service_account_id: str,
    subject_pattern: str,
    issuer: str,
    audience: str | None,
    permissions: tuple[str, ...],
    project: str | None,
    reusable: bool,
    tenant: str,
    reason: str,
    json_: bool,
) -> None:
    """Let workloads whose subject fits SUBJECT_PATTERN (`*`: anything but `:` and `/`) act as an account."""
    body: dict[str, Any] = {
        "service_account_id": service_account_id,
        "subject_pattern": subject_pattern,
        "issuer": issuer,
        "permissions": list(permissions),
        "single_use": not reusable,
        "reason": reason,
    }
    body |= {"audience": audience} if audience else {}
    body |= {"project_id": project} if project else {}
    told = post(tenant_path(tenant, "workload-trusts"), body)
    print_json(told) if json_ else click.echo(f"trust {told['id']} stands")


@click.command("trust-end")
@click.argument("trust_id")
@_of_tenant
@_why
@as_json
def trust_end(trust_id: str, tenant: str, reason: str, json_: bool) -> None:
    """Trust them no longer; their tokens are refused from now on."""
    told = post(tenant_path(tenant, "workload-trusts", trust_id, "end"), {"reason": reason})
    print_json(told) if json_ else click.echo(f"trust {trust_id} has ended")


@click.command()
@_of_tenant
@as_json
def workloads(tenant: str, json_: bool) -> None:
    """Workloads that came, as whom they act, and when they came last."""
    columns = {"workload": "workload_id", "account": "service_account_id", "subject": "issuer_subject"}
    columns |= {"trust": "trust_id", "last": "last_at", "ended": "ended_at", "why": "end_cause"}
    listed("Workloads", tenant_path(tenant, "workloads"), columns, json_)


@click.command("workload-end")
@click.argument("workload_id")
@_of_tenant
@_why
@as_json
def workload_end(workload_id: str, tenant: str, reason: str, json_: bool) -> None:
    """Let a workload act no more; its tokens are refused from now on."""
    told = post(tenant_path(tenant, "workloads", workload_id, "end"), {"reason": reason})
    print_json(told) if json_ else click.echo(f"workload {workload_id} has ended")


@click.command("subject-token")
@click.argument("allocation_id")
@_of_tenant
@click.option("--project", envvar="GPUAAS_PROJECT", required=True, help="Project id [GPUAAS_PROJECT].")
@as_json
def subject_token(allocation_id: str, tenant: str, project: str, json_: bool) -> None:
    """iam's word that an allocation runs, to hand to the allocation; it exchanges that for a token."""
    told = post(project_path(tenant, project, "workloads", allocation_id, "subject-tokens"))
    print_json(told) if json_ else click.echo(told["subject_token"])


@click.command()
@click.option("--trust", "trust_id", help="The trust a workload comes by; none: the subject's token is one of ours.")
@click.option("--subject-token", type=click.File(), default="-", help="File with the token; default: standard input.")
@click.option("--actor-token", type=click.File(), help="File with a token of who is to act for the subject.")
@click.option("--permission", "permissions", multiple=True, help="The most it is to be good for; may be repeated.")
@click.option("--tenant", "to_tenant", help="Good for nothing outside of this tenant.")
@click.option("--project", "to_project", help="Good for nothing outside of this project of it.")
@as_json
def exchange(
    trust_id: str | None,
    subject_token: Any,
    actor_token: Any,
    permissions: tuple[str, ...],
    to_tenant: str | None,
    to_project: str | None,
    json_: bool,
) -> None:
    """A token for a token (RFC 8693): a workload's for one of an account's, or one of ours for a narrower one."""
    import httpx

    form = {"grant_type": _GRANT, "subject_token": subject_token.read().strip()}
    form["subject_token_type"] = _TYPES["workload" if trust_id else "ours"]
    form |= {"client_id": trust_id} if trust_id else {}
    form |= {"scope": " ".join(permissions)} if permissions else {}
    if actor_token is not None:
        form |= {"actor_token": actor_token.read().strip(), "actor_token_type": _TYPES["ours"]}
    if to_tenant:
        form["resource"] = f"urn:gpuaas:tenant:{to_tenant}" + (f":project:{to_project}" if to_project else "")

    async def work() -> httpx.Response:
        async with httpx.AsyncClient(base_url=addresses()["iam"], timeout=30) as http:
            return await http.post("/v1/oauth/exchange", data=form)

    answer = finish(work)
    told: Told = answer.json()
    if answer.status_code >= 400:
        fail(str(told.get("detail")))
    print_json(told) if json_ else click.echo(told["access_token"])


def join(group: click.Group) -> None:
    """Be commands of `gpuaas iam`."""
    for each in (trusts, trust, trust_end, workloads, workload_end, subject_token, exchange):
        group.add_command(each)
