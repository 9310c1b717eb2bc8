"""Bindings on a condition, at the door. One law: a refusal names the condition, and is explained later the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from iam_door import Iam, is_problem, started

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME = "/v1/tenants/acme"
ELSEWHERE, HERE = {"networks": ["192.0.2.0/24"]}, {"networks": ["127.0.0.0/8", "::1/128"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision")
        yield running_iam


async def bound(iam: Iam, condition: dict[str, Any], role: str = "tenant-admin") -> tuple[str, str]:
    """Id and token of an account that holds a role in acme on a condition."""
    account = await iam.account(ACME)
    token = await iam.sign_in((await iam.key(ACME, account))["api_key"])
    answer = await iam.bind(ACME, account, role, condition=condition)
    assert answer.status_code == 201, answer.text
    return account, token


async def test_it_counts_where_its_condition_is_met_and_the_refusal_names_it_elsewhere(iam: Iam) -> None:
    _, here = await bound(iam, HERE)
    account, elsewhere = await bound(iam, ELSEWHERE)
    await iam.done("GET", f"{ACME}/bindings", here)
    refused = is_problem(await iam.ask("GET", f"{ACME}/bindings", elsewhere), 403)
    assert "192.0.2.0/24" in refused["detail"]
    told = await iam.done("GET", f"/v1/decisions/{refused['decision_id']}", elsewhere)
    assert not told["allowed"]
    assert not told["allowed_now"]
    [reason] = told["reasons"]
    assert (reason["kind"], reason["counts"]) == ("binding", False)
    assert "192.0.2.0/24" in reason["why"]
    asked = {"principal_kind": "service-account", "principal_id": account, "permission": "iam.binding.read"}
    why = await iam.done("GET", f"{ACME}/explain", here, params=asked)
    assert (why["allowed"], why["allowed_on_condition"]) == (False, True)
    who = await iam.done(
        "GET", f"{ACME}/explain/who-can", here, params={"permission": "iam.binding.read", "limit": 500}
    )
    [found] = [each for each in who["items"] if each["principal_id"] == account]
    assert found["bindings"][0]["on_condition"] == "from 192.0.2.0/24"
    me = await iam.done("GET", "/v1/me", elsewhere)
    assert "192.0.2.0/24" in me["bindings"][0]["unmet"]


async def test_lists_show_nothing_by_a_condition_that_is_not_met(iam: Iam) -> None:
    for condition, seen in ((HERE, ["acme"]), (ELSEWHERE, [])):
        _, token = await bound(iam, condition, "viewer")
        listed = (await iam.done("GET", "/v1/tenants", token))["items"]
        assert [each["tenant_id"] for each in listed] == seen


async def test_the_list_of_bindings_shows_the_condition_and_it_ends_like_any_other(iam: Iam) -> None:
    office = {"time_zone": "Europe/Berlin", "days": ["mon", "fri"], "begins": "08:00", "ends": "18:00"}
    account, _ = await bound(iam, {"hours": office, "signed_in_within_s": 600})
    listed = (await iam.done("GET", f"{ACME}/bindings", params={"limit": 500}))["items"]
    [shown] = [each for each in listed if each["principal_id"] == account]
    assert shown["condition"] == {"hours": office, "signed_in_within_s": 600}
    await iam.done("POST", f"{ACME}/bindings/{shown['binding_id']}/end", json={"reason": "a test"})
    listed = (await iam.done("GET", f"{ACME}/bindings", params={"limit": 500}))["items"]
    assert account not in {each["principal_id"] for each in listed}


async def test_who_holds_it_on_a_condition_hands_nothing_on(iam: Iam) -> None:
    _, token = await bound(iam, HERE)
    refused = is_problem(await iam.bind(ACME, await iam.account(ACME), "viewer", token), 403)
    assert refused["missing_permissions"]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"networks": []},
        {"networks": ["10.0.0.1/8"]},
        {"networks": ["０.0.0.0/0"]},
        {"networks": ["anywhere"]},
        {"hours": {"time_zone": "Mars/Base", "days": ["mon"], "begins": "08:00", "ends": "18:00"}},
        {"hours": {"time_zone": "UTC", "days": ["mon"], "begins": "08:00", "ends": "08:00"}},
        {"hours": {"time_zone": "UTC", "days": ["mon"], "begins": "08:00", "ends": "29:00"}},
        {"hours": {"time_zone": "UTC", "days": ["Monday"], "begins": "08:00", "ends": "18:00"}},
        {"signed_in_within_s": 1},
        {"weather": "sunny"},
    ],
)
async def test_a_condition_that_could_never_be_met_is_refused(iam: Iam, odd: dict[str, Any]) -> None:
    answer = await iam.bind(ACME, await iam.account(ACME), "viewer", condition=odd)
    is_problem(answer, 422)
