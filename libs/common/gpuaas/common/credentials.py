"""What a token rests on: signing keys, API keys, sessions. One law: when what it rests on ends, the token has ended.

Folded from iam's events. A session is forgotten a while after its end, so that people who sign in every day do not fill
the memory of every service; a token of a forgotten session is refused like one of a session that never was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from gpuaas.common.errors import Unauthenticated
from gpuaas.common.events import Event
from gpuaas.common.narrowing import Credential, Narrowing
from gpuaas.common.rights import Rights
from gpuaas.common.scopes import Holder, Scope, once
from gpuaas.common.tokens import WORKLOAD, Claims, Verifier, VerifyingKey, public_key
from gpuaas.common.workload_trusts import WorkloadTrusts
from gpuaas.contracts import iam

SUSPENDED, DELETED, PROVIDER_REMOVED = "suspended", "deleted", "provider-removed"
"""What ends all sessions of a person, or all through a provider, without an event for each."""
SESSIONS_LOOKED_THROUGH: Final = 4096
"""Sessions kept before those that are over are looked for; after each look, twice as many as are left."""


@dataclass(frozen=True, slots=True)
class _ApiKey:
    holder: Holder
    expires_at: datetime
    revoked: bool = False
    narrowing: Narrowing | None = None


@dataclass(frozen=True, slots=True)
class _Session:
    holder: Holder
    expires_at: datetime
    provider: str | None = None
    ended: str | None = None
    signed_in_at: datetime | None = None


def _good(key: _ApiKey, now: datetime) -> bool:
    return not key.revoked and now < key.expires_at


class Credentials:
    """Signing keys, API keys and sessions as the log has them. For one thread."""

    def __init__(self, rights: Rights, audience: str, issuer: str) -> None:
        self._rights = rights
        self.verifier = Verifier(audience, issuer)
        self.workloads = WorkloadTrusts(rights)
        self._keys: dict[str, _ApiKey] = {}
        self._sessions: dict[str, _Session] = {}
        self._issuers: dict[str, str] = {}
        self._look_at = SESSIONS_LOOKED_THROUGH
        self.folds: dict[type[Event], Callable[[Any], None]] = {
            iam.ApiKeyIssued: self._api_key_issued,
            iam.ApiKeyRevoked: self._api_key_revoked,
            iam.ApiKeySuperseded: self._api_key_superseded,
            iam.SigningKeyPublished: self._signing_key_published,
            iam.SessionStarted: self._session_started,
            iam.SessionEnded: self._session_ended,
            iam.IdentityProviderConfigured: self._provider_configured,
            iam.IdentityProviderRemoved: self._provider_removed,
            **self.workloads.folds,
        }

    # -- questions -----------------------------------------------------------------------------------------

    def knows_key(self, key_id: str) -> bool:
        """Whether an API key of that id was ever issued, as far as this process has read."""
        return key_id in self._keys

    def keys_of(self, holder: Holder, now: datetime) -> list[str]:
        """Ids of the principal's API keys that are in force at `now`."""
        return [name for name, each in self._keys.items() if each.holder == holder and _good(each, now)]

    def sessions_of(self, holder: Holder, now: datetime) -> list[str]:
        """Ids of the principal's sessions that go on at `now`."""
        return [
            name
            for name, each in self._sessions.items()
            if each.holder == holder and each.ended is None and now < each.expires_at
        ]

    def narrowings_of(self, claims: Claims) -> tuple[tuple[Narrowing, ...], Credential | None]:
        """The most that may be done with a token, and where that comes from; nothing and None: all its subject may."""
        if not (claims.permissions or claims.actors or claims.trust_id or claims.scope.tenant_id):
            if (narrowing := self.narrowing_of_key(claims.key_id)) is None:
                return (), None
            return (narrowing,), Credential(key_id=claims.key_id)
        actors = tuple((each.kind, each.id) for each in claims.actors)
        credential = Credential(claims.key_id, claims.trust_id, claims.permissions, claims.scope, actors)
        return self.narrowings(credential), credential

    def narrowings(self, credential: Credential | None) -> tuple[Narrowing, ...]:
        """The layers of a credential; none for one that names nothing known."""
        if credential is None:
            return ()
        found = (self.narrowing_of_key(credential.key_id), self.workloads.narrowing(credential.trust_id))
        return (*(each for each in found if each is not None), *credential.own)

    def narrowing_of_key(self, key_id: str) -> Narrowing | None:
        """What an API key may less than its principal; None: nothing."""
        key = self._keys.get(key_id)
        return None if key is None else key.narrowing

    def sessions_by_person(self, now: datetime) -> dict[Holder, list[str]]:
        """Ids of all sessions that go on at `now`, by whose they are."""
        found: dict[Holder, list[str]] = {}
        for name, each in self._sessions.items():
            if each.ended is None and now < each.expires_at:
                found.setdefault(each.holder, []).append(name)
        return found

    def demand_live(self, claims: Claims, now: datetime) -> None:
        """Return if what the token rests on is its subject's and in force.

        Raises:
            Unauthenticated: it is not, or the principal is suspended.
        """
        if claims.trust_id:
            self.workloads.demand_live(claims.trust_id, claims.holder)
            self._demand_not_stopped(claims.holder)
        elif claims.session_id:
            self.demand_live_session(claims.session_id, claims.holder, now)
        else:
            self.demand_live_key(claims.key_id, claims.holder, now)
        for each in claims.actors:
            if each.kind == WORKLOAD:
                self.workloads.demand_not_ended(each.id)
            elif each.session_id:
                self.demand_live_session(each.session_id, (each.kind, each.id), now)
            else:
                self.demand_live_key(each.key_id, (each.kind, each.id), now)

    def demand_live_key(self, key_id: str, holder: Holder, now: datetime) -> None:
        """Return if that API key is the principal's and in force.

        Raises:
            Unauthenticated: it is not, or the principal is suspended.
        """
        key = self._keys.get(key_id)
        if key is None or key.holder != holder:
            raise Unauthenticated("the API key behind this is not known here; use another key")
        if key.revoked:
            raise Unauthenticated("the API key behind this was revoked; use another key", cause="ended")
        if now >= key.expires_at:
            raise Unauthenticated("the API key behind this has expired; have a new one issued", cause="over")
        self._demand_not_stopped(holder)

    def demand_live_session(self, session_id: str, holder: Holder, now: datetime) -> None:
        """Return if that session is the principal's and goes on.

        Raises:
            Unauthenticated: it does not, or the principal is suspended.
        """
        session = self._sessions.get(session_id)
        if session is None or session.holder != holder:
            raise Unauthenticated("the session behind this is not known here; sign in again")
        if session.ended is not None:
            raise Unauthenticated(f"the session behind this has ended ({session.ended}); sign in again", cause="ended")
        if now >= session.expires_at:
            raise Unauthenticated("the session behind this is over; sign in again", cause="over")
        self._demand_not_stopped(holder)

    def signed_in_at(self, session_id: str) -> datetime | None:
        """When the person of a session showed who they are: of a device, in the session that approved it. None: there
        is no such session."""
        session = self._sessions.get(session_id)
        return None if session is None else session.signed_in_at

    def _demand_not_stopped(self, holder: Holder) -> None:
        if (stopped := self._rights.stopped(holder)) is not None:
            raise Unauthenticated(stopped, cause="suspended")

    # -- the fold ------------------------------------------------------------------------------------------

    def _api_key_issued(self, event: iam.ApiKeyIssued) -> None:
        once(event.key_id, self._keys, "API key")
        holder = (event.principal_kind, event.principal_id)
        if self._rights.home_of(holder) != event.tenant_id:
            raise ValueError(f"API key {event.key_id} names another tenant than its principal's")
        narrowing = None
        if event.permissions or event.narrowed_to_tenant_id:
            scope = Scope(event.narrowed_to_tenant_id, event.narrowed_to_project_id)
            narrowing = Narrowing(f"API key {event.key_id}", tuple(event.permissions or ()), scope)
        self._keys[event.key_id] = _ApiKey(holder, event.expires_at, narrowing=narrowing)

    def _api_key_revoked(self, event: iam.ApiKeyRevoked) -> None:
        self._keys[event.key_id] = replace(self._keys[event.key_id], revoked=True)

    def _api_key_superseded(self, event: iam.ApiKeySuperseded) -> None:
        key = self._keys[event.key_id]
        self._keys[event.key_id] = replace(key, expires_at=min(key.expires_at, event.ends_at))

    def _signing_key_published(self, event: iam.SigningKeyPublished) -> None:
        key = public_key(event.public_key)
        self.verifier.learn(VerifyingKey(event.key_id, key, event.valid_from, event.valid_until))

    def _session_started(self, event: iam.SessionStarted) -> None:
        once(event.session_id, self._sessions, "session")
        holder = ("user", event.user_id)
        if self._rights.home_of(holder) is None:
            raise ValueError(f"session {event.session_id} is of nobody who is registered")
        if len(self._sessions) >= self._look_at:
            self._forget_before(event.started_at)
        by_itself = event.approved_in is None and event.method != "device"
        signed_in_at = event.started_at if by_itself else self.signed_in_at(event.approved_in or "")
        approved_in = self._sessions.get(event.approved_in) if event.approved_in else None
        provider = event.provider if approved_in is None else approved_in.provider
        self._sessions[event.session_id] = _Session(holder, event.expires_at, provider, signed_in_at=signed_in_at)

    def _session_ended(self, event: iam.SessionEnded) -> None:
        if (session := self._sessions.get(event.session_id)) is not None:  # else it was over long ago
            self._sessions[event.session_id] = replace(session, ended=event.cause)

    def _provider_configured(self, event: iam.IdentityProviderConfigured) -> None:
        before, self._issuers[event.provider_id] = self._issuers.get(event.provider_id), event.issuer
        if before not in (None, event.issuer):  # somebody else vouches under its name
            self._end_all(PROVIDER_REMOVED, lambda each: each.provider == event.provider_id)

    def _provider_removed(self, event: iam.IdentityProviderRemoved) -> None:
        self._end_all(PROVIDER_REMOVED, lambda each: each.provider == event.provider_id)

    def person_stopped(self, event: Event) -> None:
        """A person who is suspended or deleted signs in anew, should that be lifted."""
        match event:
            case iam.PrincipalSuspended() as stopped if stopped.principal_kind == "user":
                holder = ("user", stopped.principal_id)
                self._end_all(SUSPENDED, lambda each: each.holder == holder)
            case iam.UserDeleted() as deleted:
                gone = ("user", deleted.user_id)
                self._end_all(DELETED, lambda each: each.holder == gone)

    def _end_all(self, cause: str, theirs: Callable[[_Session], bool]) -> None:
        for name, each in self._sessions.items():
            if each.ended is None and theirs(each):
                self._sessions[name] = replace(each, ended=cause)

    def _forget_before(self, moment: datetime) -> None:
        self._sessions = {name: each for name, each in self._sessions.items() if each.expires_at > moment}
        self._look_at = max(SESSIONS_LOOKED_THROUGH, 2 * len(self._sessions))
