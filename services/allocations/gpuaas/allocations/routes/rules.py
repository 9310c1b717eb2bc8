"""The door to how a pool's line goes. One law: operators say it, whole; who may see the pool may see it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from gpuaas.allocations.domain.rules import IDLE_GRACE_S, SetRules, rules_of
from gpuaas.allocations.reactions import RULES
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.http import Accepted, Body, Caller, permit
from gpuaas.common.service import Service
from gpuaas.contracts.allocations import Discipline, Preemption
from pydantic import Field

IdleAfter = Annotated[int, Field(ge=0, le=31_622_400, strict=True)]


class QueueRules(Body):
    """How the line goes from now on.

    Attributes:
        discipline: `best-effort` or `strict-fifo`.
        preemption: `off`, `reclaim`, `reclaim-and-priority`.
        min_run_s: nothing is ended early before it has run so many seconds.
        half_life_s: after so many seconds past use counts half among those that borrow; 0: it does not count.
        idle_after_s: an allocation that says nothing of it is taken back after so many seconds without use; 0: never.
        idle_grace_s: seconds between the notice of that and the end.
    """

    discipline: Discipline = "best-effort"
    preemption: Preemption = "reclaim-and-priority"
    min_run_s: int = Field(default=0, ge=0, le=2_592_000, strict=True)
    half_life_s: int = Field(default=0, ge=0, le=31_622_400, strict=True)
    idle_after_s: IdleAfter = 0
    idle_grace_s: int = Field(default=IDLE_GRACE_S, ge=0, le=2_592_000, strict=True)
    reason: str = Field(min_length=1, max_length=500)


def door(service: Service) -> APIRouter:
    """Set and see queue rules."""
    router = APIRouter(tags=["queues"])

    @router.post("/v1/pools/{pool_id}/queue-rules", status_code=202, summary="How a pool's waiting line goes.")
    async def set_queue_rules(
        pool_id: str, ask: QueueRules, caller: Annotated[Caller, Depends(permit("allocations.queue-rules.set"))]
    ) -> Accepted:
        order = SetRules(
            pool_id,
            ask.discipline,
            ask.preemption,
            ask.min_run_s,
            ask.half_life_s,
            ask.reason,
            ask.idle_after_s or None,
            None if ask.idle_grace_s == IDLE_GRACE_S else ask.idle_grace_s,
        )
        outcome = await service.commands.execute(RULES, PLATFORM, pool_id, order, caller.cause("queue-rules"))
        return caller.accepted(outcome, pool_id)

    @router.get(
        "/v1/pools/{pool_id}/queue-rules",
        dependencies=[Depends(permit("allocations.pool.read"))],
        summary="The rules in force; what every pool begins with where nobody has set any.",
    )
    async def queue_rules(pool_id: str) -> dict[str, Any]:
        said, _ = await service.commands.state(RULES, PLATFORM, pool_id)
        rules = rules_of(said)
        return {
            "pool_id": pool_id,
            "discipline": rules.discipline,
            "preemption": rules.preemption,
            "min_run_s": int(rules.min_run.total_seconds()),
            "half_life_s": int(rules.half_life.total_seconds()),
            "idle_after_s": int(rules.idle_after.total_seconds()),
            "idle_grace_s": int(rules.idle_grace.total_seconds()),
            "reason": said.reason if said else None,
        }

    return router
