"""A tenant's own roles. One law: they give nothing that their author does not hold, and nothing anywhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from iam_door import Iam, is_problem, started

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME, RIVAL = "/v1/tenants/acme", "/v1/tenants/rival"
TRAINER = {"description": "Asks for GPUs.", "permissions": ["allocations.allocation.request"]}
OWN = {"role_tenant_id": "acme"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision")
        await running_iam.tenant("rival", "secret")
        yield running_iam


async def may(iam: Iam, token: str, permission: str, project: str | None = None) -> bool:
    body = {"permission": permission, "tenant_id": "acme", "project_id": project}
    return bool((await iam.done("POST", "/v1/check", token, json=body))["allowed"])


async def test_a_role_of_ones_own_is_bound_and_its_next_version_counts_at_once(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    robot, token = await iam.somebody(ACME, "viewer")
    await iam.done("POST", f"{ACME}/roles", admin, json=TRAINER | {"role": "trainer"})
    assert (await iam.bind(f"{ACME}/projects/vision", robot, "trainer", admin, **OWN)).status_code == 201
    assert await may(iam, token, "allocations.allocation.request", "vision")
    assert not await may(iam, token, "allocations.allocation.request")
    more = TRAINER | {"permissions": ["allocations.allocation.release"]}
    await iam.done("POST", f"{ACME}/roles", admin, json=more | {"role": "trainer"})
    assert not await may(iam, token, "allocations.allocation.request", "vision")
    assert await may(iam, token, "allocations.allocation.release", "vision")
    [listed] = (await iam.done("GET", f"{ACME}/roles", admin))["items"]
    assert (listed["role"], listed["version"], listed["permissions"]) == ("trainer", 2, more["permissions"])
    bound = (await iam.done("GET", f"{ACME}/bindings", admin))["items"]
    assert ("trainer", "acme") in {(each["role"], each["role_tenant_id"]) for each in bound}


async def test_nobody_puts_into_a_role_what_they_do_not_hold(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    for globs in (["nodes.node.retire"], ["*.*.*"], ["iam.tenant.suspend"]):
        refused = is_problem(
            await iam.ask("POST", f"{ACME}/roles", admin, json=TRAINER | {"permissions": globs} | {"role": "king"}), 403
        )
        assert refused["missing_permissions"] == globs
    _, member = await iam.somebody(ACME, "project-admin")
    is_problem(await iam.ask("POST", f"{ACME}/roles", member, json=TRAINER | {"role": "king"}), 403)


async def test_a_role_of_one_tenant_is_none_in_another_and_is_not_named_there(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    other, rival = await iam.somebody(RIVAL, "tenant-admin")
    await iam.done("POST", f"{ACME}/roles", admin, json=TRAINER | {"role": "hidden-one"})
    for more in ({}, OWN, {"role_tenant_id": "rival"}):
        refused = is_problem(await iam.bind(RIVAL, other, "hidden-one", rival, **more), 409)
        assert "there is no role" in refused["detail"]
    is_problem(await iam.bind(RIVAL, other, "acme/hidden-one", rival), 409)
    is_problem(await iam.ask("GET", f"{ACME}/roles", rival), 404)
    _, token = await iam.somebody(RIVAL, "viewer")
    project = {"project_id": "p", "display_name": "P"}
    denied = is_problem(await iam.ask("POST", f"{RIVAL}/projects", token, json=project), 403)
    assert all("acme" not in name for name in denied["sufficient_roles"])
    _, mine = await iam.somebody(ACME, "viewer")
    asked = {"permission": "allocations.allocation.request", "tenant_id": "acme"}
    told = await iam.done("POST", "/v1/check", mine, json=asked)
    assert "acme/hidden-one" in told["sufficient_roles"]


async def test_a_role_may_have_the_name_of_one_of_the_platforms_and_is_another(iam: Iam) -> None:
    _, admin = await iam.somebody(ACME, "tenant-admin")
    robot, token = await iam.somebody(ACME, "viewer")
    await iam.done("POST", f"{ACME}/roles", admin, json=TRAINER | {"role": "operator"})
    is_problem(await iam.bind(ACME, robot, "operator", admin), 403)
    assert (await iam.bind(ACME, robot, "operator", admin, **OWN)).status_code == 201
    assert not await may(iam, token, "iam.binding.create")
