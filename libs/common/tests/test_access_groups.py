"""Groups in the access fold, against a naive model. One law: one holds what is bound to any group one is in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.testing.identity import Identity
from gpuaas.contracts import iam
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
READ = "allocations.allocation.read"
SCOPES = [Scope(), Scope("acme"), Scope("acme", "vision"), Scope("rival")]
PEOPLE, GROUPS = ("ann", "bob"), ("g1", "g2", "g3", "g4")
HOLDERS = [("user", name) for name in PEOPLE] + [("group", name) for name in GROUPS]
Holder = tuple[str, str]


def joined(identity: Identity, member: Holder, group: str, inside: bool) -> None:
    """`member` comes into `group`, or goes."""
    kind, name = member
    if kind == "group":
        at = {"tenant_id": "platform", "group_id": name, "parent_id": group}
        event = iam.GroupNested(**at) if inside else iam.GroupUnnested(**at, reason="x")
        identity.say(event, "platform", "platform")
    elif inside:
        identity.say(iam.GroupMemberAdded(group_id=group, member_id=name, member_kind="user"), "platform", group)
    else:
        gone = iam.GroupMemberRemoved(group_id=group, member_id=name, member_kind="user", reason="x")
        identity.say(gone, "platform", group)


def inside_of(edges: set[tuple[Holder, str]], holder: Holder) -> set[Holder]:
    """The holder and all groups around it, by walking until nothing is new."""
    found = {holder}
    while more := {("group", group) for member, group in edges if member in found} - found:
        found |= more
    return found


@settings(max_examples=150, deadline=None)
@given(
    bound=st.lists(st.tuples(st.sampled_from(HOLDERS), st.sampled_from(SCOPES)), max_size=6),
    moves=st.lists(st.tuples(st.sampled_from(HOLDERS), st.sampled_from(GROUPS)), max_size=12),
)
def test_one_holds_exactly_what_is_bound_to_oneself_and_to_the_groups_around(
    bound: list[tuple[Holder, Scope]], moves: list[tuple[Holder, str]]
) -> None:
    identity, edges = Identity("dev", NOW), set[tuple[Holder, str]]()
    identity.tenant("acme", "vision")
    identity.tenant("rival")
    identity.role("viewer", "*.*.read")
    for name in PEOPLE:
        identity.user(name)
    for name in GROUPS:
        identity.say(iam.GroupCreated(group_id=name, tenant_id="platform", display_name=name), "platform", name)
    for number, ((kind, name), at) in enumerate(bound):
        if kind == "user":
            identity.bind(name, "viewer", at.tenant_id, at.project_id, kind="user")
        else:
            place = {"tenant_id": at.tenant_id, "project_id": at.project_id}
            event = iam.RoleBoundToGroup(binding_id=f"b{number}", group_id=name, role="viewer", reason="x", **place)
            identity.say(event, at.tenant_id or "platform", f"b{number}")
    access = Access(identity.profile)
    for member, group in moves:
        if member[0] == "group" and (member[1] >= group or (member[1], group) == ("g1", "g4")):
            continue  # g1 inside g2 inside g3: no circle, and with g4 nothing deeper than three
        if member[0] == "group" and group == "g4":
            continue
        joined(identity, member, group, (member, group) not in edges)
        edges ^= {(member, group)}
        for fact in identity.facts[access.position :]:
            access.apply(fact)
        agree(access, edges, bound)
    for fact in identity.facts[access.position :]:
        access.apply(fact)
    agree(access, edges, bound)


def agree(access: Access, edges: set[tuple[Holder, str]], bound: list[tuple[Holder, Scope]]) -> None:
    """The fold and the model give the same answers, also right after a change."""
    for name in PEOPLE:
        who = Principal(name, "user", "platform", "k", "", "s", NOW + timedelta(minutes=5))
        around = inside_of(edges, ("user", name))
        held = [at for holder, at in bound if holder in around]
        for scope in SCOPES:
            decision = access.check(who, READ, scope, NOW)
            assert decision.allowed == any(at.covers(scope) for at in held)
            known = scope.tenant_id is None or any(at.tenant_id in (None, scope.tenant_id) for at in held)
            assert decision.hidden == (not known)
        seen = {t for t in ("acme", "rival") if access.check(who, READ, Scope(t), NOW).allowed}
        assert access.visible_tenants(who, READ, NOW) == seen
    for group in GROUPS:
        inside = {("user", name) for name in PEOPLE if ("group", group) in inside_of(edges, ("user", name))}
        assert access.rights.groups.members(("group", group)) == inside


def test_a_walk_ends_also_where_the_events_run_in_a_circle() -> None:
    identity = Identity("dev", NOW)
    identity.user("ann")
    for name in GROUPS:
        identity.say(iam.GroupCreated(group_id=name, tenant_id="platform", display_name=name), "platform", name)
    for inner, outer in (("g1", "g2"), ("g2", "g1")):
        joined(identity, ("group", inner), outer, True)
    joined(identity, ("user", "ann"), "g1", True)
    access = Access(identity.profile)
    for fact in identity.facts:
        access.apply(fact)
    assert access.rights.groups.circle(("user", "ann")) == (("user", "ann"), ("group", "g1"), ("group", "g2"))
