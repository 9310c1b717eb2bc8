"""A project shared with another tenant's people, at the door. One law: nothing before both say so, nor after an end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from gpuaas.common.access import Scope
from gpuaas.common.testing.stack import TestStack
from iam_door import Iam, in_days, is_problem, started

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME, RIVAL, THIRD = (f"/v1/tenants/{name}" for name in ("acme", "rival", "third"))
VISION, RECEIVED = f"{ACME}/projects/vision", f"{RIVAL}/received-shares"
READ = "allocations.allocation.read"
WHY = {"reason": "a test"}
IN_VISION = Scope("acme", "vision")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision", "speech")
        await running_iam.tenant("rival", "secret")
        await running_iam.tenant("third")
        yield running_iam


async def admins(iam: Iam) -> dict[str, str]:
    return {at.rpartition("/")[2]: (await iam.somebody(at, "tenant-admin"))[1] for at in (ACME, RIVAL, THIRD)}


def offer_of(principal_id: str, **more: Any) -> dict[str, Any]:
    named = {"receiver_tenant_id": "rival", "principal_kind": "service-account", "principal_id": principal_id}
    return named | {"role": "viewer"} | WHY | more


async def newest(iam: Iam) -> dict[str, str]:
    return {"GPUaaS-At-Least": str(await iam.service.log.last_position())}


async def answer(iam: Iam, share: str, verb: str, token: str, at: str = RECEIVED) -> Any:
    return await iam.ask("POST", f"{at}/{share}/{verb}", token, json=WHY, headers=await newest(iam))


async def stands(iam: Iam, account: str, permission: str = READ, scope: Scope = IN_VISION) -> bool:
    """What every service decides, for all of them fold the same."""
    token = (await iam.key(RIVAL, account))["api_key"]
    principal = iam.service.access.authenticate(await iam.sign_in(token), datetime.now(UTC))
    return iam.service.access.check(principal, permission, scope, datetime.now(UTC)).allowed


async def test_a_share_is_offered_accepted_used_and_ended_and_both_sides_see_it(iam: Iam) -> None:
    who = await admins(iam)
    robot = await iam.account(RIVAL)
    share = (await iam.done("POST", f"{VISION}/shares", who["acme"], json=offer_of(robot)))["id"]
    assert not await stands(iam, robot), "an offer gives nothing"
    [offered] = (await iam.done("GET", RECEIVED, who["rival"]))["items"]
    assert (offered["share_id"], offered["status"], offered["tenant_id"]) == (share, "offered", "acme")
    taken = await answer(iam, share, "accept", who["rival"])
    assert taken.status_code == 200, taken.text
    assert await stands(iam, robot)
    assert not await stands(iam, robot, scope=Scope("acme", "speech"))
    assert not await stands(iam, robot, scope=Scope("acme"))
    is_problem(await answer(iam, share, "accept", who["rival"]), 409)
    for path, token in ((f"{VISION}/shares", who["acme"]), (f"{ACME}/shares", who["acme"]), (RECEIVED, who["rival"])):
        [shown] = (await iam.done("GET", path, token))["items"]
        assert (shown["share_id"], shown["status"]) == (share, "standing"), path
    is_problem(await iam.ask("POST", f"{ACME}/projects/speech/shares/{share}/end", who["acme"], json=WHY), 404)
    await iam.done("POST", f"{VISION}/shares/{share}/end", who["acme"], json={"reason": "the joint work is over"})
    assert not await stands(iam, robot)
    is_problem(await iam.ask("POST", f"{VISION}/shares/{share}/end", who["acme"], json=WHY), 409)
    [gone] = (await iam.done("GET", RECEIVED, who["rival"]))["items"]
    assert (gone["status"], gone["ended_by"], gone["end_reason"]) == ("ended", "owner", "the joint work is over")
    assert await trail(iam, "acme", share) == [
        "project-share-offered",
        "project-share-accepted",
        "project-share-ended",
    ]
    assert await trail(iam, "rival", share) == ["received-share-accepted", "received-share-ended"]


async def trail(iam: Iam, tenant_id: str, share: str) -> list[str]:
    """What a tenant's own trail says about a share."""
    said = [
        recorded
        for entity in ("project-share", "received-share")
        for recorded in await iam.service.log.history(f"events.iam.{entity}.{tenant_id}.{share}")
    ]
    return [each.type.removeprefix("gpuaas.iam.").removesuffix(".v1") for each in said]


async def test_the_receiver_declines_or_gives_back_and_the_owner_withdraws(iam: Iam) -> None:
    who = await admins(iam)
    robot = await iam.account(RIVAL)
    first, second, third = [
        (await iam.done("POST", f"{VISION}/shares", who["acme"], json=offer_of(robot)))["id"] for _ in range(3)
    ]
    assert (await answer(iam, first, "end", who["rival"])).status_code == 200
    is_problem(await answer(iam, first, "accept", who["rival"]), 409)
    assert await trail(iam, "acme", first) == ["project-share-offered", "project-share-offer-closed"]
    assert await trail(iam, "rival", first) == ["received-share-declined"]
    await iam.done("POST", f"{VISION}/shares/{second}/end", who["acme"], json=WHY)
    is_problem(await answer(iam, second, "accept", who["rival"]), 409)
    assert await trail(iam, "rival", second) == [], "nobody writes into another tenant's trail unasked"
    assert (await answer(iam, third, "accept", who["rival"])).status_code == 200
    assert await stands(iam, robot)
    assert (await answer(iam, third, "end", who["rival"])).status_code == 200
    assert not await stands(iam, robot)
    statuses = {each["share_id"]: each["status"] for each in (await iam.done("GET", RECEIVED, who["rival"]))["items"]}
    assert (statuses[first], statuses[second], statuses[third]) == ("declined", "withdrawn", "ended")


