"""A sign-in provider: who vouches for people, and under which conditions. One law: nothing secret is configured here.

An OpenID Connect provider is believed for its issuer, its client and nothing else; the client's secret is in a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import IdentityProviderConfigured, IdentityProviderRemoved, RequiredClaim
from gpuaas.iam.domain.names import REASON_MAX, identifier, named, written

NewPeople = Literal["refuse", "register"]
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_DOMAIN: Final = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$")
_SCOPE: Final = re.compile(r"^[\x21\x23-\x5b\x5d-\x7e]{1,60}$")
_ISSUER: Final = re.compile(r"^https?://[\x21\x24-\x3e\x40-\x7e]+$")


@dataclass(frozen=True, slots=True)
class ConfigureProvider:
    """Believe this provider so from now on. `plain_http`: an issuer on this machine may be reached without TLS."""

    provider_id: str
    display_name: str
    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    email_domains: tuple[str, ...]
    required_claims: tuple[tuple[str, str], ...]
    new_people: NewPeople
    reason: str
    plain_http: bool


@dataclass(frozen=True, slots=True)
class RemoveProvider:
    """Let nobody sign in through it any more."""

    provider_id: str
    reason: str


ProviderCommand = ConfigureProvider | RemoveProvider


@dataclass(frozen=True, slots=True)
class Provider:
    """What was configured last. `removed`: nobody signs in through it; version 0: it never was."""

    provider_id: str = ""
    version: int = 0
    display_name: str = ""
    issuer: str = ""
    client_id: str = ""
    scopes: tuple[str, ...] = ()
    email_domains: tuple[str, ...] = ()
    required_claims: tuple[tuple[str, str], ...] = ()
    new_people: NewPeople = "refuse"
    removed: bool = False

    @property
    def usable(self) -> bool:
        return self.version > 0 and not self.removed


def decide(command: ProviderCommand, provider: Provider) -> list[Event]:
    match command:
        case ConfigureProvider() as ask:
            event = _configured(ask, provider.version + 1)
            return (
                [] if provider == evolve(provider, event.model_copy(update={"version": provider.version})) else [event]
            )
        case RemoveProvider() if not provider.usable:
            raise NotFound("there is no such sign-in provider")
        case RemoveProvider() as order:
            reason = written(order.reason, "reason", REASON_MAX)
            return [IdentityProviderRemoved(provider_id=order.provider_id, reason=reason)]


def _configured(ask: ConfigureProvider, version: int) -> IdentityProviderConfigured:
    if ask.new_people == "register" and not (ask.email_domains or ask.required_claims):
        raise Invalid(
            "a provider that registers new people needs email_domains or required_claims, or anybody there gets in",
            field="new_people",
        )
    return IdentityProviderConfigured(
        provider_id=identifier(ask.provider_id, "provider id"),
        version=version,
        display_name=named(ask.display_name, "display name"),
        issuer=_issuer(ask.issuer, ask.plain_http),
        client_id=written(ask.client_id, "client id"),
        scopes=_all(ask.scopes, _SCOPE, "scope"),
        email_domains=_all(ask.email_domains, _DOMAIN, "e-mail domain"),
        required_claims=tuple(
            RequiredClaim(claim=written(claim, "claim", 60), value=written(value, "claim's value"))
            for claim, value in ask.required_claims
        ),
        new_people=ask.new_people,
        reason=written(ask.reason, "reason", REASON_MAX),
    )


def _issuer(text: str, plain_http: bool) -> str:
    """An address that can be compared character by character; plain HTTP only on this machine and where it may be."""
    try:
        at = urlsplit(text) if _ISSUER.fullmatch(text) else None
        port = at.port if at else None
    except ValueError:
        at = port = None
    if at is None or not at.hostname or at.username is not None or (port is not None and port == 0):
        raise Invalid("the issuer is an https address without query and fragment", field="issuer")
    if at.scheme != "https" and not (plain_http and at.hostname in LOOPBACK):
        raise Invalid("the issuer is reached over https", field="issuer")
    return text


def _all(texts: tuple[str, ...], shape: re.Pattern[str], what: str) -> tuple[str, ...]:
    for text in texts:
        if shape.fullmatch(text) is None:
            raise Invalid(f"{text[:80]!r} is not a {what}", field=what)
    return tuple(dict.fromkeys(texts))


def evolve(provider: Provider, event: Event) -> Provider:
    match event:
        case IdentityProviderConfigured() as now:
            return Provider(
                provider_id=now.provider_id,
                version=now.version,
                display_name=now.display_name,
                issuer=now.issuer,
                client_id=now.client_id,
                scopes=now.scopes,
                email_domains=now.email_domains,
                required_claims=tuple((each.claim, each.value) for each in now.required_claims),
                new_people=now.new_people,
            )
        case IdentityProviderRemoved() if provider.usable:
            return Provider(provider_id=provider.provider_id, version=provider.version, removed=True)
        case _:
            raise Unreadable(f"the history of a sign-in provider cannot hold {event.TYPE} here")


PROVIDER: Final[Decider[Provider, ProviderCommand]] = Decider(initial=Provider(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(IdentityProviderConfigured, IdentityProviderRemoved)
