"""A prohibition: what somebody may not do, whatever bindings say. One law: who lifts one holds what it gives back.

Times are real time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import ProhibitionLifted, ProhibitionPlaced
from gpuaas.iam.domain.names import REASON_MAX, identifier, written
from gpuaas.iam.domain.permissions import checked, demand_held

Kind = Literal["user", "service-account", "group"]


@dataclass(frozen=True, slots=True)
class PlaceProhibition:
    """`outranked`: the holder, or a member, has a binding above that scope, where who asks prohibits nothing."""

    prohibition_id: str
    holder_id: str
    kind: Kind
    permissions: tuple[str, ...]
    tenant_id: str | None
    project_id: str | None
    reason: str
    asked_at: datetime
    valid_until: datetime | None
    outranked: bool


@dataclass(frozen=True, slots=True)
class LiftProhibition:
    """`project_id`: as of who asks; `held`, `withheld`: what who asks holds, and is prohibited, there."""

    reason: str
    project_id: str | None
    held: frozenset[str]
    withheld: frozenset[str]


ProhibitionCommand = PlaceProhibition | LiftProhibition


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such prohibition yet."""


@dataclass(frozen=True, slots=True)
class Placed:
    """It counts."""

    prohibition_id: str
    project_id: str | None
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lifted:
    """Ended; an id is never used again."""


Prohibition = Unknown | Placed | Lifted


def decide(command: ProhibitionCommand, prohibition: Prohibition) -> list[Event]:
    match prohibition, command:
        case Unknown(), PlaceProhibition() as ask:
            return [_placed(ask)]
        case Placed() as standing, LiftProhibition() as order if order.project_id in (None, standing.project_id):
            demand_held(order.held, standing.permissions, "lift that prohibition", order.withheld)
            reason = written(order.reason, "reason", REASON_MAX)
            return [ProhibitionLifted(prohibition_id=standing.prohibition_id, reason=reason)]
        case ((Unknown() | Placed()), LiftProhibition()):
            raise NotFound("there is no such prohibition, or none that you may see")
        case Lifted(), LiftProhibition():
            raise Rejected("that prohibition was lifted already")
        case _:
            raise Rejected("a prohibition with that id was placed before; place another one")


def _placed(ask: PlaceProhibition) -> ProhibitionPlaced:
    if ask.outranked:
        raise Forbidden("who holds rights above this level is prohibited things only from there; ask somebody there")
    if ask.valid_until is not None and ask.valid_until <= ask.asked_at:
        raise Invalid("the prohibition would end before it began; choose a later time", field="valid_until")
    return ProhibitionPlaced(
        prohibition_id=identifier(ask.prohibition_id, "prohibition id"),
        holder_id=ask.holder_id,
        holder_kind=ask.kind,
        permissions=checked(ask.permissions),
        tenant_id=ask.tenant_id,
        project_id=ask.project_id,
        reason=written(ask.reason, "reason", REASON_MAX),
        valid_until=ask.valid_until,
    )


def evolve(prohibition: Prohibition, event: Event) -> Prohibition:
    match prohibition, event:
        case Unknown(), ProhibitionPlaced() as placed:
            return Placed(placed.prohibition_id, placed.project_id, placed.permissions)
        case Placed(), ProhibitionLifted():
            return Lifted()
        case _:
            raise Unreadable(f"the history of a prohibition cannot hold {event.TYPE} here")


PROHIBITION: Final[Decider[Prohibition, ProhibitionCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(ProhibitionPlaced, ProhibitionLifted)
