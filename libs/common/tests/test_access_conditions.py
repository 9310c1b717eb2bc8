"""Bindings on a condition: the fold. One law: what cannot be evaluated is not met, in checks and in lists alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.conditions import Circumstances, Condition
from gpuaas.common.decisions import Asked
from gpuaas.common.explaining import allows, explain, who_can
from gpuaas.common.testing.identity import Identity
from gpuaas.contracts import iam
from hypothesis import given
from hypothesis import strategies as st

MONDAY = datetime(2026, 8, 3, 10, 0, tzinfo=UTC)
ACME, VISION = Scope("acme"), Scope("acme", "vision")
READ = "allocations.allocation.read"
OFFICE = iam.Hours(time_zone="Europe/Berlin", days=("mon", "tue", "wed", "thu", "fri"), begins="08:00", ends="18:00")
NIGHT = iam.Hours(time_zone="UTC", days=("fri",), begins="22:00", ends="06:00")


@pytest.fixture
def identity() -> Identity:
    world = Identity("dev", MONDAY)
    world.tenant("acme", "vision")
    world.role("viewer", "*.*.read")
    world.user("mira")
    return world


def knowing(identity: Identity) -> Access:
    access = Access(identity.profile)
    for fact in identity.facts:
        access.apply(fact)
    return access


def mira(address: str | None = None, signed_in_at: datetime | None = None) -> Principal:
    about = Circumstances(address, signed_in_at)
    return Principal("mira", "user", "platform", "", "s", "t", MONDAY + timedelta(minutes=5), about=about)


def unmet(condition: iam.BindingCondition, at: datetime = MONDAY, **about: object) -> str | None:
    return Condition.of(condition).unmet(at, replace(Circumstances(), **about))  # type: ignore[arg-type]


def test_a_network_lets_in_who_comes_from_it_and_nobody_whose_address_is_not_known() -> None:
    inside = iam.BindingCondition(networks=("10.20.0.0/16", "2001:db8::/32"))
    assert [unmet(inside, address=each) for each in ("10.20.3.4", "2001:db8::7", "::ffff:10.20.3.4")] == [None] * 3
    for each in ("10.21.0.1", "2001:db9::1", "::ffff:10.21.0.1", None, "not an address", "unix:"):
        assert unmet(inside, address=each) is not None, each


def test_hours_follow_the_zone_its_summer_time_and_midnight() -> None:
    office = iam.BindingCondition(hours=OFFICE)
    for at, met in (
        (datetime(2026, 8, 3, 6, 0, tzinfo=UTC), True),  # 08:00 in summer
        (datetime(2026, 8, 3, 5, 59, tzinfo=UTC), False),
        (datetime(2026, 8, 3, 16, 0, tzinfo=UTC), False),
        (datetime(2026, 12, 7, 6, 30, tzinfo=UTC), False),  # 07:30 in winter
        (datetime(2026, 12, 7, 7, 0, tzinfo=UTC), True),
        (datetime(2026, 8, 2, 10, 0, tzinfo=UTC), False),  # a Sunday
    ):
        assert (unmet(office, at) is None) == met, at
    night = iam.BindingCondition(hours=NIGHT)
    friday = datetime(2026, 8, 7, 22, 0, tzinfo=UTC)
    assert unmet(night, friday) is None
    assert unmet(night, friday + timedelta(hours=7)) is None
    assert unmet(night, friday + timedelta(hours=8)) is not None
    assert unmet(night, friday - timedelta(hours=20)) is not None, "the small hours of Friday are Thursday's night"


def test_a_recent_sign_in_is_a_persons_and_grows_old() -> None:
    lately = iam.BindingCondition(signed_in_within_s=600)
    assert unmet(lately, signed_in_at=MONDAY - timedelta(seconds=600)) is None
    assert unmet(lately, signed_in_at=MONDAY - timedelta(seconds=601)) is not None
    assert unmet(lately) is not None, "an API key never signed in"


@pytest.mark.parametrize(
    "odd",
    [
        iam.BindingCondition(),
        iam.BindingCondition(networks=("10.0.0.1/8",)),
        iam.BindingCondition(networks=("everywhere",)),
        iam.BindingCondition(hours=OFFICE.model_copy(update={"time_zone": "Mars/Base"})),
        iam.BindingCondition(hours=OFFICE.model_copy(update={"time_zone": "../../etc/passwd"})),
        iam.BindingCondition(hours=OFFICE.model_copy(update={"begins": "29:00"})),
    ],
)
def test_what_cannot_be_evaluated_is_not_met_and_freezes_nothing(odd: iam.BindingCondition, identity: Identity) -> None:
    identity.bind_on("mira", "viewer", odd, "acme")
    access = knowing(identity)
    decided = access.check(mira("10.0.0.1", MONDAY), READ, VISION, MONDAY)
    assert not decided.allowed
    assert "cannot be evaluated" in decided.reason
    assert access.frozen is None


def test_check_lists_and_explanations_agree_on_a_condition(identity: Identity) -> None:
    binding = identity.bind_on("mira", "viewer", iam.BindingCondition(networks=("192.0.2.0/24",)), "acme")
    access = knowing(identity)
    for who, met in ((mira("192.0.2.7"), True), (mira("198.51.100.1"), False), (mira(), False)):
        decision = access.check(who, READ, VISION, MONDAY)
        assert decision.allowed == met
        assert not decision.hidden, "who holds it on a condition knows that it is there"
        assert access.visible_tenants(who, READ, MONDAY) == (frozenset({"acme"}) if met else frozenset())
        assert bool(access.reach(who, READ, MONDAY)) == met
        assert allows(explain(access.rights, who.holder, READ, VISION, MONDAY, who.about)) == met
        assert Asked.read(decision.decision_id) == decision.asked
        assert decision.asked.unmet == (() if met else (binding,))
    assert "192.0.2.0/24" in access.check(mira(), READ, VISION, MONDAY).reason
    assert "198.51" not in access.check(mira("198.51.100.1"), READ, VISION, MONDAY).decision_id
    assert set(who_can(access.rights, READ, VISION, MONDAY)) == {("user", "mira")}, "that they may at times"


def test_another_binding_without_a_condition_counts_all_the_same(identity: Identity) -> None:
    identity.bind_on("mira", "viewer", iam.BindingCondition(signed_in_within_s=60), "acme")
    identity.bind("mira", "viewer", "acme", "vision", kind="user")
    access = knowing(identity)
    assert access.check(mira(), READ, VISION, MONDAY).allowed
    assert not access.check(mira(), READ, ACME, MONDAY).allowed
    assert access.visible_projects(mira(), READ, MONDAY) == {("acme", "vision")}


def test_what_is_held_on_a_condition_is_not_handed_on_and_still_keeps_duties_apart(identity: Identity) -> None:
    identity.role("spender", "billing.credit.grant")
    identity.bind_on("mira", "spender", iam.BindingCondition(signed_in_within_s=60), "acme")
    identity.bind("mira", "viewer", "acme", kind="user")
    access = knowing(identity)
    assert access.rights.held(("user", "mira"), ACME, MONDAY) == {"*.*.read"}
    assert access.rights.held_at_times(("user", "mira"), ACME, MONDAY) == {"*.*.read", "billing.credit.grant"}
    rule = iam.DutiesSeparated(rule_id="r", tenant_id="acme", one=("billing.credit.grant",), other=(READ,), reason="t")
    access.apply(identity.say(rule, "acme", "r"))
    assert not access.check(mira(), READ, ACME, MONDAY).allowed


def test_a_device_signed_in_when_its_approver_did(identity: Identity) -> None:
    def session(name: str, method: str, at: datetime, **more: str) -> None:
        started = iam.SessionStarted(
            session_id=name,
            user_id="mira",
            method=method,
            client="a test",
            started_at=at,
            expires_at=at + timedelta(hours=12),
            **more,
        )
        identity.say(started, "platform", name)

    session("first", "password", MONDAY - timedelta(hours=2))
    session("device", "device", MONDAY, approved_in="first")
    credentials = knowing(identity).credentials
    assert credentials.signed_in_at("device") == MONDAY - timedelta(hours=2)
    assert credentials.signed_in_at("nobody") is None


GLOB, LABEL = st.from_regex(r"[a-z*]{1,9}", fullmatch=True), st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True)


@given(st.none() | st.lists(GLOB, max_size=3), st.lists(LABEL, max_size=3))
def test_the_id_of_a_decision_is_read_as_written(beyond: list[str] | None, ids: list[str]) -> None:
    given_up = None if beyond is None else tuple(beyond)
    asked = Asked(("user", "u"), READ, VISION, 7, MONDAY, given_up, unmet=tuple(ids))
    assert Asked.read(str(asked)) == asked
