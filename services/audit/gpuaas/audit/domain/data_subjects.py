"""A person whose data may have to be kept or erased. One law: while a hold stands, nothing of theirs is erased.

Holds and the order of an erasure are decided on one history, so that no race lets an order past a hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from gpuaas.common.decider import Decider
from gpuaas.common.errors import NotFound, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.audit import (
    ErasureBasis,
    ErasureCertified,
    ErasureOrdered,
    LegalHoldLifted,
    LegalHoldPlaced,
)

HOLDS_MAX: Final = 100
"""Holds that stand at once for one person."""


@dataclass(frozen=True, slots=True)
class PlaceHold:
    """Order that the person's data is kept; `matter` is the case that demands it."""

    subject_id: str
    hold_id: str
    matter: str
    reason: str


@dataclass(frozen=True, slots=True)
class LiftHold:
    """Order that a hold ends."""

    subject_id: str
    hold_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OrderErasure:
    """Order that the person's data is erased for good."""

    subject_id: str
    erasure_id: str
    basis: ErasureBasis
    reason: str


@dataclass(frozen=True, slots=True)
class CertifyErasure:
    """Order the record that an erasure was carried out; `statement` is a signed note that says the same."""

    subject_id: str
    erasure_id: str
    erased_event_id: str
    sealed_events: int
    clear_events: int
    statement: str


DataSubjectCommand: TypeAlias = PlaceHold | LiftHold | OrderErasure | CertifyErasure


@dataclass(frozen=True, slots=True)
class DataSubject:
    """What stands for one person.

    Attributes:
        holds: id → matter of every hold that stands, in the order they were placed.
        lifted: ids of holds that ended; an id is used once.
        erasure_id: the erasure that was ordered; empty: none.
        statement: the signed note, once it was carried out.
    """

    holds: tuple[tuple[str, str], ...] = ()
    lifted: frozenset[str] = frozenset()
    erasure_id: str = ""
    statement: str = ""

    @property
    def status(self) -> str:
        """One word for people."""
        if self.statement:
            return "erased"
        if self.erasure_id:
            return "erasing"
        return "held" if self.holds else "kept"


def decide(command: DataSubjectCommand, subject: DataSubject) -> list[Event]:
    """What follows, or a refusal."""
    match command:
        case PlaceHold() as hold:
            return _placed(hold, subject)
        case LiftHold() as lift:
            if lift.hold_id not in dict(subject.holds):
                raise NotFound(f"no legal hold {lift.hold_id} stands for {lift.subject_id}")
            return [LegalHoldLifted(subject_id=lift.subject_id, hold_id=lift.hold_id, reason=lift.reason)]
        case OrderErasure() as order:
            return _ordered(order, subject)
        case CertifyErasure() as done:
            return _certified(done, subject)


def _placed(hold: PlaceHold, subject: DataSubject) -> list[Event]:
    if subject.erasure_id:
        raise Rejected(f"the erasure {subject.erasure_id} was ordered already; a hold comes too late")
    if hold.hold_id in dict(subject.holds) or hold.hold_id in subject.lifted:
        raise Rejected(f"a legal hold {hold.hold_id} was placed before; give this one an id of its own")
    if len(subject.holds) >= HOLDS_MAX:
        raise Rejected(f"{HOLDS_MAX} holds stand for {hold.subject_id}; lift one first")
    return [
        LegalHoldPlaced(subject_id=hold.subject_id, hold_id=hold.hold_id, matter=hold.matter, reason=hold.reason),
    ]


def _ordered(order: OrderErasure, subject: DataSubject) -> list[Event]:
    if subject.holds:
        standing = ", ".join(f"{hold_id} ({matter})" for hold_id, matter in subject.holds)
        raise Rejected(f"a legal hold forbids it: {standing}. Lift it first, if its matter is closed")
    if subject.erasure_id:
        raise Rejected(f"the erasure {subject.erasure_id} was ordered already")
    return [
        ErasureOrdered(
            subject_id=order.subject_id, erasure_id=order.erasure_id, basis=order.basis, reason=order.reason
        ),
    ]


def _certified(done: CertifyErasure, subject: DataSubject) -> list[Event]:
    if not subject.erasure_id or done.erasure_id != subject.erasure_id:
        raise Rejected(f"no erasure {done.erasure_id} of {done.subject_id} was ordered here; nothing is certified")
    if subject.statement:
        return []
    return [
        ErasureCertified(
            subject_id=done.subject_id,
            erasure_id=done.erasure_id,
            erased_event_id=done.erased_event_id,
            sealed_events=done.sealed_events,
            clear_events=done.clear_events,
            statement=done.statement,
        ),
    ]


def evolve(subject: DataSubject, event: Event) -> DataSubject:
    """What stands after the event."""
    match event:
        case LegalHoldPlaced() as hold:
            return replace(subject, holds=(*subject.holds, (hold.hold_id, hold.matter)))
        case LegalHoldLifted() as lift:
            left = tuple(each for each in subject.holds if each[0] != lift.hold_id)
            return replace(subject, holds=left, lifted=subject.lifted | {lift.hold_id})
        case ErasureOrdered() as order:
            return replace(subject, erasure_id=order.erasure_id)
        case ErasureCertified() as done:
            return replace(subject, statement=done.statement)
        case _:
            raise AssertionError(f"{type(event).__name__} tells of no data subject")


DATA_SUBJECTS: Final[Decider[DataSubject, DataSubjectCommand]] = Decider(
    initial=DataSubject(), decide=decide, evolve=evolve
)
