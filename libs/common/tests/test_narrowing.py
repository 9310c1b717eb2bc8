"""Credentials that may less than their principal. One law: a list shows exactly what a check allows, however narrow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.decisions import Asked
from gpuaas.common.narrowing import Credential, Narrowing, common, left_by
from gpuaas.common.testing.identity import Identity
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime.now(UTC)
READ = "allocations.allocation.read"
PLACES = [Scope(t, p) for t in ("acme", "rival") for p in (None, "vision", "speech")]
GLOBS = ["*.*.*", "allocations.*.read", READ, "billing.*.read", "allocations.allocation.*"]


def world() -> Access:
    identity = Identity(now=NOW)
    identity.tenant("acme", "vision", "speech")
    identity.tenant("rival", "vision", "speech")
    identity.role("reader", "*.*.read")
    identity.service_account("robot")
    identity.bind("robot", "reader")
    access = Access("dev")
    for fact in identity.facts:
        access.apply(fact)
    return access


ACCESS = world()


def robot(*narrowings: Narrowing) -> Principal:
    ends = NOW + timedelta(minutes=5)
    return Principal("robot", "service-account", "platform", "robot-key", "", "s", ends, narrowings=narrowings)


narrowings = st.lists(
    st.builds(
        Narrowing,
        st.just("a layer"),
        st.lists(st.sampled_from(GLOBS), max_size=2).map(tuple),
        st.sampled_from([Scope(), *PLACES]),
    ),
    max_size=3,
)


@given(narrowings)
def test_a_list_shows_exactly_where_the_check_says_yes(layers: list[Narrowing]) -> None:
    who = robot(*layers)
    reach = ACCESS.reach(who, READ, NOW)
    for place in PLACES:
        allowed = ACCESS.check(who, READ, place, NOW).allowed
        whole = reach.everywhere or place.tenant_id in reach.tenants
        single = (place.tenant_id, place.project_id) in reach.projects
        assert allowed == (whole or single)


@given(narrowings, narrowings)
def test_one_layer_more_never_gives_anything(layers: list[Narrowing], more: list[Narrowing]) -> None:
    for place in PLACES:
        if ACCESS.check(robot(*layers, *more), READ, place, NOW).allowed:
            assert ACCESS.check(robot(*layers), READ, place, NOW).allowed
        held = ACCESS.rights.held(("service-account", "robot"), place, NOW)
        assert left_by((*layers, *more), held, place) <= left_by(layers, held, place) or more


@given(st.sampled_from(GLOBS), st.sampled_from(GLOBS))
def test_what_two_globs_have_in_common_is_in_both(one: str, other: str) -> None:
    both = common(one, other)
    assert both == common(other, one)
    if both is not None:
        assert common(one, both) == both == common(other, both)


@given(narrowings, narrowings)
def test_a_layer_that_covers_another_lets_all_of_it_through(some: list[Narrowing], others: list[Narrowing]) -> None:
    for wide in some:
        for narrow in others:
            if wide.covers(narrow):
                assert all(wide.permits(READ, p) for p in PLACES if narrow.permits(READ, p))


def test_the_id_of_a_decision_carries_who_acted_and_how_narrow() -> None:
    credential = Credential("k-1", "", (READ,), Scope("acme", "vision"), (("workload", "w-1"),))
    asked = Asked(("user", "ann"), READ, Scope("acme"), 7, NOW, credential=credential)
    assert Asked.read(str(asked)) == asked
    both = Asked(("user", "ann"), READ, Scope("acme"), 7, NOW, ("iam.key.issue",), credential)
    assert Asked.read(str(both)) == both


@pytest.mark.parametrize(
    "plain",
    [
        [],
        ["k", "", "", None, None, [["a", "b"]] * 4],
        ["k", "", "not-three", None, None, []],
        ["k", "", "", None, "p", []],
        ["k", "", "", None, None, [["a"]]],
        ["k", 1, "", None, None, []],
    ],
)
def test_a_made_up_credential_is_none(plain: list[object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Credential.read(plain)
