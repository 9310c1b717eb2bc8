"""The platform's people in a tenant. One law: the tenant says how they come in, sees it, and can end it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from gpuaas.common.scopes import Scope
from gpuaas.common.testing.stack import TestStack
from iam_door import Iam, is_problem, started

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME, RIVAL = "/v1/tenants/acme", "/v1/tenants/rival"
VISIT = {"ticket": "CASE-4711", "reason": "job does not start", "minutes": 30}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision")
        await running_iam.tenant("rival")
        yield running_iam


async def policy(iam: Iam, token: str, word: str) -> None:
    await iam.done("PUT", f"{ACME}/support-policy", token, json={"policy": word, "reason": "a test"})


async def test_with_sessions_the_platform_sees_a_tenants_things_in_a_support_session_only(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    await iam.done("GET", f"{ACME}/bindings")
    await policy(iam, admin, "sessions")
    refused = is_problem(await iam.ask("GET", f"{ACME}/bindings"), 403)
    assert "support session" in refused["detail"]
    told = await iam.done("GET", f"/v1/decisions/{refused['decision_id']}")
    assert [each["why"] for each in told["reasons"] if each["counts"] is False]
    listed = await iam.done("GET", "/v1/tenants", params={"limit": 10})
    assert {each["tenant_id"] for each in listed["items"]} == {"acme", "rival"}, "that it is there is no secret"
    visit = await iam.done("POST", f"{ACME}/support-sessions", json=VISIT)
    await iam.done("GET", f"{ACME}/bindings")
    _, token = await iam.somebody("/v1", "operator")
    is_problem(await iam.ask("GET", f"{ACME}/bindings", token), 403)
    [shown] = (await iam.done("GET", f"{ACME}/support-sessions", admin))["items"]
    assert (shown["support_session_id"], shown["ticket"], shown["reason"]) == (
        visit["id"],
        "CASE-4711",
        VISIT["reason"],
    )
    end = f"{ACME}/support-sessions/{visit['id']}/end"
    await iam.done("POST", end, admin, json={"reason": "that is enough"})
    is_problem(await iam.ask("GET", f"{ACME}/bindings"), 403)
    is_problem(await iam.ask("POST", end, admin, json={"reason": "again"}), 409)
    await policy(iam, admin, "open")
    await iam.done("GET", f"{ACME}/bindings")


async def test_it_ends_by_itself_and_lists_follow(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    await policy(iam, admin, "sessions")
    await iam.done("POST", f"{ACME}/support-sessions", json=VISIT)
    access, now = iam.service.access, datetime.now(UTC)
    operator = access.authenticate(await iam.operator(), now)
    asked = operator, "allocations.allocation.read", Scope("acme", "vision")
    assert access.check(*asked, now).allowed
    assert access.visible_tenants(operator, asked[1], now) == {"acme", "rival"}
    later = now + timedelta(minutes=31)
    assert not access.check(*asked, later).allowed
    assert access.visible_tenants(operator, asked[1], later) == {"rival"}
    assert access.reach(operator, asked[1], later).tenants == {"rival"}
    assert access.check(operator, "billing.invoice.read", Scope("acme"), later).allowed, "its bills are the platform's"
    await policy(iam, admin, "open")


async def test_a_tenant_that_refuses_is_entered_by_nobody_and_only_it_can_say_otherwise(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    await policy(iam, admin, "refused")
    for method, path, body in (
        ("GET", "/bindings", None),
        ("POST", "/support-sessions", VISIT),
        ("PUT", "/support-policy", {"policy": "open", "reason": "we want in"}),
        ("POST", "/service-accounts", {"display_name": "a spy"}),
    ):
        is_problem(await iam.ask(method, ACME + path, json=body), 403)
    await iam.done("POST", f"{ACME}/suspend", json={"reason": "unpaid"})
    await iam.done("POST", f"{ACME}/resume", json={"reason": "paid"})
    await policy(iam, admin, "open")
    is_problem(await iam.ask("PUT", f"{ACME}/support-policy", json={"policy": "refused", "reason": "no"}), 403)


async def test_who_is_of_the_tenant_needs_none_and_a_neighbour_sees_none(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    is_problem(await iam.ask("POST", f"{ACME}/support-sessions", admin, json=VISIT), 403)
    _, neighbour = await iam.somebody(RIVAL, "tenant-admin")
    is_problem(await iam.ask("GET", f"{ACME}/support-sessions", neighbour), 404)
    visit = await iam.done("POST", f"{ACME}/support-sessions", json=VISIT)
    end = f"{RIVAL}/support-sessions/{visit['id']}/end"
    is_problem(await iam.ask("POST", end, neighbour, json={"reason": "mine?"}), 404)
    for minutes in (0, 481):
        is_problem(await iam.ask("POST", f"{ACME}/support-sessions", json=VISIT | {"minutes": minutes}), 422)
