"""Who holds what, folded from iam's events. One law: an event that contradicts what is known raises.

Plain dictionaries, no clock, no I/O: tenants, principals, roles and bindings, with groups (`circles.py`) and limits
(`limits.py`). `access.py` asks it; `iam` asks it when rights are granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gpuaas.common.circles import Groups
from gpuaas.common.conditions import Circumstances, Condition
from gpuaas.common.duties import Duties
from gpuaas.common.endings import Endings
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.events import Event
from gpuaas.common.guests import is_for_guests
from gpuaas.common.limits import Limits
from gpuaas.common.scopes import REMEMBERED_PERMISSIONS_MAX, Holder, Role, Scope, once
from gpuaas.common.visits import Visits
from gpuaas.contracts import iam


@dataclass(frozen=True, slots=True)
class Grant:
    """A binding as held: a role in a scope until `valid_until` (None: no end; real time).

    `holder` is whom it names: the principal, or a group it is in. `role` is the name, as `role_key` writes it.
    `receiver`: the tenant that it was shared with; None: it is no share, but a binding of the scope's own.
    `condition`: on what it counts; None: always.
    """

    binding_id: str
    holder: Holder
    role: str
    scope: Scope
    valid_until: datetime | None
    receiver: str | None = None
    condition: Condition | None = None

    def in_force(self, now: datetime) -> bool:
        return self.valid_until is None or now < self.valid_until

    def unmet(self, now: datetime, about: Circumstances) -> str | None:
        """What of its condition does not hold, as a sentence; None: it is met, or there is none."""
        return None if self.condition is None else self.condition.unmet(now, about)


def role_key(tenant_id: str | None, role: str) -> str:
    """The name a role is known by in the whole suite: `trainer` of the platform's, `acme/trainer` of acme's own."""
    return role if tenant_id is None else f"{tenant_id}/{role}"


@dataclass(slots=True)
class _Holding:
    """Home tenant, and grants by tenant, project and binding id; `""` stands for none."""

    tenant_id: str
    project_id: str | None = None
    grants: dict[str, dict[str, dict[str, Grant]]] = field(default_factory=dict)
    suspended: bool = False


class Rights:
    """Tenants, projects, principals, roles and bindings as the log has them."""

    def __init__(self) -> None:
        self.tenants: dict[str, set[str]] = {}
        self.suspended_tenants: set[str] = set()
        self.roles: dict[str, Role] = {}
        self.groups = Groups()
        self.limits = Limits()
        self.visits = Visits()
        self.endings = Endings()
        self.duties = Duties()
        self._holdings: dict[Holder, _Holding] = {}
        self._bindings: dict[str, tuple[Holder, Scope]] = {}
        self._sufficient: dict[str, tuple[str, ...]] = {}
        self.folds: dict[type[Event], Callable[[Any], None]] = {
            iam.TenantCreated: self._tenant_created,
            iam.ProjectCreated: self._project_created,
            iam.UserRegistered: self._user_registered,
            iam.ServiceAccountCreated: self._service_account_created,
            iam.RoleDefined: self._role_defined,
            iam.TenantRoleDefined: self._tenant_role_defined,
            iam.RoleBound: self._role_bound,
            iam.RoleBoundUnderCondition: self._role_bound_under_condition,
            iam.RoleUnbound: lambda event: self._end(event.binding_id),
            iam.ProjectShareAccepted: self._project_shared,
            iam.ProjectShareEnded: lambda event: self._end(event.share_id),
            iam.TenantSuspended: self._tenant_suspended,
            iam.TenantResumed: self._tenant_resumed,
            iam.PrincipalSuspended: self._principal_suspended,
            iam.PrincipalResumed: self._principal_resumed,
            iam.GroupCreated: self._group_created,
            iam.GroupMemberAdded: self._group_member_added,
            iam.GroupMemberRemoved: self._group_member_removed,
            iam.GroupNested: self._group_nested,
            iam.GroupUnnested: self._group_unnested,
            iam.RoleBoundToGroup: self._role_bound_to_group,
            iam.ProhibitionPlaced: self._prohibition_placed,
            iam.ProhibitionLifted: self._prohibition_lifted,
            iam.TenantCeilingSet: self._tenant_ceiling_set,
            iam.TenantCeilingRemoved: self._tenant_ceiling_removed,
            **self.visits.folds,
            **self.endings.folds,
            **self.duties.folds,
        }

    # -- questions -----------------------------------------------------------------------------------------

    def exists(self, scope: Scope) -> bool:
        if scope.tenant_id is None:
            return True
        projects = self.tenants.get(scope.tenant_id)
        return projects is not None and (scope.project_id is None or scope.project_id in projects)

    def home_of(self, holder: Holder) -> str | None:
        """The tenant a principal is at home in (`platform`: people and operators), or None: unknown."""
        holding = self._holdings.get(holder)
        return holding.tenant_id if holding else None

    def standing_home(self, holder: Holder) -> str | None:
        """As `home_of`, and None too for a principal that was deleted."""
        return None if holder in self.endings.deleted else self.home_of(holder)

    def holders(self) -> list[Holder]:
        """Everybody and every group there is or was, sorted."""
        return sorted(self._holdings)

    def accounts_of(self, tenant_id: str, project_id: str) -> list[str]:
        """The service accounts at home in a project that are not deleted, sorted."""
        return sorted(
            holder[1]
            for holder, each in self._holdings.items()
            if (each.tenant_id, each.project_id) == (tenant_id, project_id) and holder not in self.endings.deleted
        )

    def own_grants(self, holder: Holder) -> list[Grant]:
        """The bindings that name the principal itself, in force or not."""
        held = self._holdings[holder].grants.values() if holder in self._holdings else ()
        return [grant for projects in held for grants in projects.values() for grant in grants.values()]

    def stopped(self, holder: Holder) -> str | None:
        """Why a principal may nothing anywhere for now, as a sentence; None: it is not stopped."""
        holding, endings = self._holdings.get(holder), self.endings
        if holder in endings.deleted:
            return "this account was deleted; use another one"
        if holding is not None and (holding.tenant_id, None) in endings.closed:
            return f"tenant {holding.tenant_id} was closed, and so were its accounts"
        if holding is not None and holding.suspended:
            return "this account is suspended; whoever runs the place it is at home in can lift that"
        if holding is not None and holding.tenant_id in self.suspended_tenants:
            return f"tenant {holding.tenant_id} is suspended, and so are its accounts; ask the platform's operators"
        return None

    def grants_of(self, holder: Holder) -> Iterator[Grant]:
        """All bindings of a principal and of the groups it is in, in force or not."""
        for each in self.groups.circle(holder):
            if (holding := self._holdings.get(each)) is not None:
                for projects in holding.grants.values():
                    for grants in projects.values():
                        yield from grants.values()

    def grants_over(self, holder: Holder, scope: Scope) -> Iterator[Grant]:
        """The bindings that count for the principal at `scope`: its own, then its groups'; none while stopped."""
        if holder not in self._holdings or self.stopped(holder) is not None:
            return
        tenant_id = None if scope.tenant_id in self.suspended_tenants else scope.tenant_id
        for each in self.groups.circle(holder):
            held = self._holdings[each].grants
            if (platform := held.get("")) is not None:
                yield from platform[""].values()
            if tenant_id is None or (projects := held.get(tenant_id)) is None:
                continue
            if (grants := projects.get("")) is not None:
                yield from grants.values()
            if scope.project_id is not None and (grants := projects.get(scope.project_id)) is not None:
                yield from grants.values()

    def reaches(self, holder: Holder, scope: Scope, now: datetime) -> bool:
        """Whether anything in force lets the principal know that `scope` is there: a guest knows what is shared."""
        return any(
            grant.receiver is None or (grant.scope.covers(scope) and self.stands(grant, now))
            for grant in self._reaching(holder, scope.tenant_id or "", now)
        )

    def belongs(self, holder: Holder, tenant_id: str, now: datetime) -> bool:
        """Whether the principal reaches the tenant by more than shares."""
        return any(grant.receiver is None for grant in self._reaching(holder, tenant_id, now))

    def visits_as_guest(self, holder: Holder, scope: Scope, now: datetime) -> bool:
        """Whether a share lets the principal into something of `scope`."""
        tenant_id = scope.tenant_id or ""
        return any(
            grant.receiver is not None and scope.covers(grant.scope) for grant in self._reaching(holder, tenant_id, now)
        )

    def _reaching(self, holder: Holder, tenant_id: str, now: datetime) -> Iterator[Grant]:
        """The bindings in force that the principal has in the tenant or above it."""
        if holder not in self._holdings:
            return
        for each in self.groups.circle(holder):
            for place in ("", tenant_id):
                for grants in self._holdings[each].grants.get(place, {}).values():
                    yield from (grant for grant in grants.values() if grant.in_force(now))

    def stands(self, grant: Grant, now: datetime) -> bool:
        """Whether a binding is in force, and, of a share, its receiver neither suspended nor closed."""
        if not grant.in_force(now):
            return False
        receiver = grant.receiver
        return receiver is None or (
            receiver not in self.suspended_tenants and (receiver, None) not in self.endings.closed
        )

    def grants_covering(self, scope: Scope) -> Iterator[Grant]:
        """Everybody's bindings at `scope` and above it, in force or not."""
        for binding_id, (holder, at) in self._bindings.items():
            if at.covers(scope):
                here = self._holdings[holder].grants[at.tenant_id or ""][at.project_id or ""]
                if (grant := here.get(binding_id)) is not None:
                    yield grant

    def held(self, holder: Holder, scope: Scope, now: datetime) -> frozenset[str]:
        """The permission globs that bindings in force name for the principal in `scope`, and that it may hand on: what
        it holds under a condition is not among them.

        Ceilings are left out: they bound giver and taker of a right in a tenant alike. Prohibitions are `withheld`.
        """
        return self._held(holder, scope, now, firmly=True)

    def held_at_times(self, holder: Holder, scope: Scope, now: datetime) -> frozenset[str]:
        """As `held`, with what it holds under conditions."""
        return self._held(holder, scope, now, firmly=False)

    def _held(self, holder: Holder, scope: Scope, now: datetime, *, firmly: bool) -> frozenset[str]:
        return frozenset(
            permission
            for grant in self.grants_over(holder, scope)
            if self.stands(grant, now) and not (firmly and grant.condition is not None)
            for permission in self.roles[grant.role].permissions
        )

    def gives(self, grant: Grant, permission: str, now: datetime) -> bool:
        """Whether the binding permits it at `now`, below the ceiling of its tenant, where its condition is met."""
        return (
            self.roles[grant.role].permits(permission)
            and self.stands(grant, now)
            and self.limits.below_ceiling(grant.scope, permission)
            and (grant.receiver is None or is_for_guests(permission))
        )

    def admits(self, grant: Grant, holder: Holder, permission: str, scope: Scope, now: datetime) -> bool:
        """Whether the tenant of `scope` lets the binding count there for `permission`: its own always do."""
        if grant.scope.tenant_id is not None or scope.tenant_id is None:
            return True
        return self.visits.admits(holder, permission, scope.tenant_id, now)

    def prohibition(self, holder: Holder, permission: str, scope: Scope, now: datetime) -> str | None:
        """Id of a prohibition that forbids it there, whatever bindings say; None: nothing does."""
        if not self.limits.prohibitions:
            return None
        return self.limits.forbids(self.groups.circle(holder), permission, scope, now)

    def separated(self, holder: Holder, permission: str, scope: Scope, now: datetime) -> str | None:
        """Id of a rule that keeps `permission` apart from something else that the principal holds; None: none does."""
        if not self.duties.rules:
            return None
        return self.duties.broken_by(permission, scope, lambda: self.held_at_times(holder, scope, now))

    def separated_at(self, holder: Holder, permission: str, now: datetime) -> set[Scope]:
        """Where `separated` begins to forbid it: what holds in one of these places holds in all below."""
        if not any(rule.opposite(permission) for rule in self.duties.rules.values()):
            return set()
        places = {rule.scope for rule in self.duties.rules.values()}
        places |= {grant.scope for grant in self.grants_of(holder)}
        return {place for place in places if self.separated(holder, permission, place, now) is not None}

    def withheld(self, holder: Holder, scope: Scope, now: datetime) -> frozenset[str]:
        """The permission globs that are prohibited to the principal in `scope`, or somewhere inside it."""
        return self.limits.withheld(self.groups.circle(holder), scope, now)

    def roles_in(self, tenant_id: str | None) -> Iterator[tuple[str, Role]]:
        """The roles that can be bound there, by name: the platform's, and the tenant's own."""
        own = f"{tenant_id}/"
        return ((name, role) for name, role in self.roles.items() if "/" not in name or name.startswith(own))

    def sufficient_roles(self, permission: str, tenant_id: str | None = None) -> tuple[str, ...]:
        """Names of the roles that hold `permission` and can be bound there, sorted."""
        own = f"{tenant_id}/"
        return tuple(name for name in self._holding(permission) if "/" not in name or name.startswith(own))

    def _holding(self, permission: str) -> tuple[str, ...]:
        roles = self._sufficient.get(permission)
        if roles is None:
            roles = tuple(sorted(name for name, role in self.roles.items() if role.permits(permission)))
            if len(self._sufficient) < REMEMBERED_PERMISSIONS_MAX:
                self._sufficient[permission] = roles
        return roles

    # -- the fold ------------------------------------------------------------------------------------------

    def _tenant_created(self, event: iam.TenantCreated) -> None:
        once(event.tenant_id, self.tenants, "tenant")
        self.tenants[event.tenant_id] = set()

    def _tenant_suspended(self, event: iam.TenantSuspended) -> None:
        self.tenants[event.tenant_id]  # raises KeyError: nobody suspends what there is not
        once(event.tenant_id, self.suspended_tenants, "the suspension of tenant")
        self.suspended_tenants.add(event.tenant_id)

    def _tenant_resumed(self, event: iam.TenantResumed) -> None:
        self.suspended_tenants.remove(event.tenant_id)

    def _principal_suspended(self, event: iam.PrincipalSuspended) -> None:
        self._suspend((event.principal_kind, event.principal_id), event.tenant_id, True)

    def _principal_resumed(self, event: iam.PrincipalResumed) -> None:
        self._suspend((event.principal_kind, event.principal_id), event.tenant_id, False)

    def _suspend(self, holder: Holder, tenant_id: str, suspended: bool) -> None:
        holding = self._holdings[holder]
        if holding.tenant_id != tenant_id or holding.suspended == suspended:
            raise ValueError(f"{holder[0]} {holder[1]} is at home elsewhere, or is so already")
        holding.suspended = suspended

    def _project_created(self, event: iam.ProjectCreated) -> None:
        projects = self.tenants[event.tenant_id]
        once(event.project_id, projects, "project")
        projects.add(event.project_id)

    def _user_registered(self, event: iam.UserRegistered) -> None:
        self._enter(("user", event.user_id), PLATFORM)

    def _service_account_created(self, event: iam.ServiceAccountCreated) -> None:
        self._enter(("service-account", event.service_account_id), event.tenant_id, event.project_id)

    def _enter(self, holder: Holder, tenant_id: str, project_id: str | None = None) -> None:
        once(holder, self._holdings, "principal")
        self._holdings[holder] = _Holding(tenant_id, project_id)

    def _group_created(self, event: iam.GroupCreated) -> None:
        if event.tenant_id != PLATFORM and event.tenant_id not in self.tenants:
            raise ValueError(f"tenant {event.tenant_id} does not exist")
        self._enter(("group", event.group_id), event.tenant_id)

    def _group_member_added(self, event: iam.GroupMemberAdded) -> None:
        member, group = (event.member_kind, event.member_id), ("group", event.group_id)
        if self._holdings[member].tenant_id not in (PLATFORM, self._holdings[group].tenant_id):
            raise ValueError(f"{event.member_kind} {event.member_id} is at home in another tenant than the group")
        self.groups.join(member, group)

    def _group_member_removed(self, event: iam.GroupMemberRemoved) -> None:
        self.groups.leave((event.member_kind, event.member_id), ("group", event.group_id))

    def _group_nested(self, event: iam.GroupNested) -> None:
        inner, outer = ("group", event.group_id), ("group", event.parent_id)
        if not event.tenant_id == self._holdings[inner].tenant_id == self._holdings[outer].tenant_id:
            raise ValueError(f"groups {event.group_id} and {event.parent_id} are not both of {event.tenant_id}")
        self.groups.join(inner, outer)

    def _group_unnested(self, event: iam.GroupUnnested) -> None:
        self.groups.leave(("group", event.group_id), ("group", event.parent_id))

    def _role_defined(self, event: iam.RoleDefined) -> None:
        self._define(role_key(None, event.role), event.version, event.permissions)

    def _tenant_role_defined(self, event: iam.TenantRoleDefined) -> None:
        self.tenants[event.tenant_id]  # raises KeyError: what there is not has no roles
        self._define(role_key(event.tenant_id, event.role), event.version, event.permissions)

    def _define(self, name: str, version: int, permissions: tuple[str, ...]) -> None:
        known = self.roles.get(name)
        if version != (known.version + 1 if known else 1):
            raise ValueError(f"version {version} of role {name} is not the next one")
        self.roles[name] = Role(name, version, permissions)
        self._sufficient.clear()

    def _role_bound(self, event: iam.RoleBound) -> None:
        self._bind((event.principal_kind, event.principal_id), event)

    def _role_bound_to_group(self, event: iam.RoleBoundToGroup) -> None:
        self._bind(("group", event.group_id), event)

    def _role_bound_under_condition(self, event: iam.RoleBoundUnderCondition) -> None:
        self._bind((event.holder_kind, event.holder_id), event, Condition.of(event.condition))

    def _bind(
        self,
        holder: Holder,
        event: iam.RoleBound | iam.RoleBoundToGroup | iam.RoleBoundUnderCondition,
        condition: Condition | None = None,
    ) -> None:
        scope, role = Scope(event.tenant_id, event.project_id), role_key(event.role_tenant_id, event.role)
        if event.role_tenant_id not in (None, event.tenant_id):
            raise ValueError(f"role {role} is not defined there")
        self._hold(Grant(event.binding_id, holder, role, scope, event.valid_until, condition=condition))

    def _project_shared(self, event: iam.ProjectShareAccepted) -> None:
        holder, receiver = (event.principal_kind, event.principal_id), event.receiver_tenant_id
        if self._holdings[holder].tenant_id not in (PLATFORM, receiver) or receiver == event.tenant_id:
            raise ValueError(f"{event.principal_kind} {event.principal_id} is not of tenant {receiver}")
        scope, role = Scope(event.tenant_id, event.project_id), role_key(event.role_tenant_id, event.role)
        if event.role_tenant_id not in (None, event.tenant_id):
            raise ValueError(f"role {role} is not defined there")
        self._hold(Grant(event.share_id, holder, role, scope, event.valid_until, receiver))

    def _hold(self, grant: Grant) -> None:
        once(grant.binding_id, self._bindings, "binding")
        scope = grant.scope
        if grant.role not in self.roles:
            raise ValueError(f"role {grant.role} is not defined there")
        if not self.exists(scope):
            raise ValueError(f"{scope} does not exist")
        grants = self._holdings[grant.holder].grants.setdefault(scope.tenant_id or "", {})
        grants.setdefault(scope.project_id or "", {})[grant.binding_id] = grant
        self._bindings[grant.binding_id] = (grant.holder, scope)

    def _end(self, binding_id: str) -> None:
        holder, scope = self._bindings[binding_id]  # stays known: a binding id is never used again
        del self._holdings[holder].grants[scope.tenant_id or ""][scope.project_id or ""][binding_id]

    def _prohibition_placed(self, event: iam.ProhibitionPlaced) -> None:
        scope, holder = Scope(event.tenant_id, event.project_id), (event.holder_kind, event.holder_id)
        if not self.exists(scope) or holder not in self._holdings:
            raise ValueError(f"{scope} or {event.holder_kind} {event.holder_id} does not exist")
        self.limits.place(event.prohibition_id, holder, scope, event.permissions, event.valid_until)

    def _prohibition_lifted(self, event: iam.ProhibitionLifted) -> None:
        self.limits.lift(event.prohibition_id)

    def _tenant_ceiling_set(self, event: iam.TenantCeilingSet) -> None:
        self.tenants[event.tenant_id]  # raises KeyError: nobody bounds what there is not
        self.limits.set_ceiling(event.tenant_id, event.permissions)

    def _tenant_ceiling_removed(self, event: iam.TenantCeilingRemoved) -> None:
        self.limits.remove_ceiling(event.tenant_id)
