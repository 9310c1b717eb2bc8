"""The door to answers: who waits where in the line, why not there, what if. One law: a question changes nothing, and a
tenant learns of the others only how many stand before it.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from gpuaas.allocations.adapters.quoter import Forecast, Forecaster
from gpuaas.allocations.domain.answers import Supposed, Wanted, check, suppose, why_not
from gpuaas.allocations.domain.asking import CHOICES_MAX, LEASE_S_MAX, PRIORITY_MAX
from gpuaas.allocations.domain.capacity import EMPTY_POOL, Pool
from gpuaas.allocations.domain.forecast import METHOD
from gpuaas.allocations.domain.outlook import Outlook
from gpuaas.allocations.domain.pool import POOL as POOL_DECIDER
from gpuaas.allocations.domain.pool import VOCABULARY, AddCapacity
from gpuaas.allocations.domain.queue import Waiting
from gpuaas.allocations.domain.shape import WHOLE_MILLI, Form, Shape, forms_of
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.allocations.projections.allocations import Allocations, shape_of
from gpuaas.allocations.projections.start_quotes import StartQuotes
from gpuaas.allocations.reactions import POOL
from gpuaas.allocations.routes.asking import AlternativeShape
from gpuaas.common.access import ABSENT
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Body, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.projections import Record, decoded
from gpuaas.common.service import Service
from gpuaas.contracts.allocations import Label, Topology, TopologyLevel, TopologyMode
from pydantic import AwareDatetime, BaseModel, Field

MACHINES_MAX: Final = 1_000
LEASE_DEFAULT_S: Final = 86_400
GPU_HOUR_MS: Final = 3_600_000
Count = Annotated[int, Field(strict=True)]
AsOf = Annotated[
    int | None, Query(ge=1, lt=2**63, description="Answer from the pool as it was at this position of the log.")
]
WaitedAt = Annotated[
    int | None,
    Query(ge=1, lt=2**63, description="Who waited at this position of the log, without reasons and quotes: see `why`."),
]
_NOBODY: Final = "who-asks"
_HOME: Final = "/v1/tenants/{tenant_id}/projects/{project_id}"


LeaseOfThought = Annotated[int, Field(ge=1, le=LEASE_S_MAX, strict=True)]


class SupposedShape(Body):
    """A gang as `allocations` takes it, without what it would run."""

    gpu_model: Label | None = None
    replicas: Count = 1
    gpus_per_replica: Count
    share_milli: Count = WHOLE_MILLI
    topology_level: TopologyLevel | None = None
    topology_mode: TopologyMode | None = None

    def shape(self) -> Shape:
        return Shape(
            self.gpu_model,
            self.replicas,
            self.gpus_per_replica,
            self.topology_level,
            self.topology_mode,
            self.share_milli,
        )


class CheckRequest(SupposedShape):
    """Would this fit, for as long as its lease, by the calendar as it is, and when would it start?

    Attributes:
        gpu_models, replicas_min, alternatives, priority, preemptible, start_at, reservation_id: as in a request.
    """

    gpu_models: Annotated[tuple[Label, ...], Field(max_length=CHOICES_MAX)] = ()
    replicas_min: Annotated[int, Field(ge=1, strict=True)] | None = None
    alternatives: Annotated[tuple[AlternativeShape, ...], Field(max_length=CHOICES_MAX)] = ()
    pool_id: Label
    priority: Annotated[int, Field(ge=0, le=PRIORITY_MAX, strict=True)] = 0
    preemptible: bool | None = None
    lease_s: Count = LEASE_DEFAULT_S
    start_at: AwareDatetime | None = None
    reservation_id: Label | None = None

    def forms(self) -> tuple[Form, ...]:
        """All shapes that will do, the most wanted first."""
        others = [each.shape() for each in self.alternatives]
        return forms_of(self.shape(), self.gpu_models, self.replicas_min, others)


class MoreMachines(Body):
    """Equal machines that are not there, all in one new rack."""

    count: int = Field(ge=1, le=MACHINES_MAX, strict=True)
    gpu_model: Label
    gpus: int = Field(ge=1, le=64, strict=True)


class Suppose(SupposedShape):
    """A request, another policy, more machines.

    Attributes:
        tenant_id: whose it would be, where quotas matter; absent: somebody's who is entitled to nothing.
        lease_s, priority: as in a request; they matter for when it would start.
    """

    tenant_id: Label | None = None
    lease_s: LeaseOfThought = LEASE_DEFAULT_S
    priority: Annotated[int, Field(ge=0, le=PRIORITY_MAX, strict=True)] = 0
    policy: Policy | None = None
    more_machines: MoreMachines | None = None


class QuotedStart(BaseModel):
    """When a request is expected to start: as likely as not by the first, in nine cases of ten by the second.

    Attributes:
        p50_at, p90_at: None: not foreseen.
        observed_runs: ended runs from which it is known how long work really runs.
    """

    quoted_at: datetime
    p50_at: datetime | None
    p90_at: datetime | None
    requests_ahead: int
    observed_runs: int
    method: str


class Check(BaseModel):
    """What a request would meet now, what it can use at most, and when it would start, behind all who wait already.

    Attributes:
        nearest: of what never fits: shapes near it that could, each with what is different.
        quoted_start: None: it never would, or so many stand before it that nobody can say.
    """

    verdict: str
    reason: str | None
    detail: str | None
    gpu_hours_max: Decimal
    nearest: list[dict[str, Any]]
    quoted_start: QuotedStart | None


def tenants_door(
    service: Service, allocations: Allocations, quotes: StartQuotes, forecaster: Forecaster, policy: Policy
) -> APIRouter:
    """Answers for a tenant about its own."""
    router = APIRouter(tags=["answers"])
    seen, reads = Depends(fresh(allocations)), Depends(permit("allocations.allocation.read"))

    @router.get(_HOME + "/queue", dependencies=[seen, reads], summary="The project's waiting requests with positions.")
    async def project_queue(
        tenant_id: str, project_id: str, page: Annotated[Paging, Depends(paging)], as_of: WaitedAt = None
    ) -> Page:
        home, after = (tenant_id, project_id), page.key(int) or 0
        rows = await allocations.waiting(service.database, home, None, after, page.limit + 1, as_of)
        return page.page(await _with_quotes(service, quotes, rows, as_of), ["requested_position"])

    @router.post(_HOME + "/allocation-checks", summary="Would this fit? Nothing is asked for.")
    async def check_request(
        tenant_id: str,
        project_id: str,
        ask: CheckRequest,
        caller: Annotated[Caller, Depends(permit("allocations.allocation.read"))],
    ) -> Check:
        pool = await pool_as_of(service, ask.pool_id, None)
        forms = ask.forms()
        wanted = Wanted(tenant_id, project_id, forms[0].shape, ask.lease_s, ask.start_at, ask.reservation_id, forms)
        found = check(pool, wanted, Outlook(service.clock.now()), policy)
        most = max(form.shape.gpu_count * form.shape.share_milli for form in forms)
        hours = Decimal(ask.lease_s * most) / GPU_HOUR_MS
        return Check(
            verdict=found.verdict,
            reason=found.reason,
            detail=found.detail,
            gpu_hours_max=hours.quantize(Decimal("0.000001")),
            nearest=[each.model_dump(mode="json") for each in found.nearest],
            quoted_start=None if found.verdict == "never" else await _quoted(forecaster, ask, wanted),
        )

    return router


def operators_door(
    service: Service, allocations: Allocations, quotes: StartQuotes, forecaster: Forecaster, policy: Policy
) -> APIRouter:
    """Answers for operators about pools."""
    router = APIRouter(tags=["answers"])
    seen, reads_pools = Depends(fresh(allocations)), Depends(permit("allocations.pool.read"))

    @router.get("/v1/pools/{pool_id}/queue", dependencies=[seen, reads_pools], summary="A pool's waiting line.")
    async def pool_queue(pool_id: str, page: Annotated[Paging, Depends(paging)], as_of: WaitedAt = None) -> Page:
        rows = await allocations.waiting(service.database, None, pool_id, page.key(int) or 0, page.limit + 1, as_of)
        return page.page(await _with_quotes(service, quotes, rows, as_of), ["queue_position"])

    @router.post("/v1/pools/{pool_id}/suppositions", dependencies=[reads_pools], summary="What if?")
    async def what_if(pool_id: str, ask: Suppose, as_of: AsOf = None) -> dict[str, Any]:
        pool = await pool_as_of(service, pool_id, as_of)
        found = _supposed(pool, ask, ask.policy or policy, pool_id)
        placed, start = found.placement, None
        if as_of is None and found.verdict != "never":
            start = await _quoted_in_thought(forecaster, pool_id, ask)
        return {
            "pool_id": pool_id,
            "pool_version": pool.events,
            "verdict": found.verdict,
            "reason": found.reason,
            "detail": found.detail,
            "nearest": [each.model_dump(mode="json") for each in found.nearest],
            "quoted_start": start.model_dump(mode="json") if start else None,
            "gpu_model": placed.gpu_model if placed else None,
            "members": [member.model_dump(mode="json") for member in placed.members] if placed else [],
            "receipt": placed.receipt.model_dump(mode="json") if placed else None,
        }

    @router.get(
        "/v1/allocations/{allocation_id}/why-not/{node_id}",
        dependencies=[seen, reads_pools],
        summary="Why an allocation is not on a machine.",
    )
    async def why_not_there(
        allocation_id: Annotated[str, Path(min_length=1, max_length=63)],
        node_id: Annotated[str, Path(min_length=1, max_length=63)],
        as_of: AsOf = None,
    ) -> dict[str, Any]:
        row = await allocations.known(service.database, allocation_id)
        if row is None:
            raise NotFound(ABSENT)
        pool = await pool_as_of(service, row["pool_id"], as_of)
        claim = pool.book.claims.get(allocation_id)
        there = claim is not None and any(pool.book.nodes[n].node_id == node_id for n, _ in claim.holdings)
        shape = shape_of(row)
        return {
            "allocation_id": allocation_id,
            "node_id": node_id,
            "pool_version": pool.events,
            "why_not": why_not(pool, shape, node_id, there, policy),
        }

    return router


async def _quoted(forecaster: Forecaster, ask: CheckRequest, wanted: Wanted) -> QuotedStart | None:
    """When who asks would start, behind all who wait already with as much priority."""
    waiting = Waiting(
        allocation_id=_NOBODY,
        tenant_id=wanted.tenant_id,
        project_id=wanted.project_id,
        shape=wanted.shape,
        priority=ask.priority,
        arrival=0,
        preemptible=ask.preemptible,
        lease_s=wanted.lease_s,
        start_at=wanted.start_at,
        reservation_id=wanted.reservation_id,
        forms=wanted.forms,
    )
    return _told(await forecaster.of_line(ask.pool_id, waiting))


async def _quoted_in_thought(forecaster: Forecaster, pool_id: str, ask: Suppose) -> QuotedStart | None:
    """When it would start behind all who wait, with the machines and by the policy that are supposed."""
    nobody = ask.tenant_id or _NOBODY
    waiting = Waiting(_NOBODY, nobody, _NOBODY, ask.shape(), ask.priority, 0, lease_s=ask.lease_s)
    return _told(await forecaster.of_line(pool_id, waiting, _machines(pool_id, ask.more_machines), ask.policy))


def _told(found: Forecast) -> QuotedStart | None:
    quote = found.quotes.get(_NOBODY)
    if quote is None:
        return None
    return QuotedStart(
        quoted_at=found.at,
        p50_at=quote.p50_at,
        p90_at=quote.p90_at,
        requests_ahead=quote.requests_ahead,
        observed_runs=found.observed_runs,
        method=METHOD,
    )


async def _with_quotes(
    service: Service, quotes: StartQuotes, rows: list[Record], as_of: int | None
) -> list[dict[str, Any]]:
    if as_of is not None:
        then = {"state": "queued", "pending_reason": None, "detail": None, "quoted_start": None}
        return [{**row, **then} for row in rows]
    found = await quotes.of(service.database, [row["allocation_id"] for row in rows])
    return [{**row, "quoted_start": found.get(row["allocation_id"])} for row in rows]


def _supposed(pool: Pool, ask: SupposedShape, policy: Policy, pool_id: str) -> Supposed:
    more = ask.more_machines if isinstance(ask, Suppose) else None
    return suppose(pool, ask.shape(), policy, _machines(pool_id, more))


def _machines(pool_id: str, more: MoreMachines | None) -> list[AddCapacity]:
    if more is None:
        return []
    return [
        AddCapacity(
            pool_id=pool_id,
            node_id=f"supposed-{number}",
            gpu_model=more.gpu_model,
            device_ids=tuple(f"supposed-{number}-{slot}" for slot in range(more.gpus)),
            topology=Topology(region="supposed", site="supposed", pod="supposed", rack="supposed"),
        )
        for number in range(more.count)
    ]


async def pool_as_of(service: Service, pool_id: str, as_of: int | None) -> Pool:
    """The pool as it is, or as it was.

    Raises:
        NotFound: there is, or was, no such pool.
    """
    pool: Pool
    if as_of is None:
        pool, _ = await service.commands.state(POOL, PLATFORM, pool_id)
    else:
        pool = EMPTY_POOL
        history = await service.log.history(POOL.subject(PLATFORM, pool_id))
        past = [recorded for recorded in history if recorded.position <= as_of]
        pool = POOL_DECIDER.fold([fact.event for fact in decoded(VOCABULARY, past)], pool)
    if pool.events == 0:
        raise NotFound(f"there is no pool {pool_id}; see /v1/pools")
    return pool
