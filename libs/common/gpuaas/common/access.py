"""Who asks, in which tenant and project, and may they. One law: deny by default, and skip nothing.

A fold over iam's events inside every service: no call to a neighbour, no I/O, microseconds. An event that
cannot be applied freezes the fold: from then on reads are answered as stale and changes are refused.

All times are real time (`WallClock`), also in a profile whose world runs faster: tokens, keys and bindings
belong to people and machines that live in real minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Forbidden, NotFound, Unauthenticated, Unavailable, Unreadable
from gpuaas.common.events import Event
from gpuaas.common.ids import new_id
from gpuaas.common.rights import Grant, Holder, Prohibition, Rights, Scope, once
from gpuaas.common.tokens import ISSUER, Kind, Verifier, VerifyingKey, audience_of, public_key
from gpuaas.contracts import iam

__all__ = [
    "ABSENT",
    "READ_VERBS",
    "Access",
    "Decision",
    "Held",
    "Principal",
    "Reach",
    "Reason",
    "Scope",
    "allows",
    "explain",
    "what_can",
    "who_can",
]

READ_VERBS: Final = frozenset({"read"})
"""Verbs that change nothing; every other verb is a change and is refused while the fold is frozen."""
ABSENT: Final = "there is no such thing, or none that you may see"


@dataclass(frozen=True, slots=True)
class Principal:
    """Someone whose token was believed.

    `tenant_id` is where they are at home (`platform` for people and operators), `key_id` the API key behind
    the token, `session` the token's own id.
    """

    id: str
    kind: Kind
    tenant_id: str
    key_id: str
    session: str
    expires_at: datetime

    @property
    def holder(self) -> Holder:
        return (self.kind, self.id)


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer, with what it was taken on.

    Attributes:
        reason: a sentence for the caller; for a hidden scope it does not say whether the scope exists.
        sufficient_roles: roles that hold the permission, if it was denied.
        position: log position of the newest right this was taken on.
        hidden: no such scope, or nothing the caller holds reaches into its tenant: answer as absent.
        stale: the fold is frozen: a read was answered from old rights, or a change was refused for that.
    """

    allowed: bool
    decision_id: str
    permission: str
    scope: Scope
    reason: str
    sufficient_roles: tuple[str, ...]
    position: int
    hidden: bool = False
    stale: bool = False

    def enforce(self) -> None:
        """Return if allowed.

        Raises:
            Unavailable: the rights known here are old; newer ones might allow it.
            NotFound: the scope must look absent.
            Forbidden: denied; the problem says which roles would suffice.
        """
        if self.allowed:
            return
        if self.stale:
            raise Unavailable(self.reason, retry_after_s=5, decision_id=self.decision_id)
        if self.hidden:
            raise NotFound(ABSENT, decision_id=self.decision_id)
        raise Forbidden(
            self.reason,
            decision_id=self.decision_id,
            permission=self.permission,
            sufficient_roles=list(self.sufficient_roles),
            position=self.position,
        )


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a principal holds one permission: everywhere, or in whole tenants and single projects of others.

    For exact lists in SQL: `everywhere or tenant_id = any(tenants) or (tenant_id, project_id) in projects`.
    """

    everywhere: bool
    tenants: frozenset[str]
    projects: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _ApiKey:
    holder: Holder
    expires_at: datetime
    revoked: bool = False


class Access:
    """The decision point of one process. Feed it every event of `READS` in log order through `apply`.

    For one thread. `position` is the log position of the newest event folded: the same number in every
    service that has read as far, and the floor that iam writes into tokens.
    """

    READS: tuple[type[Event], ...] = (
        iam.TenantCreated,
        iam.ProjectCreated,
        iam.UserRegistered,
        iam.ServiceAccountCreated,
        iam.RoleDefined,
        iam.RoleBound,
        iam.RoleUnbound,
        iam.ApiKeyIssued,
        iam.ApiKeyRevoked,
        iam.SigningKeyPublished,
        iam.TenantSuspended,
        iam.TenantResumed,
        iam.PrincipalSuspended,
        iam.PrincipalResumed,
        iam.GroupCreated,
        iam.GroupMemberAdded,
        iam.GroupMemberRemoved,
        iam.GroupNested,
        iam.GroupUnnested,
        iam.RoleBoundToGroup,
        iam.ProhibitionPlaced,
        iam.ProhibitionLifted,
        iam.TenantCeilingSet,
        iam.TenantCeilingRemoved,
    )

    def __init__(self, profile: str, issuer: str = ISSUER) -> None:
        """`profile` names the audience; tokens of another profile or issuer are refused."""
        self.position = 0
        self.frozen: str | None = None
        self.rights = Rights()
        self._verifier = Verifier(audience_of(profile), issuer)
        self._keys: dict[str, _ApiKey] = {}
        self._folds: dict[type[Event], Callable[[Any], None]] = self.rights.folds | {
            iam.ApiKeyIssued: self._api_key_issued,
            iam.ApiKeyRevoked: self._api_key_revoked,
            iam.SigningKeyPublished: self._signing_key_published,
        }

    # -- the fold ------------------------------------------------------------------------------------------

    def apply(self, fact: Fact) -> None:
        """Fold one event. One that was folded before (its position is not above ours) changes nothing.

        Raises:
            Unreadable: it contradicts what is known, or the fold was frozen before; from here on it is.
        """
        if self.frozen is not None:
            raise Unreadable(self.frozen)
        if fact.position <= self.position:
            return
        try:
            self._folds[type(fact.event)](fact.event)
        except (KeyError, ValueError) as refused:
            self.freeze(f"access cannot apply {fact.envelope.type} at position {fact.position}: {refused}")
            raise Unreadable(str(self.frozen)) from refused
        self.position = fact.position

    def freeze(self, reason: str) -> None:
        """Stop here, because the next event cannot be read. Reads go on as stale, changes are refused."""
        self.frozen = self.frozen or reason

    def _api_key_issued(self, event: iam.ApiKeyIssued) -> None:
        once(event.key_id, self._keys, "API key")
        holder = (event.principal_kind, event.principal_id)
        if self.rights.home_of(holder) != event.tenant_id:
            raise ValueError(f"API key {event.key_id} names another tenant than its principal's")
        self._keys[event.key_id] = _ApiKey(holder, event.expires_at)

    def _api_key_revoked(self, event: iam.ApiKeyRevoked) -> None:
        key = self._keys[event.key_id]
        self._keys[event.key_id] = _ApiKey(key.holder, key.expires_at, revoked=True)

    def _signing_key_published(self, event: iam.SigningKeyPublished) -> None:
        key = public_key(event.public_key)
        self._verifier.learn(VerifyingKey(event.key_id, key, event.valid_from, event.valid_until))

    # -- who asks ------------------------------------------------------------------------------------------

    def authenticate(self, token: str, now: datetime) -> Principal:
        """The principal a bearer token speaks for, at real time `now`.

        Raises:
            Unauthenticated: the token is not valid, or the API key behind it is unknown, expired or revoked.
            Unavailable: the token was issued on rights that this process has not read yet; try again at once.
        """
        claims = self._verifier.verify(token, now)
        if claims.floor > self.position:
            raise Unavailable(self.frozen or "this service has not read yet what your token was issued on; try again")
        holder = (claims.kind, claims.subject)
        self.demand_live_key(claims.key_id, holder, now)
        if self.rights.home_of(holder) != claims.tenant_id:
            raise Unauthenticated("the token names another tenant than its principal's; get a new one")
        return Principal(
            id=claims.subject,
            kind=claims.kind,
            tenant_id=claims.tenant_id,
            key_id=claims.key_id,
            session=claims.session,
            expires_at=claims.expires_at,
        )

    def demand_live_key(self, key_id: str, holder: Holder, now: datetime) -> None:
        """Return if that API key is the principal's and in force.

        Raises:
            Unauthenticated: it is not, or the principal is suspended.
        """
        key = self._keys.get(key_id)
        if key is None or key.holder != holder:
            raise Unauthenticated("the API key behind this is not known here; use another key")
        if key.revoked:
            raise Unauthenticated("the API key behind this was revoked; use another key")
        if now >= key.expires_at:
            raise Unauthenticated("the API key behind this has expired; have a new one issued")
        if (stopped := self.rights.stopped(holder)) is not None:
            raise Unauthenticated(stopped)

    def knows_key(self, key_id: str) -> bool:
        """Whether an API key of that id was ever issued, as far as this process has read."""
        return key_id in self._keys

    def signing_keys(self, now: datetime) -> list[VerifyingKey]:
        """The published signing keys that are or will be valid, the oldest first."""
        return self._verifier.keys(now)

    # -- may they ------------------------------------------------------------------------------------------

    def check(self, principal: Principal, permission: str, scope: Scope, now: datetime) -> Decision:
        """Whether `principal` may do `permission` in `scope` at real time `now`. A denial is an answer.

        Raises:
            ValueError: `permission` is not `service.resource.verb`: a mistake in the calling code.
        """
        if self.frozen is not None and permission.rpartition(".")[2] not in READ_VERBS:
            return self._decided(False, permission, scope, f"changes are refused for now: {self.frozen}")
        rights, holder = self.rights, principal.holder
        known = rights.exists(scope)
        forbidden = rights.prohibition(holder, permission, scope, now) if known else None
        if known and forbidden is None:
            for grant in rights.grants_over(holder, scope):
                if rights.gives(grant, permission, now):
                    return self._decided(True, permission, scope, f"{grant.role} at {grant.scope}")
        if not known or (scope.tenant_id is not None and not rights.reaches(holder, scope.tenant_id, now)):
            return self._decided(False, permission, scope, ABSENT, hidden=True)
        if (limit := self._limit(holder, permission, scope, forbidden)) is not None:
            return self._decided(False, permission, scope, limit)
        roles = rights.sufficient_roles(permission)
        needs = f"needs {' or '.join(roles)}, there or above" if roles else "is held by no role yet"
        return self._decided(False, permission, scope, f"{permission} in {scope} {needs}", roles)

    def _limit(self, holder: Holder, permission: str, scope: Scope, forbidden: str | None) -> str | None:
        """Why no further role in that tenant would help, as a sentence; None: one would."""
        if (stopped := self.rights.stopped(holder)) is not None:
            return stopped
        if scope.tenant_id in self.rights.suspended_tenants:
            return f"tenant {scope.tenant_id} is suspended; ask the platform's operators"
        if forbidden is not None:
            return f"{permission} in {scope} is prohibited to you ({forbidden}); ask who may lift that"
        if not self.rights.limits.below_ceiling(scope, permission):
            return f"{permission} is above the ceiling of tenant {scope.tenant_id}; ask the platform's operators"
        return None

    def _decided(
        self,
        allowed: bool,
        permission: str,
        scope: Scope,
        reason: str,
        roles: tuple[str, ...] = (),
        hidden: bool = False,
    ) -> Decision:
        return Decision(
            allowed=allowed,
            decision_id=new_id(),
            permission=permission,
            scope=scope,
            reason=reason,
            sufficient_roles=roles,
            position=self.position,
            hidden=hidden,
            stale=self.frozen is not None,
        )

    # -- exact lists ---------------------------------------------------------------------------------------

    def reach(self, principal: Principal, permission: str, now: datetime) -> Reach:
        """Where `check` would allow `permission`, as data for a query.

        Where something inside a tenant is prohibited, its other projects are named one by one; what is the tenant's
        and no project's is then left out.
        """
        wide, (banned, places) = self._granted(principal, permission, now), self._banned(principal, permission, now)
        if not banned and not places:
            return wide
        if Scope() in banned:
            return Reach(False, frozenset(), frozenset())
        known = self.rights.tenants
        whole = {t for t in (known if wide.everywhere else wide.tenants) if Scope(t) not in banned}
        split = {t for t, _ in places if t in whole}
        single = {(t, p) for t in split for p in known[t]}
        single |= {place for place in wide.projects if Scope(place[0]) not in banned}
        return Reach(False, frozenset(whole - split), frozenset(single - places))

    def _granted(self, principal: Principal, permission: str, now: datetime) -> Reach:
        """Where bindings give `permission`, prohibitions left out."""
        tenants: set[str] = set()
        projects: set[tuple[str, str]] = set()
        everywhere, closed = False, self.rights.suspended_tenants
        if self.rights.stopped(principal.holder) is not None:
            return Reach(False, frozenset(), frozenset())
        for grant in self.rights.grants_of(principal.holder):
            if grant.scope.tenant_id in closed or not self.rights.gives(grant, permission, now):
                continue
            if grant.scope.tenant_id is None:
                everywhere = True
            elif grant.scope.project_id is None:
                tenants.add(grant.scope.tenant_id)
            else:
                projects.add((grant.scope.tenant_id, grant.scope.project_id))
        single = frozenset(place for place in projects if place[0] not in tenants)
        return Reach(everywhere, frozenset(tenants), single)

    def _banned(
        self, principal: Principal, permission: str, now: datetime
    ) -> tuple[frozenset[Scope], frozenset[tuple[str, str]]]:
        """The platform and tenants, and the single projects, in which `permission` is prohibited."""
        if not (limits := self.rights.limits).prohibitions:
            return frozenset(), frozenset()
        circle = self.rights.groups.circle(principal.holder)
        scopes = {each.scope for each in limits.standing(circle, now) if each.globs.permits(permission)}
        places = frozenset((s.tenant_id, s.project_id) for s in scopes if s.tenant_id and s.project_id)
        return frozenset(s for s in scopes if s.project_id is None), places

    def visible_tenants(self, principal: Principal, permission: str, now: datetime) -> frozenset[str]:
        """Ids of exactly the tenants in which `check` would allow `permission`."""
        wide, (banned, _) = self._granted(principal, permission, now), self._banned(principal, permission, now)
        if Scope() in banned:
            return frozenset()
        whole = self.rights.tenants if wide.everywhere else wide.tenants
        return frozenset(tenant for tenant in whole if Scope(tenant) not in banned)

    def visible_projects(self, principal: Principal, permission: str, now: datetime) -> frozenset[tuple[str, str]]:
        """(tenant, project) of exactly the projects in which `check` would allow `permission`."""
        reach = self.reach(principal, permission, now)
        whole = self.rights.tenants if reach.everywhere else reach.tenants
        below = {(tenant, project) for tenant in whole for project in self.rights.tenants[tenant]}
        return frozenset(below | reach.projects)


# -- why ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that bears on a decision.

    Attributes:
        kind: `binding`, `prohibition`, `ceiling` or `suspension`.
        id: the binding's or prohibition's id; the tenant's or principal's otherwise.
        holder: whom it names: the principal, or a group around it.
        counts: it is one the answer rests on: a binding that gives it, or a limit that takes it.
        why: in words, why it counts or not.
    """

    kind: str
    id: str
    holder: Holder
    scope: Scope
    role: str | None
    counts: bool
    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """One permission glob that a binding gives."""

    permission: str
    grant: Grant


