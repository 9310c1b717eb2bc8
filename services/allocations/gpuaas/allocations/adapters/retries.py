"""What ended and is to be tried again becomes a new request. One law: the end and the new request name each other in
one atomic append, once for each end.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from gpuaas.allocations.domain.allocation import VOCABULARY
from gpuaas.allocations.domain.asking import shape_in
from gpuaas.allocations.domain.orders import AllocationCommand, RequestAllocation, RetryAllocation
from gpuaas.allocations.domain.retrying import Retry, cause_of, retry_of
from gpuaas.allocations.projections.board import SERVICE
from gpuaas.common.commands import Cause, Commands, Entity, Order
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Rejected
from gpuaas.common.ids import derived_id
from gpuaas.common.log import EventLog
from gpuaas.common.projections import decoded
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.allocations import AllocationReleased, AllocationRequested

_log: Final = logging.getLogger(__name__)


class Retries(Reaction):
    """Asks again for what ended by something that its policy names."""

    name = "retries"
    reads = (AllocationReleased,)

    def __init__(self, commands: Commands, log: EventLog, allocation: Entity[Any, AllocationCommand]) -> None:
        self._commands = commands
        self._log = log
        self._allocation = allocation

    async def react(self, fact: Fact) -> None:
        end = fact.event
        assert isinstance(end, AllocationReleased)
        if cause_of(end) is None:
            return
        first, request = _asked(decoded(VOCABULARY, await self._log.history(fact.subject, reaching=fact.position)))
        retry = retry_of(request, end)
        if retry is None:
            return
        successor = f"alloc-{derived_id(fact.envelope.id, 'retry')}"
        cause = replace(Cause.of(fact, SERVICE, "retry"), project_id=request.project_id)
        orders: list[Order[Any, Any]] = [
            Order(self._allocation, fact.tenant_id, end.allocation_id, _word(retry, successor)),
            Order(self._allocation, fact.tenant_id, successor, _again(request, retry, successor, first)),
        ]
        try:
            await self._commands.execute_together(orders, cause)
        except Rejected as refused:
            _log.warning("%s is not tried again: %s", end.allocation_id, refused.detail)


def _asked(history: Sequence[Fact]) -> tuple[int, AllocationRequested]:
    """The request of a history, and where the log has it."""
    return next((fact.position, fact.event) for fact in history if isinstance(fact.event, AllocationRequested))


def _word(retry: Retry, successor: str) -> RetryAllocation:
    return RetryAllocation(successor, retry.cause, retry.attempt, retry.attempts_max, retry.not_before, retry.detail)


def _again(request: AllocationRequested, retry: Retry, successor: str, position: int) -> RequestAllocation:
    """The same request, at the same place of the line."""
    return RequestAllocation(
        allocation_id=successor,
        tenant_id=request.tenant_id,
        project_id=request.project_id,
        pool_id=request.pool_id,
        shape=shape_in(request),
        priority=request.priority,
        preemptible=request.preemptible,
        lease_s=request.lease_s,
        image=request.workload.image,
        command=request.workload.command,
        labels=request.labels,
        start_at=retry.not_before,
        reservation_id=request.reservation_id,
        gpu_ms_max=retry.gpu_ms_max,
        cost_max=request.cost_max,
        idle_after_s=request.idle_after_s,
        gpu_models=request.gpu_models or (),
        replicas_min=request.replicas_min,
        alternatives=tuple(shape_in(each) for each in request.alternatives or ()),
        retry=request.retry,
        retry_of=request.allocation_id,
        attempt=retry.attempt,
        place_kept=request.place_kept or position,
    )
