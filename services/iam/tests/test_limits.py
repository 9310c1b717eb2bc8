"""Prohibitions and ceilings at the door. One law: a limit wins, and who it binds does not lift it."""

from __future__ import annotations

from itertools import product

from gpuaas.iam.domain.permissions import beyond, covers, overlap
from hypothesis import given
from hypothesis import strategies as st
from iam_door import Iam, is_problem

ACME, VISION = "/v1/tenants/acme", "/v1/tenants/acme/projects/vision"
WORD = st.sampled_from(["*", "a", "b"])
GLOB = st.tuples(WORD, WORD, WORD).map(".".join)
EVERY = [".".join(words) for words in product("abc", repeat=3)]


@given(held=st.lists(GLOB, max_size=3), wanted=st.lists(GLOB, max_size=3), withheld=st.lists(GLOB, max_size=3))
def test_who_hands_on_nothing_beyond_holds_every_single_permission_handed_on(
    held: list[str], wanted: list[str], withheld: list[str]
) -> None:
    if not beyond(held, wanted, withheld):
        for single in EVERY:
            if any(covers(glob, single) for glob in wanted):
                assert any(covers(glob, single) for glob in held)
                assert not any(covers(glob, single) for glob in withheld)


@given(GLOB, GLOB)
def test_globs_overlap_exactly_where_one_permission_is_in_both(one: str, other: str) -> None:
    assert overlap(one, other) == any(covers(one, single) and covers(other, single) for single in EVERY)


def ban(account: str, *permissions: str) -> dict[str, object]:
    holder = {"holder_kind": "service-account", "holder_id": account}
    return holder | {"permissions": list(permissions), "reason": "a test"}


async def test_what_is_prohibited_is_refused_whatever_is_bound_until_it_is_lifted(iam: Iam) -> None:
    await iam.tenant("acme", "vision", "speech")
    robot, token = await iam.somebody(ACME, "tenant-admin")
    placed = await iam.done("POST", f"{VISION}/prohibitions", json=ban(robot, "iam.project.*"))
    told = is_problem(await iam.ask("GET", VISION, token), 403)
    assert placed["id"] in told["detail"]
    assert (await iam.ask("GET", f"{ACME}/projects/speech", token)).status_code == 200
    assert [p["project_id"] for p in (await iam.done("GET", f"{ACME}/projects", token))["items"]] == ["speech"]
    [listed] = (await iam.done("GET", f"{ACME}/prohibitions"))["items"]
    assert listed["prohibition_id"] == placed["id"]
    lift = f"{VISION}/prohibitions/{placed['id']}/lift"
    is_problem(await iam.ask("POST", lift, token, json={"reason": "mine"}), 403)
    is_problem(await iam.ask("POST", f"{ACME}/prohibitions/{placed['id']}/lift", token, json={"reason": "mine"}), 403)
    await iam.done("POST", lift, json={"reason": "over"})
    assert (await iam.ask("GET", VISION, token)).status_code == 200
    is_problem(await iam.ask("POST", lift, json={"reason": "again"}), 409)


async def test_who_is_prohibited_something_hands_it_on_no_more(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    admin, token = await iam.somebody(ACME, "tenant-admin")
    robot = await iam.account(ACME)
    await iam.done("POST", f"{VISION}/prohibitions", json=ban(admin, "allocations.allocation.request"))
    told = is_problem(await iam.bind(ACME, robot, "member", token), 403)
    assert told["missing_permissions"] == ["allocations.allocation.request"]
    assert (await iam.bind(ACME, robot, "viewer", token)).status_code == 201


async def test_leaving_a_prohibited_group_needs_what_is_prohibited_in_it(iam: Iam) -> None:
    await iam.tenant("acme")
    robot, token = await iam.somebody(ACME, "tenant-admin")
    group = (await iam.done("POST", f"{ACME}/groups", json={"display_name": "interns"}))["id"]
    member = {"member_kind": "service-account", "member_id": robot}
    await iam.done("POST", f"{ACME}/groups/{group}/members", json=member)
    await iam.done(
        "POST", f"{ACME}/prohibitions", json=ban(group, "billing.*.read") | {"holder_kind": "group", "holder_id": group}
    )
    out = f"{ACME}/groups/{group}/members/remove"
    is_problem(await iam.ask("POST", out, token, json=member | {"reason": "mine"}), 403)
    await iam.done("POST", out, json=member | {"reason": "over"})


async def test_a_tenant_prohibits_nothing_to_who_stands_above_it(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    _, token = await iam.somebody(ACME, "tenant-admin")
    is_problem(await iam.ask("POST", f"{ACME}/prohibitions", token, json=ban("operator", "iam.*.*")), 403)


async def test_a_ceiling_bounds_bindings_in_the_tenant_and_none_above(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    _, token = await iam.somebody(ACME, "tenant-admin")
    ceiling = {"permissions": ["iam.tenant.read", "iam.tenant-ceiling.read"], "reason": "trial"}
    is_problem(await iam.ask("PUT", f"{ACME}/ceiling", token, json=ceiling), 403)
    await iam.done("PUT", f"{ACME}/ceiling", json=ceiling)
    assert (await iam.ask("GET", ACME, token)).status_code == 200
    assert "ceiling" in is_problem(await iam.ask("GET", VISION, token), 403)["detail"]
    assert (await iam.done("GET", f"{ACME}/ceiling", token))["permissions"] == ceiling["permissions"]
    assert (await iam.ask("GET", VISION)).status_code == 200
    await iam.done("POST", f"{ACME}/ceiling/remove", json={"reason": "signed"})
    assert (await iam.ask("GET", VISION, token)).status_code == 200
    is_problem(await iam.ask("POST", f"{ACME}/ceiling/remove", json={"reason": "x"}), 409)
