"""Who somebody is that a provider vouches for. One law: an equal address makes nobody somebody.

An identity is a subject at a provider. It is linked to a person by who may order it, by the person's directory, or
because the provider registers new people, which then are new here, whoever else has the same address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.access import Access
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import GpuaasError, Invalid, Rejected, Unauthenticated
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.tables import Record
from gpuaas.iam.adapters.kept_sign_ins import KeptIdentities
from gpuaas.iam.adapters.openid import Vouched
from gpuaas.iam.domain.identity import SUBJECT_MAX, LinkIdentity, Origin, UnlinkIdentity
from gpuaas.iam.domain.identity_provider import Provider
from gpuaas.iam.domain.user import RegisterUser
from gpuaas.iam.entities import IDENTITY, USER

NOBODY: Final = "this identity belongs to nobody here yet; ask whoever runs the platform to link it to you"


@dataclass(frozen=True, slots=True)
class VouchedPeople:
    """Finds, registers and links people."""

    commands: Commands
    access: Access
    identities: KeptIdentities

    async def who(self, provider: Provider, vouched: Vouched) -> str:
        """The id of the person.

        Raises:
            Unauthenticated: the provider's conditions are not met, or nobody here is known by it.
        """
        _demand(provider, vouched)
        kept = await self.identities.of(provider.provider_id, vouched.subject)
        if kept is None:
            if provider.new_people != "register" or vouched.email is None:
                raise Unauthenticated(NOBODY)
            identity_id = new_id()
            user_id = derived_id(identity_id, "user")
            kept = await self.identities.keep(provider.provider_id, vouched.subject, identity_id, user_id)
        if not kept["said"]:
            await self._register(provider, vouched, kept)
        return str(kept["user_id"])

    async def _register(self, provider: Provider, vouched: Vouched, kept: Record) -> None:
        """Say who is new. After a crash the next sign-in says the same again, by the same cause."""
        identity_id, user_id = str(kept["identity_id"]), str(kept["user_id"])
        if user_id != derived_id(identity_id, "user") or vouched.email is None:
            raise Unauthenticated(NOBODY)  # an order that was not finished
        name = (vouched.name or "").strip() or vouched.email.partition("@")[0]
        register = RegisterUser(user_id=user_id, email=vouched.email, display_name=name)
        cause = Cause(id=derived_id(identity_id, "registered"), actor=user_id, actor_kind="user")
        await self.commands.execute(USER, PLATFORM, user_id, register, cause)
        await self.link(identity_id, user_id, provider.provider_id, vouched.subject, "registered", cause)

    async def order(
        self,
        user_id: str,
        provider_id: str,
        subject: str,
        cause: Cause,
        *,
        origin: Origin = "ordered",
        beyond: tuple[str, ...] = (),
    ) -> tuple[str, int]:
        """Link a subject to a person because somebody says so: the link's id and the position.

        Raises:
            Rejected: the subject is somebody's already.
            Forbidden: who orders it may do less than the person.
        """
        if not (0 < len(subject) <= SUBJECT_MAX and subject.isascii() and subject.isprintable()):
            raise Invalid(f"a subject is 1 to {SUBJECT_MAX} ASCII characters that show", field="subject")
        identity_id = derived_id(cause.id, "identity", provider_id, subject)
        kept = await self.identities.keep(provider_id, subject, identity_id, user_id)
        if kept["identity_id"] != identity_id:
            raise Rejected("that identity is somebody's already; unlink it first")
        try:
            position = await self.link(identity_id, user_id, provider_id, subject, origin, cause, beyond)
        except GpuaasError:
            if not kept["said"]:
                await self.identities.forget(identity_id)
            raise
        return identity_id, position

    async def link(
        self,
        identity_id: str,
        user_id: str,
        provider_id: str,
        subject: str,
        origin: Origin,
        cause: Cause,
        beyond: tuple[str, ...] = (),
    ) -> int:
        """Say in the log what is kept."""
        command = LinkIdentity(identity_id, user_id, provider_id, subject, origin, beyond)
        outcome = await self.commands.execute(IDENTITY, PLATFORM, identity_id, command, cause)
        await self.identities.is_said(identity_id)
        return outcome.position

    async def unlink(self, identity_id: str, user_id: str, reason: str, cause: Cause) -> int:
        """Let the subject be nobody here. Raises NotFound: it is not that person's."""
        command = UnlinkIdentity(user_id=user_id, reason=reason)
        outcome = await self.commands.execute(IDENTITY, PLATFORM, identity_id, command, cause)
        await self.identities.forget(identity_id)
        return outcome.position


def _demand(provider: Provider, vouched: Vouched) -> None:
    """Return if the provider's conditions are met. What is looked at is what the provider says is verified."""
    for claim, value in provider.required_claims:
        if vouched.claims.get(claim) != value:
            raise Unauthenticated(f"the provider says something else than this installation wants in {claim}")
    if provider.email_domains:
        domain = (vouched.email or "").rpartition("@")[2].lower()
        if not domain.isascii() or domain not in provider.email_domains:
            raise Unauthenticated("only people with a verified e-mail address in this installation's domains sign in")
