"""A token for a token (RFC 8693). One law: what comes out is never more, nor longer, than what was shown.

An outside workload, or an allocation that runs here, shows what its issuer signed and gets a token of a service account
that a trust names. A principal shows its own token for a narrower one, or lets a program that shows a token of its own
act for it. What was shown, for whom it is good and who acts is an event of its own.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gpuaas.common.access import Access, Scope
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import subject_of
from gpuaas.common.errors import Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.log import EventLog
from gpuaas.common.narrowing import ACTORS_MAX, Narrowing
from gpuaas.common.scopes import EVERYWHERE
from gpuaas.common.tokens import ALGORITHM, WORKLOAD, Actor, Claims, audience_of
from gpuaas.contracts.allocations import AllocationReleased, AllocationStarted
from gpuaas.contracts.iam import TokenExchanged
from gpuaas.iam.adapters.id_tokens import NotBelieved
from gpuaas.iam.adapters.openid import OpenId, ProviderAway, ProviderRefused
from gpuaas.iam.adapters.subject_tokens import Said, UsedTokens, believed_about
from gpuaas.iam.domain.workload import OWN_ISSUER, TellExchange, Trust
from gpuaas.iam.entities import EXCHANGE, WORKLOAD_TRUST
from gpuaas.iam.entities import WORKLOAD as WORKLOADS
from gpuaas.iam.signing import TOKEN_LIFE, Signer

_RUNS: Final = Vocabulary(AllocationStarted, AllocationReleased)
SCOPE_CHARACTERS_MAX: Final = 400
"""All of it goes into the token, and into the ids of decisions on it."""


class ExchangeRefused(Exception):
    """Why not, with the error code of RFC 8693 §2.2.2."""

    def __init__(self, why: str, error: str = "invalid_request") -> None:
        super().__init__(why)
        self.error = error


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of the new token: its permissions (none: all there are) and its place."""

    permissions: tuple[str, ...] = ()
    scope: Scope = EVERYWHERE

    @property
    def layer(self) -> Narrowing:
        return Narrowing("what you ask for", self.permissions, self.scope)


