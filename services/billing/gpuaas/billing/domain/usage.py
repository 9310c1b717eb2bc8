"""What one allocation used. One law: metered once; the same facts again change nothing, other facts are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from gpuaas.billing.domain.metering import WHOLE_MILLI, Span
from gpuaas.billing.domain.rating import US_PER_MS
from gpuaas.common.clock import rfc3339
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.allocations import AllocationReleased, AllocationStarted
from gpuaas.contracts.billing import UsageMetered


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """Order the record of a closed holding.

    Attributes:
        started, released: the facts of the allocation that the meter's `span` was read from.
    """

    started: AllocationStarted
    released: AllocationReleased
    span: Span


@dataclass(frozen=True, slots=True)
class Unmetered:
    """Nothing is known to have been used."""


@dataclass(frozen=True, slots=True)
class Metered:
    """The record stands."""

    usage: UsageMetered


UsageState: TypeAlias = Unmetered | Metered


def decide(command: MeterUsage, state: UsageState) -> list[Event]:
    """The record, nothing if it stands already, or a refusal if it stands otherwise."""
    metered = _usage(command)
    match state:
        case Unmetered():
            return [metered]
        case Metered(usage=usage) if usage == metered:
            return []
        case Metered(usage=usage):
            raise Rejected(
                f"allocation {usage.allocation_id} is metered from {rfc3339(usage.started_at)} to "
                f"{rfc3339(usage.ended_at)} with {usage.gpu_count} GPUs; a record never changes"
            )


def evolve(state: UsageState, event: Event) -> UsageState:
    """The state after the record."""
    match event:
        case UsageMetered() as metered:
            return Metered(metered)
        case _:
            raise AssertionError(f"{type(event).__name__} is not of a usage record")


def _usage(command: MeterUsage) -> UsageMetered:
    started, released, span = command.started, command.released, command.span
    if _held(started) != _held(released):
        raise Invalid(
            f"allocation {started.allocation_id} started with {started.gpu_count} × {started.gpu_model} in "
            f"{started.project_id} and was released with {released.gpu_count} × {released.gpu_model} in "
            f"{released.project_id}: one of the two events is wrong"
        )
    return UsageMetered(
        usage_id=started.allocation_id,
        tenant_id=started.tenant_id,
        project_id=started.project_id,
        allocation_id=started.allocation_id,
        gpu_model=started.gpu_model,
        gpu_count=span.gpu_count,
        started_at=started.started_at,
        ended_at=released.ended_at,
        gpu_ms=span.gpu_us // US_PER_MS,
        share_milli=span.share_milli if span.share_milli < WHOLE_MILLI else None,
        gpu_us=span.gpu_us if span.gpu_us % US_PER_MS else None,
        start_event_id=span.start_event_id,
        end_event_id=span.end_event_id,
    )


def _held(fact: AllocationStarted | AllocationReleased) -> tuple[str, str, str, str, int, int]:
    own = (fact.allocation_id, fact.tenant_id, fact.project_id, fact.gpu_model)
    return (*own, fact.gpu_count, fact.share_milli or WHOLE_MILLI)


USAGE: Final[Decider[UsageState, MeterUsage]] = Decider(initial=Unmetered(), decide=decide, evolve=evolve)
