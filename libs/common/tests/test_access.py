"""May they: the fold over iam's events and the check. One law: deny by default, and never skip an event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.errors import Forbidden, NotFound, Unavailable, Unreadable
from gpuaas.common.events import Event
from gpuaas.common.testing.identity import Identity
from gpuaas.contracts import iam
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
PLATFORM = Scope()
ACME, VISION, SPEECH = Scope("acme"), Scope("acme", "vision"), Scope("acme", "speech")
RIVAL = Scope("rival")
READ, REQUEST = "allocations.allocation.read", "allocations.allocation.request"


@pytest.fixture
def identity() -> Identity:
    world = Identity("dev", NOW)
    world.tenant("acme", "vision", "speech")
    world.tenant("rival", "secret")
    world.role("viewer", "*.*.read")
    world.role("member", "*.*.read", "allocations.allocation.*")
    world.service_account("robot", "acme")
    return world


def knowing(identity: Identity) -> Access:
    access = Access(identity.profile)
    for fact in identity.facts:
        access.apply(fact)
    return access


def principal(name: str = "robot", tenant_id: str = "acme") -> Principal:
    return Principal(name, "service-account", tenant_id, f"{name}-key", "", "s", NOW + timedelta(minutes=5))


def allowed(access: Access, permission: str, scope: Scope, now: datetime = NOW) -> bool:
    return access.check(principal(), permission, scope, now).allowed


def test_who_holds_nothing_may_nothing(identity: Identity) -> None:
    access = knowing(identity)
    assert not any(allowed(access, READ, scope) for scope in (PLATFORM, ACME, VISION, RIVAL))


def test_a_platform_binding_covers_everything_below(identity: Identity) -> None:
    identity.bind("robot", "viewer")
    access = knowing(identity)
    assert all(allowed(access, READ, scope) for scope in (PLATFORM, ACME, VISION, RIVAL))


def test_a_tenant_binding_covers_its_projects_and_no_other_tenant(identity: Identity) -> None:
    identity.bind("robot", "viewer", "acme")
    access = knowing(identity)
    assert allowed(access, READ, ACME)
    assert allowed(access, READ, VISION)
    assert not allowed(access, READ, PLATFORM)
    assert not allowed(access, READ, RIVAL)


def test_a_project_binding_covers_that_project_alone(identity: Identity) -> None:
    identity.bind("robot", "member", "acme", "vision")
    access = knowing(identity)
    assert allowed(access, REQUEST, VISION)
    assert not allowed(access, REQUEST, SPEECH)
    assert not allowed(access, READ, ACME)


def test_a_tenant_or_project_that_does_not_exist_is_covered_by_nothing(identity: Identity) -> None:
    identity.bind("robot", "member")
    access = knowing(identity)
    assert access.check(principal(), READ, Scope("nobody"), NOW).hidden
    assert access.check(principal(), READ, Scope("acme", "nothing"), NOW).hidden


def test_another_tenants_scope_is_hidden_and_ones_own_is_explained(identity: Identity) -> None:
    identity.bind("robot", "viewer", "acme", "vision")
    access = knowing(identity)
    foreign = access.check(principal(), READ, RIVAL, NOW)
    with pytest.raises(NotFound) as absent:
        foreign.enforce()
    assert "rival" not in absent.value.detail
    own = access.check(principal(), REQUEST, VISION, NOW)
    with pytest.raises(Forbidden) as denied:
        own.enforce()
    assert denied.value.facts["sufficient_roles"] == ["member"]
    assert denied.value.facts["decision_id"] == own.decision_id


def test_a_foreign_tenant_and_an_unknown_one_answer_alike(identity: Identity) -> None:
    identity.bind("robot", "member", "acme")
    access = knowing(identity)
    foreign, unknown = (access.check(principal(), READ, scope, NOW) for scope in (RIVAL, Scope("nobody")))
    assert (foreign.reason, foreign.sufficient_roles, foreign.hidden) == (unknown.reason, (), True)


def test_an_expired_binding_neither_permits_nor_reveals(identity: Identity) -> None:
    identity.bind("robot", "viewer", "rival", valid_until=NOW)
    access = knowing(identity)
    assert allowed(access, READ, RIVAL, NOW - timedelta(microseconds=1))
    assert access.check(principal(), READ, RIVAL, NOW).hidden


def test_an_ended_binding_counts_no_more_and_others_stand(identity: Identity) -> None:
    first = identity.bind("robot", "member", "acme")
    identity.bind("robot", "viewer", "acme")
    access = knowing(identity)
    access.apply(identity.unbind(first, "acme"))
    assert not allowed(access, REQUEST, ACME)
    assert allowed(access, READ, ACME)


def test_a_binding_follows_the_newest_version_of_its_role(identity: Identity) -> None:
    identity.bind("robot", "viewer", "acme")
    access = knowing(identity)
    assert not allowed(access, REQUEST, ACME)
    access.apply(identity.role("viewer", "*.*.read", REQUEST))
    assert allowed(access, REQUEST, ACME)
    access.apply(identity.role("viewer", "iam.*.read"))
    assert not allowed(access, READ, ACME)


def test_a_user_and_a_service_account_of_one_name_are_two_principals(identity: Identity) -> None:
    identity.user("robot")
    identity.bind("robot", "viewer", kind="user")
    access = knowing(identity)
    assert not allowed(access, READ, ACME)


def test_a_star_stands_for_one_word(identity: Identity) -> None:
    identity.role("odd", "allocations.*.read", "*.invoice.read")
    identity.bind("robot", "odd")
    access = knowing(identity)
    assert allowed(access, "allocations.pool.read", PLATFORM)
    assert allowed(access, "billing.invoice.read", PLATFORM)
    assert not allowed(access, "billing.ledger.read", PLATFORM)
    assert not allowed(access, "allocations.pool.reader", PLATFORM)
    for wrong in ("read", "allocations.pool", "a.b.c.d", "a..c", ""):
        with pytest.raises(ValueError, match="write service"):
            access.check(principal(), wrong, PLATFORM, NOW)


def test_an_event_twice_changes_nothing(identity: Identity) -> None:
    identity.bind("robot", "viewer", "acme")
    access = knowing(identity)
    access.apply(identity.facts[-1])
    assert access.position == len(identity.facts)
    assert allowed(access, READ, ACME)


def impossible_events() -> list[tuple[str, Event]]:
    unknown = {"principal_id": "ghost", "principal_kind": "service-account", "reason": "x"}
    robot = {"principal_id": "robot", "principal_kind": "service-account", "reason": "x"}
    return [
        ("a tenant twice", iam.TenantCreated(tenant_id="acme", display_name="x", billing_currency="EUR")),
        ("a project of nobody", iam.ProjectCreated(tenant_id="none", project_id="p", display_name="x")),
        ("a skipped version", iam.RoleDefined(role="viewer", version=3, description="x", permissions=("a.b.c",))),
        ("a binding of a ghost", iam.RoleBound(binding_id="b", role="viewer", **unknown)),
        ("an undefined role", iam.RoleBound(binding_id="b", role="none", **robot)),
        ("a project without tenant", iam.RoleBound(binding_id="b", role="viewer", project_id="vision", **robot)),
        ("an unknown tenant", iam.RoleBound(binding_id="b", role="viewer", tenant_id="none", **robot)),
        ("the end of nothing", iam.RoleUnbound(binding_id="never", reason="x")),
        ("the end of no key", iam.ApiKeyRevoked(key_id="never", reason="x")),
        (
            "one account twice, in another tenant",
            iam.ServiceAccountCreated(service_account_id="robot", tenant_id="rival", display_name="x"),
        ),
    ]


@pytest.mark.parametrize("event", [event for _, event in impossible_events()], ids=[n for n, _ in impossible_events()])
def test_what_cannot_be_applied_freezes_the_fold(identity: Identity, event: Event) -> None:
    identity.bind("robot", "member", "acme")
    access = knowing(identity)
    before = access.position
    with pytest.raises(Unreadable, match=f"position {before + 1}"):
        access.apply(identity.say(event, "platform", "x"))
    with pytest.raises(Unreadable):
        access.apply(identity.role("later", "a.b.c"))
    assert access.position == before


def test_a_frozen_fold_answers_reads_as_stale_and_refuses_changes(identity: Identity) -> None:
    identity.bind("robot", "member", "acme")
    access = knowing(identity)
    access.freeze("position 9 cannot be read")
    read = access.check(principal(), READ, ACME, NOW)
    assert read.allowed
    assert read.stale
    change = access.check(principal(), REQUEST, ACME, NOW)
    assert not change.allowed
    with pytest.raises(Unavailable, match="position 9"):
        change.enforce()


PERMISSIONS = ["iam.key.issue", READ, REQUEST, "billing.invoice.read"]
GLOBS = ["*.*.*", "*.*.read", "allocations.*.*", "iam.key.*", READ, "billing.invoice.read"]
SCOPES = [PLATFORM, ACME, VISION, SPEECH, RIVAL, Scope("rival", "secret")]
BINDINGS = st.lists(
    st.tuples(
        st.sampled_from(["robot", "other"]),
        st.integers(0, 2),
        st.sampled_from(SCOPES),
        st.sampled_from([None, -1, 1]),
        st.booleans(),
    ),
    max_size=12,
)


def holds(globs: list[str], permission: str) -> bool:
    wanted = permission.split(".")
    return any(all(g in ("*", w) for g, w in zip(glob.split("."), wanted, strict=True)) for glob in globs)


@settings(max_examples=150, deadline=None)
@given(roles=st.lists(st.lists(st.sampled_from(GLOBS), min_size=1, unique=True), min_size=3, max_size=3), made=BINDINGS)
def test_the_check_is_the_definition_and_lists_are_exactly_what_it_allows(
    roles: list[list[str]], made: list[tuple[str, int, Scope, int | None, bool]]
) -> None:
    identity = Identity("dev", NOW)
    identity.tenant("acme", "vision", "speech")
    identity.tenant("rival", "secret")
    for number, globs in enumerate(roles):
        identity.role(f"role-{number}", *globs)
    for name in ("robot", "other"):
        identity.service_account(name)
    standing: list[tuple[int, Scope]] = []
    for name, number, scope, hours, ended in made:
        until = None if hours is None else NOW + timedelta(hours=hours)
        place = (scope.tenant_id, scope.project_id)
        binding = identity.bind(name, f"role-{number}", *place, valid_until=until)
        if ended:
            identity.unbind(binding, scope.tenant_id)
        elif name == "robot" and hours != -1:
            standing.append((number, scope))
    access, who = knowing(identity), principal("robot", "platform")
    for permission in PERMISSIONS:
        for scope in SCOPES:
            wanted = any(at.covers(scope) and holds(roles[number], permission) for number, at in standing)
            decision = access.check(who, permission, scope, NOW)
            assert decision.allowed == wanted
            reached = scope.tenant_id is None or any(at.tenant_id in (None, scope.tenant_id) for _, at in standing)
            assert decision.hidden == (not reached)
        tenants = access.visible_tenants(who, permission, NOW)
        assert tenants == {t for t in ("acme", "rival") if access.check(who, permission, Scope(t), NOW).allowed}
        places = [(s.tenant_id, s.project_id) for s in SCOPES if s.project_id]
        projects = access.visible_projects(who, permission, NOW)
        assert projects == {p for p in places if access.check(who, permission, Scope(*p), NOW).allowed}
