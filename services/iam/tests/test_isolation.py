"""Every route, asked by everybody. One law: another tenant's things answer as if they were not there."""

from __future__ import annotations

from typing import Any

import pytest
from gpuaas.common.http import permissions
from gpuaas.common.testing.running import spoken
from iam_door import Iam, in_days

NOBODYS = "0190a0c0-0000-7000-8000-000000000000"
KEY = {"label": "x", "expires_at": "2099-01-01T00:00:00Z"}
BODIES: dict[str, Any] = {
    "POST /bindings": {"principal_kind": "service-account", "principal_id": NOBODYS, "role": "viewer", "reason": "x"},
    "POST /end": {"reason": "x"},
    "POST /groups": {"display_name": "x"},
    "POST /members": {"member_kind": "user", "member_id": NOBODYS},
    "POST /remove": {"member_kind": "user", "member_id": NOBODYS, "reason": "x"},
    "POST /nest": {"parent_id": NOBODYS},
    "POST /unnest": {"parent_id": NOBODYS, "reason": "x"},
    "POST /prohibitions": {"holder_kind": "user", "holder_id": NOBODYS, "permissions": ["a.b.c"], "reason": "x"},
    "POST /lift": {"reason": "x"},
    "POST /invitations": {"email": "x@example.com", "role": "viewer", "reason": "x"},
    "POST /withdraw": {"reason": "x"},
    "POST /accept": {"reason": "x"},
    "POST /shares": {
        "receiver_tenant_id": "other",
        "principal_kind": "group",
        "principal_id": NOBODYS,
        "role": "viewer",
        "reason": "x",
    },
    "PUT /ceiling": {"permissions": ["a.b.c"], "reason": "x"},
    "POST /suspend": {"reason": "x"},
    "POST /resume": {"reason": "x"},
    "POST /revoke": {"reason": "x"},
    "POST /keys": KEY,
    "POST /service-accounts": {"display_name": "x"},
    "POST /projects": {"project_id": "new", "display_name": "x"},
    "POST /tenants": {"tenant_id": "new", "display_name": "x", "billing_currency": "EUR"},
    "POST /users": {"email": "x@example.com", "display_name": "x"},
}


def body_of(method: str, path: str) -> Any:
    return BODIES.get(f"{method} /{path.rsplit('/', 1)[-1]}")


def at(path: str, tenant: str, project: str, **ids: str) -> str:
    names = {
        "tenant_id": tenant,
        "project_id": project,
        "role": "odd",
        "group_id": NOBODYS,
        "prohibition_id": NOBODYS,
        "share_id": NOBODYS,
        "invitation_id": NOBODYS,
    } | ids
    for name, value in names.items():
        path = path.replace("{" + name + "}", value)
    return path


@pytest.fixture
async def rivals(iam: Iam) -> dict[str, str]:
    """Two tenants with everything in them; ids of the rival's things, and tokens of acme's people."""
    await iam.tenant("acme", "vision", "speech")
    await iam.tenant("rival", "secret")
    rival = "/v1/tenants/rival"
    robot = await iam.account(rival)
    binding = (await iam.bind(rival, robot, "tenant-admin")).json()["id"]
    key = await iam.key(rival, robot)
    _, admin = await iam.somebody("/v1/tenants/acme", "tenant-admin")
    _, viewer = await iam.somebody("/v1/tenants/acme/projects/vision", "viewer")
    return {
        "principal_id": robot,
        "binding_id": binding,
        "key_id": key["id"],
        "admin": admin,
        "viewer": viewer,
        "rival": await iam.sign_in(key["api_key"]),
    }


def scoped(iam: Iam) -> list[tuple[str, str, str]]:
    """(method, path, permission) of every route that is about one tenant or project."""
    found = []
    for route, permission in permissions(iam.service.app).items():
        method, path = route.split(" ", 1)
        if permission is not None and "{tenant_id}" in path:
            found.append((method, path, permission))
    return found


