"""A project shared with another tenant's people, as its owner has it. One law: it gives nothing before both say so.

Who offers must hold what it gives, when they offer and still when it is accepted. Times are real time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import (
    ProjectShareAccepted,
    ProjectShareEnded,
    ProjectShareOfferClosed,
    ProjectShareOffered,
)
from gpuaas.iam.domain.names import REASON_MAX, RESERVED_TENANTS, identifier, written
from gpuaas.iam.domain.permissions import demand_held

SHARES_MAX: Final = 200
"""Offers and shares of one project at once."""
HolderKind = Literal["user", "service-account", "group"]
Side = Literal["owner", "receiver", "platform"]


@dataclass(frozen=True, slots=True)
class Share:
    """What is offered: a role in a project, to one of the receiver's. `role_tenant_id`: the owner, for its own role."""

    share_id: str
    tenant_id: str
    project_id: str
    receiver_tenant_id: str
    principal_kind: HolderKind
    principal_id: str
    role: str
    role_tenant_id: str | None
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class OfferShare:
    """`held`, `withheld`: globs that who offers holds, and is prohibited, in the project. `not_for_guests`: those of
    the role that no share gives. `others`: offers and shares that the project has."""

    share: Share
    reason: str
    offered_by: tuple[Literal["user", "service-account"], str]
    role_permissions: tuple[str, ...]
    held: frozenset[str]
    withheld: frozenset[str]
    not_for_guests: tuple[str, ...]
    others: int
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class AcceptShare:
    """`receiver_tenant_id`: whose administrator asks. `is_theirs`: the principal is of that tenant. `missing`: what who
    offered does not hold any more. `joins`: duties of the owner's that would come together in the principal."""

    receiver_tenant_id: str
    is_theirs: bool
    missing: tuple[str, ...]
    joins: tuple[str, ...]
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class EndShare:
    """End it, or the offer of it. `tenant_id`: whose administrator asks; `project_id`: where the path names one.
    `accepted`: it was, when who asks looked: the receiver's trail is told of that end in the same batch."""

    side: Side
    tenant_id: str
    reason: str
    accepted: bool
    project_id: str | None = None


ShareCommand = OfferShare | AcceptShare | EndShare


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such share yet."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The receiver has not answered."""

    share: Share
    reason: str
    offered_by: tuple[Literal["user", "service-account"], str]


@dataclass(frozen=True, slots=True)
class Standing:
    """Both have said so."""

    share: Share
    reason: str


@dataclass(frozen=True, slots=True)
class Over:
    """Ended, or never accepted; an id is never used again."""

    share: Share


ProjectShare = Unknown | Offered | Standing | Over


def decide(command: ShareCommand, share: ProjectShare) -> list[Event]:
    match share, command:
        case Unknown(), OfferShare() as ask:
            return [_offered(ask)]
        case Offered() as offer, AcceptShare() as ask if ask.receiver_tenant_id == offer.share.receiver_tenant_id:
            return [_accepted(offer, ask)]
        case (Offered() | Standing()) as known, EndShare() as order if _is_party(known.share, order):
            return [_ended(known, order)]
        case Standing() as known, AcceptShare() as ask if ask.receiver_tenant_id == known.share.receiver_tenant_id:
            raise Rejected("that share was accepted already")
        case Over() as known, AcceptShare() as ask if ask.receiver_tenant_id == known.share.receiver_tenant_id:
            raise Rejected("that offer is over; ask its owner for another one")
        case Over() as known, EndShare() as order if _is_party(known.share, order):
            raise Rejected("that share has ended already")
        case Unknown() | Offered() | Standing() | Over(), AcceptShare() | EndShare():
            raise NotFound("there is no such share, or none that you may see")
        case _:
            raise Rejected("a share with that id was offered before; offer another one")


def _is_party(share: Share, order: EndShare) -> bool:
    if order.side == "receiver":
        return order.tenant_id == share.receiver_tenant_id
    return order.tenant_id == share.tenant_id and order.project_id in (None, share.project_id)


