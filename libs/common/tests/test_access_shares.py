"""A project shared with another tenant's people: the fold. One law: exactly that project, as long as both want."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.errors import Unreadable
from gpuaas.common.explaining import allows, explain, who_can
from gpuaas.common.testing.identity import Identity
from gpuaas.contracts import iam

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
VISION, SPEECH, ACME = Scope("acme", "vision"), Scope("acme", "speech"), Scope("acme")
READ, REQUEST, BIND = "allocations.allocation.read", "allocations.allocation.request", "iam.binding.create"


@pytest.fixture
def identity() -> Identity:
    world = Identity("dev", NOW)
    world.tenant("acme", "vision", "speech")
    world.tenant("rival", "secret")
    world.role("viewer", "*.*.read")
    world.role("everything", "*.*.*")
    world.service_account("guest", "rival")
    return world


def knowing(identity: Identity) -> Access:
    access = Access(identity.profile)
    for fact in identity.facts:
        access.apply(fact)
    return access


GUEST = Principal("guest", "service-account", "rival", "guest-key", "", "s", NOW + timedelta(minutes=5))


def may(access: Access, permission: str, scope: Scope, now: datetime = NOW) -> bool:
    return access.check(GUEST, permission, scope, now).allowed


def test_a_share_gives_its_project_and_everything_beside_it_stays_absent(identity: Identity) -> None:
    access = knowing(identity)
    assert access.check(GUEST, READ, VISION, NOW).hidden
    identity.share("rival", "guest", "viewer", "acme", "vision")
    access.apply(identity.facts[-1])
    assert may(access, READ, VISION)
    for beside in (ACME, SPEECH, Scope("acme", "nothing"), Scope("nobody"), Scope("rival")):
        assert access.check(GUEST, READ, beside, NOW).hidden, beside
    assert access.visible_projects(GUEST, READ, NOW) == {("acme", "vision")}
    assert access.visible_tenants(GUEST, READ, NOW) == frozenset()
    denied = access.check(GUEST, REQUEST, VISION, NOW)
    assert not denied.allowed
    assert not denied.hidden


def test_it_ends_at_once_and_by_its_own_time(identity: Identity) -> None:
    share = identity.share("rival", "guest", "viewer", "acme", "vision")
    brief = identity.share("rival", "guest", "viewer", "acme", "speech", valid_until=NOW + timedelta(minutes=1))
    access = knowing(identity)
    access.apply(identity.unshare(share, "acme", "vision"))
    assert access.check(GUEST, READ, VISION, NOW).hidden
    assert may(access, READ, SPEECH)
    assert access.check(GUEST, READ, SPEECH, NOW + timedelta(minutes=1)).hidden
    access.apply(identity.unshare(brief, "acme", "speech"))
    with pytest.raises(Unreadable):
        access.apply(identity.unshare(brief, "acme", "speech"))


def test_a_guest_never_decides_who_may_do_what_whatever_the_role_holds(identity: Identity) -> None:
    identity.share("rival", "guest", "everything", "acme", "vision")
    access = knowing(identity)
    assert may(access, REQUEST, VISION)
    assert may(access, "iam.binding.read", VISION)
    assert not may(access, BIND, VISION)
    reasons = explain(access.rights, GUEST.holder, BIND, VISION, NOW)
    assert not allows(reasons)
    assert ["share" in each.why for each in reasons] == [True]
    assert access.visible_projects(GUEST, BIND, NOW) == frozenset()


def test_the_owners_ceiling_and_prohibitions_hold(identity: Identity) -> None:
    identity.share("rival", "guest", "everything", "acme", "vision")
    access = knowing(identity)
    access.apply(
        identity.say(iam.TenantCeilingSet(tenant_id="acme", permissions=("*.*.read",), reason="t"), "acme", "acme")
    )
    assert may(access, READ, VISION)
    assert not may(access, REQUEST, VISION)
    access.apply(
        identity.say(
            iam.ProhibitionPlaced(
                prohibition_id="p-1",
                holder_kind="service-account",
                holder_id="guest",
                permissions=("allocations.*.*",),
                tenant_id="acme",
                project_id="vision",
                reason="a test",
            ),
            "acme",
            "p-1",
        )
    )
    assert not may(access, READ, VISION)
    assert access.visible_projects(GUEST, READ, NOW) == frozenset()


def test_while_the_receiver_is_suspended_its_people_are_no_guests(identity: Identity) -> None:
    identity.user("mira")
    identity.say(iam.GroupCreated(group_id="team", tenant_id="rival", display_name="team"), "rival", "team")
    identity.say(iam.GroupMemberAdded(group_id="team", member_id="mira", member_kind="user"), "rival", "team")
    identity.share("rival", "team", "viewer", "acme", "vision", kind="group")
    access = knowing(identity)
    mira = Principal("mira", "user", "platform", "mira-user-key", "", "s", NOW + timedelta(minutes=5))
    assert access.check(mira, READ, VISION, NOW).allowed
    assert set(who_can(access.rights, READ, VISION, NOW)) == {("group", "team")}, "who is in it is the receiver's own"
    access.apply(identity.say(iam.TenantSuspended(tenant_id="rival", reason="unpaid"), "rival", "rival"))
    assert access.check(mira, READ, VISION, NOW).hidden
    assert who_can(access.rights, READ, VISION, NOW) == {}
    access.apply(identity.say(iam.TenantResumed(tenant_id="rival", reason="paid"), "rival", "rival"))
    assert access.check(mira, READ, VISION, NOW).allowed
    access.apply(identity.say(iam.TenantSuspended(tenant_id="acme", reason="unpaid"), "acme", "acme"))
    assert not access.check(mira, READ, VISION, NOW).allowed


def test_a_refusal_tells_a_guest_nothing_of_the_owners_roles(identity: Identity) -> None:
    trainer = iam.TenantRoleDefined(
        tenant_id="acme", role="trainer", version=1, description="trains", permissions=(REQUEST,)
    )
    identity.say(trainer, "acme", "trainer")
    identity.share("rival", "guest", "viewer", "acme", "vision")
    identity.service_account("own", "acme")
    identity.bind("own", "viewer", "acme")
    access = knowing(identity)
    own = Principal("own", "service-account", "acme", "own-key", "", "s", NOW + timedelta(minutes=5))
    assert access.check(own, REQUEST, VISION, NOW).sufficient_roles == ("acme/trainer", "everything")
    assert access.check(GUEST, REQUEST, VISION, NOW).sufficient_roles == ("everything",)


def test_a_share_with_somebody_of_a_third_tenant_is_no_event_of_iams(identity: Identity) -> None:
    identity.tenant("third")
    identity.share("third", "guest", "viewer", "acme", "vision")
    with pytest.raises(Unreadable):
        knowing(identity)


def test_lists_leave_out_what_duties_keep_apart_as_the_check_does(identity: Identity) -> None:
    identity.role("spender", "billing.credit.grant")
    identity.bind("guest", "viewer", "rival")
    identity.bind("guest", "spender", "rival", "secret")
    access = knowing(identity)
    rule = iam.DutiesSeparated(
        rule_id="r-1", tenant_id="rival", one=("billing.credit.grant",), other=("allocations.*.read",), reason="a test"
    )
    access.apply(identity.say(rule, "rival", "r-1"))
    identity.project("rival", "open")
    access.apply(identity.facts[-1])
    for scope in (Scope("rival"), Scope("rival", "open"), Scope("rival", "secret")):
        seen = scope.project_id is None or ("rival", scope.project_id) in access.visible_projects(GUEST, READ, NOW)
        assert may(access, READ, scope) == seen, scope
    assert access.visible_projects(GUEST, READ, NOW) == {("rival", "open")}
