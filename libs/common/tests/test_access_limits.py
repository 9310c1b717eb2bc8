"""Prohibitions and ceilings in the access fold, against a naive model. One law: a limit wins over every grant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.explaining import allows, explain, what_can, who_can
from gpuaas.common.testing.identity import Identity
from gpuaas.contracts import iam
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
PERMISSIONS = ["allocations.allocation.read", "allocations.allocation.request", "billing.invoice.read"]
GLOBS = ["*.*.*", "*.*.read", "allocations.*.*", *PERMISSIONS]
SCOPES = [Scope(), Scope("acme"), Scope("acme", "vision"), Scope("acme", "speech"), Scope("rival"), Scope("rival", "x")]
ANN, TEAM = ("user", "ann"), ("group", "team")
HELD = st.tuples(st.sampled_from([ANN, TEAM]), st.sampled_from(GLOBS), st.sampled_from(SCOPES))
BANS = st.lists(st.tuples(HELD, st.sampled_from(["stands", "lifted", "over", "ends later"])), max_size=4)
CEILINGS = st.dictionaries(
    st.sampled_from(["acme", "rival"]), st.lists(st.sampled_from(GLOBS), max_size=2, unique=True)
)


def fits(glob: str, permission: str) -> bool:
    return all(g in ("*", w) for g, w in zip(glob.split("."), permission.split("."), strict=True))


@settings(max_examples=200, deadline=None)
@given(bound=st.lists(HELD, max_size=5), banned=BANS, ceilings=CEILINGS, member=st.booleans())
def test_a_limit_wins_and_lists_are_exactly_what_the_check_allows(
    bound: list[tuple[tuple[str, str], str, Scope]],
    banned: list[tuple[tuple[tuple[str, str], str, Scope], str]],
    ceilings: dict[str, list[str]],
    member: bool,
) -> None:
    access = told(bound, banned, ceilings, member)
    who = Principal("ann", "user", "platform", "k", "", "s", NOW + timedelta(minutes=5))
    circle = {ANN, TEAM} if member else {ANN}
    tops = {tenant: globs for tenant, globs in ceilings.items() if globs}

    def naive(permission: str, scope: Scope) -> bool:
        for (holder, glob, at), fate in banned:
            if fate in ("stands", "ends later") and holder in circle and at.covers(scope) and fits(glob, permission):
                return False
        return any(
            holder in circle
            and at.covers(scope)
            and fits(glob, permission)
            and (at.tenant_id not in tops or any(fits(top, permission) for top in tops[at.tenant_id]))
            for holder, glob, at in bound
        )

    for permission in PERMISSIONS:
        for scope in SCOPES:
            wanted = naive(permission, scope)
            assert access.check(who, permission, scope, NOW).allowed == wanted, (permission, scope)
            assert allows(explain(access.rights, ANN, permission, scope, NOW)) == wanted
            assert (ANN in who_can(access.rights, permission, scope, NOW)) == wanted
            given, bans, top = what_can(access.rights, ANN, scope, NOW)
            assert wanted == (
                any(
                    fits(each.permission, permission)
                    and (top is None or each.grant.scope.tenant_id is None or any(fits(t, permission) for t in top))
                    for each in given
                )
                and not any(ban.globs.permits(permission) for ban in bans)
            )
        tenants = {s.tenant_id for s in SCOPES if s.tenant_id and not s.project_id and naive(permission, s)}
        assert access.visible_tenants(who, permission, NOW) == tenants
        places = {(s.tenant_id, s.project_id) for s in SCOPES if s.project_id and naive(permission, s)}
        assert access.visible_projects(who, permission, NOW) == places
        reach = access.reach(who, permission, NOW)
        assert reach.tenants <= tenants
        assert not reach.everywhere or all(naive(permission, scope) for scope in SCOPES)


def told(
    bound: list[tuple[tuple[str, str], str, Scope]],
    banned: list[tuple[tuple[tuple[str, str], str, Scope], str]],
    ceilings: dict[str, list[str]],
    member: bool,
) -> Access:
    """A fold that was told all that; `ann` is in `team` if `member`."""
    identity = Identity("dev", NOW)
    identity.tenant("acme", "vision", "speech")
    identity.tenant("rival", "x")
    identity.user("ann")
    identity.say(iam.GroupCreated(group_id="team", tenant_id="platform", display_name="t"), "platform", "team")
    for number, glob in enumerate(GLOBS):
        identity.role(f"role-{number}", glob)
    if member:
        added = iam.GroupMemberAdded(group_id="team", member_id="ann", member_kind="user")
        identity.say(added, "platform", "team")
    for number, (holder, glob, at) in enumerate(bound):
        role, place = f"role-{GLOBS.index(glob)}", {"tenant_id": at.tenant_id, "project_id": at.project_id}
        if holder == ANN:
            identity.bind("ann", role, at.tenant_id, at.project_id, kind="user")
        else:
            event = iam.RoleBoundToGroup(binding_id=f"b{number}", group_id="team", role=role, reason="x", **place)
            identity.say(event, at.tenant_id or "platform", f"b{number}")
    for number, ((holder, glob, at), fate) in enumerate(banned):
        ban = iam.ProhibitionPlaced(
            prohibition_id=f"p{number}",
            holder_id=holder[1],
            holder_kind="user" if holder == ANN else "group",
            permissions=(glob,),
            tenant_id=at.tenant_id,
            project_id=at.project_id,
            reason="x",
            valid_until={"over": NOW, "ends later": NOW + timedelta(hours=1)}.get(fate),
        )
        identity.say(ban, at.tenant_id or "platform", f"p{number}")
        if fate == "lifted":
            gone = iam.ProhibitionLifted(prohibition_id=f"p{number}", reason="x")
            identity.say(gone, at.tenant_id or "platform", f"p{number}")
    for tenant, globs in ceilings.items():
        top = iam.TenantCeilingSet(tenant_id=tenant, permissions=tuple(globs) or ("a.b.c",), reason="x")
        identity.say(top, tenant, tenant)
        if not globs:
            identity.say(iam.TenantCeilingRemoved(tenant_id=tenant, reason="x"), tenant, tenant)
    access = Access(identity.profile)
    for fact in identity.facts:
        access.apply(fact)
    return access
