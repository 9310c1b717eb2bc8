"""API keys that may less than their principal. One law: a narrowing takes and never gives, on every route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.key_uses import KeyUses
from iam_door import Iam, in_days, is_problem, started
from people import said

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME = "/v1/tenants/acme"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision", "speech")
        await running_iam.tenant("rival")
        yield running_iam


async def asked(iam: Iam, home: str, account: str, token: str | None = None, **given: Any) -> httpx.Response:
    body = {"label": "narrow", "expires_at": in_days(30)} | given
    return await iam.ask("POST", f"{home}/service-accounts/{account}/keys", token, json=body)


async def narrow(iam: Iam, role: str, **given: Any) -> tuple[str, dict[str, Any], str]:
    """An account that holds a role in acme; its narrow key and a token of that."""
    account = await iam.account(ACME)
    assert (await iam.bind(ACME, account, role)).status_code == 201
    issued = await asked(iam, ACME, account, **given)
    assert issued.status_code == 201, issued.text
    return account, issued.json(), await iam.sign_in(issued.json()["api_key"])


async def test_a_key_may_what_it_names_and_nothing_else_that_its_principal_may(iam: Iam) -> None:
    _, issued, token = await narrow(iam, "tenant-admin", permissions=["iam.binding.read"])
    assert (await iam.ask("GET", f"{ACME}/bindings", token)).status_code == 200
    refused = is_problem(await iam.ask("GET", f"{ACME}/groups", token), 403)
    assert issued["id"] in refused["detail"]
    assert refused["sufficient_roles"] == []
    [layer] = (await iam.done("GET", "/v1/me", token))["narrowed_by"]
    assert layer["permissions"] == ["iam.binding.read"]


async def test_a_refusal_by_a_narrow_key_is_explained_as_one(iam: Iam) -> None:
    _, issued, token = await narrow(iam, "tenant-admin", permissions=["iam.binding.read"])
    refused = is_problem(await iam.ask("GET", f"{ACME}/groups", token), 403)
    told = await iam.done("GET", f"/v1/decisions/{refused['decision_id']}")
    assert told["allowed"] is False
    assert [layer["by"] for layer in told["narrowed_by"]] == [f"API key {issued['id']}"]
    assert issued["id"] in told["reason"]


async def test_a_key_for_one_project_sees_that_project_in_lists_and_no_other(iam: Iam) -> None:
    where = {"only_tenant_id": "acme", "only_project_id": "vision"}
    _, _, token = await narrow(iam, "tenant-admin", **where)
    shown = await iam.done("GET", f"{ACME}/projects", token)
    assert [row["project_id"] for row in shown["items"]] == ["vision"]
    assert (await iam.ask("GET", f"{ACME}/projects/vision/bindings", token)).status_code == 200
    is_problem(await iam.ask("GET", f"{ACME}/projects/speech/bindings", token), 403)


async def test_beyond_a_keys_tenant_all_is_absent_though_its_principal_reaches_there(iam: Iam) -> None:
    account = await iam.account("/v1")
    assert (await iam.bind("/v1", account, "operator")).status_code == 201
    issued = (await asked(iam, "/v1", account, only_tenant_id="acme")).json()
    token = await iam.sign_in(issued["api_key"])
    assert (await iam.ask("GET", f"{ACME}/bindings", token)).status_code == 200
    real = is_problem(await iam.ask("GET", "/v1/tenants/rival/bindings", token), 404)
    none = is_problem(await iam.ask("GET", "/v1/tenants/nowhere/bindings", token), 404)
    assert real["detail"] == none["detail"]
    shown = await iam.done("GET", "/v1/tenants", token)
    assert [row["tenant_id"] for row in shown["items"]] == ["acme"]


async def test_a_narrow_key_hands_on_no_more_than_it_has(iam: Iam) -> None:
    may = ["iam.binding.create", "iam.project.read"]
    account, _, token = await narrow(iam, "tenant-admin", permissions=may)
    other = await iam.account(ACME)
    refused = is_problem(await iam.bind(ACME, other, "viewer", token), 403)
    assert "allocations.*.read" in refused["missing_permissions"]
    is_problem(await iam.bind(ACME, account, "tenant-admin", token), 403)


async def test_a_narrow_key_issues_no_wider_one_not_even_to_its_own_principal(iam: Iam) -> None:
    account, _, token = await narrow(iam, "tenant-admin", permissions=["iam.key.*", "iam.binding.read"])
    is_problem(await asked(iam, ACME, account, token), 403)
    is_problem(await asked(iam, ACME, account, token, permissions=["iam.group.read"]), 403)
    assert (await asked(iam, ACME, account, token, permissions=["iam.binding.read"])).status_code == 201


async def test_who_holds_less_than_the_principal_issues_a_key_for_what_they_hold(iam: Iam) -> None:
    strong, _ = await iam.somebody(ACME, "tenant-admin")
    _, token = await iam.somebody(ACME, "project-admin")
    is_problem(await asked(iam, ACME, strong, token), 403)
    assert (await asked(iam, ACME, strong, token, permissions=["iam.binding.read"])).status_code == 201


async def test_a_rotated_key_is_as_narrow_as_the_one_before_it(iam: Iam) -> None:
    account, issued, _ = await narrow(iam, "tenant-admin", permissions=["iam.binding.read"])
    path = f"{ACME}/service-accounts/{account}/keys/{issued['id']}/rotate"
    new = await iam.done("POST", path, json={"label": "next", "expires_at": in_days(30)})
    token = await iam.sign_in(new["api_key"])
    is_problem(await iam.ask("GET", f"{ACME}/groups", token), 403)
    rows = {row["key_id"]: row for row in (await iam.done("GET", path.partition(f"/{issued['id']}")[0]))["items"]}
    assert rows[new["id"]]["permissions"] == ["iam.binding.read"]
    assert (rows[new["id"]]["predecessor_id"], rows[issued["id"]]["successor_id"]) == (issued["id"], new["id"])


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"permissions": ["iam.binding"]}, 422),
        ({"permissions": ["iam.bіnding.read"]}, 422),
        ({"only_project_id": "vision"}, 422),
        ({"only_tenant_id": "rival"}, 404),
        ({"only_tenant_id": "acme", "only_project_id": "nowhere"}, 404),
    ],
)
async def test_a_key_is_narrowed_to_what_there_is_where_its_principal_is(
    iam: Iam, given: dict[str, Any], status: int
) -> None:
    account = await iam.account(ACME)
    is_problem(await asked(iam, ACME, account, **given), status)


async def test_a_key_says_when_it_was_last_used_and_the_log_hears_it_once_an_hour(iam: Iam) -> None:
    account, issued, _ = await narrow(iam, "viewer")
    path = f"{ACME}/service-accounts/{account}/keys"
    unused = await asked(iam, ACME, account)
    service_uses = KeyUses(iam.service.commands, iam.service.clock)
    for _ in range(3):  # three processes, or one that was restarted twice
        service_uses = KeyUses(iam.service.commands, iam.service.clock)
        service_uses.note("acme", issued["id"])
        await service_uses.tell()
    rows = {row["key_id"]: row for row in (await iam.done("GET", path))["items"]}
    assert rows[issued["id"]]["last_used_at"] is not None
    assert rows[unused.json()["id"]]["last_used_at"] is None
    history = await iam.service.log.history(f"events.iam.api-key.acme.{issued['id']}")
    assert sum(each.type.endswith(".api-key-used.v1") for each in history) == 1
    assert not any(each.type.endswith(".api-key-used.v1") for each in await said(iam))
