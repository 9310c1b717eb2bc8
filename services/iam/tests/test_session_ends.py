"""All sessions of somebody, or of a tenant's people, end. One law: nobody else's do, and none comes back by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from iam_door import Iam, is_problem, started
from people import Person, person, renewed, signed_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
WHY = {"reason": "a test"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision")
        await running_iam.tenant("rival")
        yield running_iam


async def works(iam: Iam, session: dict[str, Any]) -> bool:
    return (await iam.ask("GET", "/v1/me", session["access_token"])).status_code == 200


async def bound(iam: Iam, who: Person, at: str) -> Person:
    body = {"principal_kind": "user", "principal_id": who.id, "role": "viewer", "reason": "a test"}
    await iam.done("POST", f"{at}/bindings", json=body)
    return who


async def test_all_of_a_persons_sessions_end_at_once_and_nobody_elses(iam: Iam) -> None:
    mira, other = await person(iam), await signed_in(iam)
    hers = [await signed_in(iam, mira) for _ in range(2)]
    await iam.done("POST", f"/v1/users/{mira.id}/sessions/revoke", json=WHY)
    assert [await works(iam, each) for each in (*hers, other)] == [False, False, True]
    is_problem(await renewed(iam, hers[0]["refresh_token"]), 400)


async def test_all_sessions_of_a_tenants_people_end_and_no_other_tenants(iam: Iam) -> None:
    here = await bound(iam, await person(iam), "/v1/tenants/acme/projects/vision")
    there = await bound(iam, await person(iam), "/v1/tenants/rival")
    ends, stays = await signed_in(iam, here), await signed_in(iam, there)
    told = await iam.done("POST", "/v1/tenants/acme/sessions/revoke", json=WHY)
    assert told["ended"] == 1
    assert (await works(iam, ends), await works(iam, stays)) == (False, True)


async def test_who_runs_a_tenant_signs_nobody_out_elsewhere(iam: Iam) -> None:
    _, token = await iam.somebody("/v1/tenants/acme", "tenant-admin")
    is_problem(await iam.ask("POST", "/v1/tenants/acme/sessions/revoke", token, json=WHY), 403)


async def test_who_was_suspended_signs_in_anew(iam: Iam) -> None:
    mira = await person(iam)
    session = await signed_in(iam, mira)
    await iam.done("POST", f"/v1/users/{mira.id}/suspend", json=WHY)
    assert not await works(iam, session)
    await iam.done("POST", f"/v1/users/{mira.id}/resume", json=WHY)
    assert not await works(iam, session)
    is_problem(await renewed(iam, session["refresh_token"]), 400)
    assert await works(iam, await signed_in(iam, mira))
    rows = (await iam.done("GET", f"/v1/users/{mira.id}/sessions"))["items"]
    assert sorted(str(row["end_cause"]) for row in rows) == ["None", "suspended"]
