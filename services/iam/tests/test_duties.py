"""Duties kept apart. One law: who holds both may do neither, and a binding that would join them is not made."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from iam_door import Iam, is_problem, started

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME, RIVAL = "/v1/tenants/acme", "/v1/tenants/rival"
RULE = {"one": ["billing.budget.*"], "other": ["allocations.allocation.request"], "reason": "who spends sets no budget"}
BUDGETS = {"role": "budgets", "description": "Sets budgets.", "permissions": ["billing.budget.set"]}
OWN = {"role_tenant_id": "acme"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision")
        await running_iam.tenant("rival")
        yield running_iam


async def may(iam: Iam, token: str, permission: str) -> bool:
    body = {"permission": permission, "tenant_id": "acme", "project_id": "vision"}
    return bool((await iam.done("POST", "/v1/check", token, json=body))["allowed"])


async def test_a_binding_that_would_join_them_is_refused_and_what_came_before_counts_for_neither(iam: Iam) -> None:
    await iam.done("POST", f"{ACME}/roles", json=BUDGETS)
    both, both_token = await iam.somebody(ACME, "member")
    assert (await iam.bind(ACME, both, "budgets", **OWN)).status_code == 201
    assert await may(iam, both_token, "billing.budget.set")
    rule = await iam.done("POST", f"{ACME}/duty-rules", json=RULE)
    for permission in ("billing.budget.set", "allocations.allocation.request"):
        assert not await may(iam, both_token, permission)
    assert await may(iam, both_token, "allocations.allocation.release"), "what the rule is not about goes on"
    one, token = await iam.somebody(ACME, "member")
    refused = is_problem(await iam.bind(ACME, one, "budgets", **OWN), 409)
    assert rule["id"] in refused["detail"]
    is_problem(await iam.bind(f"{ACME}/projects/vision", one, "budgets", **OWN), 409)
    assert await may(iam, token, "allocations.allocation.request")
    denied = is_problem(await iam.ask("GET", f"{ACME}/explain", token), 403)
    assert denied["decision_id"]
    [listed] = (await iam.done("GET", f"{ACME}/duty-rules"))["items"]
    assert (listed["rule_id"], listed["one"], listed["other"]) == (rule["id"], RULE["one"], RULE["other"])
    asked = {"principal_kind": "service-account", "principal_id": both, "permission": "billing.budget.set"}
    told = await iam.client.get(
        f"{ACME}/explain", params=asked, headers={"Authorization": f"Bearer {await iam.operator()}"}
    )
    assert "duty-rule" in {each["kind"] for each in told.json()["reasons"] if each["counts"]}
    await iam.done("POST", f"{ACME}/duty-rules/{rule['id']}/end", json={"reason": "too small a team"})
    assert await may(iam, both_token, "billing.budget.set")
    is_problem(await iam.ask("POST", f"{ACME}/duty-rules/{rule['id']}/end", json={"reason": "x"}), 409)


async def test_a_rule_with_one_permission_on_both_sides_is_refused(iam: Iam) -> None:
    wrong = RULE | {"other": ["*.budget.read", "allocations.*.*"]}
    assert "both sides" in is_problem(await iam.ask("POST", f"{ACME}/duty-rules", json=wrong), 422)["detail"]


async def test_a_rule_of_a_tenant_is_its_own(iam: Iam) -> None:
    rule = await iam.done("POST", f"{ACME}/duty-rules", json=RULE)
    _, rival = await iam.somebody(RIVAL, "tenant-admin")
    is_problem(await iam.ask("GET", f"{ACME}/duty-rules", rival), 404)
    is_problem(await iam.ask("POST", f"{RIVAL}/duty-rules/{rule['id']}/end", rival, json={"reason": "x"}), 404)
    assert (await iam.done("GET", f"{RIVAL}/duty-rules", rival))["items"] == []
