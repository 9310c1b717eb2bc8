"""Workloads that act as service accounts. One law: who is trusted, for whom, and how far, is said before anybody comes.

A trust names an issuer, an audience and which subjects fit; nothing secret is in it. What comes of it is no more than
it names, and ends with it, with the workload, and with the account.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import urlsplit

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import TokenExchanged, WorkloadEnded, WorkloadTrusted, WorkloadTrustEnded
from gpuaas.iam.domain.identity_provider import LOOPBACK
from gpuaas.iam.domain.names import REASON_MAX, identifier, written
from gpuaas.iam.domain.permissions import checked

OWN_ISSUER: Final = "gpuaas"
"""Allocations that run here, vouched for by iam itself."""
PERMISSIONS_MAX: Final = 64
STARS_MAX: Final = 4
_PATTERN: Final = re.compile(r"^[\x21-\x7e]{1,255}$")
_AUDIENCE: Final = re.compile(r"^[\x21-\x7e]{1,200}$")
_ISSUER: Final = re.compile(r"^https?://[\x21\x24-\x3e\x40-\x7e]+$")


@dataclass(frozen=True, slots=True)
class TrustWorkloads:
    """Believe that issuer about those subjects. `beyond_giver`: permissions it would lend that who says so lacks."""

    trust_id: str
    tenant_id: str
    project_id: str | None
    service_account_id: str
    issuer: str
    audience: str
    subject_pattern: str
    permissions: tuple[str, ...]
    single_use: bool
    reason: str
    plain_http: bool
    beyond_giver: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndTrust:
    """Believe it no longer, and nothing that came of it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Trust:
    """What is trusted; without an id it never was."""

    trust_id: str = ""
    tenant_id: str = ""
    project_id: str | None = None
    service_account_id: str = ""
    issuer: str = ""
    audience: str = ""
    subject_pattern: str = ""
    permissions: tuple[str, ...] = ()
    single_use: bool = True
    ended: bool = False

    @property
    def stands(self) -> bool:
        return bool(self.trust_id) and not self.ended

    def fits(self, subject: str) -> bool:
        """Whether the pattern is of that subject, the whole of it."""
        parts = (re.escape(part) for part in self.subject_pattern.split("*"))
        return re.fullmatch("[^:/]+".join(parts), subject) is not None


def decide_trust(command: TrustWorkloads | EndTrust, trust: Trust) -> list[Event]:
    match command:
        case TrustWorkloads() if trust.trust_id:
            raise Rejected("a trust with that id was said before; say another one")
        case TrustWorkloads() as ask:
            return [_trusted(ask)]
        case EndTrust() if not trust.trust_id:
            raise NotFound("there is no such trust, or none that you may see")
        case EndTrust() if trust.ended:
            return []
        case EndTrust() as order:
            return [WorkloadTrustEnded(trust_id=trust.trust_id, reason=written(order.reason, "reason", REASON_MAX))]


def _trusted(ask: TrustWorkloads) -> WorkloadTrusted:
    if ask.beyond_giver:
        raise Forbidden(
            "you cannot let workloads act as somebody who may do more than you; name less, or ask who holds it",
            missing_permissions=list(ask.beyond_giver),
        )
    if len(ask.permissions) > PERMISSIONS_MAX:
        raise Invalid(f"a trust names at most {PERMISSIONS_MAX} permissions", field="permissions")
    if _AUDIENCE.fullmatch(ask.audience) is None:
        raise Invalid("the audience is 1 to 200 visible ASCII characters", field="audience")
    return WorkloadTrusted(
        trust_id=identifier(ask.trust_id, "trust id"),
        tenant_id=ask.tenant_id,
        project_id=ask.project_id,
        service_account_id=ask.service_account_id,
        issuer=_issuer(ask.issuer, ask.plain_http),
        audience=ask.audience,
        subject_pattern=_pattern(ask.subject_pattern),
        permissions=checked(ask.permissions) if ask.permissions else None,
        single_use=ask.single_use,
        reason=written(ask.reason, "reason", REASON_MAX),
    )


