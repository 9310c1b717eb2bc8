"""Sign-in providers, and whose identity there is whose. One law: nobody says how somebody signs in who may do more."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path
from gpuaas.common.commands import Cause
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Accepted, Body, Caller, Page, fresh, permit, public
from gpuaas.iam.domain.identity import SUBJECT_MAX
from gpuaas.iam.domain.identity_provider import ConfigureProvider, RemoveProvider
from gpuaas.iam.entities import PROVIDER
from gpuaas.iam.parts import IDENTITIES, PROVIDERS, Parts
from gpuaas.iam.routes.asking import Paged
from gpuaas.iam.routes.handing_on import beyond_giver, demand_user
from pydantic import BaseModel, Field

ProviderId = Annotated[str, Path(description="The provider's id.", max_length=63)]
PrincipalId = Annotated[str, Path(description="Whose identities.", max_length=63)]
OPTIONS_MAX: Final = 100
Name = Annotated[str, Field(max_length=60)]
Value = Annotated[str, Field(max_length=200)]


class ProviderSetUp(Body):
    """How a provider is to be believed."""

    display_name: str = Field(description="What people read on the button.", max_length=200)
    issuer: str = Field(
        description="Its issuer identifier, as its discovery document says it.",
        max_length=500,
        examples=["https://login.example.com"],
    )
    client_id: str = Field(description="As what this installation is registered there.", max_length=200)
    scopes: tuple[Name, ...] = Field(
        default=("email", "profile"), description="What is asked for beside `openid`.", max_length=8
    )
    email_domains: tuple[Annotated[str, Field(max_length=189)], ...] = Field(
        default=(), description="Let in only people with a verified address in one of these.", max_length=64
    )
    required_claims: dict[Name, Value] = Field(
        default_factory=dict, description="Claims that must say exactly this.", max_length=8
    )
    new_people: Literal["refuse", "register"] = Field(
        default="refuse", description="What happens to somebody whose identity there is nobody's here."
    )
    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class Why(Body):
    """Why it is done."""

    reason: str = Field(description="Why, for the people who review access.", max_length=1_000)


class NewIdentity(Body):
    """Who somebody is at a provider."""

    provider_id: str = Field(description="The provider.", max_length=63)
    subject: str = Field(description="How it calls the person (the claim `sub`).", max_length=SUBJECT_MAX)


class Option(BaseModel):
    """A provider people may sign in through."""

    provider_id: str
    display_name: str


class SignInOptions(BaseModel):
    """How people sign in here."""

    passwords: bool
    providers: list[Option]


class IdentityProviders:
    """Routes of providers (platform) and of people's identities."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        add, seen = router.add_api_route, Depends(fresh(PROVIDERS))
        providers, people = "/v1/identity-providers", "/v1/users/{principal_id}/identities"
        one = providers + "/{provider_id}"
        add("/v1/sign-in-options", self.options, methods=["GET"], summary="How people sign in here.")
        add(providers, self.providers, methods=["GET"], dependencies=[seen], summary="Sign-in providers.")
        add(one, self.configure, methods=["PUT"], summary="Say how a provider is believed.")
        add(one + "/remove", self.remove, methods=["POST"], summary="Let nobody sign in through it any more.")
        add(people, self.link, methods=["POST"], status_code=201, summary="Say who a person is at a provider.")
        look = [Depends(fresh(IDENTITIES))]
        add(people, self.identities, methods=["GET"], dependencies=look, summary="Who a person is at providers.")
        unlink = people + "/{identity_id}/unlink"
        add(unlink, self.unlink, methods=["POST"], summary="Let that identity be nobody's; their sessions end.")

    @public
    async def options(self) -> SignInOptions:
        rows = await PROVIDERS.usable(self._parts.database, None, OPTIONS_MAX)
        found = [Option(provider_id=row["provider_id"], display_name=row["display_name"]) for row in rows]
        return SignInOptions(passwords=self._parts.passwords_allowed, providers=found)

    async def providers(
        self, caller: Annotated[Caller, Depends(permit("iam.identity-provider.read"))], page: Paged
    ) -> Page:
        rows = await PROVIDERS.usable(self._parts.database, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["provider_id"])

    async def configure(
        self,
        provider_id: ProviderId,
        body: ProviderSetUp,
        caller: Annotated[Caller, Depends(permit("iam.identity-provider.configure"))],
    ) -> Accepted:
        given: dict[str, Any] = body.model_dump() | {"required_claims": tuple(body.required_claims.items())}
        command = ConfigureProvider(provider_id=provider_id, plain_http=self._parts.plain_http, **given)
        outcome = await self._parts.commands.execute(PROVIDER, PLATFORM, provider_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, provider_id)

    async def remove(
        self,
        provider_id: ProviderId,
        body: Why,
        caller: Annotated[Caller, Depends(permit("iam.identity-provider.remove", relief=True))],
    ) -> Accepted:
        command = RemoveProvider(provider_id=provider_id, reason=body.reason)
        outcome = await self._parts.commands.execute(PROVIDER, PLATFORM, provider_id, command, caller.cause())
        return await self._parts.settled(caller, outcome, provider_id)

    async def link(
        self,
        principal_id: PrincipalId,
        body: NewIdentity,
        caller: Annotated[Caller, Depends(permit("iam.identity.link"))],
    ) -> Accepted:
        demand_user(self._parts, principal_id)
        provider, _ = await self._parts.commands.state(PROVIDER, PLATFORM, body.provider_id)
        if not provider.usable:
            raise NotFound("there is no such sign-in provider")
        rights, now = self._parts.access.rights, self._parts.clock.now()
        beyond = beyond_giver(rights, caller.principal, ("user", principal_id), now)
        order, cause = self._parts.vouched.order, caller.cause()
        identity_id, position = await order(principal_id, body.provider_id, body.subject, cause, beyond=beyond)
        return Accepted(id=identity_id, position=position)

    async def identities(
        self,
        principal_id: PrincipalId,
        caller: Annotated[Caller, Depends(permit("iam.identity.read"))],
        page: Paged,
    ) -> Page:
        demand_user(self._parts, principal_id)
        rows = await IDENTITIES.of(self._parts.database, principal_id, page.key(str), page.limit + 1)
        return page.page([dict(row) for row in rows], ["identity_id"])

    async def unlink(
        self,
        principal_id: PrincipalId,
        identity_id: Annotated[str, Path(description="The link's id.", max_length=63)],
        body: Why,
        caller: Annotated[Caller, Depends(permit("iam.identity.unlink", relief=True))],
    ) -> Accepted:
        demand_user(self._parts, principal_id)
        position = await self._parts.vouched.unlink(identity_id, principal_id, body.reason, caller.cause())
        why = Cause(caller.cause().id, caller.principal.id, caller.principal.kind)
        last = await self._parts.signing_in.end_all(principal_id, "revoked", why, body.reason)
        return Accepted(id=identity_id, position=max(position, last))
