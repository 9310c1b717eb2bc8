"""What a request says, made sure of. One law: what makes no sense in any pool is refused before anybody reads it."""

from __future__ import annotations

from typing import Final

from gpuaas.allocations.domain.orders import RequestAllocation
from gpuaas.allocations.domain.shape import WHOLE_MILLI, Form, Shape, forms_of, refuse_absurd
from gpuaas.common.errors import Invalid
from gpuaas.common.events import first_complaint
from gpuaas.contracts.allocations import AllocationRequested, Alternative, Workload
from pydantic import ValidationError

LEASE_S_MAX: Final = 31_622_400
"""366 days."""
PRIORITY_MAX: Final = 1_000
CHOICES_MAX: Final = 8


def requested(ask: RequestAllocation) -> AllocationRequested:
    """The request as an event.

    Raises:
        Invalid: a shape, lease or ceiling that makes no sense.
    """
    for shape in (ask.shape, *ask.alternatives):
        refuse_absurd(shape)
    _refuse_choices(ask)
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
            gpu_models=ask.gpu_models or None,
            replicas_min=ask.replicas_min,
            alternatives=tuple(_alternative(each) for each in ask.alternatives) or None,
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
            cost_max=ask.cost_max,
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


def _refuse_choices(ask: RequestAllocation) -> None:
    if ask.gpu_models and ask.shape.gpu_model is not None:
        raise Invalid("give gpu_model, or gpu_models in order of preference, not both", field="gpu_models")
    if len(set(ask.gpu_models)) != len(ask.gpu_models):
        raise Invalid("gpu_models names a model twice", field="gpu_models")
    if ask.replicas_min is not None and not 1 <= ask.replicas_min <= ask.shape.replicas:
        raise Invalid(
            f"replicas_min must be between 1 and replicas ({ask.shape.replicas}), not {ask.replicas_min}",
            field="replicas_min",
        )
    if len(ask.gpu_models) > CHOICES_MAX or len(ask.alternatives) > CHOICES_MAX:
        raise Invalid(f"at most {CHOICES_MAX} models and {CHOICES_MAX} alternatives", field="alternatives")
    if ask.reservation_id is not None and (ask.alternatives or ask.gpu_models):
        raise Invalid("a reservation keeps one model and shape: leave the alternatives out", field="reservation_id")


def _alternative(shape: Shape) -> Alternative:
    return Alternative(
        gpu_model=shape.gpu_model,
        replicas=shape.replicas,
        gpus_per_replica=shape.gpus_per_replica,
        share_milli=shape.share_milli if shape.is_share else None,
        topology_level=shape.topology_level,
        topology_mode=shape.topology_mode,
    )


def shape_in(said: AllocationRequested | Alternative) -> Shape:
    """The shape that an event tells of."""
    return Shape(
        said.gpu_model,
        said.replicas,
        said.gpus_per_replica,
        said.topology_level,
        said.topology_mode,
        said.share_milli or WHOLE_MILLI,
    )


def forms_in(said: AllocationRequested) -> tuple[Form, ...]:
    """All shapes that will do, the most wanted first."""
    others = [shape_in(each) for each in said.alternatives or ()]
    return forms_of(shape_in(said), said.gpu_models or (), said.replicas_min, others)


def _lease_within(ask: RequestAllocation) -> int:
    """The lease asked for, cut to what the ceiling on GPU-time allows."""
    if ask.gpu_ms_max is None:
        return ask.lease_s
    each_second = max(each.gpu_count * each.share_milli for each in (ask.shape, *ask.alternatives))
    if ask.gpu_ms_max < each_second:
        raise Invalid(
            f"a ceiling of {ask.gpu_ms_max} GPU-ms is used up in less than a second by {ask.shape}; "
            f"the least that makes sense is {each_second}",
            field="gpu_ms_max",
        )
    return min(ask.lease_s, ask.gpu_ms_max // each_second)