async def test_a_foreign_tenant_and_no_tenant_answer_alike_on_every_route(iam: Iam, rivals: dict[str, str]) -> None:
    ids = {name: rivals[name] for name in ("principal_id", "binding_id", "key_id")}
    before = await spoken(iam.service.log)
    for who in ("admin", "viewer"):
        for method, path, _ in scoped(iam):
            answers = []
            for tenant, project in (("rival", "secret"), ("rival", "none"), ("nobody", "none"), ("platform", "none")):
                asked = at(path, tenant, project, **ids)
                answers.append(await iam.ask(method, asked, rivals[who], json=body_of(method, path)))
            told = {(answer.status_code, answer.json()["detail"]) for answer in answers}
            assert len(told) == 1, (who, method, path, told)
            assert {status for status, _ in told} == {404}, (who, method, path)
    assert await spoken(iam.service.log) == before


async def test_nothing_is_done_without_a_token_or_with_too_little(iam: Iam, rivals: dict[str, str]) -> None:
    before = await spoken(iam.service.log)
    for route, permission in permissions(iam.service.app).items():
        method, path = route.split(" ", 1)
        if permission is None:
            continue
        asked = at(path, "acme", "vision", principal_id=NOBODYS, binding_id=NOBODYS, key_id=NOBODYS)
        asked = asked.replace("{name}", "tenants_v1")
        body = body_of(method, path)
        anonymous = await iam.client.request(method, asked, json=body)
        assert anonymous.status_code == 401, (method, path, anonymous.text)
        if permission != "signed-in" and not permission.endswith(".read"):
            denied = await iam.ask(method, asked, rivals["viewer"], json=body)
            assert denied.status_code == 403, (method, path, denied.text)
            assert denied.json()["decision_id"]
    assert await spoken(iam.service.log) == before


async def test_ids_of_another_tenant_are_unknown_in_ones_own(iam: Iam, rivals: dict[str, str]) -> None:
    acme, admin = "/v1/tenants/acme", rivals["admin"]
    robot, binding, key = (rivals[name] for name in ("principal_id", "binding_id", "key_id"))
    account = await iam.account(acme)
    for method, path, body in (
        ("GET", f"{acme}/service-accounts/{robot}/keys", None),
        ("POST", f"{acme}/service-accounts/{robot}/keys", {"label": "x", "expires_at": in_days(1)}),
        ("POST", f"{acme}/service-accounts/{robot}/keys/{key}/revoke", {"reason": "x"}),
        ("POST", f"{acme}/service-accounts/{account}/keys/{key}/revoke", {"reason": "x"}),
        ("POST", f"{acme}/bindings/{binding}/end", {"reason": "x"}),
    ):
        foreign = await iam.ask(method, path, admin, json=body)
        unknown = path
        for id_ in (robot, binding, key):
            unknown = unknown.replace(id_, NOBODYS)
        absent = await iam.ask(method, unknown, admin, json=body)
        assert foreign.status_code == absent.status_code == 404, (method, path, foreign.text, absent.text)
        assert foreign.json()["detail"] == absent.json()["detail"]
    for id_ in (robot, NOBODYS):
        assert (await iam.bind(acme, id_, "viewer", admin)).status_code == 404
    assert (await iam.ask("GET", "/v1/tenants/rival", rivals["rival"])).status_code == 200


async def test_a_project_reaches_its_own_accounts_and_bindings_only(iam: Iam, rivals: dict[str, str]) -> None:
    acme, vision, speech = (f"/v1/tenants/acme{rest}" for rest in ("", "/projects/vision", "/projects/speech"))
    _, admin = await iam.somebody(vision, "project-admin")
    tenants, others = await iam.account(acme), await iam.account(speech)
    tenant_binding = (await iam.bind(acme, tenants, "viewer")).json()["id"]
    for account in (tenants, others):
        path = f"{vision}/service-accounts/{account}/keys"
        body = {"label": "x", "expires_at": in_days(1)}
        assert (await iam.ask("POST", path, admin, json=body)).status_code == 404
    ended = await iam.ask("POST", f"{vision}/bindings/{tenant_binding}/end", admin, json={"reason": "x"})
    assert ended.status_code == 404
    mine = (await iam.done("GET", f"{vision}/bindings", admin))["items"]
    assert {each["project_id"] for each in mine} == {"vision"}
    assert (await iam.done("GET", f"{acme}/bindings", admin))["items"] == mine, "of the tenant's list, their part"
    assert (await iam.ask("GET", "/v1/bindings", admin)).status_code == 403
