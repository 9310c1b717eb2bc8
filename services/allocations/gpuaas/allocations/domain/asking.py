"""What a request says, made sure of. One law: what makes no sense in any pool is refused before anybody reads it."""

from __future__ import annotations

from typing import Final

from gpuaas.allocations.domain.orders import RequestAllocation
from gpuaas.allocations.domain.shape import refuse_absurd
from gpuaas.common.errors import Invalid
from gpuaas.common.events import first_complaint
from gpuaas.contracts.allocations import AllocationRequested, Workload
from pydantic import ValidationError

LEASE_S_MAX: Final = 31_622_400
"""366 days."""
PRIORITY_MAX: Final = 1_000


def requested(ask: RequestAllocation) -> AllocationRequested:
    """The request as an event.

    Raises:
        Invalid: a shape, lease or ceiling that makes no sense.
    """
    refuse_absurd(ask.shape)
    for name, value, lowest, highest in (
        ("lease_s", ask.lease_s, 1, LEASE_S_MAX),
        ("priority", ask.priority, 0, PRIORITY_MAX),
    ):
        if not lowest <= value <= highest:
            raise Invalid(f"{name} must be between {lowest} and {highest}, not {value}", field=name)
    try:
        return AllocationRequested(
            allocation_id=ask.allocation_id,
            tenant_id=ask.tenant_id,
            project_id=ask.project_id,
            pool_id=ask.pool_id,
            gpu_model=ask.shape.gpu_model,
            replicas=ask.shape.replicas,
            share_milli=ask.shape.share_milli if ask.shape.is_share else None,
            gpus_per_replica=ask.shape.gpus_per_replica,
            topology_level=ask.shape.topology_level,
            topology_mode=ask.shape.topology_mode,
            priority=ask.priority,
            preemptible=ask.preemptible,
            lease_s=_lease_within(ask),
            start_at=ask.start_at,
            reservation_id=ask.reservation_id,
            gpu_ms_max=ask.gpu_ms_max,
            idle_after_s=ask.idle_after_s,
            retry=ask.retry,
            retry_of=ask.retry_of,
            attempt=ask.attempt,
            place_kept=ask.place_kept,
            workload=Workload(image=ask.image, command=ask.command),
            labels=ask.labels,
        )
    except ValidationError as refused:
        raise Invalid(first_complaint(refused)) from refused


def _lease_within(ask: RequestAllocation) -> int:
    """The lease asked for, cut to what the ceiling on GPU-time allows."""
    if ask.gpu_ms_max is None:
        return ask.lease_s
    each_second = ask.shape.gpu_count * ask.shape.share_milli
    if ask.gpu_ms_max < each_second:
        raise Invalid(
            f"a ceiling of {ask.gpu_ms_max} GPU-ms is used up in less than a second by {ask.shape}; "
            f"the least that makes sense is {each_second}",
            field="gpu_ms_max",
        )
    return min(ask.lease_s, ask.gpu_ms_max // each_second)
