"""Explained rights, now and as they were. One law: the explanation comes to what the check decides."""

from __future__ import annotations

from urllib.parse import urlencode

from iam_door import Iam, is_problem

ACME, VISION = "/v1/tenants/acme", "/v1/tenants/acme/projects/vision"
READ = "iam.project.read"


def about(account: str, **more: object) -> str:
    return urlencode({"principal_kind": "service-account", "principal_id": account} | more)


async def test_an_answer_names_the_binding_the_role_and_the_group(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    robot = await iam.account(ACME)
    group = (await iam.done("POST", f"{ACME}/groups", json={"display_name": "team"}))["id"]
    bound = (await iam.bind(ACME, group, "viewer", principal_kind="group")).json()["id"]
    member = {"member_kind": "service-account", "member_id": robot}
    await iam.done("POST", f"{ACME}/groups/{group}/members", json=member)
    told = await iam.done("GET", f"{VISION}/explain?{about(robot, permission=READ)}")
    assert told["allowed"]
    [reason] = told["reasons"]
    assert (reason["id"], reason["role"], reason["through"]["id"], reason["counts"]) == (bound, "viewer", group, True)
    ban = {"holder_kind": "group", "holder_id": group, "permissions": ["iam.*.read"], "reason": "x"}
    placed = await iam.done("POST", f"{VISION}/prohibitions", json=ban)
    told = await iam.done("GET", f"{VISION}/explain?{about(robot, permission=READ)}")
    assert not told["allowed"]
    assert told["reasons"][0]["id"] == placed["id"]


async def test_rights_are_told_as_of_any_position_and_as_a_difference(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    robot = await iam.account(ACME)
    before = await iam.service.log.last_position()
    first = (await iam.bind(ACME, robot, "viewer")).json()
    await iam.done("POST", f"{ACME}/bindings/{first['id']}/end", json={"reason": "left"})
    second = (await iam.bind(VISION, robot, "member")).json()
    answers = [
        (await iam.done("GET", f"{VISION}/explain?{about(robot, permission=READ, as_of=position)}"))["allowed"]
        for position in (before, first["position"], second["position"] - 1, second["position"])
    ]
    assert answers == [False, True, False, True]
    since = first["position"]
    change = await iam.done("GET", f"{VISION}/explain/difference?{about(robot, since=since)}")
    assert {each["binding"]["binding_id"] for each in change["gained"]} == {second["id"]}
    assert {each["binding"]["binding_id"] for each in change["lost"]} == {first["id"]}
    what = await iam.done("GET", f"{ACME}/explain/what-can?{about(robot, as_of=since)}")
    assert READ in {each["permission"] for each in what["given"]}
    is_problem(await iam.ask("GET", f"{ACME}/explain/what-can?{about(robot, as_of=10**9)}"), 422)


async def test_a_tenant_sees_who_may_in_it_and_nobody_above(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    await iam.tenant("rival")
    admin, token = await iam.somebody(ACME, "tenant-admin")
    stranger, _ = await iam.somebody("/v1/tenants/rival", "tenant-admin")
    path = f"{ACME}/explain/who-can?permission={READ}"
    assert [each["principal_id"] for each in (await iam.done("GET", path, token))["items"]] == [admin]
    everybody = {each["principal_id"] for each in (await iam.done("GET", path))["items"]}
    assert everybody == {admin, "operator"}
    for other in (stranger, "operator", "nobody"):
        is_problem(await iam.ask("GET", f"{ACME}/explain?{about(other, permission=READ)}", token), 404)
    is_problem(await iam.ask("GET", f"{ACME}/explain?{about(admin, permission='odd')}", token), 422)
