"""Suspension: what stops at once, who may lift it, that nothing is lost. One law: nothing past the door."""

from __future__ import annotations

from typing import Any

import pytest
from gpuaas.common.errors import Forbidden, NotFound, Rejected
from gpuaas.iam.domain.principal import PRINCIPAL, ResumePrincipal, SuspendPrincipal
from gpuaas.iam.domain.tenant import TENANT, CreateTenant, ResumeTenant, SuspendTenant
from iam_door import Iam, is_problem

ACME = "/v1/tenants/acme"
WHY = {"reason": "a test"}


def stop(**other: Any) -> SuspendPrincipal:
    given: dict[str, Any] = {"principal_id": "r", "kind": "user", "tenant_id": "platform", "reason": "x"}
    return SuspendPrincipal(**({**given, "by_itself": False} | other))


def lift(**other: Any) -> ResumePrincipal:
    given: dict[str, Any] = {"principal_id": "r", "kind": "user", "tenant_id": "platform", "reason": "x"}
    return ResumePrincipal(**({**given, "beyond_resumer": ()} | other))


def test_a_suspended_tenant_is_resumed_and_suspended_again_but_never_twice_in_a_row() -> None:
    create = CreateTenant(tenant_id="acme", display_name="Acme", billing_currency="EUR")
    history = list(TENANT.decide(create, TENANT.initial))
    for order in (SuspendTenant("x"), ResumeTenant("x")) * 2:
        made = TENANT.decide(order, TENANT.fold(history))
        history += made
        with pytest.raises(Rejected):
            TENANT.decide(order, TENANT.fold(history))
    with pytest.raises(NotFound):
        TENANT.decide(SuspendTenant("x"), TENANT.initial)


def test_a_person_and_a_program_of_one_id_are_stopped_apart() -> None:
    stopped = PRINCIPAL.fold(PRINCIPAL.decide(stop(), frozenset()))
    assert PRINCIPAL.decide(stop(kind="service-account"), stopped)
    with pytest.raises(Rejected):
        PRINCIPAL.decide(lift(kind="service-account"), stopped)
    with pytest.raises(Rejected):
        PRINCIPAL.decide(stop(), stopped)


def test_nobody_stops_themselves_or_gives_back_more_than_they_hold() -> None:
    with pytest.raises(Rejected, match="themselves"):
        PRINCIPAL.decide(stop(by_itself=True), frozenset())
    with pytest.raises(Forbidden) as missing:
        PRINCIPAL.decide(lift(beyond_resumer=("nodes.*.*",)), frozenset({"user"}))
    assert missing.value.facts["missing_permissions"] == ["nodes.*.*"]


async def test_a_suspended_account_is_refused_with_every_token_and_key_until_resumed(iam: Iam) -> None:
    await iam.tenant("acme")
    robot = await iam.account(ACME)
    await iam.bind(ACME, robot, "viewer")
    key = (await iam.key(ACME, robot))["api_key"]
    token = await iam.sign_in(key)
    path = f"{ACME}/service-accounts/{robot}"
    await iam.done("POST", path + "/suspend", json=WHY)
    assert "suspended" in is_problem(await iam.ask("GET", ACME, token), 401)["detail"]
    is_problem(await iam.client.post("/v1/tokens", json={"api_key": key}), 401)
    is_problem(await iam.ask("POST", path + "/suspend", json=WHY), 409)
    await iam.done("POST", path + "/resume", json=WHY)
    assert (await iam.ask("GET", ACME, token)).status_code == 200
    assert await iam.sign_in(key)


async def test_in_a_suspended_tenant_only_the_platforms_rights_count(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    _, account = await iam.somebody(ACME, "tenant-admin")
    mira = (await iam.done("POST", "/v1/users", json={"email": "m@example.com", "display_name": "Mira"}))["id"]
    await iam.bind(ACME, mira, "tenant-admin", principal_kind="user")
    body = {"label": "x", "expires_at": "2026-12-20T00:00:00Z"}
    person = await iam.sign_in((await iam.done("POST", f"/v1/users/{mira}/keys", json=body))["api_key"])
    is_problem(await iam.ask("POST", ACME + "/suspend", person, json=WHY), 403)
    await iam.done("POST", ACME + "/suspend", json=WHY)
    is_problem(await iam.ask("GET", ACME, account), 401)
    told = is_problem(await iam.ask("GET", ACME, person), 403)
    assert "suspended" in told["detail"]
    assert (await iam.done("GET", "/v1/tenants", person))["items"] == []
    assert (await iam.done("GET", ACME))["suspended"]
    await iam.done("POST", ACME + "/resume", json=WHY)
    assert (await iam.ask("GET", ACME, person)).status_code == 200
    assert (await iam.ask("GET", ACME, account)).status_code == 200


async def test_a_lesser_administrator_stops_a_stronger_one_but_does_not_lift_it(iam: Iam) -> None:
    _, security = await iam.somebody("/v1", "security-admin")
    strong, _ = await iam.somebody("/v1", "operator")
    await iam.done("POST", f"/v1/service-accounts/{strong}/suspend", security, json=WHY)
    is_problem(await iam.ask("POST", f"/v1/service-accounts/{strong}/resume", security, json=WHY), 403)
    await iam.done("POST", f"/v1/service-accounts/{strong}/resume", json=WHY)
