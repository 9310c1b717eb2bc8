"""Suspension in the access fold, against a naive model. One law: what is stopped may nothing, and loses nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.errors import Unauthenticated, Unreadable
from gpuaas.common.explaining import allows, explain, who_can
from gpuaas.common.testing.identity import Identity
from gpuaas.contracts import iam
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
READ = "allocations.allocation.read"
SCOPES = [Scope(), Scope("acme"), Scope("acme", "vision"), Scope("rival")]
HOMES = {"robot": "acme", "operator": "platform"}


def world() -> Identity:
    identity = Identity("dev", NOW)
    identity.tenant("acme", "vision")
    identity.tenant("rival")
    identity.role("viewer", "*.*.read")
    for name, home in HOMES.items():
        identity.service_account(name, home)
    return identity


def switch(identity: Identity, what: str, stopped: bool) -> None:
    """Suspend or resume a tenant or an account."""
    if what in HOMES:
        kind = iam.PrincipalSuspended if stopped else iam.PrincipalResumed
        event = kind(principal_id=what, principal_kind="service-account", tenant_id=HOMES[what], reason="x")
        identity.say(event, HOMES[what], what)
    else:
        closed = iam.TenantSuspended if stopped else iam.TenantResumed
        identity.say(closed(tenant_id=what, reason="x"), what, what)


def knowing(identity: Identity) -> Access:
    access = Access(identity.profile)
    for fact in identity.facts:
        access.apply(fact)
    return access


@settings(max_examples=150, deadline=None)
@given(
    bound=st.lists(st.tuples(st.sampled_from(sorted(HOMES)), st.sampled_from(SCOPES)), max_size=6),
    switches=st.lists(st.sampled_from(["acme", "rival", "robot", "operator"]), max_size=10),
)
def test_what_is_stopped_may_nothing_and_the_rest_is_as_before(
    bound: list[tuple[str, Scope]], switches: list[str]
) -> None:
    identity, stopped = world(), set[str]()
    for name, scope in bound:
        identity.bind(name, "viewer", scope.tenant_id, scope.project_id)
    for what in switches:
        stopped ^= {what}
        switch(identity, what, what in stopped)
    access = knowing(identity)
    for name, home in HOMES.items():
        who = Principal(name, "service-account", home, f"{name}-key", "", "s", NOW + timedelta(minutes=5))
        out = bool({name, home} & stopped)
        for scope in SCOPES:
            held = any(n == name and at.covers(scope) and at.tenant_id not in stopped for n, at in bound)
            wanted, holder = held and not out, who.holder
            assert access.check(who, READ, scope, NOW).allowed == wanted, (name, scope)
            assert allows(explain(access.rights, holder, READ, scope, NOW)) == wanted
            assert (holder in who_can(access.rights, READ, scope, NOW)) == wanted
        allowed = {t for t in ("acme", "rival") if access.check(who, READ, Scope(t), NOW).allowed}
        assert access.visible_tenants(who, READ, NOW) == allowed
        projects = {("acme", "vision")} if access.check(who, READ, Scope("acme", "vision"), NOW).allowed else set()
        assert access.visible_projects(who, READ, NOW) == projects
        if out:
            with pytest.raises(Unauthenticated, match="suspended"):
                access.authenticate(identity.token(name), NOW)
        else:
            assert access.authenticate(identity.token(name), NOW).id == name


@pytest.mark.parametrize("what", ["acme", "robot"])
def test_a_suspension_that_contradicts_what_is_known_freezes_the_fold(what: str) -> None:
    for stopped in ([False], [True, True]):
        identity = world()
        for each in stopped:
            switch(identity, what, each)
        with pytest.raises(Unreadable):
            knowing(identity)