def _offered(ask: OfferShare) -> ProjectShareOffered:
    share = ask.share
    if share.receiver_tenant_id in {share.tenant_id, *RESERVED_TENANTS}:
        raise Invalid("a share is for another tenant; for your own people make a binding", field="receiver_tenant_id")
    if share.valid_until is not None and share.valid_until <= ask.asked_at:
        raise Invalid("the share would end before it began; choose a later time", field="valid_until")
    if ask.not_for_guests:
        named = ", ".join(ask.not_for_guests[:3])
        raise Rejected(f"a share gives nothing that decides who may do what, and role {share.role} has {named}")
    demand_held(ask.held, ask.role_permissions, f"share role {share.role}", ask.withheld)
    if ask.others >= SHARES_MAX:
        raise Rejected(f"a project has at most {SHARES_MAX} offers and shares; end some first")
    kind, name = ask.offered_by
    return ProjectShareOffered(
        share_id=identifier(share.share_id, "share id"),
        tenant_id=share.tenant_id,
        project_id=share.project_id,
        receiver_tenant_id=identifier(share.receiver_tenant_id, "receiver_tenant_id"),
        principal_kind=share.principal_kind,
        principal_id=identifier(share.principal_id, "principal_id"),
        role=share.role,
        role_tenant_id=share.role_tenant_id,
        valid_until=share.valid_until,
        reason=written(ask.reason, "reason", REASON_MAX),
        offered_by_kind=kind,
        offered_by_id=name,
    )


def _accepted(offer: Offered, ask: AcceptShare) -> ProjectShareAccepted:
    share = offer.share
    if share.valid_until is not None and share.valid_until <= ask.asked_at:
        raise Rejected("that offer is over; ask its owner for another one")
    if not ask.is_theirs:
        raise Rejected(
            f"{share.principal_kind} {share.principal_id} is not of your tenant; decline, and ask for another"
        )
    if ask.missing:
        raise Forbidden("who offered it does not hold what it gives any more; ask its owner for another offer")
    if ask.joins:
        raise Rejected("this would bring together duties that the owner keeps apart; ask its owner for another offer")
    return ProjectShareAccepted(
        share_id=share.share_id,
        tenant_id=share.tenant_id,
        project_id=share.project_id,
        receiver_tenant_id=share.receiver_tenant_id,
        principal_kind=share.principal_kind,
        principal_id=share.principal_id,
        role=share.role,
        role_tenant_id=share.role_tenant_id,
        valid_until=share.valid_until,
    )


def _ended(known: Offered | Standing, order: EndShare) -> Event:
    share, reason = known.share, written(order.reason, "reason", REASON_MAX)
    if order.accepted != isinstance(known, Standing):
        raise Rejected("it was answered in the meantime; look at it and end it again")
    named = {"share_id": share.share_id, "tenant_id": share.tenant_id, "project_id": share.project_id}
    if isinstance(known, Standing):
        return ProjectShareEnded(**named, ended_by=order.side, reason=reason)
    outcome: Literal["withdrawn", "declined"] = "declined" if order.side == "receiver" else "withdrawn"
    return ProjectShareOfferClosed(**named, outcome=outcome, reason=reason)


def evolve(share: ProjectShare, event: Event) -> ProjectShare:
    match event, share:
        case ProjectShareOffered() as offer, Unknown():
            what = Share(
                share_id=offer.share_id,
                tenant_id=offer.tenant_id,
                project_id=offer.project_id,
                receiver_tenant_id=offer.receiver_tenant_id,
                principal_kind=offer.principal_kind,
                principal_id=offer.principal_id,
                role=offer.role,
                role_tenant_id=offer.role_tenant_id,
                valid_until=offer.valid_until,
            )
            return Offered(what, offer.reason, (offer.offered_by_kind, offer.offered_by_id))
        case ProjectShareAccepted(), Offered() as offered:
            return Standing(offered.share, offered.reason)
        case ((ProjectShareEnded() | ProjectShareOfferClosed()), (Offered() | Standing()) as known):
            return Over(known.share)
        case _:
            raise Unreadable(f"the history of a share cannot hold {event.TYPE} there")


PROJECT_SHARE: Final[Decider[ProjectShare, ShareCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(ProjectShareOffered, ProjectShareAccepted, ProjectShareOfferClosed, ProjectShareEnded)