def _pattern(text: str) -> str:
    literal = text.replace("*", "")
    if _PATTERN.fullmatch(text) is None or text.count("*") > STARS_MAX or "**" in text or len(literal) < 3:
        raise Invalid(
            f"a pattern is visible ASCII characters, at least 3 beside `*`, and at most {STARS_MAX} stars apart from "
            "each other, or anybody at that issuer gets in",
            field="subject_pattern",
        )
    return text


def _issuer(text: str, plain_http: bool) -> str:
    if text == OWN_ISSUER:
        return text
    try:
        at = urlsplit(text) if _ISSUER.fullmatch(text) else None
        named = at is not None and at.hostname and at.username is None and at.port != 0
    except ValueError:
        at, named = None, None
    if at is None or not named:
        raise Invalid("the issuer is an https address without query and fragment, or `gpuaas`", field="issuer")
    if at.scheme != "https" and not (plain_http and at.hostname in LOOPBACK):
        raise Invalid("the issuer is reached over https", field="issuer")
    return text


def evolve_trust(trust: Trust, event: Event) -> Trust:
    match event:
        case WorkloadTrusted() as said if not trust.trust_id:
            return Trust(
                trust_id=said.trust_id,
                tenant_id=said.tenant_id,
                project_id=said.project_id,
                service_account_id=said.service_account_id,
                issuer=said.issuer,
                audience=said.audience,
                subject_pattern=said.subject_pattern,
                permissions=tuple(said.permissions or ()),
                single_use=said.single_use,
            )
        case WorkloadTrustEnded() if trust.stands:
            return Trust(trust_id=trust.trust_id, tenant_id=trust.tenant_id, ended=True)
        case _:
            raise Unreadable(f"the history of a trust cannot hold {event.TYPE} here")


TRUST: Final[Decider[Trust, TrustWorkloads | EndTrust]] = Decider(Trust(), decide_trust, evolve_trust)
TRUST_VOCABULARY: Final = Vocabulary(WorkloadTrusted, WorkloadTrustEnded)


# -- the workloads themselves --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndWorkload:
    """Let it act as nobody any more."""

    workload_id: str
    tenant_id: str
    cause: Literal["allocation-released", "revoked"]
    ended_at: datetime
    allocation_id: str | None = None
    reason: str | None = None


def decide_end(command: EndWorkload, ended: bool) -> list[Event]:
    if ended:
        return []
    reason = None if command.reason is None else written(command.reason, "reason", REASON_MAX)
    return [
        WorkloadEnded(
            workload_id=identifier(command.workload_id, "workload id"),
            tenant_id=command.tenant_id,
            cause=command.cause,
            allocation_id=command.allocation_id,
            reason=reason,
            ended_at=command.ended_at,
        )
    ]


def evolve_end(ended: bool, event: Event) -> bool:
    if ended or not isinstance(event, WorkloadEnded):
        raise Unreadable(f"the history of a workload cannot hold {event.TYPE} here")
    return True


WORKLOAD: Final[Decider[bool, EndWorkload]] = Decider(False, decide_end, evolve_end)
WORKLOAD_VOCABULARY: Final = Vocabulary(WorkloadEnded)


# -- what is told of an exchange -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TellExchange:
    """One token was given for another."""

    said: TokenExchanged


def decide_exchange(command: TellExchange, told: bool) -> list[Event]:
    return [] if told else [command.said]


def evolve_exchange(told: bool, event: Event) -> bool:
    if told or not isinstance(event, TokenExchanged):
        raise Unreadable(f"the history of an exchange cannot hold {event.TYPE} here")
    return True


EXCHANGE: Final[Decider[bool, TellExchange]] = Decider(False, decide_exchange, evolve_exchange)
EXCHANGE_VOCABULARY: Final = Vocabulary(TokenExchanged)
