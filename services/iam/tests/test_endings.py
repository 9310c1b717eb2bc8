"""What ends for good. One law: with it ends what it owned; the rest is read and wound up, and no id comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from iam_door import Iam, is_problem, started

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME, RIVAL = "/v1/tenants/acme", "/v1/tenants/rival"
WHY = {"reason": "a test"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision", "speech")
        await running_iam.tenant("rival", "vision")
        yield running_iam


async def test_a_deleted_program_is_refused_and_what_it_had_has_ended(iam: Iam) -> None:
    robot, token = await iam.somebody(ACME, "viewer")
    _, admin = await iam.somebody(ACME, "tenant-admin")
    key = await iam.key(ACME, robot)
    await iam.done("GET", ACME, token)
    await iam.done("POST", f"{ACME}/service-accounts/{robot}/delete", admin, json=WHY)
    assert is_problem(await iam.ask("GET", ACME, token), 401)["decision_id"]
    is_problem(await iam.client.post("/v1/tokens", json={"api_key": key["api_key"]}), 401)
    bound = (await iam.done("GET", f"{ACME}/bindings", admin, params={"limit": 500}))["items"]
    assert robot not in {each["principal_id"] for each in bound}
    for path, body in (
        ("delete", WHY),
        ("resume", WHY),
        ("keys", {"label": "k", "expires_at": "2099-01-01T00:00:00Z"}),
    ):
        is_problem(await iam.ask("POST", f"{ACME}/service-accounts/{robot}/{path}", admin, json=body), 404)
    is_problem(await iam.bind(ACME, robot, "viewer", admin), 404)


async def test_nobody_deletes_themselves_or_a_neighbours(iam: Iam) -> None:
    admin, token = await iam.somebody(ACME, "tenant-admin")
    is_problem(await iam.ask("POST", f"{ACME}/service-accounts/{admin}/delete", token, json=WHY), 409)
    theirs, _ = await iam.somebody(RIVAL, "viewer")
    is_problem(await iam.ask("POST", f"{ACME}/service-accounts/{theirs}/delete", token, json=WHY), 404)
    is_problem(await iam.ask("POST", f"{RIVAL}/service-accounts/{theirs}/delete", token, json=WHY), 404)


async def test_a_deleted_person_is_refused_for_good(iam: Iam) -> None:
    body = {"email": "mira@example.com", "display_name": "Mira"}
    mira = (await iam.done("POST", "/v1/users", json=body))["id"]
    bound = {"principal_kind": "user", "principal_id": mira, "role": "viewer", "reason": "a test"}
    await iam.done("POST", f"{ACME}/bindings", json=bound)
    await iam.done("POST", f"/v1/users/{mira}/delete", json=WHY)
    is_problem(await iam.ask("POST", f"{ACME}/bindings", json=bound), 404)
    is_problem(await iam.ask("POST", f"/v1/users/{mira}/delete", json=WHY), 404)
    assert iam.service.access.rights.stopped(("user", mira)) is not None


async def test_a_closed_project_is_read_and_wound_up_and_nothing_begins_there(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    speech = f"{ACME}/projects/speech"
    robot, token = await iam.somebody(speech, "member")
    kept = await iam.bind(speech, (await iam.somebody(ACME, "viewer"))[0], "member", admin)
    await iam.done("POST", f"{speech}/close", admin, json=WHY)
    is_problem(await iam.ask("GET", speech, token), 401)
    refused = is_problem(await iam.bind(speech, robot, "viewer", admin), 403)
    assert "was closed" in refused["detail"]
    reasons = (await iam.done("GET", f"/v1/decisions/{refused['decision_id']}", admin))["reasons"]
    assert {"ending"} == {each["kind"] for each in reasons if each["kind"] not in ("binding",)}
    await iam.done("GET", speech, admin)
    await iam.done("POST", f"{speech}/bindings/{kept.json()['id']}/end", admin, json=WHY)
    for permission, allowed in (("allocations.allocation.request", False), ("allocations.allocation.release", True)):
        asked = {"permission": permission, "tenant_id": "acme", "project_id": "speech"}
        assert (await iam.done("POST", "/v1/check", admin, json=asked))["allowed"] is allowed
    is_problem(await iam.ask("POST", f"{speech}/close", admin, json=WHY), 403)
    again = {"project_id": "speech", "display_name": "Speech"}
    is_problem(await iam.ask("POST", f"{ACME}/projects", admin, json=again), 409)


async def test_a_tenant_is_closed_by_the_platform_once_no_project_of_it_is_open(iam: Iam) -> None:
    _, admin = await iam.somebody(RIVAL, "tenant-admin")
    is_problem(await iam.ask("POST", f"{RIVAL}/close", admin, json=WHY), 403)
    assert "vision" in is_problem(await iam.ask("POST", f"{RIVAL}/close", json=WHY), 409)["detail"]
    await iam.done("POST", f"{RIVAL}/projects/vision/close", json=WHY)
    await iam.done("POST", f"{RIVAL}/close", json=WHY)
    is_problem(await iam.ask("GET", RIVAL, admin), 401)
    await iam.done("GET", RIVAL)
    is_problem(await iam.ask("POST", f"{RIVAL}/projects", json={"project_id": "new", "display_name": "N"}), 403)
    is_problem(await iam.ask("POST", f"{RIVAL}/resume", json=WHY), 409)
    body = {"tenant_id": "rival", "display_name": "Rival", "billing_currency": "EUR"}
    is_problem(await iam.ask("POST", "/v1/tenants", json=body), 409)
    await iam.done("GET", f"{ACME}/bindings")
