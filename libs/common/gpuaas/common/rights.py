"""Who holds what, folded from iam's events. One law: an event that contradicts what is known raises.

Plain dictionaries, no clock, no I/O: scopes and roles, groups, limits, and the rights made of them. `access.py` asks
it; `iam` asks it when rights are granted. Nesting of groups ends at three, whatever the events say: iam refuses circles
and deeper nesting before they are said, and a reader bounds its walk all the same. A limit wins over every grant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gpuaas.common.envelope import PLATFORM
from gpuaas.common.events import Event
from gpuaas.contracts import iam

REMEMBERED_PERMISSIONS_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a right holds or is asked for: a project, a tenant, or (with neither) the platform."""

    tenant_id: str | None = None
    project_id: str | None = None

    def __post_init__(self) -> None:
        if self.project_id is not None and self.tenant_id is None:
            raise ValueError("a project is always named with its tenant")

    def __str__(self) -> str:
        if self.tenant_id is None:
            return "the platform"
        if self.project_id is None:
            return f"tenant {self.tenant_id}"
        return f"project {self.project_id} of tenant {self.tenant_id}"

    def covers(self, other: Scope) -> bool:
        """Whether a right here is also one there: the platform covers all, a tenant its projects."""
        if self.tenant_id is None:
            return True
        return self.tenant_id == other.tenant_id and self.project_id in (None, other.project_id)


class Role:
    """The newest version of a role: its permission globs, and what they said about permissions asked before.

    A glob is `service.resource.verb` where `*` stands for any one word.
    """

    __slots__ = ("_globs", "_said", "name", "permissions", "version")

    def __init__(self, name: str, version: int, permissions: tuple[str, ...]) -> None:
        """Raises ValueError: a permission is not three words."""
        self.name = name
        self.version = version
        self.permissions = permissions
        self._globs = [words(glob) for glob in permissions]
        self._said: dict[str, bool] = {}

    def permits(self, permission: str) -> bool:
        """Whether one of the globs covers `permission`. Raises ValueError: it is not three words."""
        said = self._said.get(permission)
        if said is None:
            wanted = words(permission)
            said = any(all(g in ("*", w) for g, w in zip(glob, wanted, strict=True)) for glob in self._globs)
            if len(self._said) < REMEMBERED_PERMISSIONS_MAX:
                self._said[permission] = said
        return said


def words(permission: str) -> list[str]:
    """The three words of `service.resource.verb`. Raises ValueError: they are not three."""
    parts = permission.split(".")
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{permission!r} is not a permission; write service.resource.verb")
    return parts


Holder = tuple[str, str]
"""What can hold rights: (kind, id), where kind is `user`, `service-account` or `group`."""

NESTED_MAX: Final = 3
"""Most groups on a way from a member outwards."""


class Groups:
    """Memberships as the log has them. `circle` is asked on every check, so its answers are remembered."""

    def __init__(self) -> None:
        self._outer: dict[Holder, dict[Holder, None]] = {}
        self._members: dict[Holder, dict[Holder, None]] = {}
        self._circles: dict[Holder, tuple[Holder, ...]] = {}

    def circle(self, holder: Holder) -> tuple[Holder, ...]:
        """The holder, then every group they are in, the nearest first."""
        if holder not in self._outer:
            return (holder,)
        if (known := self._circles.get(holder)) is None:
            met, edge = {holder: None}, [holder]
            for _ in range(NESTED_MAX):
                edge = [outer for each in edge for outer in self._outer.get(each, ()) if outer not in met]
                met.update(dict.fromkeys(edge))
            known = self._circles[holder] = tuple(met)
        return known

    def members(self, group: Holder) -> frozenset[Holder]:
        """Every person and program in the group, directly or through groups nested in it."""
        met, edge = {group}, [group]
        for _ in range(NESTED_MAX):
            edge = [inner for each in edge for inner in self._members.get(each, ()) if inner not in met]
            met.update(edge)
        return frozenset(holder for holder in met if holder[0] != "group")

    def join(self, member: Holder, group: Holder) -> None:
        """`member` is in `group` from now on. Raises ValueError: it was."""
        if group in self._outer.get(member, ()):
            raise ValueError(f"{member[0]} {member[1]} is in group {group[1]} already")
        self._outer.setdefault(member, {})[group] = None
        self._members.setdefault(group, {})[member] = None
        self._forget(member)

    def leave(self, member: Holder, group: Holder) -> None:
        """`member` is in `group` no longer. Raises KeyError: it was not."""
        del self._outer[member][group]
        del self._members[group][member]
        self._forget(member)

    def _forget(self, member: Holder) -> None:
        if member[0] == "group":
            self._circles.clear()  # nesting changes seldom, and for many at once
        else:
            self._circles.pop(member, None)


