"""The door: ask for GPUs, see them, give them back, ask why; for operators, pools. One law: a tenant's path shows only
that tenant's things, and what is not there looks like what may not be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Depends, Path, Query
from gpuaas.allocations.adapters.idlers import IDLE
from gpuaas.allocations.adapters.prices import Prices
from gpuaas.allocations.adapters.purse import Purse
from gpuaas.allocations.adapters.quoter import QUOTE
from gpuaas.allocations.domain.allocation import Active, Allocation, Unknown, gpu_count
from gpuaas.allocations.domain.asking import CHOICES_MAX, LEASE_S_MAX
from gpuaas.allocations.domain.booking import ExtendClaim
from gpuaas.allocations.domain.orders import ReleaseAllocation, RenewLease, RequestAllocation
from gpuaas.allocations.domain.reservation import Standing
from gpuaas.allocations.domain.shape import WHOLE_MILLI, Shape
from gpuaas.allocations.domain.spending import refusal
from gpuaas.allocations.projections.allocations import STATES, Allocations, Sought, members_of
from gpuaas.allocations.projections.history import explained
from gpuaas.allocations.projections.idle_findings import IdleFindings
from gpuaas.allocations.projections.pool_capacity import PoolCapacity
from gpuaas.allocations.projections.start_quotes import StartQuotes
from gpuaas.allocations.reactions import ALLOCATION, POOL, RESERVATION
from gpuaas.allocations.routes.asking import AlternativeShape, AskForRetries, priced
from gpuaas.common.access import ABSENT
from gpuaas.common.commands import Order
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.service import Service
from gpuaas.contracts.allocations import DeferralReason, Label, ReleaseReason, TopologyLevel, TopologyMode
from pydantic import AwareDatetime, Field

LEASE_DEFAULT_S: Final = 86_400
GPU_HOURS_MAX: Final = 1_000_000_000
GPU_HOUR_MS: Final = 3_600_000
IDLE_AFTER_MAX_S: Final = 2_592_000
START_AHEAD_MAX: Final = timedelta(days=366)
Count = Annotated[int, Field(strict=True)]
AllocationId = Annotated[str, Path(min_length=1, max_length=63)]
States = Annotated[list[str] | None, Query(alias="state", description=f"Any of {', '.join(STATES)}.")]
AsOf = Annotated[
    int | None, Query(ge=1, lt=2**63, description="As it stood at this position of the log; left out: now.")
]
Reader = Annotated[Caller, Depends(permit("allocations.allocation.read"))]
Lister = Annotated[Caller, Depends(permit("allocations.allocation.read", in_part=True))]
Paged = Annotated[Paging, Depends(paging)]
OF_PROJECT: Final = "/v1/tenants/{tenant_id}/projects/{project_id}/allocations"


class AskForGpus(Body):
    """A gang of GPUs and what to run on them.

    Attributes:
        gpu_model: by its name in the inventory's catalogue; absent: any model of the pool.
        gpu_models: models that will do, the most wanted first; instead of gpu_model.
        replicas, gpus_per_replica: all members start, or none; each sits on one machine.
        replicas_min: it may start with fewer members, as many as there is room for but not fewer than these.
        alternatives: other shapes that will do, each looked at where those before it cannot be had.
        share_milli: thousandths of each GPU; below 1000 each replica has a share of one GPU.
        preemptible: true: may be ended early for higher priority too; false: never, so it waits until it is within the
            quota; absent: only while it runs beyond the quota, by who is entitled.
        lease_s: the GPUs are taken back this many seconds after the start.
        start_at: not before this, with a time zone; it waits for its time and holds nobody up.
        reservation_id: use what this reservation of the project keeps, in its window, and nothing else; it ends with
            the window at the latest.
        gpu_hours_max: most GPU-hours it may use; its lease is cut to that and cannot be renewed beyond it.
        idle_after_s: seconds without use after which its GPUs are taken back, with notice and grace; 0: never;
            absent: as the pool's rules say.
        cost_max, currency: most money it may cost, at list prices before discounts and taxes; its lease is cut to that.
        retry: after which ends it is asked for again, at its old place in the line; absent: never.
        command: program and arguments; keep secrets out, events are kept for ever.
    """

    pool_id: Label
    gpu_model: Label | None = None
    gpu_models: Annotated[tuple[Label, ...], Field(max_length=CHOICES_MAX)] = ()
    replicas: Count = 1
    replicas_min: Count | None = None
    alternatives: Annotated[tuple[AlternativeShape, ...], Field(max_length=CHOICES_MAX)] = ()
    gpus_per_replica: Count
    share_milli: Count = WHOLE_MILLI
    topology_level: TopologyLevel | None = None
    topology_mode: TopologyMode | None = None
    priority: Count = 0
    preemptible: bool | None = None
    lease_s: Count = LEASE_DEFAULT_S
    start_at: AwareDatetime | None = None
    reservation_id: Label | None = None
    gpu_hours_max: Annotated[Decimal, Field(gt=0, le=GPU_HOURS_MAX, max_digits=18)] | None = None
    cost_max: Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=6)] | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    idle_after_s: Annotated[int, Field(ge=0, le=IDLE_AFTER_MAX_S, strict=True)] | None = None
    retry: AskForRetries | None = None
    image: str
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = Field(default_factory=dict)


class Renewal(Body):
    """A longer lease: `lease_s` seconds from the start of the allocation, not from now."""

    lease_s: Count


def tenants_door(
    service: Service,
    allocations: Allocations,
    quotes: StartQuotes,
    idle: IdleFindings,
    purse: Purse,
    prices: Prices,
) -> APIRouter:
    """What a tenant's people and programs may do."""
    router = APIRouter(tags=["allocations"])

    @router.post(OF_PROJECT, status_code=202, summary="Ask for GPUs; they are placed as soon as they are free.")
    async def request_allocation(
        tenant_id: str,
        project_id: str,
        ask: AskForGpus,
        caller: Annotated[Caller, Depends(permit("allocations.allocation.request"))],
    ) -> Accepted:
        if (said := purse.levels.bars(tenant_id, project_id)) is not None:
            raise Rejected(refusal(said), reason="spending-blocked")
        if ask.reservation_id is not None:
            await _demand_own(service, ask.reservation_id, tenant_id, project_id)
        allocation_id = f"alloc-{caller.derived_id('allocation')}"
        command = _command(ask, allocation_id, tenant_id, project_id, service.clock.now())
        if (ask.cost_max is None) != (ask.currency is None):
            raise Invalid("cost_max and currency go together", field="cost_max")
        if ask.cost_max is not None and ask.currency is not None:
            command = await priced(service, prices.listed, command, ask.cost_max, ask.currency)
        outcome = await service.commands.execute(
            ALLOCATION, tenant_id, allocation_id, command, caller.cause("request"), fresh=True
        )
        return caller.accepted(outcome, allocation_id)

    @router.post(OF_PROJECT + "/{allocation_id}/release", status_code=202, summary="Give the GPUs back.")
    async def release_allocation(
        tenant_id: str,
        project_id: str,
        allocation_id: AllocationId,
        caller: Annotated[Caller, Depends(permit("allocations.allocation.release", relief=True))],
    ) -> Accepted:
        state, _ = await service.commands.state(ALLOCATION, tenant_id, allocation_id)
        _demand_visible(state, project_id)
        command = ReleaseAllocation(_release_reason(caller), service.clock.now())
        outcome = await service.commands.execute(ALLOCATION, tenant_id, allocation_id, command, caller.cause("release"))
        return caller.accepted(outcome, allocation_id)

    _leases(router, service)
    _questions(router, service, allocations, quotes, idle)
    return router


