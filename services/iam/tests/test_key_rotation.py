"""An API key gets a successor. One law: both work for the overlap, then one, and there is never none or a third."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from iam_door import Iam, in_days, is_problem, started

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME = "/v1/tenants/acme"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme")
        await running_iam.tenant("rival")
        yield running_iam


async def rotated(iam: Iam, robot: str, key_id: str, token: str | None = None, **given: Any) -> httpx.Response:
    body = {"label": "the next", "expires_at": in_days(60)} | given
    return await iam.ask("POST", f"{ACME}/service-accounts/{robot}/keys/{key_id}/rotate", token, json=body)


async def signs_in(iam: Iam, api_key: str) -> int:
    return (await iam.client.post("/v1/tokens", json={"api_key": api_key})).status_code


async def test_both_keys_work_while_they_overlap(iam: Iam) -> None:
    robot = await iam.account(ACME)
    old = await iam.key(ACME, robot)
    new = (await rotated(iam, robot, old["id"], overlap_s=3_600)).json()
    assert [await signs_in(iam, each["api_key"]) for each in (old, new)] == [200, 200]
    rows = (await iam.done("GET", f"{ACME}/service-accounts/{robot}/keys"))["items"]
    ends = {row["key_id"]: datetime.fromisoformat(row["expires_at"]) for row in rows}
    assert abs(ends[old["id"]] - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=10)
    assert ends[new["id"]] > datetime.now(UTC) + timedelta(days=59)


async def test_without_overlap_the_old_key_and_its_tokens_end_at_once(iam: Iam) -> None:
    robot = await iam.account(ACME)
    await iam.bind(ACME, robot, "viewer")
    old = await iam.key(ACME, robot)
    token = await iam.sign_in(old["api_key"])
    new = (await rotated(iam, robot, old["id"], overlap_s=0)).json()
    assert [await signs_in(iam, each["api_key"]) for each in (old, new)] == [401, 200]
    is_problem(await iam.ask("GET", "/v1/me", token), 401)


async def test_a_key_has_one_successor_however_many_ask_at_once(iam: Iam) -> None:
    robot = await iam.account(ACME)
    old = await iam.key(ACME, robot)
    answers = await asyncio.gather(*(rotated(iam, robot, old["id"]) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    rows = (await iam.done("GET", f"{ACME}/service-accounts/{robot}/keys"))["items"]
    assert len(rows) == 2


async def test_a_longer_overlap_than_the_key_has_left_does_not_lengthen_it(iam: Iam) -> None:
    robot = await iam.account(ACME)
    body = {"label": "short", "expires_at": in_days(1)}
    old = await iam.done("POST", f"{ACME}/service-accounts/{robot}/keys", json=body)
    assert (await rotated(iam, robot, old["id"], overlap_s=20 * 86_400)).status_code == 201
    rows = (await iam.done("GET", f"{ACME}/service-accounts/{robot}/keys"))["items"]
    [end] = [datetime.fromisoformat(row["expires_at"]) for row in rows if row["key_id"] == old["id"]]
    assert end == datetime.fromisoformat(body["expires_at"])


async def test_a_revoked_key_and_somebody_elses_get_no_successor(iam: Iam) -> None:
    robot, other = await iam.account(ACME), await iam.account(ACME)
    mine, theirs = await iam.key(ACME, robot), await iam.key(ACME, other)
    is_problem(await rotated(iam, robot, theirs["id"]), 404)
    is_problem(await rotated(iam, robot, "never-was"), 404)
    path = f"{ACME}/service-accounts/{robot}/keys/{mine['id']}/revoke"
    await iam.done("POST", path, json={"reason": "leaked"})
    is_problem(await rotated(iam, robot, mine["id"]), 409)
    assert len((await iam.done("GET", f"{ACME}/service-accounts/{robot}/keys"))["items"]) == 1


async def test_nobody_succeeds_the_key_of_who_may_do_more(iam: Iam) -> None:
    strong, _ = await iam.somebody(ACME, "tenant-admin")
    [row] = (await iam.done("GET", f"{ACME}/service-accounts/{strong}/keys"))["items"]
    permissions = {"description": "keeps keys", "permissions": ["iam.key.issue", "iam.key.read"]}
    await iam.done("PUT", "/v1/roles/key-keeper", json=permissions)
    _, token = await iam.somebody(ACME, "key-keeper")
    is_problem(await rotated(iam, strong, row["key_id"], token), 403)