@dataclass(frozen=True, slots=True)
class Prohibition:
    """What a principal or everybody in a group may not do in a scope until `valid_until` (None: no end)."""

    prohibition_id: str
    holder: Holder
    scope: Scope
    globs: Role
    valid_until: datetime | None

    def in_force(self, now: datetime) -> bool:
        return self.valid_until is None or now < self.valid_until


class Limits:
    """Prohibitions and ceilings as the log has them. `prohibitions` is by holder; empty means that there are none."""

    def __init__(self) -> None:
        self.prohibitions: dict[Holder, dict[str, Prohibition]] = {}
        self._placed: dict[str, Prohibition | None] = {}
        self._ceilings: dict[str, Role] = {}

    def below_ceiling(self, scope: Scope, permission: str) -> bool:
        """Whether a binding in `scope` may give `permission`."""
        ceiling = self._ceilings.get(scope.tenant_id) if scope.tenant_id is not None else None
        return ceiling is None or ceiling.permits(permission)

    def ceiling(self, tenant_id: str) -> tuple[str, ...] | None:
        """The most that bindings of a tenant give; None: it has no ceiling."""
        return known.permissions if (known := self._ceilings.get(tenant_id)) is not None else None

    def standing(self, holders: Iterable[Holder], now: datetime) -> Iterator[Prohibition]:
        """The prohibitions in force of any of `holders`."""
        for holder in holders:
            for each in self.prohibitions.get(holder, {}).values():
                if each.in_force(now):
                    yield each

    def forbids(self, holders: Iterable[Holder], permission: str, scope: Scope, now: datetime) -> str | None:
        """Id of a prohibition of any of `holders` that covers it, or None."""
        for each in self.standing(holders, now):
            if each.scope.covers(scope) and each.globs.permits(permission):
                return each.prohibition_id
        return None

    def withheld(self, holders: Iterable[Holder], scope: Scope, now: datetime) -> frozenset[str]:
        """The globs prohibited to any of `holders` in `scope`, or somewhere inside it."""
        return frozenset(
            glob
            for each in self.standing(holders, now)
            if each.scope.covers(scope) or scope.covers(each.scope)
            for glob in each.globs.permissions
        )

    def place(
        self, prohibition_id: str, holder: Holder, scope: Scope, globs: tuple[str, ...], valid_until: datetime | None
    ) -> None:
        """Raises ValueError: that id was used before."""
        if prohibition_id in self._placed:
            raise ValueError(f"prohibition {prohibition_id} was placed before")
        placed = Prohibition(prohibition_id, holder, scope, Role(prohibition_id, 1, globs), valid_until)
        self._placed[prohibition_id] = placed
        self.prohibitions.setdefault(holder, {})[prohibition_id] = placed

    def lift(self, prohibition_id: str) -> None:
        """Raises ValueError: it does not stand."""
        if (placed := self._placed.get(prohibition_id)) is None:
            raise ValueError(f"prohibition {prohibition_id} does not stand")
        self._placed[prohibition_id] = None
        del self.prohibitions[placed.holder][prohibition_id]
        if not self.prohibitions[placed.holder]:
            del self.prohibitions[placed.holder]

    def set_ceiling(self, tenant_id: str, globs: tuple[str, ...]) -> None:
        self._ceilings[tenant_id] = Role(tenant_id, 1, globs)

    def remove_ceiling(self, tenant_id: str) -> None:
        """Raises KeyError: it has none."""
        del self._ceilings[tenant_id]


@dataclass(frozen=True, slots=True)
class Grant:
    """A binding as held: a role in a scope until `valid_until` (None: no end; real time).

    `holder` is whom it names: the principal, or a group it is in.
    """

    binding_id: str
    holder: Holder
    role: str
    scope: Scope
    valid_until: datetime | None

    def in_force(self, now: datetime) -> bool:
        return self.valid_until is None or now < self.valid_until