def _questions(
    router: APIRouter, service: Service, allocations: Allocations, quotes: StartQuotes, idle: IdleFindings
) -> None:
    seen = Depends(fresh(allocations))

    @router.get(OF_PROJECT, dependencies=[seen], summary="The project's allocations, the newest first.")
    async def project_allocations(
        tenant_id: str, project_id: str, caller: Reader, page: Paged, states: States = None
    ) -> Page:
        return await _listed(service, allocations, Sought(tenant_id, project_id, None, _states(states)), page)

    @router.get(
        "/v1/tenants/{tenant_id}/allocations",
        dependencies=[seen],
        summary="The allocations of those of the tenant's projects that you may see, the newest first.",
    )
    async def tenant_allocations(tenant_id: str, caller: Lister, page: Paged, states: States = None) -> Page:
        sought = Sought(tenant_id, None, None, _states(states), caller.reach)
        return await _listed(service, allocations, sought, page)

    @router.get(OF_PROJECT + "/{allocation_id}", dependencies=[seen], summary="One allocation as it stands.")
    async def allocation(
        tenant_id: str, project_id: str, allocation_id: AllocationId, caller: Reader
    ) -> dict[str, Any]:
        shown = _shown(await _row(service, allocations, tenant_id, project_id, allocation_id))
        waits = shown["state"] in ("requested", "queued")
        quoted = await quotes.of(service.database, [allocation_id]) if waits else {}
        found = await idle.standing(service.database, allocation_id) if shown["state"] == "active" else None
        return shown | {"quoted_start": quoted.get(allocation_id), "idle": found}

    @router.get(
        OF_PROJECT + "/{allocation_id}/why",
        dependencies=[seen],
        summary="What happened to an allocation and why, from the log.",
    )
    async def why(
        tenant_id: str, project_id: str, allocation_id: AllocationId, caller: Reader, as_of: AsOf = None
    ) -> dict[str, Any]:
        row = await _row(service, allocations, tenant_id, project_id, allocation_id)
        if as_of is not None and as_of < row["requested_position"]:
            raise NotFound(ABSENT)
        history = await service.log.history(ALLOCATION.subject(tenant_id, allocation_id))
        for beside in (QUOTE, IDLE):
            history += await service.log.history(beside.subject(tenant_id, allocation_id))
        claim = await service.log.at(row["claim_position"]) if row["claim_position"] else None
        return explained(allocation_id, row["state"], history, claim, as_of)


