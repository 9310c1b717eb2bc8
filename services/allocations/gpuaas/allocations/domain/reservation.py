"""A reservation: GPUs promised to a project for a time to come, once or again and again. One law: it is made together
with the pool's booking, in one append or not at all; what it says of a window happens once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar, Final

from gpuaas.allocations.domain.shape import Shape, refuse_absurd
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event, Vocabulary, first_complaint
from gpuaas.contracts.allocations import (
    Recurrence,
    ReservationCancelled,
    ReservationEnded,
    ReservationImpaired,
    ReservationMade,
    ReservationRestored,
)
from pydantic import ValidationError

AHEAD_MAX: Final = timedelta(days=366)
"""The last window begins within this from now."""
WINDOW_MAX: Final = timedelta(days=92)
WINDOW_MIN: Final = timedelta(minutes=1)
OCCURRENCES_MAX: Final = 64
EVERY_DAYS_MAX: Final = 366


@dataclass(frozen=True, slots=True)
class MakeReservation:
    """Promise GPUs. `every_days` and `occurrences` come together; without them there is one window."""

    reservation_id: str
    tenant_id: str
    project_id: str
    pool_id: str
    shape: Shape
    starts_at: datetime
    ends_at: datetime
    every_days: int | None
    occurrences: int | None
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EndReservation:
    """Give up what is left of it: cancelled before its first window begins, else ended."""

    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class FinishReservation:
    """Its last window is over."""

    at: datetime


@dataclass(frozen=True, slots=True)
class NoteMissing:
    """So many of a window's GPUs are missing now; 0: none."""

    window: int
    starts_at: datetime
    missing_gpus: int
    detail: str


ReservationCommand = MakeReservation | EndReservation | FinishReservation | NoteMissing


@dataclass(frozen=True, slots=True)
class Nothing:
    name: ClassVar[str] = "not known"


@dataclass(frozen=True, slots=True)
class Standing:
    """Promised. `missing`: GPUs that windows lack, by window."""

    name: ClassVar[str] = "standing"
    made: ReservationMade
    missing: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Over:
    name: ClassVar[str] = "over"
    made: ReservationMade


Reservation = Nothing | Standing | Over


def times_of(
    starts_at: datetime, ends_at: datetime, recurrence: Recurrence | None
) -> tuple[tuple[datetime, datetime], ...]:
    """Its windows in order."""
    count, step = (recurrence.occurrences, timedelta(days=recurrence.every_days)) if recurrence else (1, timedelta())
    return tuple((starts_at + step * number, ends_at + step * number) for number in range(count))


def windows_of(order: MakeReservation) -> tuple[tuple[datetime, datetime], ...]:
    """The windows that are asked for.

    Raises:
        Invalid: times or repetitions that make no sense.
    """
    length, step = order.ends_at - order.starts_at, timedelta(days=order.every_days or 0)
    if (order.every_days is None) != (order.occurrences is None):
        raise Invalid("every_days and occurrences come together: how often, and how many windows", field="every_days")
    if order.every_days is not None and not 1 <= order.every_days <= EVERY_DAYS_MAX:
        raise Invalid(f"every_days must be between 1 and {EVERY_DAYS_MAX}, not {order.every_days}", field="every_days")
    if order.occurrences is not None and not 2 <= order.occurrences <= OCCURRENCES_MAX:
        raise Invalid(
            f"occurrences must be between 2 and {OCCURRENCES_MAX}, not {order.occurrences}", field="occurrences"
        )
    if not WINDOW_MIN <= length <= WINDOW_MAX:
        raise Invalid(f"ends_at must be {WINDOW_MIN} to {WINDOW_MAX.days} days after starts_at", field="ends_at")
    if order.every_days is not None and step < length:
        raise Invalid(f"a window of {length} does not fit into every {order.every_days} days", field="every_days")
    if order.starts_at < order.at:
        raise Invalid("starts_at lies in the past; for GPUs at once ask for an allocation", field="starts_at")
    if (
        order.starts_at > order.at + AHEAD_MAX
        or order.starts_at + step * ((order.occurrences or 1) - 1) > order.at + AHEAD_MAX
    ):
        raise Invalid(f"no window may begin more than {AHEAD_MAX.days} days ahead", field="starts_at")
    return times_of(order.starts_at, order.ends_at, _recurrence(order))