@dataclass(frozen=True, slots=True)
class Exchanging:
    """`profile` names the audience of what is issued. `clock` is real time."""

    profile: str
    commands: Commands
    access: Access
    log: EventLog
    clock: Clock
    signer: Signer
    openid: OpenId
    used: UsedTokens

    # -- workloads -----------------------------------------------------------------------------------------

    async def for_workload(self, trust_id: str, token: str, wish: Wish) -> tuple[str, Claims]:
        """A token of the account that the trust names.

        Raises:
            ExchangeRefused: no such trust, or the token is not believed; the sentence says which.
            Unavailable: the issuer does not answer.
        """
        trust = await self._trust(trust_id)
        said = await self._said(trust, token)
        if not trust.fits(said.subject):
            raise ExchangeRefused("the trust is not about that subject")
        workload_id = workload_of(trust.tenant_id, trust.issuer, said.subject)
        await self._demand_running(trust, said.subject)
        ended, _ = await self.commands.state(WORKLOADS, trust.tenant_id, workload_id)
        if ended:
            raise ExchangeRefused("this workload was ended; another one has to be started")
        if trust.single_use and not await self.used.take(trust.issuer, said):
            raise ExchangeRefused("the subject token was exchanged before; have the issuer make another one")
        holder = ("service-account", trust.service_account_id)
        if (stopped := self.access.rights.stopped(holder)) is not None:
            raise ExchangeRefused(f"as whom it would act may do nothing for now: {stopped}")
        ceiling = Narrowing("the trust", trust.permissions, Scope(trust.tenant_id, trust.project_id))
        self._demand_within(wish, (ceiling,))
        claims = self._claims(
            subject=trust.service_account_id,
            kind="service-account",
            tenant_id=trust.tenant_id,
            trust_id=trust.trust_id,
            permissions=wish.permissions,
            scope=wish.scope,
            actors=(Actor(WORKLOAD, workload_id),),
        )
        return await self._issued(claims, trust_id=trust.trust_id, issuer=trust.issuer, issuer_subject=said.subject)

    async def _trust(self, trust_id: str) -> Trust:
        tenant_id = self.access.credentials.workloads.tenant_of(trust_id)
        if tenant_id is not None:
            trust, _ = await self.commands.state(WORKLOAD_TRUST, tenant_id, trust_id)
            if trust.stands:
                return trust
        raise ExchangeRefused("there is no such trust, or it has ended; name one as client_id", "invalid_client")

    async def _said(self, trust: Trust, token: str) -> Said:
        try:
            if trust.issuer == OWN_ISSUER:
                return believed_about(token, self._own_keys(), OWN_ISSUER, trust.audience, self.clock.now())
            said = await self.openid.about_workload(trust.issuer, trust.audience, token)
        except NotBelieved as wrong:
            raise ExchangeRefused(f"the subject token is not believed: {wrong}") from wrong
        except ProviderRefused as wrong:
            raise ExchangeRefused(str(wrong)) from wrong
        except ProviderAway as away:
            raise Unavailable(f"the issuer cannot be asked for its keys: {away}", retry_after_s=5) from away
        if trust.single_use and not said.token_id:
            raise ExchangeRefused("the subject token has no jti, so nobody can tell whether it was used before")
        return said

    def _own_keys(self) -> list[Mapping[str, Any]]:
        return [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": ALGORITHM,
                "kid": key.key_id,
                "x": base64.urlsafe_b64encode(key.public.public_bytes_raw()).decode().rstrip("="),
            }
            for key in self.access.signing_keys(self.clock.now())
        ]

    async def _demand_running(self, trust: Trust, subject: str) -> None:
        if trust.issuer != OWN_ISSUER:
            return
        named = dict(zip((steps := subject.split(":"))[::2], steps[1::2], strict=False))
        if named.get("tenant") != trust.tenant_id or trust.project_id not in (None, named.get("project")):
            raise ExchangeRefused("the trust is not about that subject")
        if await self.runs(trust.tenant_id, named.get("allocation", "")) is None:
            raise ExchangeRefused("that allocation does not run, or not any more")

    async def runs(self, tenant_id: str, allocation_id: str) -> str | None:
        """The project of an allocation that runs now, as the log says; None: it does not."""
        project_id = None
        for each in await self.log.history(subject_of("allocations", "allocation", tenant_id, allocation_id)):
            if each.type in _RUNS:
                event = _RUNS.read(each.type, bytes(each.envelope().data))
                project_id = event.project_id if isinstance(event, AllocationStarted) else None
        return project_id

    # -- principals ----------------------------------------------------------------------------------------

    async def for_principal(self, token: str, actor_token: str | None, wish: Wish) -> tuple[str, Claims]:
        """A narrower token of whom `token` is of; with `actor_token`, one with which that principal acts for them.

        Raises:
            ExchangeRefused: it would be no narrower, or nobody may act so.
            Unauthenticated: one of the tokens is not believed.
        """
        shown, now = self.access.credentials.verifier.verify(token, self.clock.now()), self.clock.now()
        who = self.access.authenticate(token, now)
        self._demand_within(wish, who.narrowings)
        actors, ends = shown.actors, shown.expires_at
        if actor_token is not None:
            acting = self.access.credentials.verifier.verify(actor_token, now)
            acts = self.access.authenticate(actor_token, now)
            if acts.holder == who.holder:
                raise ExchangeRefused("nobody acts for themselves; leave the actor_token out")
            if acts.narrowings or acting.actors:
                raise ExchangeRefused("who acts for somebody shows a token of their own that is not narrowed")
            if len(actors) >= ACTORS_MAX:
                raise ExchangeRefused(f"at most {ACTORS_MAX} act for each other")
            if not wish.permissions:
                raise ExchangeRefused("say in scope for what somebody acts for somebody else", "invalid_scope")
            actors = (Actor(acting.kind, acting.subject, acting.key_id, acting.session_id), *actors)
            ends = min(ends, acting.expires_at)
        elif not wish.permissions and wish.scope == EVERYWHERE:
            raise ExchangeRefused("a token for the same token changes nothing; narrow it with scope or resource")
        claims = self._claims(
            subject=shown.subject,
            kind=shown.kind,
            tenant_id=shown.tenant_id,
            key_id=shown.key_id,
            session_id=shown.session_id,
            trust_id=shown.trust_id,
            permissions=wish.permissions or shown.permissions,
            scope=wish.scope if wish.scope != EVERYWHERE else shown.scope,
            actors=actors,
        )
        return await self._issued(replace(claims, expires_at=min(claims.expires_at, ends)))

    # -- both ----------------------------------------------------------------------------------------------

    def _demand_within(self, wish: Wish, layers: tuple[Narrowing, ...]) -> None:
        if len(" ".join(wish.permissions)) > SCOPE_CHARACTERS_MAX:
            raise ExchangeRefused(f"scope has at most {SCOPE_CHARACTERS_MAX} characters", "invalid_scope")
        for each in layers:
            asked = wish.layer if wish.permissions else Narrowing("", each.permissions, wish.scope)
            place = asked if wish.scope != EVERYWHERE else Narrowing("", asked.permissions, each.scope)
            if not each.covers(place):
                raise ExchangeRefused(f"{each.by} is narrower than what you ask for", "invalid_scope")

    def _claims(self, **given: Any) -> Claims:
        now = self.clock.now()
        fixed: dict[str, Any] = {"key_id": "", "session_id": "", "token_id": new_id(), "floor": self.access.position}
        return Claims(**fixed | {"issued_at": now, "expires_at": now + TOKEN_LIFE} | given)

    async def _issued(self, claims: Claims, **of_trust: str) -> tuple[str, Claims]:
        token = self.signer.exchanged(claims)
        first = claims.actors[0] if claims.actors else None
        said = TokenExchanged(
            token_id=claims.token_id,
            tenant_id=claims.tenant_id,
            subject_id=claims.subject,
            subject_kind=claims.kind,
            actor_id=None if first is None else first.id,
            actor_kind=None if first is None else first.kind,
            permissions=claims.permissions or None,
            narrowed_to_tenant_id=claims.scope.tenant_id,
            narrowed_to_project_id=claims.scope.project_id,
            expires_at=claims.expires_at,
            **of_trust,
        )
        actor, kind = (claims.subject, claims.kind) if first is None else (first.id, first.kind)
        behalf = None if first is None else claims.subject
        cause = Cause(id=claims.token_id, actor=actor, actor_kind=kind, on_behalf_of=behalf, relief=False)
        order = TellExchange(said)
        await self.commands.execute(EXCHANGE, claims.tenant_id, claims.token_id, order, cause, fresh=True)
        return token, claims


def workload_of(tenant_id: str, issuer: str, subject: str) -> str:
    """The id of a workload: the same whenever it comes, another one in another tenant."""
    return derived_id("workload", tenant_id, issuer, subject)


def subject_of_allocation(tenant_id: str, project_id: str, allocation_id: str) -> str:
    """How iam calls an allocation when it speaks about it as an issuer."""
    return f"tenant:{tenant_id}:project:{project_id}:allocation:{allocation_id}"


def own_audience(profile: str) -> str:
    """For whom iam's word about allocations is made."""
    return f"{audience_of(profile)}:exchange"
