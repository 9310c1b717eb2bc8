"""The allocation: one request for GPUs, from asking to the end. One law: what it says of itself happens once, in order.

    requested → queued → placed → active → releasing → released
        └──────────┴── rejected, or released as cancelled

It never says which GPUs are free: that is the pool's. Times come in commands (`orders.py`); this file knows no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from gpuaas.allocations.domain.asking import LEASE_S_MAX, requested
from gpuaas.allocations.domain.orders import (
    AllocationCommand,
    DeferAllocation,
    EndAllocation,
    NotifyAllocation,
    OrderCommand,
    PlaceAllocation,
    PreemptAllocation,
    QueueAllocation,
    RejectAllocation,
    ReleaseAllocation,
    RenewLease,
    RequestAllocation,
    RetryAllocation,
    StartAllocation,
)
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event, Vocabulary, first_complaint
from gpuaas.contracts.allocations import (
    AllocationCommandOrdered,
    AllocationDeferred,
    AllocationLeaseRenewed,
    AllocationNotified,
    AllocationPlaced,
    AllocationPreempted,
    AllocationQueued,
    AllocationRejected,
    AllocationReleased,
    AllocationReleaseRequested,
    AllocationRequested,
    AllocationRetried,
    AllocationStarted,
    DeferralReason,
    EndCause,
    EndReason,
    Member,
    PendingReason,
    PreemptionCause,
    RejectionReason,
    ReleaseReason,
)
from pydantic import ValidationError

ANY_MODEL: Final = "any"

# -- states --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unknown:
    name: ClassVar[str] = "not known"


@dataclass(frozen=True, slots=True)
class Requested:
    name: ClassVar[str] = "requested"
    request: AllocationRequested


@dataclass(frozen=True, slots=True)
class Queued:
    name: ClassVar[str] = "queued"
    request: AllocationRequested
    reason: PendingReason | DeferralReason
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class TurnedDown:
    name: ClassVar[str] = "rejected"
    request: AllocationRequested
    reason: RejectionReason


@dataclass(frozen=True, slots=True)
class Placed:
    name: ClassVar[str] = "placed"
    request: AllocationRequested
    placement: AllocationPlaced


@dataclass(frozen=True, slots=True)
class Active:
    name: ClassVar[str] = "active"
    request: AllocationRequested
    placement: AllocationPlaced
    started_at: datetime
    lease_s: int


@dataclass(frozen=True, slots=True)
class Releasing:
    name: ClassVar[str] = "releasing"
    request: AllocationRequested
    placement: AllocationPlaced
    started_at: datetime | None
    reason: ReleaseReason
    lease_s: int
    because: EndCause | None = None
    lost_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Released:
    name: ClassVar[str] = "released"
    request: AllocationRequested
    end_reason: EndReason
    retried_as: str | None = None


Allocation = Unknown | Requested | Queued | TurnedDown | Placed | Active | Releasing | Released

# -- decide --------------------------------------------------------------------------------------------------------


def decide(command: AllocationCommand, allocation: Allocation) -> list[Event]:
    """What follows from `command`; nothing, where it has been followed already.

    Raises:
        Rejected: not in this state. Invalid: a shape, lease or time that makes no sense in any.
    """
    match allocation, command:
        case Unknown(), RequestAllocation() as ask:
            return [requested(ask)]
        case (Requested() | Queued()) as asked, QueueAllocation() as waiting:
            return _queued(asked, waiting)
        case (Requested() | Queued()) as asked, DeferAllocation() as later:
            return _deferred(asked, later)
        case (Requested() | Queued()) as asked, RejectAllocation() as refusal:
            return [
                AllocationRejected(
                    allocation_id=asked.request.allocation_id,
                    reason=refusal.reason,
                    detail=refusal.detail,
                    nearest=refusal.nearest or None,
                )
            ]
        case (Requested() | Queued()) as asked, PlaceAllocation() as placement:
            return [_placed(asked.request, placement)]
        case Placed() as held, StartAllocation() as start:
            return [_started(held, start)]
        case Active() as held, RenewLease() as renewal:
            return _renewed(held, renewal)
        case Active() as held, ReleaseAllocation(reason="lease-expired") as release if release.at < lease_end(held):
            return []  # It was renewed meanwhile.
        case Active() as held, NotifyAllocation() as notice:
            return [
                AllocationNotified(
                    allocation_id=held.request.allocation_id,
                    ends_at=notice.ends_at,
                    node_id=notice.node_id,
                    detail=notice.detail[:500],
                )
            ]
        case Active() as held, OrderCommand() as order:
            return [_ordered(held, order)]
        case (Requested() | Queued()) as asked, ReleaseAllocation() as release:
            return [_cancelled(asked.request, release.at)]
        case (Placed() | Active()) as held, ReleaseAllocation() as release:
            return [_release_requested(held.request, release)]
        case Releasing() as held, ReleaseAllocation() as release if _ends_for_good(held, release):
            return [_release_requested(held.request, release)]
        case (Placed() | Active()) as held, PreemptAllocation() as order:
            return [_preempted(held, order)]
        case (Placed() | Active() | Releasing()) as held, EndAllocation() as end:
            return [_released(held, end)]
        case Released(retried_as=None) as over, RetryAllocation() as retry:
            return [_retried(over.request, retry)]
        case _ if _is_repeat(allocation, command):
            return []
        case Unknown(), _:
            raise Rejected("there is no such allocation")
        case _:
            raise Rejected(_refusal(allocation, command))


def _is_repeat(allocation: Allocation, command: AllocationCommand) -> bool:
    """Whether `command` orders what has been said already."""
    match allocation, command:
        case Unknown(), _:
            return False
        case known, RequestAllocation() as ask:
            return known.request == requested(ask)
        case TurnedDown() as down, RejectAllocation() as refusal:
            return down.reason == refusal.reason
        case (Placed() | Active() | Releasing()) as held, PlaceAllocation() as placement:
            return held.placement.members == placement.members
        case Active(), StartAllocation():
            return True
        case Releasing(), ReleaseAllocation() | PreemptAllocation():
            return True
        case Released(), EndAllocation():
            return True
        case Released() as over, RetryAllocation() as retry:
            return over.retried_as == retry.retry_allocation_id
        case _:
            return False


def _refusal(allocation: Allocation, command: AllocationCommand) -> str:
    assert not isinstance(allocation, Unknown)
    name = f"allocation {allocation.request.allocation_id}"
    if isinstance(allocation, Released):
        goes_on = f"; it goes on as {allocation.retried_as}" if allocation.retried_as else ""
        return f"{name} has ended ({allocation.end_reason}): it cannot be {command.verb}{goes_on}"
    return f"{name} is {allocation.name}: it cannot be {command.verb}"


def _queued(asked: Requested | Queued, waiting: QueueAllocation) -> list[Event]:
    if isinstance(asked, Queued) and asked.reason == waiting.reason:
        return []
    name = asked.request.allocation_id
    return [AllocationQueued(allocation_id=name, pending_reason=waiting.reason, detail=waiting.detail)]


def _deferred(asked: Requested | Queued, later: DeferAllocation) -> list[Event]:
    if isinstance(asked, Queued) and (asked.reason, asked.until) == (later.reason, later.until):
        return []
    name = asked.request.allocation_id
    return [AllocationDeferred(allocation_id=name, reason=later.reason, until=later.until, detail=later.detail)]


def _placed(request: AllocationRequested, placement: PlaceAllocation) -> AllocationPlaced:
    return AllocationPlaced(
        allocation_id=request.allocation_id,
        pool_id=placement.pool_id,
        gpu_model=placement.gpu_model,
        members=placement.members,
        ends_by=placement.ends_by,
    )


def _started(held: Placed, start: StartAllocation) -> AllocationStarted:
    return AllocationStarted(
        allocation_id=held.request.allocation_id,
        tenant_id=held.request.tenant_id,
        project_id=held.request.project_id,
        pool_id=held.placement.pool_id,
        gpu_model=held.placement.gpu_model,
        gpu_count=gpu_count(held.placement.members),
        share_milli=held.placement.members[0].share_milli,
        started_at=start.started_at,
        members=held.placement.members,
    )


def _ordered(held: Active, order: OrderCommand) -> AllocationCommandOrdered:
    try:
        return AllocationCommandOrdered(
            allocation_id=held.request.allocation_id, command=order.command, timeout_s=order.timeout_s
        )
    except ValidationError as refused:
        raise Invalid(first_complaint(refused)) from refused


def _renewed(held: Active, renewal: RenewLease) -> list[Event]:
    if not 1 <= renewal.lease_s <= LEASE_S_MAX:
        raise Invalid(f"lease_s must be between 1 and {LEASE_S_MAX}, not {renewal.lease_s}", field="lease_s")
    if renewal.lease_s < held.lease_s:
        raise Rejected(f"the lease is {held.lease_s} s already; to have it shorter, release the allocation then")
    if renewal.lease_s == held.lease_s:
        return []
    ceiling, shape_ms = (
        held.request.gpu_ms_max,
        gpu_count(held.placement.members) * (held.placement.members[0].share_milli or 1_000),
    )
    if ceiling is not None and renewal.lease_s * shape_ms > ceiling:
        raise Rejected(f"its ceiling of {ceiling} GPU-ms allows {ceiling // shape_ms} s at most; it cannot be raised")
    if (last := held.placement.ends_by) is not None and held.started_at + timedelta(seconds=renewal.lease_s) > last:
        raise Rejected(f"it ends with its reservation {held.request.reservation_id} at {last}; reserve for longer")
    return [AllocationLeaseRenewed(allocation_id=held.request.allocation_id, lease_s=renewal.lease_s)]


def _release_requested(request: AllocationRequested, release: ReleaseAllocation) -> AllocationReleaseRequested:
    return AllocationReleaseRequested(
        allocation_id=request.allocation_id,
        reason=release.reason,
        because=release.because,
        idle_since=release.idle_since,
        lost_node_id=release.lost_node_id,
        lost_at=release.lost_at,
        detail=release.detail,
    )


def _ends_for_good(held: Releasing, release: ReleaseAllocation) -> bool:
    """Whether somebody calls off what would be asked for again when it has ended: his word counts."""
    comes_back = held.reason == "runtime-lost" or held.because in ("preempted", "quota-reclaimed")
    return held.request.retry is not None and comes_back and release.reason in ("tenant-request", "operator")


def _retried(request: AllocationRequested, retry: RetryAllocation) -> AllocationRetried:
    return AllocationRetried(
        allocation_id=request.allocation_id,
        retry_allocation_id=retry.retry_allocation_id,
        cause=retry.cause,
        attempt=retry.attempt,
        attempts_max=retry.attempts_max,
        not_before=retry.not_before,
        detail=retry.detail,
    )


def _preempted(held: Placed | Active, order: PreemptAllocation) -> AllocationPreempted:
    return AllocationPreempted(
        allocation_id=held.request.allocation_id,
        cause=order.cause,
        lost_gpu_ms=order.lost_gpu_ms,
        detail=_PREEMPTED[order.cause],
    )


def _cancelled(request: AllocationRequested, at: datetime) -> AllocationReleased:
    return AllocationReleased(
        allocation_id=request.allocation_id,
        tenant_id=request.tenant_id,
        project_id=request.project_id,
        pool_id=request.pool_id,
        gpu_model=request.gpu_model or ANY_MODEL,
        gpu_count=0,
        ended_at=at,
        end_reason="cancelled",
    )


def _released(held: Placed | Active | Releasing, end: EndAllocation) -> AllocationReleased:
    started_at = None if isinstance(held, Placed) else held.started_at
    if started_at is not None and end.ended_at < started_at:
        raise Invalid(f"it cannot have ended at {end.ended_at}, before it started at {started_at}")
    end_reason = _end_reason(held, end)
    because = held.because if isinstance(held, Releasing) and end_reason == held.reason else None
    if because == "node-lost" and end.how != "exited":
        end = replace(end, exit_code=None)  # It was not seen: nobody was there to see it.
    return AllocationReleased(
        allocation_id=held.request.allocation_id,
        tenant_id=held.request.tenant_id,
        project_id=held.request.project_id,
        pool_id=held.placement.pool_id,
        gpu_model=held.placement.gpu_model,
        gpu_count=gpu_count(held.placement.members),
        share_milli=held.placement.members[0].share_milli,
        started_at=started_at,
        ended_at=end.ended_at,
        end_reason=end_reason,
        because=because,
        detail=end.detail,
        exit_code=end.exit_code,
    )


def _end_reason(held: Placed | Active | Releasing, end: EndAllocation) -> EndReason:
    """A workload that ended by itself did so, whatever had been asked of it meanwhile."""
    if end.how == "exited":
        return "completed" if end.exit_code == 0 else "failed"
    if isinstance(held, Releasing):
        return held.reason
    if end.how == "lost":
        return "runtime-lost"
    raise Rejected(f"nobody asked allocation {held.request.allocation_id} to stop")


_PREEMPTED: Final[Mapping[PreemptionCause, str]] = {
    "quota-reclaimed": "its GPUs were borrowed beyond the quota and are taken back by who is entitled to them",
    "preempted": "it said that it may be ended early, and work of higher priority needs its GPUs",
}


def lease_end(allocation: Active | Releasing) -> datetime:
    """When its lease runs out; the end of time if it never started."""
    if allocation.started_at is None:
        return datetime.max.replace(tzinfo=UTC)
    ends = allocation.started_at + timedelta(seconds=allocation.lease_s)
    return min(ends, allocation.placement.ends_by or ends)


def gpu_count(members: tuple[Member, ...]) -> int:
    """GPUs over all members of a gang."""
    return sum(len(member.device_ids) for member in members)


# -- evolve --------------------------------------------------------------------------------------------------------


def evolve(allocation: Allocation, event: Event) -> Allocation:
    """The allocation after `event`."""
    match allocation, event:
        case Unknown(), AllocationRequested() as request:
            return Requested(request)
        case (Requested() | Queued()) as asked, AllocationQueued() as waiting:
            return Queued(asked.request, waiting.pending_reason)
        case (Requested() | Queued()) as asked, AllocationDeferred() as later:
            return Queued(asked.request, later.reason, later.until)
        case (Requested() | Queued()) as asked, AllocationRejected() as refusal:
            return TurnedDown(asked.request, refusal.reason)
        case (Requested() | Queued()) as asked, AllocationPlaced() as placement:
            return Placed(asked.request, placement)
        case Placed() as held, AllocationStarted() as start:
            return Active(held.request, held.placement, start.started_at, held.request.lease_s)
        case Active() as held, AllocationLeaseRenewed() as renewal:
            return replace(held, lease_s=renewal.lease_s)
        case Active() as held, AllocationCommandOrdered() | AllocationNotified():
            return held
        case (Placed() | Active() | Releasing()) as held, AllocationReleaseRequested() as release:
            return _releasing(held, release)
        case Placed() as held, AllocationPreempted() as order:
            return Releasing(held.request, held.placement, None, "operator", held.request.lease_s, order.cause)
        case Active() as held, AllocationPreempted() as order:
            return Releasing(held.request, held.placement, held.started_at, "operator", held.lease_s, order.cause)
        case (Requested() | Queued() | Placed() | Active() | Releasing()) as held, AllocationReleased() as end:
            return Released(held.request, end.end_reason)
        case Released() as over, AllocationRetried() as retry:
            return replace(over, retried_as=retry.retry_allocation_id)
        case _:
            raise AssertionError(f"{event.TYPE} cannot follow an allocation that is {allocation.name}")


def _releasing(held: Placed | Active | Releasing, release: AllocationReleaseRequested) -> Releasing:
    started_at, lease_s = (None, held.request.lease_s) if isinstance(held, Placed) else (held.started_at, held.lease_s)
    because: EndCause | None = release.because
    if release.lost_node_id is not None or release.idle_since is not None:
        because = "node-lost" if release.lost_node_id is not None else "idle"
    return Releasing(held.request, held.placement, started_at, release.reason, lease_s, because, release.lost_at)


ALLOCATION: Final[Decider[Allocation, AllocationCommand]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(
    AllocationRequested,
    AllocationQueued,
    AllocationDeferred,
    AllocationRejected,
    AllocationPlaced,
    AllocationStarted,
    AllocationReleaseRequested,
    AllocationReleased,
    AllocationCommandOrdered,
    AllocationNotified,
    AllocationLeaseRenewed,
    AllocationPreempted,
    AllocationRetried,
)