def _recurrence(order: MakeReservation) -> Recurrence | None:
    if order.every_days is None or order.occurrences is None:
        return None
    return Recurrence(every_days=order.every_days, occurrences=order.occurrences)


def decide(command: ReservationCommand, reservation: Reservation) -> list[Event]:
    """What follows from `command`; nothing, where it has been followed already.

    Raises:
        Rejected: not in this state. Invalid: times or a shape that make no sense in any.
    """
    match reservation, command:
        case Nothing(), MakeReservation() as order:
            return [_made(order)]
        case (Standing() | Over()) as known, MakeReservation() as order:
            if known.made == _made(order):
                return []
            raise Rejected(f"reservation {order.reservation_id} was made before, with other words")
        case Standing() as known, EndReservation() as order:
            return [_given_up(known.made, order)]
        case Standing() as known, FinishReservation() as order:
            return [ReservationEnded(reservation_id=known.made.reservation_id, ended_at=order.at, outcome="over")]
        case Standing() as known, NoteMissing() as note:
            return _noted(known, note)
        case Over(), EndReservation() | FinishReservation() | NoteMissing():
            return []
        case _:
            raise Rejected("there is no such reservation")


def _made(order: MakeReservation) -> ReservationMade:
    refuse_absurd(order.shape)
    if order.shape.gpu_model is None:
        raise Invalid("a reservation names its GPU model", field="gpu_model")
    windows_of(order)
    try:
        return ReservationMade(
            reservation_id=order.reservation_id,
            tenant_id=order.tenant_id,
            project_id=order.project_id,
            pool_id=order.pool_id,
            gpu_model=order.shape.gpu_model,
            gpu_count=order.shape.gpu_count,
            replicas=order.shape.replicas,
            gpus_per_replica=order.shape.gpus_per_replica,
            topology_level=order.shape.topology_level,
            topology_mode=order.shape.topology_mode,
            starts_at=order.starts_at,
            ends_at=order.ends_at,
            recurrence=_recurrence(order),
            reason=order.reason,
        )
    except ValidationError as refused:
        raise Invalid(first_complaint(refused)) from refused


def _given_up(made: ReservationMade, order: EndReservation) -> Event:
    if order.at < made.starts_at:
        return ReservationCancelled(reservation_id=made.reservation_id, cancelled_at=order.at, reason=order.reason)
    return ReservationEnded(
        reservation_id=made.reservation_id, ended_at=order.at, outcome="given-up", reason=order.reason
    )


def _noted(known: Standing, note: NoteMissing) -> list[Event]:
    if known.missing.get(note.window, 0) == note.missing_gpus:
        return []
    name = known.made.reservation_id
    if not note.missing_gpus:
        return [ReservationRestored(reservation_id=name, window=note.window, starts_at=note.starts_at)]
    return [
        ReservationImpaired(
            reservation_id=name,
            window=note.window,
            starts_at=note.starts_at,
            missing_gpus=note.missing_gpus,
            detail=note.detail[:500],
        )
    ]


def evolve(reservation: Reservation, event: Event) -> Reservation:
    """The reservation after `event`."""
    match reservation, event:
        case Nothing(), ReservationMade() as made:
            return Standing(made)
        case Standing() as known, ReservationImpaired() as less:
            return replace(known, missing={**known.missing, less.window: less.missing_gpus})
        case Standing() as known, ReservationRestored() as again:
            return replace(known, missing={w: n for w, n in known.missing.items() if w != again.window})
        case Standing() as known, ReservationCancelled() | ReservationEnded():
            return Over(known.made)
        case _:
            raise AssertionError(f"{event.TYPE} cannot follow a reservation that is {reservation.name}")


RESERVATION: Final[Decider[Reservation, ReservationCommand]] = Decider(initial=Nothing(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(
    ReservationMade, ReservationCancelled, ReservationEnded, ReservationImpaired, ReservationRestored
)
