"""The difference of two revisions over a level. One law: it says what asking everybody about everything would say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from gpuaas.common.access import Access, Scope
from gpuaas.common.events import Vocabulary
from gpuaas.common.projections import decoded
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.routes.differences import Side, registry
from iam_door import Iam, is_problem, started

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME, VISION = "/v1/tenants/acme", "/v1/tenants/acme/projects/vision"
WHY = {"reason": "a test"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision", "speech")
        await running_iam.tenant("rival", "secret")
        yield running_iam


async def side(iam: Iam, position: int) -> Side:
    """Rights as of a position, folded here once more."""
    access, vocabulary = Access("dev"), Vocabulary(*Access.READS)
    at: datetime | None = None
    for each in range(1, position + 1):
        recorded = await iam.service.log.at(each)
        assert recorded is not None
        at = recorded.recorded_at
        for fact in decoded(vocabulary, [recorded]):
            access.apply(fact)
    assert at is not None
    return Side(access, at)


async def changes(iam: Iam, at: str, since: int, until: int, token: str | None = None, limit: int = 2) -> list[Any]:
    """Every row, page by page."""
    rows: list[Any] = []
    cursor: dict[str, Any] = {"until": until}
    while True:
        asked = {"since": since, "limit": limit, **cursor}
        page = await iam.done("GET", f"{at}/explain/changes", token, params=asked)
        assert page["until"] == until
        rows += page["items"]
        if page["next_cursor"] is None:
            return rows
        cursor = {"cursor": page["next_cursor"]}


async def test_it_says_what_asking_everybody_about_everything_says(iam: Iam) -> None:
    reader, _ = await iam.somebody(ACME, "viewer")
    leaver, _ = await iam.somebody(VISION, "member", ACME)
    suspended, _ = await iam.somebody(ACME, "auditor")
    grouped, untouched = await iam.account(ACME), (await iam.somebody(ACME, "member"))[0]
    group = (await iam.done("POST", f"{ACME}/groups", json={"display_name": "team"}))["id"]
    bound = {"principal_kind": "group", "principal_id": group, "role": "member"} | WHY
    await iam.done("POST", f"{VISION}/bindings", json=bound)
    since = await iam.service.log.last_position()
    await iam.bind(VISION, reader, "member")
    await iam.bind(ACME, reader, "auditor", condition={"networks": ["192.0.2.0/24"]})
    for each in (await iam.done("GET", f"{ACME}/bindings", params={"limit": 500}))["items"]:
        if each["principal_id"] == leaver:
            await iam.done("POST", f"{ACME}/bindings/{each['binding_id']}/end", json=WHY)
    await iam.done("POST", f"{ACME}/service-accounts/{suspended}/suspend", json=WHY)
    member = {"member_kind": "service-account", "member_id": grouped}
    await iam.done("POST", f"{ACME}/groups/{group}/members", json=member)
    banned = {"holder_kind": "service-account", "holder_id": grouped, "permissions": ["allocations.workload.*"]}
    await iam.done("POST", f"{VISION}/prohibitions", json=banned | WHY)
    until = await iam.service.log.last_position()

    rows = await changes(iam, ACME, since, until)
    told = {
        (row["principal_id"], row["project_id"], each["permission"]): (each["was"], each["is"])
        for row in rows
        for each in row["changes"]
    }
    earlier, later = await side(iam, since), await side(iam, until)
    people = (reader, leaver, suspended, grouped, untouched)
    for who in people:
        for permission in registry():
            for project in (None, "vision", "speech"):
                asked = ("service-account", who), permission, Scope("acme", project)
                truth = earlier.state(*asked), later.state(*asked)
                # A row holds for what lies below it, except where another says otherwise.
                shown = told.get((who, project, permission))
                if shown is None and project is not None and not _has_row(rows, who, project):
                    shown = told.get((who, None, permission))
                assert (shown or truth) == truth, (who, permission, project)
                assert (truth[0] != truth[1]) == (shown is not None), (who, permission, project, truth)
    assert untouched not in str(rows)
    assert ("no", "on-condition") in told.values()
    assert [*rows] == sorted(
        rows, key=lambda row: (row["principal_kind"], row["principal_id"], row["project_id"] or "")
    )


def _has_row(rows: list[Any], who: str, project: str) -> bool:
    return any((row["principal_id"], row["project_id"]) == (who, project) for row in rows)


async def test_a_ceiling_changes_what_everybody_may_and_nothing_changes_by_itself(iam: Iam) -> None:
    account, _ = await iam.somebody("/v1/tenants/rival", "member")
    since = await iam.service.log.last_position()
    ceiling = {"permissions": ["*.*.read"]} | WHY
    await iam.done("PUT", "/v1/tenants/rival/ceiling", json=ceiling)
    until = await iam.service.log.last_position()
    [row] = [row for row in await changes(iam, "/v1", since, until) if row["principal_id"] == account]
    assert (row["tenant_id"], row["project_id"]) == ("rival", None)
    assert {each["is"] for each in row["changes"]} == {"no"}
    assert "allocations.allocation.request" in {each["permission"] for each in row["changes"]}
    await iam.done("POST", "/v1/tenants/rival/ceiling/remove", json=WHY)
    assert await changes(iam, "/v1", until, until) == []


async def test_a_tenant_reads_its_own_and_nobody_elses(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    _, stranger = await iam.somebody("/v1/tenants/rival", "tenant-admin")
    since = await iam.service.log.last_position()
    operator, _ = await iam.somebody("/v1", "operator")
    own, _ = await iam.somebody(ACME, "member")
    until = await iam.service.log.last_position()
    rows = await changes(iam, ACME, since, until, admin)
    assert {row["principal_id"] for row in rows} == {own}, "who comes from above is listed to who reads above"
    assert {operator, own} <= {row["principal_id"] for row in await changes(iam, "/v1", since, until)}
    asked = {"since": since, "until": until}
    is_problem(await iam.ask("GET", f"{ACME}/explain/changes", stranger, params=asked), 404)
    is_problem(await iam.ask("GET", f"{ACME}/explain/changes", params={"since": until, "until": since}), 422)
    is_problem(await iam.ask("GET", f"{ACME}/explain/changes", params={"since": 10**9}), 422)
    is_problem(await iam.ask("GET", f"{ACME}/explain/changes", params=asked | {"cursor": "WzFd"}), 422)