async def test_a_third_tenant_and_an_absent_id_are_answered_alike(iam: Iam) -> None:
    who = await admins(iam)
    share = (await iam.done("POST", f"{VISION}/shares", who["acme"], json=offer_of(await iam.account(RIVAL))))["id"]
    for verb in ("accept", "end"):
        foreign = is_problem(await answer(iam, share, verb, who["third"], f"{THIRD}/received-shares"), 404)
        absent = is_problem(await answer(iam, "nothing", verb, who["third"], f"{THIRD}/received-shares"), 404)
        assert foreign["detail"] == absent["detail"]
        is_problem(await answer(iam, share, verb, who["acme"], f"{ACME}/received-shares"), 404)
    is_problem(await iam.ask("POST", f"{THIRD}/projects/vision/shares/{share}/end", who["third"], json=WHY), 404)
    assert (await iam.done("GET", f"{THIRD}/received-shares", who["third"]))["items"] == []
    unknown = await iam.ask(
        "POST", f"{VISION}/shares", who["acme"], json=offer_of("nobody", receiver_tenant_id="no-tenant")
    )
    assert unknown.status_code == 201, "whether there is such a tenant is not the owner's to learn"


async def test_nobody_shares_more_than_they_hold_when_it_is_offered_and_when_it_is_accepted(iam: Iam) -> None:
    who = await admins(iam)
    robot = await iam.account(RIVAL)
    refused = is_problem(
        await iam.ask("POST", f"{VISION}/shares", who["acme"], json=offer_of(robot, role="auditor")), 403
    )
    assert refused["missing_permissions"] == ["*.*.read"]
    guest = is_problem(
        await iam.ask("POST", f"{VISION}/shares", who["acme"], json=offer_of(robot, role="project-admin")), 409
    )
    assert "decides who may do what" in guest["detail"]
    for wrong, status in (
        ({"receiver_tenant_id": "acme"}, 422),
        ({"receiver_tenant_id": "platform"}, 422),
        ({"receiver_tenant_id": "No Tenant"}, 422),
        ({"role": "nothing"}, 409),
        ({"role_tenant_id": "rival"}, 409),
        ({"valid_until": in_days(-1)}, 422),
    ):
        is_problem(await iam.ask("POST", f"{VISION}/shares", who["acme"], json=offer_of(robot, **wrong)), status)
    leaver, token = await iam.somebody(ACME, "tenant-admin")
    share = (await iam.done("POST", f"{VISION}/shares", token, json=offer_of(robot, role="member")))["id"]
    [binding] = [
        each for each in (await iam.done("GET", f"{ACME}/bindings"))["items"] if each["principal_id"] == leaver
    ]
    await iam.done("POST", f"{ACME}/bindings/{binding['binding_id']}/end", json=WHY)
    is_problem(await answer(iam, share, "accept", who["rival"]), 403)
    stranger = (await iam.done("POST", f"{VISION}/shares", who["acme"], json=offer_of(await iam.account(ACME))))["id"]
    assert "not of your tenant" in is_problem(await answer(iam, stranger, "accept", who["rival"]), 409)["detail"]


async def test_a_group_is_shared_with_and_the_receiver_says_who_is_in_it(iam: Iam) -> None:
    who = await admins(iam)
    group = (await iam.done("POST", f"{RIVAL}/groups", who["rival"], json={"display_name": "guests"}))["id"]
    offer = offer_of(group, principal_kind="group", role="member")
    share = (await iam.done("POST", f"{VISION}/shares", who["acme"], json=offer))["id"]
    assert (await answer(iam, share, "accept", who["rival"])).status_code == 200
    robot = await iam.account(RIVAL)
    member = {"member_kind": "service-account", "member_id": robot}
    await iam.done("POST", f"{RIVAL}/groups/{group}/members", who["rival"], json=member)
    assert await stands(iam, robot, "allocations.allocation.request")
    seen = await iam.done("GET", f"{VISION}/explain/who-can", who["acme"], params={"permission": READ})
    assert ("group", group) in {(each["principal_kind"], each["principal_id"]) for each in seen["items"]}
    assert robot not in str(seen), "who is in it is the receiver's own"
    prohibited = {"holder_kind": "group", "holder_id": group, "permissions": ["allocations.allocation.request"]}
    await iam.done("POST", f"{VISION}/prohibitions", who["acme"], json=prohibited | WHY)
    assert not await stands(iam, robot, "allocations.allocation.request")
    is_problem(await iam.ask("POST", f"{ACME}/projects/speech/prohibitions", who["acme"], json=prohibited | WHY), 404)


async def test_a_deleted_account_is_nobodys_guest_any_more(iam: Iam) -> None:
    who = await admins(iam)
    robot = await iam.account(RIVAL)
    share = (await iam.done("POST", f"{VISION}/shares", who["acme"], json=offer_of(robot)))["id"]
    assert (await answer(iam, share, "accept", who["rival"])).status_code == 200
    await iam.done("POST", f"{RIVAL}/service-accounts/{robot}/delete", who["rival"], json=WHY)
    shown = {each["share_id"]: each for each in (await iam.done("GET", f"{ACME}/shares", who["acme"]))["items"]}
    assert (shown[share]["status"], shown[share]["ended_by"]) == ("ended", "receiver")
