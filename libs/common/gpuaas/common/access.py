"""Who asks, in which tenant and project, and may they. One law: deny by default, and skip nothing.

A fold over iam's events inside every service: no call to a neighbour, no I/O, microseconds. An event that
cannot be applied freezes the fold: from then on reads are answered as stale and changes are refused.

All times are real time (`WallClock`), also in a profile whose world runs faster: tokens, keys and bindings
belong to people and machines that live in real minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from gpuaas.common.conditions import Circumstances
from gpuaas.common.credentials import Credentials
from gpuaas.common.decisions import ABSENT, READ_VERBS, Asked, Decision, Principal, Reach
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Unauthenticated, Unavailable, Unreadable
from gpuaas.common.events import Event
from gpuaas.common.narrowing import left_by
from gpuaas.common.rights import Grant, Rights
from gpuaas.common.scopes import Holder, Scope
from gpuaas.common.tokens import ISSUER, VerifyingKey, audience_of
from gpuaas.common.visits import SESSIONS
from gpuaas.contracts import iam

__all__ = ["ABSENT", "READ_VERBS", "Access", "Decision", "NotReadYet", "Principal", "Reach", "Scope"]


class NotReadYet(Unavailable):
    """A token was issued on rights up to `floor`, a position that this process has not read."""

    def __init__(self, detail: str, floor: int) -> None:
        super().__init__(detail)
        self.floor = floor


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
        iam.TenantRoleDefined,
        iam.RoleBound,
        iam.RoleBoundUnderCondition,
        iam.RoleUnbound,
        iam.ProjectShareAccepted,
        iam.ProjectShareEnded,
        iam.ApiKeyIssued,
        iam.ApiKeyRevoked,
        iam.ApiKeySuperseded,
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
        iam.ServiceAccountDeleted,
        iam.UserDeleted,
        iam.ProjectClosed,
        iam.TenantClosed,
        iam.DutiesSeparated,
        iam.DutiesJoined,
        iam.SupportPolicySet,
        iam.SupportSessionStarted,
        iam.SupportSessionEnded,
        iam.SessionStarted,
        iam.SessionEnded,
        iam.IdentityProviderConfigured,
        iam.IdentityProviderRemoved,
        iam.WorkloadTrusted,
        iam.WorkloadTrustEnded,
        iam.WorkloadEnded,
    )

    def __init__(self, profile: str, issuer: str = ISSUER) -> None:
        """`profile` names the audience; tokens of another profile or issuer are refused."""
        self.position = 0
        self.frozen: str | None = None
        self.rights = Rights()
        self.credentials = Credentials(self.rights, audience_of(profile), issuer)
        self._folds: dict[type[Event], Callable[[Any], None]] = self.rights.folds | self.credentials.folds

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
            self.credentials.person_stopped(fact.event)
        except (KeyError, ValueError) as refused:
            self.freeze(f"access cannot apply {fact.envelope.type} at position {fact.position}: {refused}")
            raise Unreadable(str(self.frozen)) from refused
        self.position = fact.position

    def freeze(self, reason: str) -> None:
        """Stop here, because the next event cannot be read. Reads go on as stale, changes are refused."""
        self.frozen = self.frozen or reason

    # -- who asks ------------------------------------------------------------------------------------------

    def authenticate(self, token: str, now: datetime, address: str | None = None) -> Principal:
        """The principal a bearer token speaks for, at real time `now`, and the network address that it came from.

        Raises:
            Unauthenticated: the token is not valid, or the API key or session behind it is unknown or over.
            NotReadYet: the token was issued on rights that this process has not read yet; try again at once.
        """
        claims = self.credentials.verifier.verify(token, now)
        if claims.floor > self.position:
            raise NotReadYet(
                self.frozen or "this service has not read yet what your token was issued on; try again", claims.floor
            )
        self.credentials.demand_live(claims, now)
        if self.rights.home_of(claims.holder) != claims.tenant_id:
            raise Unauthenticated("the token names another tenant than its principal's; get a new one")
        narrowings, credential = self.credentials.narrowings_of(claims)
        return Principal(
            id=claims.subject,
            kind=claims.kind,
            tenant_id=claims.tenant_id,
            key_id=claims.key_id,
            session_id=claims.session_id,
            token_id=claims.token_id,
            expires_at=claims.expires_at,
            narrowings=narrowings,
            credential=credential,
            about=Circumstances(address, self.credentials.signed_in_at(claims.session_id)),
        )

    def signing_keys(self, now: datetime) -> list[VerifyingKey]:
        """The published signing keys that are or will be valid, the oldest first."""
        return self.credentials.verifier.keys(now)

    # -- may they ------------------------------------------------------------------------------------------

    def check(self, principal: Principal, permission: str, scope: Scope, now: datetime) -> Decision:
        """Whether `principal` may do `permission` in `scope` at real time `now`. A denial is an answer.

        Raises:
            ValueError: `permission` is not `service.resource.verb`: a mistake in the calling code.
        """
        decision = self._by_rights(principal, permission, scope, now)
        for layer in principal.narrowings:
            if layer.hides(scope):
                return self._decided(False, decision.asked, ABSENT, hidden=True)
            if decision.allowed and not layer.permits(permission, scope):
                return self._decided(False, decision.asked, layer.refusal(permission, scope))
        return decision

    def _by_rights(self, principal: Principal, permission: str, scope: Scope, now: datetime) -> Decision:
        """As `check`, whatever credential the principal came with."""
        if self.frozen is not None and permission.rpartition(".")[2] not in READ_VERBS:
            why = f"changes are refused for now: {self.frozen}"
            asked = Asked(principal.holder, permission, scope, self.position, now, credential=principal.credential)
            return self._decided(False, asked, why)
        rights, holder = self.rights, principal.holder
        asked = Asked(holder, permission, scope, self.position, now, credential=principal.credential)
        known = rights.exists(scope)
        forbidden = rights.prohibition(holder, permission, scope, now) if known else None
        open_to = rights.endings.bars(permission, scope) is None
        open_to = open_to and rights.separated(holder, permission, scope, now) is None
        if known and open_to and forbidden is None:
            grant, unmet = self._giving(asked, principal.about)
            if grant is not None:
                above = grant.scope.tenant_id is None and scope.tenant_id is not None
                return self._decided(True, asked, f"{grant.role} at {grant.scope}", from_above=above)
            if unmet:
                asked = replace(asked, unmet=tuple(each.binding_id for each in unmet))
                because = unmet[0].unmet(now, principal.about)
                return self._decided(False, asked, f"{permission} in {scope} is yours on a condition only: {because}")
        if not known or (scope.tenant_id is not None and not rights.reaches(holder, scope, now)):
            return self._decided(False, asked, ABSENT, hidden=True)
        if (limit := self._limit(asked, forbidden)) is not None:
            return self._decided(False, asked, limit)
        roles = rights.sufficient_roles(permission, self._naming(holder, scope, now))
        needs = f"needs {' or '.join(roles)}, there or above" if roles else "is held by no role yet"
        return self._decided(False, asked, f"{permission} in {scope} {needs}", roles)

    def _naming(self, holder: Holder, scope: Scope, now: datetime) -> str | None:
        """The tenant whose own roles a refusal may name: a guest is not told what roles the owner has."""
        tenant_id = scope.tenant_id
        return tenant_id if tenant_id is not None and self.rights.belongs(holder, tenant_id, now) else None

    def _giving(self, asked: Asked, about: Circumstances) -> tuple[Grant | None, list[Grant]]:
        """A binding that gives it, one of the tenant's own before one on the platform; if none does, those that would,
        were their conditions met."""
        above, rights, unmet = None, self.rights, []
        for grant in rights.grants_over(asked.holder, asked.scope):
            if rights.gives(grant, asked.permission, asked.at) and rights.admits(
                grant, asked.holder, asked.permission, asked.scope, asked.at
            ):
                if grant.condition is not None and grant.unmet(asked.at, about) is not None:
                    unmet.append(grant)
                    continue
                if grant.scope.tenant_id is not None or asked.scope.tenant_id is None:
                    return grant, []
                above = grant
        return above, unmet

    def _limit(self, asked: Asked, forbidden: str | None) -> str | None:
        """Why no further role from where the last one came would help, as a sentence; None: one would."""
        holder, permission, scope = asked.holder, asked.permission, asked.scope
        if (stopped := self.rights.stopped(holder)) is not None:
            return stopped
        if (ended := self.rights.endings.bars(permission, scope)) is not None:
            return ended
        if scope.tenant_id in self.rights.suspended_tenants:
            return f"tenant {scope.tenant_id} is suspended; ask the platform's operators"
        if forbidden is not None:
            return f"{permission} in {scope} is prohibited to you ({forbidden}); ask who may lift that"
        if not self.rights.limits.below_ceiling(scope, permission):
            return f"{permission} is above the ceiling of tenant {scope.tenant_id}; ask the platform's operators"
        if (rule := self.rights.separated(holder, permission, scope, asked.at)) is not None:
            return f"{permission} in {scope} is kept apart from something else you hold (rule {rule}); give up one"
        return self._kept_out(asked)

    def _kept_out(self, asked: Asked) -> str | None:
        """That the tenant does not let a right count which is held on the platform; None: there is none such."""
        tenant_id, rights = asked.scope.tenant_id, self.rights
        if tenant_id is None or rights.visits.admits(asked.holder, asked.permission, tenant_id, asked.at):
            return None
        if not any(
            rights.gives(grant, asked.permission, asked.at) for grant in rights.grants_over(asked.holder, Scope())
        ):
            return None
        if rights.visits.policy(tenant_id) == SESSIONS:
            return f"tenant {tenant_id} lets the platform's people in with a support session only; start one there"
        return f"tenant {tenant_id} does not let the platform's people in for this; ask who runs the tenant"

    def _decided(
        self,
        allowed: bool,
        asked: Asked,
        reason: str,
        roles: tuple[str, ...] = (),
        hidden: bool = False,
        from_above: bool = False,
    ) -> Decision:
        return Decision(
            allowed=allowed,
            asked=asked,
            reason=reason,
            sufficient_roles=roles,
            hidden=hidden,
            stale=self.frozen is not None,
            from_above=from_above,
        )

    def check_in_part(self, principal: Principal, permission: str, scope: Scope, now: datetime) -> Decision:
        """As `check`, and yes too where only a part of `scope` is allowed: for lists that then show that part alone."""
        decision = self.check(principal, permission, scope, now)
        if decision.allowed or decision.hidden or decision.stale or scope.project_id is not None:
            return decision  # a project has no parts
        reach = self.reach(principal, permission, now)
        if not (reach if scope.tenant_id is None else reach.within(scope.tenant_id)):
            return decision
        return replace(decision, allowed=True, reason=f"{permission} in a part of {scope}", sufficient_roles=())

    def held(self, principal: Principal, scope: Scope, now: datetime) -> frozenset[str]:
        """The permission globs that bindings in force name in `scope`, as far as the principal's credential goes."""
        return left_by(principal.narrowings, self.rights.held(principal.holder, scope, now), scope)

    # -- exact lists ---------------------------------------------------------------------------------------

    def reach(self, principal: Principal, permission: str, now: datetime) -> Reach:
        """Where `check` would allow `permission`, as data for a query.

        Where something inside a tenant is prohibited, its other projects are named one by one; what is the tenant's
        and no project's is then left out.
        """
        reach = self._reach_by_rights(principal, permission, now)
        for layer in principal.narrowings:
            reach = layer.within(reach, permission)
        return reach

    def _reach_by_rights(self, principal: Principal, permission: str, now: datetime) -> Reach:
        wide, (banned, places) = self._admitted(principal, permission, now), self._banned(principal, permission, now)
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

    def _admitted(self, principal: Principal, permission: str, now: datetime) -> Reach:
        """Where bindings give `permission`, without the tenants that let none of the platform's count for it."""
        wide, visits = self._granted(principal, permission, now), self.rights.visits
        shut = {each for each in visits.policies if not visits.admits(principal.holder, permission, each, now)}
        if not wide.everywhere or not shut:
            return wide
        return Reach(False, frozenset(self.rights.tenants.keys() - shut) | wide.tenants, wide.projects)

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
            if grant.unmet(now, principal.about) is not None:
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
        """The platform and tenants, and the single projects, in which `permission` is prohibited or kept apart."""
        limits, endings = self.rights.limits, self.rights.endings
        if not limits.prohibitions and not endings.closed and not self.rights.duties.rules:
            return frozenset(), frozenset()
        circle = self.rights.groups.circle(principal.holder)
        scopes = {each.scope for each in limits.standing(circle, now) if each.globs.permits(permission)}
        scopes |= self.rights.separated_at(principal.holder, permission, now)
        scopes |= {at for at in (Scope(*each) for each in endings.closed) if endings.bars(permission, at) is not None}
        places = frozenset((s.tenant_id, s.project_id) for s in scopes if s.tenant_id and s.project_id)
        return frozenset(s for s in scopes if s.project_id is None), places

    def visible_tenants(self, principal: Principal, permission: str, now: datetime) -> frozenset[str]:
        """Ids of exactly the tenants in which `check` would allow `permission`."""
        wide, (banned, _) = self._admitted(principal, permission, now), self._banned(principal, permission, now)
        if Scope() in banned:
            return frozenset()
        whole = self.rights.tenants if wide.everywhere else wide.tenants
        found = frozenset(tenant for tenant in whole if Scope(tenant) not in banned)
        for layer in principal.narrowings:
            found = layer.within(Reach(False, found, frozenset()), permission).tenants
        return found

    def visible_projects(self, principal: Principal, permission: str, now: datetime) -> frozenset[tuple[str, str]]:
        """(tenant, project) of exactly the projects in which `check` would allow `permission`."""
        reach = self.reach(principal, permission, now)
        whole = self.rights.tenants if reach.everywhere else reach.tenants
        below = {(tenant, project) for tenant in whole for project in self.rights.tenants[tenant]}
        return frozenset(below | reach.projects)