def _leases(router: APIRouter, service: Service) -> None:
    @router.post(OF_PROJECT + "/{allocation_id}/renew", status_code=202, summary="Keep the GPUs for longer.")
    async def renew_lease(
        tenant_id: str,
        project_id: str,
        allocation_id: AllocationId,
        ask: Renewal,
        caller: Annotated[Caller, Depends(permit("allocations.allocation.request"))],
    ) -> Accepted:
        state, _ = await service.commands.state(ALLOCATION, tenant_id, allocation_id)
        _demand_visible(state, project_id)
        orders: list[Order[Any, Any]] = [Order(ALLOCATION, tenant_id, allocation_id, RenewLease(ask.lease_s))]
        if isinstance(state, Active):
            pool_id, ends_by = (
                state.placement.pool_id,
                state.started_at + timedelta(seconds=max(0, min(ask.lease_s, LEASE_S_MAX))),
            )
            longer = ExtendClaim(pool_id, allocation_id, service.clock.now(), ends_by)
            orders.append(Order(POOL, PLATFORM, pool_id, longer))
        outcomes = await service.commands.execute_together(orders, caller.cause("renew"))
        return caller.accepted(outcomes[0], allocation_id)


def operators_door(service: Service, allocations: Allocations, capacity: PoolCapacity) -> APIRouter:
    """What those who run the platform see of all tenants."""
    router = APIRouter(tags=["pools"])
    seen_allocations, seen_capacity = Depends(fresh(allocations)), Depends(fresh(capacity))
    pool_reader = Depends(permit("allocations.pool.read"))

    @router.get("/v1/allocations", dependencies=[seen_allocations], summary="The allocations you may see.")
    async def all_allocations(
        caller: Lister, page: Paged, pool_id: str | None = None, tenant_id: str | None = None, states: States = None
    ) -> Page:
        sought = Sought(tenant_id, None, pool_id, _states(states), caller.reach)
        return await _listed(service, allocations, sought, page)

    @router.get("/v1/allocation-counts", dependencies=[seen_allocations], summary="Allocations by state.")
    async def allocation_counts(caller: Reader, pool_id: str | None = None) -> dict[str, int]:
        return await allocations.counts(service.database, pool_id)

    @router.get("/v1/pools", dependencies=[seen_capacity, pool_reader], summary="Pools and their capacity by model.")
    async def pools() -> Page:
        return Page(items=[dict(row) for row in await capacity.pools(service.database)])

    @router.get("/v1/pools/{pool_id}", dependencies=[seen_capacity, pool_reader], summary="One pool's capacity.")
    async def pool(pool_id: str) -> dict[str, Any]:
        models = [dict(row) for row in await capacity.pools(service.database, pool_id)]
        if not models:
            raise NotFound(f"there is no pool {pool_id}; see /v1/pools")
        counts = await allocations.counts(service.database, pool_id)
        return {"pool_id": pool_id, "models": models, "allocations": counts}

    @router.get(
        "/v1/pools/{pool_id}/machines", dependencies=[seen_capacity, pool_reader], summary="A pool's machines by id."
    )
    async def machines(pool_id: str, page: Paged) -> Page:
        rows = await capacity.machines(service.database, pool_id, page.key(str) or "", page.limit + 1)
        return page.page([dict(row) for row in rows], ["node_id"])

    @router.get(
        "/v1/pools/{pool_id}/held-devices",
        dependencies=[seen_capacity, pool_reader],
        summary="Which GPUs are held now, and by whom.",
    )
    async def held_devices(pool_id: str, page: Paged) -> Page:
        after = page.after or ()
        if [type(key) for key in after] not in ([], [str, str, int]):
            raise Invalid("the cursor is not one of this list; begin again without it")
        rows = await capacity.held_devices(service.database, pool_id, after, page.limit + 1)
        return page.page([dict(row) for row in rows], ["device_id", "allocation_id", "member"])

    return router


