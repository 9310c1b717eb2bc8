"""A rule that keeps two duties apart. One law: no permission is on both sides, or nobody could ever use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import DutiesJoined, DutiesSeparated
from gpuaas.iam.domain.names import REASON_MAX, identifier, written
from gpuaas.iam.domain.permissions import checked, overlap


@dataclass(frozen=True, slots=True)
class SeparateDuties:
    """`tenant_id`: where it counts; None: everywhere."""

    rule_id: str
    tenant_id: str | None
    one: tuple[str, ...]
    other: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class JoinDuties:
    """End the rule."""

    reason: str


DutyCommand = SeparateDuties | JoinDuties


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such rule yet."""


@dataclass(frozen=True, slots=True)
class Standing:
    """It counts."""

    rule_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It counted; an id is never used again."""


DutyRule = Unknown | Standing | Ended


def decide(command: DutyCommand, rule: DutyRule) -> list[Event]:
    match rule, command:
        case Unknown(), SeparateDuties() as ask:
            one, other = checked(ask.one), checked(ask.other)
            if both := next((glob for glob in one if any(overlap(glob, each) for each in other)), None):
                raise Invalid(f"{both} is on both sides: nobody could ever use it; make the sides apart", field="other")
            return [
                DutiesSeparated(
                    rule_id=identifier(ask.rule_id, "rule id"),
                    tenant_id=ask.tenant_id,
                    one=one,
                    other=other,
                    reason=written(ask.reason, "reason", REASON_MAX),
                )
            ]
        case Standing() as standing, JoinDuties() as order:
            return [DutiesJoined(rule_id=standing.rule_id, reason=written(order.reason, "reason", REASON_MAX))]
        case Unknown(), JoinDuties():
            raise NotFound("there is no such rule, or none that you may see")
        case Ended(), JoinDuties():
            raise Rejected("that rule has ended already")
        case _:
            raise Rejected("a rule with that id was made before; make another one")


def evolve(rule: DutyRule, event: Event) -> DutyRule:
    match event:
        case DutiesSeparated() as separated:
            return Standing(separated.rule_id)
        case DutiesJoined():
            return Ended()
        case _:
            raise Unreadable(f"the history of a rule on duties cannot hold {event.TYPE}")


DUTY_RULE: Final[Decider[DutyRule, DutyCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(DutiesSeparated, DutiesJoined)
