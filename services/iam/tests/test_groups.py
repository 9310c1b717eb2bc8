"""Groups at the door, and their nesting against a naive model. One law: nobody is let into more than the host holds."""

from __future__ import annotations

import asyncio

import pytest
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event
from gpuaas.iam.domain.group_tree import DEPTH_MAX, GROUP_TREE, NestGroup, UnnestGroup
from hypothesis import given
from hypothesis import strategies as st
from iam_door import Iam, is_problem

ACME = "/v1/tenants/acme"
NAMES = "abcdef"


def longest(edges: set[tuple[str, str]], start: str, met: tuple[str, ...] = ()) -> float:
    """Groups on the longest way outwards from `start`, by trying all; infinite where it runs in a circle."""
    if start in met:
        return float("inf")
    return 1 + max((longest(edges, outer, (*met, start)) for inner, outer in edges if inner == start), default=0)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.booleans()), max_size=25))
def test_a_nesting_is_refused_exactly_when_a_way_would_be_too_long_or_a_circle(
    asked: list[tuple[str, str, bool]],
) -> None:
    edges: set[tuple[str, str]] = set()
    history: list[Event] = []
    for inner, outer, nest in asked:
        tree, pair = GROUP_TREE.fold(history), (inner, outer)
        assert tree == edges
        if not nest:
            if pair in edges:
                history += GROUP_TREE.decide(UnnestGroup("acme", inner, outer, "x"), tree)
                edges.remove(pair)
            continue
        order = NestGroup("acme", inner, outer, ())
        if pair in edges or max(longest(edges | {pair}, name) for name in NAMES) > DEPTH_MAX:
            with pytest.raises(Rejected):
                GROUP_TREE.decide(order, tree)
        else:
            history += GROUP_TREE.decide(order, tree)
            edges.add(pair)


async def group(iam: Iam, at: str = ACME, token: str | None = None) -> str:
    return str((await iam.done("POST", f"{at}/groups", token, json={"display_name": "a team"}))["id"])


async def test_a_member_holds_what_the_group_and_its_outer_groups_are_given(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    robot, inner, outer = await iam.account(ACME), await group(iam), await group(iam)
    assert (await iam.bind(ACME, outer, "viewer", principal_kind="group")).status_code == 201
    await iam.done("POST", f"{ACME}/groups/{inner}/nest", json={"parent_id": outer})
    token = await iam.sign_in((await iam.key(ACME, robot))["api_key"])
    is_problem(await iam.ask("GET", ACME, token), 404)
    member = {"member_kind": "service-account", "member_id": robot}
    await iam.done("POST", f"{ACME}/groups/{inner}/members", json=member)
    assert (await iam.ask("GET", ACME, token)).status_code == 200
    assert (await iam.done("GET", f"{ACME}/groups/{outer}/members"))["items"] == [member]
    assert {each["group_id"] for each in (await iam.done("GET", f"{ACME}/groups"))["items"]} == {inner, outer}
    [listed] = (await iam.done("GET", f"{ACME}/bindings"))["items"]
    assert (listed["principal_kind"], listed["principal_id"]) == ("group", outer)
    await iam.done("POST", f"{ACME}/groups/{inner}/members/remove", json=member | {"reason": "left"})
    is_problem(await iam.ask("GET", ACME, token), 404)


async def test_nobody_lets_anybody_into_a_group_that_gives_more_than_they_hold(iam: Iam) -> None:
    await iam.tenant("acme")
    _, admin = await iam.somebody(ACME, "tenant-admin")
    strong, weak, robot = await group(iam), await group(iam, token=admin), await iam.account(ACME)
    assert (await iam.bind(ACME, strong, "operator", principal_kind="group")).status_code == 201
    member = {"member_kind": "service-account", "member_id": robot}
    told = is_problem(await iam.ask("POST", f"{ACME}/groups/{strong}/members", admin, json=member), 403)
    assert "nodes.*.*" in told["missing_permissions"]
    is_problem(await iam.ask("POST", f"{ACME}/groups/{weak}/nest", admin, json={"parent_id": strong}), 403)
    await iam.done("POST", f"{ACME}/groups/{weak}/members", admin, json=member)
    is_problem(await iam.ask("POST", f"{ACME}/groups/{weak}/members", admin, json=member), 409)


async def test_groups_and_members_of_another_tenant_are_absent(iam: Iam) -> None:
    await iam.tenant("acme")
    await iam.tenant("rival")
    own, foreign, stranger = (
        await group(iam),
        await group(iam, "/v1/tenants/rival"),
        await iam.account("/v1/tenants/rival"),
    )
    member = {"member_kind": "service-account", "member_id": stranger}
    is_problem(await iam.ask("POST", f"{ACME}/groups/{own}/members", json=member), 404)
    is_problem(await iam.ask("GET", f"{ACME}/groups/{foreign}/members"), 404)
    is_problem(await iam.ask("POST", f"{ACME}/groups/{own}/nest", json={"parent_id": foreign}), 404)
    is_problem(await iam.bind(ACME, foreign, "viewer", principal_kind="group"), 404)


async def test_two_nestings_at_once_never_close_a_circle(iam: Iam) -> None:
    await iam.tenant("acme")
    one, other = await group(iam), await group(iam)
    answers = await asyncio.gather(
        *(
            iam.ask("POST", f"{ACME}/groups/{inner}/nest", json={"parent_id": outer})
            for inner, outer in ((one, other), (other, one))
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
