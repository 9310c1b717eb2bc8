"""A window of time in which machines are worked on. One law: nobody is surprised: notice first, moved only by policy.

scheduled → (accepted, postponed)* → started → ended, or called off before it started. Times come with the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import is_name
from gpuaas.contracts.nodes import (
    FirmwareGoal,
    MaintenanceAccepted,
    MaintenanceEnded,
    MaintenancePostponed,
    MaintenanceScheduled,
    MaintenanceStarted,
)
from gpuaas.nodes.domain.admission import said
from gpuaas.nodes.domain.axes import DrainMode
from gpuaas.nodes.domain.drains import NOTICE_S_MAX
from gpuaas.nodes.domain.promises import Unkept, insist, told

NODES_MAX: Final = 1_000
POSTPONE_S_MAX: Final = 90 * 86_400
POSTPONEMENTS_MAX: Final = 16
DURATION_S_MAX: Final = 30 * 86_400
FIRMWARE_MAX: Final = 16

VOCABULARY: Final = Vocabulary(
    MaintenanceScheduled, MaintenanceAccepted, MaintenancePostponed, MaintenanceStarted, MaintenanceEnded
)


class Stage(StrEnum):
    """How far a window has come."""

    SCHEDULED = "scheduled"
    STARTED = "started"
    ENDED = "ended"


class Ending(StrEnum):
    """How a window ended."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is planned.

    Attributes:
        starts_at, ends_at: world time, aware.
        notice_s: seconds before `starts_at` at which the machines are closed and tenants are told.
        mode: how work that stands at `starts_at` ends.
        postpone_max_s: seconds by which the window may be moved in all.
        firmware: what is brought to which version, in this order.
    """

    node_ids: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    notice_s: int
    reason: str
    mode: DrainMode
    postpone_max_s: int = 0
    postponements_max: int = 0
    firmware: tuple[FirmwareGoal, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleMaintenance:
    """Plan it, though `unkept` windows of reservations could not be kept meanwhile if `over_promises` says so."""

    window_id: str
    plan: Plan
    now: datetime
    unkept: Sequence[Unkept] = ()
    over_promises: bool = False


@dataclass(frozen=True, slots=True)
class AcceptMaintenance:
    """`tenant_id` agrees; the door has seen that it is affected."""

    tenant_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class PostponeMaintenance:
    """Begin at `starts_at` instead; the length stays. `tenant_id` asks for it, or with None an operator.

    Attributes:
        unkept: promised windows that could not be kept at that time.
    """

    starts_at: datetime
    reason: str
    now: datetime
    tenant_id: str | None = None
    unkept: Sequence[Unkept] = ()


@dataclass(frozen=True, slots=True)
class StartMaintenance:
    """Begin: at `starts_at`, or earlier when every one of the `affected` tenants has agreed."""

    now: datetime
    affected: frozenset[str] = frozenset()
    early: bool = False


@dataclass(frozen=True, slots=True)
class EndMaintenance:
    """Every machine is back, or no more is coming back."""

    returned: frozenset[str]
    now: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class CancelMaintenance:
    reason: str
    now: datetime


MaintenanceCommand: TypeAlias = (
    ScheduleMaintenance
    | AcceptMaintenance
    | PostponeMaintenance
    | StartMaintenance
    | EndMaintenance
    | CancelMaintenance
)


@dataclass(frozen=True, slots=True)
class Unplanned:
    """No window has ever had this id."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window that was planned once.

    Attributes:
        plan: as it stands now, moved or not.
        first_starts_at: when it was to begin as first planned; the policy counts from there.
        accepted: tenants that agree to the plan as it stands.
    """

    window_id: str
    plan: Plan
    first_starts_at: datetime
    stage: Stage = Stage.SCHEDULED
    accepted: frozenset[str] = frozenset()
    postponements: int = 0
    ending: Ending | None = None

    @property
    def notice_at(self) -> datetime:
        """When the machines are closed for new work and tenants are told."""
        return self.plan.starts_at - timedelta(seconds=self.plan.notice_s)

    @property
    def latest_start(self) -> datetime:
        """The latest that the policy lets it begin."""
        return self.first_starts_at + timedelta(seconds=self.plan.postpone_max_s)


WindowState: TypeAlias = Unplanned | Window


def decide(command: MaintenanceCommand, state: WindowState) -> Sequence[Event]:
    match state, command:
        case Unplanned(), ScheduleMaintenance() as order:
            return _scheduled(order)
        case Unplanned(), _:
            raise NotFound("there is no maintenance window with this id; schedule it first")
        case Window() as window, ScheduleMaintenance() as order:
            if order.plan == replace(window.plan, starts_at=order.plan.starts_at, ends_at=order.plan.ends_at) and (
                order.plan.starts_at == window.first_starts_at
            ):
                return []
            raise Rejected(f"window {window.window_id} is planned otherwise; choose another id, or cancel it first")
        case Window(stage=Stage.ENDED), CancelMaintenance() | EndMaintenance():
            return []
        case Window(stage=Stage.SCHEDULED) as window, AcceptMaintenance() as order:
            return _accepted(window, order)
        case Window(stage=Stage.SCHEDULED) as window, PostponeMaintenance() as order:
            return _postponed(window, order)
        case Window(stage=Stage.SCHEDULED) as window, StartMaintenance() as order:
            return _started(window, order)
        case Window(stage=Stage.STARTED), StartMaintenance():
            return []
        case Window(stage=Stage.SCHEDULED) as window, CancelMaintenance() as order:
            return [_ended(window, Ending.CANCELLED, frozenset(), order.now, order.reason)]
        case Window(stage=Stage.STARTED) as window, EndMaintenance() as order:
            complete = order.returned >= set(window.plan.node_ids)
            ending = Ending.COMPLETED if complete else Ending.INCOMPLETE
            return [_ended(window, ending, order.returned, order.now, order.reason)]
        case Window() as window, _:
            raise Rejected(f"a maintenance window that is {window.stage.value} cannot {type(command).__name__}")
    raise Rejected(f"a maintenance window cannot {type(command).__name__}")


def _scheduled(order: ScheduleMaintenance) -> list[Event]:
    plan = order.plan
    if not is_name(order.window_id):
        raise Invalid(f"window_id {order.window_id[:80]!r} is not a name; use 1–63 of a–z, 0–9 and inner hyphens")
    _within("number of machines", len(plan.node_ids), 1, NODES_MAX)
    _within("notice_s", plan.notice_s, 0, NOTICE_S_MAX)
    _within("postpone_max_s", plan.postpone_max_s, 0, POSTPONE_S_MAX)
    _within("postponements_max", plan.postponements_max, 0, POSTPONEMENTS_MAX)
    _within("number of firmware goals", len(plan.firmware), 0, FIRMWARE_MAX)
    if list(plan.node_ids) != sorted(set(plan.node_ids)):
        raise Invalid("name every machine once, in order of id")
    if plan.starts_at < order.now + timedelta(seconds=plan.notice_s):
        raise Invalid(f"starts_at leaves less than the {plan.notice_s} s of notice; begin later or give less notice")
    _within(
        "seconds from starts_at to ends_at", int((plan.ends_at - plan.starts_at).total_seconds()), 1, DURATION_S_MAX
    )
    over_promises = insist(order.unkept, order.over_promises, f"window {order.window_id}")
    return [
        MaintenanceScheduled(
            window_id=order.window_id,
            node_ids=plan.node_ids,
            starts_at=plan.starts_at,
            ends_at=plan.ends_at,
            notice_s=plan.notice_s,
            reason=said("reason", plan.reason),
            mode=plan.mode.value,
            postpone_max_s=plan.postpone_max_s,
            postponements_max=plan.postponements_max,
            firmware=plan.firmware or None,
            over_promises=over_promises,
        )
    ]


def _accepted(window: Window, order: AcceptMaintenance) -> list[Event]:
    if order.tenant_id in window.accepted:
        return []
    return [MaintenanceAccepted(window_id=window.window_id, tenant_id=order.tenant_id, accepted_at=order.now)]


def _postponed(window: Window, order: PostponeMaintenance) -> list[Event]:
    plan = window.plan
    if order.starts_at == plan.starts_at and window.postponements:
        return []
    if order.starts_at <= plan.starts_at:
        raise Invalid(f"it begins at {plan.starts_at.isoformat()}; postponing names a later time")
    if order.now >= plan.starts_at:
        raise Rejected("the window was due to begin; it is too late to postpone it")
    if window.postponements >= plan.postponements_max:
        raise Rejected(f"the window may be moved {plan.postponements_max} times and was; accept it or ask an operator")
    if order.starts_at > window.latest_start:
        raise Rejected(f"the policy lets the window begin by {window.latest_start.isoformat()}; choose an earlier time")
    if order.unkept:
        # What others were promised is none of a tenant's business.
        why = told(order.unkept) if order.tenant_id is None else "the machines are promised then"
        raise Rejected(f"the window cannot begin at {order.starts_at.isoformat()}: {why}; choose another time")
    return [
        MaintenancePostponed(
            window_id=window.window_id,
            starts_at=order.starts_at,
            ends_at=order.starts_at + (plan.ends_at - plan.starts_at),
            previous_starts_at=plan.starts_at,
            notice_s=plan.notice_s,
            postponements=window.postponements + 1,
            reason=said("reason", order.reason),
            tenant_id=order.tenant_id,
        )
    ]


def _started(window: Window, order: StartMaintenance) -> list[Event]:
    if order.now < window.plan.starts_at:
        if not order.early:
            raise Rejected(f"the window begins at {window.plan.starts_at.isoformat()}")
        if waiting := sorted(order.affected - window.accepted):
            raise Rejected(f"{len(waiting)} affected tenants have not accepted an early start; wait for them")
    return [
        MaintenanceStarted(
            window_id=window.window_id,
            node_ids=window.plan.node_ids,
            started_at=order.now,
            ends_at=max(window.plan.ends_at, order.now),
        )
    ]


def _ended(window: Window, ending: Ending, returned: frozenset[str], now: datetime, reason: str) -> MaintenanceEnded:
    return MaintenanceEnded(
        window_id=window.window_id,
        node_ids=window.plan.node_ids,
        ended_at=now,
        outcome=ending.value,
        returned_node_ids=tuple(sorted(returned & set(window.plan.node_ids))),
        reason=said("reason", reason),
    )


def evolve(state: WindowState, event: Event) -> WindowState:
    match state, event:
        case Unplanned(), MaintenanceScheduled() as fact:
            return Window(window_id=fact.window_id, plan=_plan_of(fact), first_starts_at=fact.starts_at)
        case Window() as window, MaintenanceAccepted() as fact:
            return replace(window, accepted=window.accepted | {fact.tenant_id})
        case Window() as window, MaintenancePostponed() as fact:
            moved = replace(window.plan, starts_at=fact.starts_at, ends_at=fact.ends_at)
            return replace(window, plan=moved, accepted=frozenset(), postponements=fact.postponements)
        case Window() as window, MaintenanceStarted():
            return replace(window, stage=Stage.STARTED)
        case Window() as window, MaintenanceEnded() as fact:
            return replace(window, stage=Stage.ENDED, ending=Ending(fact.outcome))
        case _:
            raise Unreadable(f"{event.TYPE} cannot follow in a history that has come to {state}")


def _plan_of(fact: MaintenanceScheduled) -> Plan:
    return Plan(
        node_ids=tuple(fact.node_ids),
        starts_at=fact.starts_at,
        ends_at=fact.ends_at,
        notice_s=fact.notice_s,
        reason=fact.reason,
        mode=DrainMode(fact.mode),
        postpone_max_s=fact.postpone_max_s,
        postponements_max=fact.postponements_max,
        firmware=tuple(fact.firmware or ()),
    )


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Invalid(f"{name} is {value}; use {least} to {most}")


MAINTENANCE: Final[Decider[WindowState, MaintenanceCommand]] = Decider(
    initial=Unplanned(), decide=decide, evolve=evolve
)
