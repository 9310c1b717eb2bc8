"""What may be ordered of an allocation. One law: an order says what somebody wants; whether it happens is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from gpuaas.allocations.domain.shape import Shape
from gpuaas.contracts.allocations import (
    CostCeiling,
    DeferralReason,
    Member,
    NearestShape,
    PendingReason,
    PreemptionCause,
    RejectionReason,
    ReleaseCause,
    ReleaseReason,
    RetryCause,
    RetryPolicy,
)


@dataclass(frozen=True, slots=True)
class RequestAllocation:
    """Ask for a gang of GPUs and say what to run on them.

    Attributes:
        start_at: not before this; None: as soon as possible.
        reservation_id: use what this reservation keeps, and nothing else.
        gpu_ms_max: most GPU-time it may use, in GPU-milliseconds; its lease is cut to that.
        idle_after_s: seconds without use after which it is taken back; 0: never; None: as the pool's rules say.
        gpu_models: models that will do, the most wanted first; only where the shape names none.
        replicas_min: members with which it may start; None: all of them.
        alternatives: shapes that will do as well, the most wanted first.
        cost_max: the ceiling in money that `gpu_ms_max` was made of; None: nobody said.
        retry: when it is asked for again; None: never.
        retry_of, attempt, place_kept: what it goes on for, as which attempt, at the place of which position of the log.
    """

    verb: ClassVar[str] = "requested again"
    allocation_id: str
    tenant_id: str
    project_id: str
    pool_id: str
    shape: Shape
    priority: int
    lease_s: int
    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    preemptible: bool | None = None
    start_at: datetime | None = None
    reservation_id: str | None = None
    gpu_ms_max: int | None = None
    idle_after_s: int | None = None
    gpu_models: tuple[str, ...] = ()
    replicas_min: int | None = None
    alternatives: tuple[Shape, ...] = ()
    cost_max: CostCeiling | None = None
    retry: RetryPolicy | None = None
    retry_of: str | None = None
    attempt: int | None = None
    place_kept: int | None = None


@dataclass(frozen=True, slots=True)
class QueueAllocation:
    """It cannot be placed now."""

    verb: ClassVar[str] = "queued"
    reason: PendingReason
    detail: str


@dataclass(frozen=True, slots=True)
class DeferAllocation:
    """Its time has not come."""

    verb: ClassVar[str] = "deferred"
    reason: DeferralReason
    until: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class RejectAllocation:
    """It can never be placed.

    Attributes:
        nearest: shapes near it that could be.
    """

    verb: ClassVar[str] = "turned down"
    reason: RejectionReason
    detail: str
    nearest: tuple[NearestShape, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaceAllocation:
    """The pool has granted it these GPUs.

    Attributes:
        ends_by: it ends then even if its lease is longer.
    """

    verb: ClassVar[str] = "placed"
    pool_id: str
    gpu_model: str
    members: tuple[Member, ...]
    ends_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class StartAllocation:
    """The runtime saw the workload start."""

    verb: ClassVar[str] = "started"
    started_at: datetime


@dataclass(frozen=True, slots=True)
class ReleaseAllocation:
    """Give the GPUs back, or call the request off. `at` is when this was asked.

    Attributes:
        lost_node_id, lost_at: the machine that is gone, and when it was last known to be there.
        idle_since: it is taken back because it has not used its GPUs since then.
    """

    verb: ClassVar[str] = "released"
    reason: ReleaseReason
    at: datetime
    because: ReleaseCause | None = None
    detail: str | None = None
    lost_node_id: str | None = None
    lost_at: datetime | None = None
    idle_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class PreemptAllocation:
    """End it early, for other work; the pool has ordered so."""

    verb: ClassVar[str] = "preempted"
    cause: PreemptionCause
    lost_gpu_ms: int


@dataclass(frozen=True, slots=True)
class EndAllocation:
    """The runtime saw the workload end, or is sure that there is none.

    Attributes:
        how: `exited` by itself, `stopped` because we said so, `lost` when the runtime no longer knows it.
    """

    verb: ClassVar[str] = "ended"
    ended_at: datetime
    how: Literal["exited", "stopped", "lost"]
    exit_code: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class RetryAllocation:
    """It ended and another one is asked for in its place."""

    verb: ClassVar[str] = "retried"
    retry_allocation_id: str
    cause: RetryCause
    attempt: int
    attempts_max: int
    not_before: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class NotifyAllocation:
    """Tell its tenant that it will be ended at `ends_at`."""

    verb: ClassVar[str] = "given notice"
    ends_at: datetime
    node_id: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class RenewLease:
    """Keep the GPUs until `lease_s` after the start."""

    verb: ClassVar[str] = "renewed"
    lease_s: int


@dataclass(frozen=True, slots=True)
class OrderCommand:
    """Run a further command beside the workload."""

    verb: ClassVar[str] = "given commands"
    command: tuple[str, ...]
    timeout_s: int


AllocationCommand = (
    RequestAllocation
    | QueueAllocation
    | DeferAllocation
    | RejectAllocation
    | PlaceAllocation
    | StartAllocation
    | ReleaseAllocation
    | PreemptAllocation
    | EndAllocation
    | RetryAllocation
    | OrderCommand
    | NotifyAllocation
    | RenewLease
)
