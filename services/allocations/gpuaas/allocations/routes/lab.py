"""The door to the policy lab. One law: a stretch of the log is lived through again in thought; nothing is written.

Both ways are lived through alike, the one in force and the other, so that they can be compared; what really happened
stands beside them. Work that never started or has not ended is taken to run for its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from gpuaas.allocations.adapters.entitlements import Entitlements
from gpuaas.allocations.domain.capacity import EMPTY_POOL, Pool
from gpuaas.allocations.domain.lab import Job, Lived, Standing, Way, live_through
from gpuaas.allocations.domain.pool import POOL as POOL_DECIDER
from gpuaas.allocations.domain.pool import VOCABULARY
from gpuaas.allocations.domain.preemption import Running
from gpuaas.allocations.domain.queue import Waiting
from gpuaas.allocations.domain.rules import Rules
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.allocations.projections.allocations import Allocations, forms_of_row, shape_of
from gpuaas.allocations.reactions import POOL
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import Invalid, NotFound
from gpuaas.common.http import Body, Caller, fresh, permit
from gpuaas.common.projections import Record, decoded
from gpuaas.common.service import Service
from gpuaas.contracts.allocations import (
    ClaimReturned,
    Discipline,
    PoolCapacityAdded,
    PoolCapacityWithdrawn,
    Preemption,
)
from pydantic import Field

JOBS_MAX: Final = 5_000
"""Requests in one stretch; each costs about a millisecond for each way."""
_GPU_HOUR_MS: Final = 3_600_000
Position = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class OtherWay(Body):
    """A stretch of the log and what else might have decided in it; what is absent stays as it is in force.

    Attributes:
        after, until: positions of the log; requests made after the first, up to the second.
        quotas: `none`: the line alone decides.
    """

    after: Position = 0
    until: Position | None = None
    policy: Policy | None = None
    discipline: Discipline | None = None
    preemption: Preemption | None = None
    min_run_s: int | None = Field(default=None, ge=0, le=2_592_000, strict=True)
    half_life_s: int | None = Field(default=None, ge=0, le=31_622_400, strict=True)
    quotas: Literal["in-force", "none"] = "in-force"


def door(service: Service, allocations: Allocations, entitlements: Entitlements, policy: Policy) -> APIRouter:
    """Live through a stretch again."""
    router = APIRouter(tags=["answers"])

    @router.post(
        "/v1/pools/{pool_id}/policy-labs",
        dependencies=[Depends(fresh(allocations))],
        summary="A stretch of the log under other rules: waits, fragments and preemptions beside those in force.",
    )
    async def policy_lab(
        pool_id: str, ask: OtherWay, caller: Annotated[Caller, Depends(permit("allocations.pool.read"))]
    ) -> dict[str, Any]:
        until = await service.log.last_position() if ask.until is None else ask.until
        rows = await allocations.asked_between(service.database, pool_id, ask.after, until, JOBS_MAX + 1)
        if len(rows) > JOBS_MAX:
            raise Invalid(
                f"more than {JOBS_MAX:,} requests lie in this stretch; it would fit up to position "
                f"{rows[JOBS_MAX - 1]['requested_position']}",
                field="until",
            )
        facts = decoded(VOCABULARY, await service.log.history(POOL.subject(PLATFORM, pool_id)))
        if not facts:
            raise NotFound(f"there is no pool {pool_id}; see /v1/pools")
        known = await allocations.of_claims(service.database, _pool_at(facts, ask.after).book.claims)
        now = Way(policy, entitlements.rules(pool_id), dict(entitlements.in_pool(pool_id)))
        ways = {"in_force": now, "other": _other(ask, now)}
        # In a thread: it takes seconds, and each way folds a pool of its own.
        told = {
            name: await asyncio.to_thread(_lived, pool_id, facts, rows, known, way, ask.after, until)
            for name, way in ways.items()
        }
        really = Lived(waits={row["allocation_id"]: row["started_at"] - row["requested_at"] for row in _started(rows)})
        return {
            "pool_id": pool_id,
            "after": ask.after,
            "until": until,
            "requests": len(rows),
            "really": _waits(really),
            **{name: _shown(found) for name, found in told.items()},
        }

    return router


def _other(ask: OtherWay, now: Way) -> Way:
    rules = Rules(
        ask.discipline or now.rules.discipline,
        ask.preemption or now.rules.preemption,
        now.rules.min_run if ask.min_run_s is None else timedelta(seconds=ask.min_run_s),
        now.rules.half_life if ask.half_life_s is None else timedelta(seconds=ask.half_life_s),
    )
    return Way(ask.policy or now.policy, rules, now.quotas if ask.quotas == "in-force" else {})


def _pool_at(facts: Sequence[Fact], position: int) -> Pool:
    return POOL_DECIDER.fold([fact.event for fact in facts if fact.position <= position], EMPTY_POOL)


def _lived(
    pool_id: str,
    facts: Sequence[Fact],
    rows: Sequence[Record],
    known: Mapping[str, Record],
    way: Way,
    after: int,
    until: int,
) -> Lived:
    pool = _pool_at(facts, after)
    later = [fact for fact in facts if after < fact.position <= until]
    back = {fact.event.allocation_id: fact.time for fact in facts if isinstance(fact.event, ClaimReturned)}
    standing = {name: _standing(known.get(name), back.get(name), facts[0].time) for name in pool.book.claims}
    changes = [
        (fact.time, fact.event) for fact in later if isinstance(fact.event, PoolCapacityAdded | PoolCapacityWithdrawn)
    ]
    return live_through(pool_id, pool, [_job(row) for row in rows], way, standing=standing, changes=changes)


def _standing(row: Record | None, back: datetime | None, first: datetime) -> Standing:
    if row is None:
        return Standing(Running(0, None, first), back)
    return Standing(Running(row["priority"], row["preemptible"], row["started_at"] or row["requested_at"]), back)


def _job(row: Record) -> Job:
    waiting = Waiting(
        allocation_id=row["allocation_id"],
        tenant_id=row["tenant_id"],
        project_id=row["project_id"],
        shape=shape_of(row),
        priority=row["priority"],
        arrival=row["requested_position"],
        preemptible=row["preemptible"],
        forms=forms_of_row(row),
    )
    started, ended = row["started_at"], row["ended_at"]
    runs = ended - started if started and ended else timedelta(seconds=row["renewed_lease_s"] or row["lease_s"])
    return Job(waiting, row["requested_at"], max(runs, timedelta(microseconds=1)))


def _started(rows: Sequence[Record]) -> list[Record]:
    return [row for row in rows if row["started_at"]]


def _waits(found: Lived) -> dict[str, Any]:
    return {
        "served": len(found.waits),
        "mean_wait_s": round(found.mean_wait_s, 3),
        "wait_s_p50": round(found.wait_s(0.5), 3),
        "wait_s_p95": round(found.wait_s(0.95), 3),
    }


def _shown(found: Lived) -> dict[str, Any]:
    return _waits(found) | {
        "never_satisfiable": len(found.refused),
        "left": found.left,
        "preemptions": found.preemptions,
        "lost_gpu_hours": round(found.lost_gpu_ms / _GPU_HOUR_MS, 3),
        "borrowed_gpu_hours": round(found.borrowed_gpu_ms / _GPU_HOUR_MS, 3),
        "fragments_percent": round(100 * found.fragments, 3),
    }