def _command(ask: AskForGpus, allocation_id: str, tenant_id: str, project_id: str, now: datetime) -> RequestAllocation:
    if ask.start_at is not None and ask.start_at > now + START_AHEAD_MAX:
        raise Invalid(f"start_at must be within {START_AHEAD_MAX.days} days from now", field="start_at")
    return RequestAllocation(
        allocation_id=allocation_id,
        tenant_id=tenant_id,
        project_id=project_id,
        pool_id=ask.pool_id,
        shape=Shape(
            gpu_model=ask.gpu_model,
            replicas=ask.replicas,
            gpus_per_replica=ask.gpus_per_replica,
            topology_level=ask.topology_level,
            topology_mode=ask.topology_mode,
            share_milli=ask.share_milli,
        ),
        priority=ask.priority,
        preemptible=ask.preemptible,
        lease_s=ask.lease_s,
        image=ask.image,
        command=ask.command,
        labels=ask.labels,
        start_at=ask.start_at if ask.start_at and ask.start_at > now else None,
        reservation_id=ask.reservation_id,
        gpu_ms_max=None if ask.gpu_hours_max is None else int(ask.gpu_hours_max * GPU_HOUR_MS),
        idle_after_s=ask.idle_after_s,
        gpu_models=ask.gpu_models,
        replicas_min=ask.replicas_min,
        alternatives=tuple(each.shape() for each in ask.alternatives),
        retry=None if ask.retry is None else ask.retry.policy(),
    )


async def _demand_own(service: Service, reservation_id: str, tenant_id: str, project_id: str) -> None:
    """Raises Rejected where the project has no such reservation, whoever else has."""
    state, _ = await service.commands.state(RESERVATION, tenant_id, reservation_id)
    if not isinstance(state, Standing) or state.made.project_id != project_id:
        raise Rejected(f"the project has no reservation {reservation_id} that stands; see its reservations")


def _demand_visible(state: Allocation, project_id: str) -> None:
    if isinstance(state, Unknown) or state.request.project_id != project_id:
        raise NotFound(ABSENT)


def _release_reason(caller: Caller) -> ReleaseReason:
    """A platform's own program acts as the operator; everybody else speaks for the tenant."""
    principal = caller.principal
    of_platform = principal.kind == "service-account" and principal.tenant_id == PLATFORM
    return "operator" if of_platform else "tenant-request"


def _states(asked: list[str] | None) -> tuple[str, ...]:
    for state in asked or ():
        if state not in STATES:
            raise Invalid(f"{state[:40]!r} is not a state of an allocation; use any of {', '.join(STATES)}")
    return tuple(asked or ())


async def _listed(service: Service, allocations: Allocations, sought: Sought, page: Paging) -> Page:
    rows = await allocations.newest(service.database, sought, page.key(int), page.limit + 1)
    return page.page([_shown(dict(row)) for row in rows], ["requested_position"])


async def _row(
    service: Service, allocations: Allocations, tenant_id: str, project_id: str, allocation_id: str
) -> dict[str, Any]:
    row = await allocations.one(service.database, tenant_id, project_id, allocation_id)
    if row is None:
        raise NotFound(ABSENT)
    return dict(row)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the door shows it: why it waits only while it does, the gang as a list, no inner ids."""
    pending = row["state"] == "queued"
    held = row["held_model"] is not None
    return {
        **{name: value for name, value in row.items() if name not in _INNER},
        "lease_s": row["renewed_lease_s"] or row["lease_s"],
        "gpu_count": gpu_count(members_of(row)) if held else row["replicas"] * row["gpus_per_replica"],
        "share_milli": (members_of(row)[0].share_milli or WHOLE_MILLI) if held else row["share_milli"],
        "gpu_model": row["held_model"] or row["gpu_model"],
        "pending_reason": row["pending_reason"] if pending else None,
        "deferred_until": row["deferred_until"] if pending and row["pending_reason"] in DEFERRALS else None,
        "detail": row["detail"] if pending or row["state"] == "rejected" else None,
        "members": [member.model_dump() for member in members_of(row)] if held else [],
    }


DEFERRALS: Final = frozenset(get_args(DeferralReason))
_INNER: Final = frozenset(
    {
        "request_event_id",
        "start_event_id",
        "correlation_id",
        "claim_position",
        "held_model",
        "members",
        "renewed_lease_s",
        "place",
    }
)
