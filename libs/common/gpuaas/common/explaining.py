"""Why a decision came out as it did, and who may do what. One law: it rests on the same rights as the decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gpuaas.common.conditions import Circumstances
from gpuaas.common.guests import is_for_guests
from gpuaas.common.limits import Prohibition
from gpuaas.common.rights import Grant, Rights
from gpuaas.common.scopes import Holder, Scope


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that bears on a decision.

    Attributes:
        kind: `binding`, `prohibition`, `ceiling`, `suspension`, `ending` or `duty-rule`.
        id: the binding's or prohibition's id; the tenant's or principal's otherwise.
        holder: whom it names: the principal, or a group around it.
        counts: it is one the answer rests on: a binding that gives it, or a limit that takes it.
        why: in words, why it counts or not.
        on_condition: it would count, were its condition met; the condition in words.
    """

    kind: str
    id: str
    holder: Holder
    scope: Scope
    role: str | None
    counts: bool
    why: str
    on_condition: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """One permission glob that a binding gives."""

    permission: str
    grant: Grant


def explain(
    rights: Rights,
    holder: Holder,
    permission: str,
    scope: Scope,
    now: datetime,
    about: Circumstances = Circumstances(),  # noqa: B008  it is a value
) -> list[Reason]:
    """All that bears on whether `holder` may do `permission` in `scope`: limits first, then every binding over it.

    The answer is yes if some binding counts and no limit that is not a binding does. A ceiling takes only from
    bindings of its tenant, which therefore do not count. `about`: what the request brought, for conditions.
    """
    reasons = list(_stops(rights, holder, permission, scope))
    reasons += _separation(rights, holder, permission, scope, now)
    for each in rights.limits.standing(rights.groups.circle(holder), now):
        if each.scope.covers(scope) and each.globs.permits(permission):
            why = f"prohibits {permission} in {each.scope}"
            reasons.append(Reason("prohibition", each.prohibition_id, each.holder, each.scope, None, True, why))
    for grant in rights.grants_of(holder):
        if grant.scope.covers(scope):
            gives, why = _verdict(rights, grant, permission, now)
            if gives and not rights.admits(grant, holder, permission, scope, now):
                gives, why = False, f"tenant {scope.tenant_id} lets no right on the platform count for this"
            named = ("binding", grant.binding_id, grant.holder, grant.scope, grant.role)
            if gives and grant.condition is not None:
                unmet = grant.unmet(now, about)
                why = f"{why}, on a condition that is met: {grant.condition.said}" if unmet is None else unmet
                reasons.append(Reason(*named, unmet is None, why, grant.condition.said))
            else:
                reasons.append(Reason(*named, gives, why))
    return reasons


def _stops(rights: Rights, holder: Holder, permission: str, scope: Scope) -> Iterator[Reason]:
    if (stopped := rights.stopped(holder)) is not None:
        yield Reason("suspension", holder[1], holder, Scope(), None, True, stopped)
    if (ended := rights.endings.bars(permission, scope)) is not None:
        yield Reason("ending", scope.project_id or scope.tenant_id or "", holder, scope, None, True, ended)


def _separation(rights: Rights, holder: Holder, permission: str, scope: Scope, now: datetime) -> Iterator[Reason]:
    if (rule := rights.separated(holder, permission, scope, now)) is not None:
        at = rights.duties.rules[rule].scope
        yield Reason("duty-rule", rule, holder, at, None, True, "keeps it apart from something else that is held")


def _verdict(rights: Rights, grant: Grant, permission: str, now: datetime) -> tuple[bool, str]:
    tenant_id = grant.scope.tenant_id
    if not rights.roles[grant.role].permits(permission):
        return False, f"role {grant.role} does not hold {permission}"
    if not grant.in_force(now):
        return False, "it has ended"
    if grant.receiver is not None and not is_for_guests(permission):
        return False, "a share gives nothing that decides who may do what"
    if not rights.stands(grant, now):
        return False, "the tenant that it was shared with may do nothing for now"
    if tenant_id is not None and tenant_id in rights.suspended_tenants:
        return False, f"tenant {tenant_id} is suspended"
    if not rights.limits.below_ceiling(grant.scope, permission):
        return False, f"above the ceiling of tenant {tenant_id}"
    return True, f"role {grant.role} holds {permission} in {grant.scope}"


def allows(reasons: list[Reason]) -> bool:
    """What those reasons come to."""
    given = any(each.counts for each in reasons if each.kind == "binding")
    return given and not any(each.counts for each in reasons if each.kind != "binding")


def what_can(
    rights: Rights, holder: Holder, scope: Scope, now: datetime
) -> tuple[list[Held], list[Prohibition], tuple[str, ...] | None]:
    """What bindings give `holder` in `scope`, what is prohibited there, and the ceiling of the tenant's own bindings.

    `holder` may do what some glob given covers (below the ceiling, where the binding is the tenant's own) and no
    prohibited one does.
    """
    given = [
        Held(glob, grant)
        for grant in rights.grants_over(holder, scope)
        if rights.stands(grant, now)
        for glob in rights.roles[grant.role].permissions
    ]
    limits = rights.limits
    banned = [each for each in limits.standing(rights.groups.circle(holder), now) if each.scope.covers(scope)]
    return given, banned, None if scope.tenant_id is None else limits.ceiling(scope.tenant_id)


def who_can(rights: Rights, permission: str, scope: Scope, now: datetime) -> dict[Holder, list[Grant]]:
    """Every principal that may do `permission` in `scope`, with the bindings that give it; a group that it is shared
    with stands for its members."""
    found: dict[Holder, list[Grant]] = {}
    if not rights.exists(scope) or rights.endings.bars(permission, scope) is not None:
        return found
    for grant in rights.grants_covering(scope):
        if grant.scope.tenant_id in rights.suspended_tenants or not rights.gives(grant, permission, now):
            continue
        # Who is in the other tenant's group is that tenant's own: the share names the group.
        whole = grant.holder[0] == "group" and grant.receiver is None
        for holder in rights.groups.members(grant.holder) if whole else (grant.holder,):
            if rights.admits(grant, holder, permission, scope, now):
                found.setdefault(holder, []).append(grant)
    return {
        holder: grants
        for holder, grants in found.items()
        if rights.stopped(holder) is None
        and rights.prohibition(holder, permission, scope, now) is None
        and rights.separated(holder, permission, scope, now) is None
    }