def explain(rights: Rights, holder: Holder, permission: str, scope: Scope, now: datetime) -> list[Reason]:
    """All that bears on whether `holder` may do `permission` in `scope`: limits first, then every binding over it.

    The answer is yes if some binding counts and no limit that is not a binding does. A ceiling takes only from
    bindings of its tenant, which therefore do not count.
    """
    reasons = list(_stops(rights, holder, scope))
    for each in rights.limits.standing(rights.groups.circle(holder), now):
        if each.scope.covers(scope) and each.globs.permits(permission):
            why = f"prohibits {permission} in {each.scope}"
            reasons.append(Reason("prohibition", each.prohibition_id, each.holder, each.scope, None, True, why))
    for grant in rights.grants_of(holder):
        if grant.scope.covers(scope):
            gives, why = _verdict(rights, grant, permission, now)
            reasons.append(Reason("binding", grant.binding_id, grant.holder, grant.scope, grant.role, gives, why))
    return reasons


def _stops(rights: Rights, holder: Holder, scope: Scope) -> Iterator[Reason]:
    if (stopped := rights.stopped(holder)) is not None:
        yield Reason("suspension", holder[1], holder, Scope(), None, True, stopped)


def _verdict(rights: Rights, grant: Grant, permission: str, now: datetime) -> tuple[bool, str]:
    tenant_id = grant.scope.tenant_id
    if not rights.roles[grant.role].permits(permission):
        return False, f"role {grant.role} does not hold {permission}"
    if not grant.in_force(now):
        return False, "it has ended"
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
        if grant.in_force(now)
        for glob in rights.roles[grant.role].permissions
    ]
    limits = rights.limits
    banned = [each for each in limits.standing(rights.groups.circle(holder), now) if each.scope.covers(scope)]
    return given, banned, None if scope.tenant_id is None else limits.ceiling(scope.tenant_id)


def who_can(rights: Rights, permission: str, scope: Scope, now: datetime) -> dict[Holder, list[Grant]]:
    """Every principal that may do `permission` in `scope`, with the bindings that give it."""
    found: dict[Holder, list[Grant]] = {}
    if not rights.exists(scope):
        return found
    for grant in rights.grants_covering(scope):
        if grant.scope.tenant_id in rights.suspended_tenants or not rights.gives(grant, permission, now):
            continue
        named = rights.groups.members(grant.holder) if grant.holder[0] == "group" else (grant.holder,)
        for holder in named:
            found.setdefault(holder, []).append(grant)
    return {
        holder: grants
        for holder, grants in found.items()
        if rights.stopped(holder) is None and rights.prohibition(holder, permission, scope, now) is None
    }