@dataclass(slots=True)
class _Holding:
    """Home tenant, and grants by tenant, project and binding id; `""` stands for none."""

    tenant_id: str
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
        self._holdings: dict[Holder, _Holding] = {}
        self._bindings: dict[str, tuple[Holder, Scope]] = {}
        self._sufficient: dict[str, tuple[str, ...]] = {}
        self.folds: dict[type[Event], Callable[[Any], None]] = {
            iam.TenantCreated: self._tenant_created,
            iam.ProjectCreated: self._project_created,
            iam.UserRegistered: self._user_registered,
            iam.ServiceAccountCreated: self._service_account_created,
            iam.RoleDefined: self._role_defined,
            iam.RoleBound: self._role_bound,
            iam.RoleUnbound: self._role_unbound,
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

    def stopped(self, holder: Holder) -> str | None:
        """Why a principal may nothing anywhere for now, as a sentence; None: it is not stopped."""
        holding = self._holdings.get(holder)
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
        if (own := self._holdings.get(holder)) is None or own.suspended or own.tenant_id in self.suspended_tenants:
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

    def reaches(self, holder: Holder, tenant_id: str, now: datetime) -> bool:
        """Whether anything in force lets the principal know that the tenant exists."""
        if holder not in self._holdings:
            return False
        return any(
            grant.in_force(now)
            for each in self.groups.circle(holder)
            for place in ("", tenant_id)
            for grants in self._holdings[each].grants.get(place, {}).values()
            for grant in grants.values()
        )

    def grants_covering(self, scope: Scope) -> Iterator[Grant]:
        """Everybody's bindings at `scope` and above it, in force or not."""
        for binding_id, (holder, at) in self._bindings.items():
            if at.covers(scope):
                here = self._holdings[holder].grants[at.tenant_id or ""][at.project_id or ""]
                if (grant := here.get(binding_id)) is not None:
                    yield grant

    def held(self, holder: Holder, scope: Scope, now: datetime) -> frozenset[str]:
        """The permission globs that bindings in force name for the principal in `scope`.

        Ceilings are left out: they bound giver and taker of a right in a tenant alike. Prohibitions are `withheld`.
        """
        return frozenset(
            permission
            for grant in self.grants_over(holder, scope)
            if grant.in_force(now)
            for permission in self.roles[grant.role].permissions
        )

    def gives(self, grant: Grant, permission: str, now: datetime) -> bool:
        """Whether the binding permits it at `now`, below the ceiling of its tenant."""
        return (
            self.roles[grant.role].permits(permission)
            and grant.in_force(now)
            and self.limits.below_ceiling(grant.scope, permission)
        )

    def prohibition(self, holder: Holder, permission: str, scope: Scope, now: datetime) -> str | None:
        """Id of a prohibition that forbids it there, whatever bindings say; None: nothing does."""
        if not self.limits.prohibitions:
            return None
        return self.limits.forbids(self.groups.circle(holder), permission, scope, now)

    def withheld(self, holder: Holder, scope: Scope, now: datetime) -> frozenset[str]:
        """The permission globs that are prohibited to the principal in `scope`, or somewhere inside it."""
        return self.limits.withheld(self.groups.circle(holder), scope, now)

    def sufficient_roles(self, permission: str) -> tuple[str, ...]:
        """Names of the roles that hold `permission`, sorted."""
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
        self._enter(("service-account", event.service_account_id), event.tenant_id)

    def _enter(self, holder: Holder, tenant_id: str) -> None:
        once(holder, self._holdings, "principal")
        self._holdings[holder] = _Holding(tenant_id)

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
        known = self.roles.get(event.role)
        if event.version != (known.version + 1 if known else 1):
            raise ValueError(f"version {event.version} of role {event.role} is not the next one")
        self.roles[event.role] = Role(event.role, event.version, event.permissions)
        self._sufficient.clear()

    def _role_bound(self, event: iam.RoleBound) -> None:
        self._bind((event.principal_kind, event.principal_id), event)

    def _role_bound_to_group(self, event: iam.RoleBoundToGroup) -> None:
        self._bind(("group", event.group_id), event)

    def _bind(self, holder: Holder, event: iam.RoleBound | iam.RoleBoundToGroup) -> None:
        once(event.binding_id, self._bindings, "binding")
        scope = Scope(event.tenant_id, event.project_id)
        if event.role not in self.roles:
            raise ValueError(f"role {event.role} is not defined")
        if not self.exists(scope):
            raise ValueError(f"{scope} does not exist")
        grants = self._holdings[holder].grants.setdefault(scope.tenant_id or "", {})
        grants.setdefault(scope.project_id or "", {})[event.binding_id] = Grant(
            binding_id=event.binding_id, holder=holder, role=event.role, scope=scope, valid_until=event.valid_until
        )
        self._bindings[event.binding_id] = (holder, scope)

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

    def _role_unbound(self, event: iam.RoleUnbound) -> None:
        holder, scope = self._bindings[event.binding_id]  # stays known: a binding id is never used again
        del self._holdings[holder].grants[scope.tenant_id or ""][scope.project_id or ""][event.binding_id]


def once(key: object, known: dict[Any, Any] | set[str], what: str) -> None:
    """Raises ValueError: `key` is known already."""
    if key in known:
        raise ValueError(f"{what} {key} was created before")
