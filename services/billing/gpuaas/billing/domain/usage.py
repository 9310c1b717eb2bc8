"""What one allocation used. One law: a moment is metered once; the same facts again change nothing.

An allocation that runs across the end of a billed period is cut there: each part is a record of its own, from where the
last one ended. Parts add up to the whole, to the millisecond, however often it is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeAlias

from gpuaas.billing.domain.metering import WHOLE_MILLI, Interval, Span, gpu_us, instant_ms
from gpuaas.billing.domain.rating import US_PER_MS
from gpuaas.common.clock import rfc3339
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.ids import derived_id
from gpuaas.contracts.allocations import AllocationReleased, AllocationStarted
from gpuaas.contracts.billing import UsageDiscrepancyFound, UsageMetered


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """Order the record of a closed holding.

    Attributes:
        started, released: the facts of the allocation that the meter's `span` was read from.
        labels: as it was asked for.
    """

    started: AllocationStarted
    released: AllocationReleased
    span: Span
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CutUsage:
    """Order the record of a holding that goes on, up to `at`. `start_event_id`: the event that `started` is."""

    started: AllocationStarted
    start_event_id: str
    at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)


UsageCommand: TypeAlias = MeterUsage | CutUsage


@dataclass(frozen=True, slots=True)
class Unmetered:
    """Nothing is known to have been used."""


@dataclass(frozen=True, slots=True)
class Cut:
    """`parts` records stand, the last one up to `until`; the holding goes on."""

    parts: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Metered:
    """The last record stands.

    Attributes:
        usage: it; None: the holding had ended no later than where it was last cut.
        end_event_id: the release.
    """

    usage: UsageMetered | None
    end_event_id: str


UsageState: TypeAlias = Unmetered | Cut | Metered


def part_id(allocation_id: str, part: int) -> str:
    """The id of a usage record: the allocation's own for the first part."""
    return allocation_id if part == 1 else f"u-{derived_id(allocation_id, 'part', part)}"


def decide(command: UsageCommand, state: UsageState) -> list[Event]:
    """The record, nothing if it stands already, or a refusal if it stands otherwise."""
    match state, command:
        case ((Unmetered() | Cut()), CutUsage() as cut):
            return _cut(cut, state)
        case Metered(), CutUsage():
            return []
        case Unmetered(), MeterUsage() as order:
            return [_last(order, 1, order.started.started_at)]
        case Cut(parts=parts, until=until), MeterUsage() as order:
            _check(order)
            if order.released.ended_at > until:
                return [_last(order, parts + 1, until)]
            return [_ended_before(order, until)] if order.released.ended_at < until else []
        case Metered(usage=None, end_event_id=known), MeterUsage(span=span) if known == span.end_event_id:
            return []
        case Metered(usage=usage), MeterUsage() as order:
            # Records of before labels were metered have none, and stand as they are.
            known_by = order if usage is not None and usage.labels is not None else replace(order, labels={})
            if usage is not None and usage == _last(known_by, usage.part or 1, usage.started_at):
                return []
            raise Rejected(
                f"allocation {order.started.allocation_id} is metered to its end, which {_told(usage)}; "
                "a record never changes"
            )
        case _:
            raise Rejected("usage is cut or metered to its end")


def evolve(state: UsageState, event: Event) -> UsageState:
    """The state after one more record."""
    match event:
        case UsageMetered(interim=True) as metered:
            return Cut(metered.part or 1, metered.ended_at)
        case UsageMetered() as metered:
            return Metered(metered, metered.end_event_id)
        case UsageDiscrepancyFound(kind="ended-before-cut", event_id=str(end_event_id)):
            return Metered(None, end_event_id)
        case UsageDiscrepancyFound():
            return state
        case _:
            raise AssertionError(f"{type(event).__name__} is not of a usage record")


def _cut(cut: CutUsage, state: Unmetered | Cut) -> list[Event]:
    parts, since = (state.parts, state.until) if isinstance(state, Cut) else (0, cut.started.started_at)
    if instant_ms(cut.at) <= instant_ms(since):
        return []
    whole = Span(
        interval=Interval.between(since, cut.at),
        gpu_count=cut.started.gpu_count,
        start_event_id=cut.start_event_id,
        end_event_id=cut.start_event_id,
        share_milli=cut.started.share_milli or WHOLE_MILLI,
    )
    return [_record(cut.started, whole, parts + 1, (since, cut.at), cut.labels, interim=True)]


def _last(order: MeterUsage, part: int, since: datetime) -> UsageMetered:
    _check(order)
    return _record(order.started, order.span, part, (since, order.released.ended_at), order.labels, interim=False)


def _record(
    started: AllocationStarted,
    span: Span,
    part: int,
    held: tuple[datetime, datetime],
    labels: Mapping[str, str],
    *,
    interim: bool,
) -> UsageMetered:
    quantity_us = gpu_us(Interval.between(*held), span.gpu_count, span.share_milli)
    return UsageMetered(
        usage_id=part_id(started.allocation_id, part),
        tenant_id=started.tenant_id,
        project_id=started.project_id,
        allocation_id=started.allocation_id,
        gpu_model=started.gpu_model,
        gpu_count=span.gpu_count,
        started_at=held[0],
        ended_at=held[1],
        gpu_ms=quantity_us // US_PER_MS,
        share_milli=span.share_milli if span.share_milli < WHOLE_MILLI else None,
        gpu_us=quantity_us if quantity_us % US_PER_MS else None,
        start_event_id=span.start_event_id,
        end_event_id=span.end_event_id,
        part=part if part > 1 else None,
        interim=True if interim else None,
        labels=dict(labels) or None,
    )


def _ended_before(order: MeterUsage, until: datetime) -> UsageDiscrepancyFound:
    """The end, told late, lies before a cut: what was metered beyond it was not used."""
    started, span = order.started, order.span
    beyond = Interval.between(order.released.ended_at, until)
    return UsageDiscrepancyFound(
        discrepancy_id=f"d-{derived_id(started.allocation_id, 'ended-before-cut')}",
        usage_id=part_id(started.allocation_id, 1),
        kind="ended-before-cut",
        tenant_id=started.tenant_id,
        project_id=started.project_id,
        allocation_id=started.allocation_id,
        gpu_model=started.gpu_model,
        found_from=order.released.ended_at,
        found_until=until,
        gpu_ms=gpu_us(beyond, span.gpu_count, span.share_milli) // US_PER_MS,
        event_id=span.end_event_id,
        detail=f"ended at {rfc3339(order.released.ended_at)} and is metered to {rfc3339(until)}",
    )


def _check(order: MeterUsage) -> None:
    started, released = order.started, order.released
    if _held(started) != _held(released):
        raise Invalid(
            f"allocation {started.allocation_id} started with {started.gpu_count} × {started.gpu_model} in "
            f"{started.project_id} and was released with {released.gpu_count} × {released.gpu_model} in "
            f"{released.project_id}: one of the two events is wrong"
        )


def _told(usage: UsageMetered | None) -> str:
    if usage is None:
        return "was before its last cut"
    return f"is {rfc3339(usage.ended_at)}, with {usage.gpu_count} GPUs"


def _held(fact: AllocationStarted | AllocationReleased) -> tuple[str, str, str, str, int, int]:
    own = (fact.allocation_id, fact.tenant_id, fact.project_id, fact.gpu_model)
    return (*own, fact.gpu_count, fact.share_milli or WHOLE_MILLI)


USAGE: Final[Decider[UsageState, UsageCommand]] = Decider(initial=Unmetered(), decide=decide, evolve=evolve)
