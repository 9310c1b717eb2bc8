"""Events of the service `allocations`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpuaas.common.events import Event, Part
from gpuaas.common.wire import AsObject, Count64, ExactDecimal, Frozen, Moment, NonNegativeDecimal, Unique

ClosureCause = Literal["maintenance", "burn-in"]
"""Why machines are closed for a time. maintenance: work on them; burn-in: they prove themselves under
load before they take work.
"""

Currency = Annotated[str, Field(min_length=3, max_length=3, pattern=r"^[A-Z]{3}$")]
"""A currency by its three-letter ISO 4217 code."""

DeferralReason = Literal["not-before", "reservation-not-open", "promised-to-others"]
"""Why an allocation does not start yet. not-before: it asked for a later start; reservation-not-open:
the reservation it names has no open window; promised-to-others: GPUs are free, and a reservation or
a maintenance window needs them before it would end.
"""

Discipline = Literal["best-effort", "strict-fifo"]
"""Who may overtake whom in a waiting line. best-effort: who does not fit lets others pass where that
does not delay it; strict-fifo: nobody passes it.
"""

EndCause = Literal["preempted", "quota-reclaimed", "spending-stopped", "idle", "drained", "node-lost"]
"""What made the platform end an allocation. preempted: work of higher priority needed its GPUs;
quota-reclaimed: it ran beyond the quota and somebody entitled needed them; spending-stopped: the
tenant or project may spend no more; idle: it used its GPUs too little for too long; drained: its
machine was emptied; node-lost: its machine is gone.
"""

EndReason = Literal["completed", "failed", "tenant-request", "lease-expired", "operator", "runtime-lost", "cancelled"]
"""Why an allocation ended. completed: the workload ended by itself with exit code 0; failed: with
another; tenant-request, lease-expired, operator, runtime-lost: as in the request for release;
cancelled: it was called off before it started.
"""

IdlenessEnd = Literal["active-again", "not-sampled", "not-asked-for"]
"""Why what was noticed as idle is not taken back. active-again: one of its GPUs was used; not-sampled:
it was not seen for too long, and what is not seen is not idle; not-asked-for: the rules changed and
nobody wants it taken back any more.
"""

IdlenessSource = Literal["telemetry", "runtime"]
"""Where samples of use come from. telemetry: the agents of its machines; runtime: the runtime that
runs it.
"""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name that can be a token of a subject and of a host name: 1 to 63 of a-z, 0-9 and inner hyphens
(RFC 1123 label).
"""

PendingReason = Literal["insufficient-capacity", "topology-unsatisfied", "behind-higher-priority", "quota-exhausted"]
"""Why an allocation waits. insufficient-capacity: too few free GPUs; topology-unsatisfied: enough, but
not close enough together; behind-higher-priority: others go first; quota-exhausted: the tenant or
project holds all it may.
"""

Preemption = Literal["off", "reclaim", "reclaim-and-priority"]
"""Which running work is ended for other work. off: none; reclaim: what runs beyond a quota, for who is
entitled; reclaim-and-priority: also what said that it may be, for higher priority.
"""

PreemptionCause = Literal["quota-reclaimed", "preempted"]
"""By what right running work is ended for other work. quota-reclaimed: it ran beyond the quota of its
tenant or project and somebody entitled needs the GPUs; preempted: it said that it may be, and work
of higher priority needs them.
"""

PrincipalKind = Literal["user", "service-account"]
"""What acts: a person, or a program with an account of its own."""

RefusalCause = Literal["no-credential", "not-valid", "over", "ended", "suspended", "no-right", "not-held", "rule", "nothing-there"]
"""Why something was refused."""

RejectionReason = Literal["never-satisfiable", "unknown-gpu-model", "unknown-pool", "quota-exceeded"]
"""Why a request can never be served. never-satisfiable: no pool could hold it even when empty;
unknown-gpu-model, unknown-pool: no such thing; quota-exceeded: it alone is larger than the quota.
"""

ReleaseCause = Literal["spending-stopped"]
"""What made the platform end an allocation. spending-stopped: the tenant or project may spend no more
and its grace is over.
"""

ReleaseReason = Literal["tenant-request", "lease-expired", "operator", "runtime-lost"]
"""Why GPUs are to be given back. tenant-request: the tenant asked; lease-expired: the lease ended;
operator: an operator decided; runtime-lost: the workload's runtime is gone.
"""

ReservationOutcome = Literal["over", "given-up"]
"""How a reservation ended. over: its last window is over; given-up: it was ended before that."""

RetryCause = Literal["failed", "runtime-lost", "node-lost", "preempted"]
"""What an allocation ended by. failed: an exit code other than 0; runtime-lost: the runtime lost it or
could not start it; node-lost: its machine is gone; preempted: it made way for other work.
"""

ShapeChange = Literal["smaller-members", "wider-topology", "other-model", "fewer-members", "fewer-gpus-per-member"]
"""How a possible shape differs from the one asked for. smaller-members: as many GPUs, on more members;
wider-topology: the same without the required topology; other-model: the same of another GPU model
of the pool; fewer-members: members as asked for, but fewer; fewer-gpus-per-member: as many members,
each smaller.
"""

TopologyLevel = Literal["rack", "pod", "site"]
"""How close together the members of a gang must stand."""

TopologyMode = Literal["required", "preferred"]
"""Whether a topology level is a condition or a wish."""


class AccessUse(Part):
    """Uses of one kind."""

    principal_kind: PrincipalKind
    """What kind of principal it was."""

    principal_id: Label
    """Who it was."""

    permission: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$")]
    """What it takes: `service.resource.verb`."""

    project_id: Label | None = None
    """The project it was about; absent: the tenant itself."""

    count: Annotated[int, Field(strict=True, ge=1, le=2147483647)]
    """How often."""


class Alternative(Part):
    """Another shape that will do, granted whole or not at all."""

    gpu_model: Label | None = None
    """The GPU model wanted then; absent: any model of the pool."""

    replicas: Annotated[int, Field(strict=True, ge=1, le=1024)]
    """Members of the gang then."""

    gpus_per_replica: Annotated[int, Field(strict=True, ge=1, le=64)]
    """GPUs of each member then."""

    share_milli: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    """Thousandths of each GPU wanted then; absent: whole GPUs (1000)."""

    topology_level: TopologyLevel | None = None
    """How close together the members must stand then; absent: anywhere in the pool."""

    topology_mode: TopologyMode | None = None
    """Whether that level is a condition or a wish; absent: a wish."""


class Member(Part):
    """One replica of a gang: which GPUs of which machine it holds."""

    member: Annotated[int, Field(strict=True, ge=0, le=1023)]
    """Index of the replica, from 0."""

    node_id: Label
    """The machine."""

    device_ids: Annotated[tuple[Label, ...], Field(min_length=1, max_length=64), Unique]
    """The GPUs it holds on that machine."""

    share_milli: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    """Thousandths of each of these GPUs that it holds; absent: all of them (1000)."""


class BookedWindow(Part):
    """One window of a reservation and the GPUs kept for it."""

    window: Annotated[int, Field(strict=True, ge=0, le=63)]
    """Which of the reservation's windows, from 0."""

    starts_at: Moment
    """When the GPUs are to be free."""

    ends_at: Moment
    """Until when they are kept; not part of it."""

    members: Annotated[tuple[Member, ...], Field(max_length=1024)]
    """The GPUs kept, by group. Fewer than promised where capacity was lost."""


class CostCeiling(Part):
    """A ceiling in money, and the price at which it was turned into GPU-time: the highest list price,
    from then on, of all models that will do. Discounts make it cheaper, taxes are not in it.
    """

    amount: NonNegativeDecimal
    """The ceiling, in the currency."""

    currency: Currency
    """The currency of both amounts."""

    price_per_gpu_hour: NonNegativeDecimal
    """The price of one GPU for 3,600,000 milliseconds."""


class Exclusion(Part):
    """Machines that were left out of a decision, by reason."""

    reason: Label
    """Why they were left out, such as `insufficient-free-gpus`."""

    nodes: Annotated[int, Field(strict=True, ge=0, le=1000000)]
    """How many machines."""


class NearestShape(Part):
    """A shape that the pool could hold, and how it differs from the one that was asked for."""

    change: ShapeChange
    """What is different."""

    gpu_model: Label | None = None
    """The GPU model; absent: any."""

    replicas: Annotated[int, Field(strict=True, ge=1, le=65536)]
    """Members of the gang."""

    gpus_per_replica: Annotated[int, Field(strict=True, ge=1, le=64)]
    """GPUs of each member."""

    share_milli: Annotated[int, Field(strict=True, ge=1, le=999)] | None = None
    """Thousandths of a GPU that each member has; absent: whole GPUs."""


class PassedOver(Part):
    """A shape that was asked for and could not be had when another one was granted."""

    wanted: Annotated[str, Field(min_length=1, max_length=200)]
    """The shape in words, such as `2 × 8 GPUs of h100`."""

    reason: Label
    """Why not, such as `insufficient-capacity` or `quota-exhausted`."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """The same in a sentence."""


class Receipt(Part):
    """How a placement was decided, so that anybody can later ask why this machine and not another."""

    pool_version: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Version of the pool (number of its events) that the decision was taken on."""

    policy: Label
    """The scoring policy and its version."""

    nodes_considered: Annotated[int, Field(strict=True, ge=0, le=1000000)]
    """How many machines were looked at."""

    exclusions: Annotated[tuple[Exclusion, ...], Field(max_length=64)]
    """How many of them were left out, by reason."""

    score: ExactDecimal
    """Score of the chosen place under the policy; higher is better."""

    runner_up_node_id: Label | None = None
    """First machine of the second-best place; absent: there was no other."""

    passed_over: Annotated[tuple[PassedOver, ...], Field(min_length=1, max_length=64)] | None = None
    """What was asked for before this and could not be had then, in order of preference; absent:
    nothing.
    """

    replicas_wanted: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = None
    """Members that were wanted at most, where fewer were granted; absent: all of them were."""


class Recurrence(Part):
    """The same window again and again."""

    every_days: Annotated[int, Field(strict=True, ge=1, le=366)]
    """Days of 24 hours from the start of one window to the start of the next; longer than a window."""

    occurrences: Annotated[int, Field(strict=True, ge=2, le=64)]
    """Windows in all, the first one included."""


class Refusal(Part):
    """Refusals of one kind."""

    principal_kind: PrincipalKind | None = None
    """What kind of principal asked; absent: nobody who was believed."""

    principal_id: Label | None = None
    """Who asked; absent: nobody who was believed."""

    permission: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$")] | None = None
    """What it takes: `service.resource.verb`."""

    project_id: Label | None = None
    """The project of the trail's tenant that was asked about; absent: the tenant itself, the platform,
    or nothing that who asked may know of.
    """

    why: RefusalCause
    """Why it was refused. Not believed: `no-credential`, `not-valid`, `over` (its time), `ended`
    (revoked, signed out), `suspended`. Believed: `no-right`, `not-held` (would hand on what they do
    not hold), `rule` (the thing itself does not allow it to them), `nothing-there` (no such place,
    or none they may know of).
    """

    count: Annotated[int, Field(strict=True, ge=1, le=2147483647)]
    """How many."""

    decision_id: Annotated[str, Field(min_length=4, max_length=1280, pattern=r"^[a-z][0-9]\.[A-Za-z0-9_-]+$")]
    """The newest decision among them, as the answer named it; iam explains it."""


class RetryPolicy(Part):
    """When an allocation that ended is asked for again. Each attempt is an allocation of its own,
    which keeps the place of the first in the line.
    """

    attempts_max: Annotated[int, Field(strict=True, ge=1, le=10)]
    """Attempts at most, the first counted; those that were preempted are not counted."""

    backoff_s: Annotated[int, Field(strict=True, ge=0, le=86400)]
    """Seconds between the end of the first attempt and the start of the second at the earliest;
    doubled with each further one, a day at most. After a preemption there is none.
    """

    causes: Annotated[tuple[RetryCause, ...], Field(min_length=1, max_length=4)]
    """Ends after which it is asked for again."""


class Topology(Part):
    """Where a machine stands, from the widest place to the narrowest; placement uses it to keep a gang
    close together.
    """

    region: Label
    """Region: machines of one region share a legal and latency domain."""

    site: Label
    """Site: one building."""

    pod: Label
    """Pod: one network fabric inside the site."""

    rack: Label
    """Rack inside the pod."""


class Victim(Part):
    """An allocation that is ended early."""

    allocation_id: Label
    """The allocation."""

    tenant_id: Label
    """Its tenant."""

    project_id: Label
    """Its project, inside the tenant."""

    lost_gpu_ms: Count64
    """GPU-milliseconds of work that it has done so far and may lose."""


class Workload(Part):
    """What is to be run."""

    image: Annotated[str, Field(min_length=1, max_length=512)]
    """Container image, by name and digest or tag."""

    command: Annotated[tuple[Annotated[str, Field(min_length=0, max_length=4096)], ...], Field(max_length=64)]
    """Program and arguments; empty: what the image says. No secrets here: events are kept for ever."""


class AccessesRefused(Event):
    """Accesses refused. Requests to allocations that were refused because who asked was not believed
    or may not, counted over at most a minute so that nobody can fill the log. They stand in the
    trail of the tenant that was asked about; where who asked may not know of it, in that of the
    tenant they are at home in, else in the platform's.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.accesses-refused.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "allocations/accesses-refused.v1.json"

    tenant_id: Label
    """Whose trail this stands in; `platform` for the platform's."""

    first_at: Moment
    """The first of them (real time)."""

    last_at: Moment
    """The last of them (real time)."""

    refusals: Annotated[tuple[Refusal, ...], Field(min_length=1, max_length=50)]
    """What was refused, by who asked and for what."""

    others: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many more were refused that no row names, because there were too many kinds of them."""


class OperatorAccessUsed(Event):
    """Operator access used. Somebody asked allocations about, or changed, what is a tenant's, by a
    right that they hold on the platform and not in the tenant. Counted over at most a minute; it
    stands in the tenant's own trail.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.operator-access-used.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "allocations/operator-access-used.v1.json"

    tenant_id: Label
    """The tenant whose things were accessed."""

    first_at: Moment
    """The first time (real time)."""

    last_at: Moment
    """The last time (real time)."""

    uses: Annotated[tuple[AccessUse, ...], Field(min_length=1, max_length=50)]
    """What was used, by whom and for what."""

    others: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many more uses no row names, because there were too many kinds of them."""


class AllocationCommandOrdered(Event):
    """Allocation command ordered. Someone runs a further command beside the workload of an active
    allocation. It is said before the command runs, so that nothing runs that the trail does not
    know; what came of it is told to the caller only.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-command-ordered.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-command-ordered.v1.json"

    allocation_id: Label
    """The allocation beside whose workload it runs."""

    command: Annotated[tuple[Annotated[str, Field(min_length=0, max_length=4096)], ...], Field(min_length=1, max_length=64)]
    """Program and arguments. No secrets here: events are kept for ever."""

    timeout_s: Annotated[int, Field(strict=True, ge=1, le=60)]
    """After this many seconds it is ended."""


class AllocationDeferred(Event):
    """Allocation deferred. An allocation does not start yet, and time is the reason: it asked for a
    later start, its reservation is not open, or the GPUs that are free now are promised to others
    before it would end. It keeps its place in the line.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-deferred.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-deferred.v1.json"

    allocation_id: Label
    """The allocation."""

    reason: DeferralReason
    """Why it does not start yet."""

    until: Moment | None = None
    """When that is over; absent: not known."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """The same in a sentence, with times."""


class AllocationLeaseRenewed(Event):
    """Allocation lease renewed. An active allocation keeps its GPUs for longer than it first asked
    for. The newest renewal counts; a lease never gets shorter.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-lease-renewed.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-lease-renewed.v1.json"

    allocation_id: Label
    """The allocation."""

    lease_s: Annotated[int, Field(strict=True, ge=1, le=31622400)]
    """For how long the GPUs are lent now, in seconds from the start of the allocation, not from the
    renewal.
    """


class AllocationNotified(Event):
    """Allocation notified. The tenant is told ahead that an active allocation will be ended before its
    lease, when and why. Nothing has been stopped yet; a later notice replaces an earlier one.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-notified.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-notified.v1.json"

    allocation_id: Label
    """The allocation."""

    ends_at: Moment
    """When it will be stopped if it still runs then."""

    node_id: Label | None = None
    """The machine that is the cause; absent: it is not about one machine."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence that tenants may read."""


class AllocationPlaced(Event):
    """Allocation placed. An allocation holds its GPUs; the workload is about to be started there."""

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-placed.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-placed.v1.json"

    allocation_id: Label
    """The allocation."""

    pool_id: Label
    """The pool the GPUs belong to."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    members: Annotated[tuple[Member, ...], Field(min_length=1, max_length=1024)]
    """Which GPUs, replica by replica."""

    ends_by: Moment | None = None
    """When it ends even if its lease is longer: the reservation it uses ends then; absent: the lease
    alone.
    """


class AllocationPreempted(Event):
    """Allocation preempted. Running work is ended early for other work; it is about to be stopped. Its
    end follows as released, with the same cause. It is metered and paid for like any other end.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-preempted.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-preempted.v1.json"

    allocation_id: Label
    """The allocation."""

    cause: PreemptionCause
    """By what right."""

    lost_gpu_ms: Count64
    """GPU-milliseconds of work that it had done when this was decided."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """The same in a sentence that its tenant may read; it names nobody else."""


class AllocationQueued(Event):
    """Allocation queued. An allocation cannot be placed now and waits. It is tried again whenever GPUs
    come back.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-queued.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-queued.v1.json"

    allocation_id: Label
    """The allocation."""

    pending_reason: PendingReason
    """Why it waits."""

    detail: Annotated[str, Field(min_length=0, max_length=500)]
    """The same in a sentence, with figures."""


class AllocationRejected(Event):
    """Allocation rejected. A request for GPUs can never be served as it is; it does not wait."""

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-rejected.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-rejected.v1.json"

    allocation_id: Label
    """The allocation."""

    reason: RejectionReason
    """Why it can never be served."""

    detail: Annotated[str, Field(min_length=0, max_length=500)]
    """The same in a sentence, with figures."""

    nearest: Annotated[tuple[NearestShape, ...], Field(min_length=1, max_length=8)] | None = None
    """Shapes near it that the pool could hold when empty, the one that keeps most of it first; absent:
    there are none, or the shape is not the reason.
    """


class AllocationReleaseRequested(Event):
    """Allocation release requested. The GPUs of an allocation are to be given back; the workload is
    about to be stopped. Asked once, it is not called off.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-release-requested.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-release-requested.v1.json"

    allocation_id: Label
    """The allocation."""

    reason: ReleaseReason
    """Why they are given back."""

    because: ReleaseCause | None = None
    """What made the platform decide so; only with the reason `operator`, absent: a person's order."""

    lost_node_id: Label | None = None
    """The machine whose loss ends it; only with the reason `runtime-lost`, absent: no machine was
    lost.
    """

    lost_at: Moment | None = None
    """When that machine was last known to be there: what is paid for ends then at the latest; absent:
    no machine was lost.
    """

    idle_since: Moment | None = None
    """Since when it has not used its GPUs, where it is taken back for that; only with the reason
    `operator`, absent: that is not why.
    """

    detail: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """More about it, in a sentence that tenants may read; absent: the reason says it all."""


class AllocationReleased(Event):
    """Allocation released. An allocation ended. Usage is metered over [started_at, ended_at) as the
    runtime observed them; an allocation that never started costs nothing.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-released.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-released.v1.json"

    allocation_id: Label
    """The allocation."""

    tenant_id: Label
    """The tenant that asked."""

    project_id: Label
    """The project it is for, inside the tenant."""

    pool_id: Label
    """The pool the GPUs belong to."""

    gpu_model: Label
    """The GPU model that was held, by its name in the inventory's catalogue; for an allocation that
    never held GPUs: the one asked for, or `any`.
    """

    gpu_count: Annotated[int, Field(strict=True, ge=0, le=65536)]
    """GPUs held, over all members; 0 if it never held any."""

    started_at: Moment | None = None
    """When the runtime saw it start: the first instant that is paid for; absent: it never started."""

    share_milli: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    """Thousandths of each GPU that it held; absent: whole GPUs (1000)."""

    ended_at: Moment
    """When the runtime saw it end: the first instant that is not paid for."""

    end_reason: EndReason
    """Why it ended."""

    because: EndCause | None = None
    """What made the platform end it; only with the reasons `operator` and `runtime-lost`, absent: a
    person's order, or nothing more is known.
    """

    detail: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """More about the end, in a sentence that tenants may read; absent: the reason says it all."""

    exit_code: Annotated[int, Field(strict=True, ge=0, le=255)] | None = None
    """Exit code of the workload (128 + n: ended by signal n); absent: none was seen."""


class AllocationRequested(Event):
    """Allocation requested. A project asks for GPUs: how many, how close together, for how long and to
    run what. It is answered by placed, queued or rejected.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-requested.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-requested.v1.json"

    allocation_id: Label
    """The new allocation's id."""

    tenant_id: Label
    """The tenant that asked."""

    project_id: Label
    """The project it is for, inside the tenant."""

    pool_id: Label
    """The pool to take the GPUs from."""

    gpu_model: Label | None = None
    """The GPU model wanted, by its name in the inventory's catalogue; absent: any model of the pool."""

    gpu_models: Annotated[tuple[Label, ...], Field(min_length=1, max_length=8)] | None = None
    """GPU models that will do, the most wanted first; the whole gang is of one of them. Only where
    `gpu_model` is absent; absent: as `gpu_model` says.
    """

    replicas_min: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = None
    """Members with which it may start where not all can be had; as many as there is room for, once and
    for all; absent: all of them, or none.
    """

    alternatives: Annotated[tuple[Alternative, ...], Field(min_length=1, max_length=8)] | None = None
    """Other shapes that will do, the most wanted first, each looked at where those before it cannot be
    had; absent: none.
    """

    replicas: Annotated[int, Field(strict=True, ge=1, le=1024)]
    """Members of the gang: all of them start, or none."""

    gpus_per_replica: Annotated[int, Field(strict=True, ge=1, le=64)]
    """GPUs of each member; they are on one machine."""

    share_milli: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    """Thousandths of each GPU wanted; a share is of one GPU for each replica; absent: whole GPUs
    (1000).
    """

    topology_level: TopologyLevel | None = None
    """How close together the members must stand; absent: anywhere in the pool."""

    topology_mode: TopologyMode | None = None
    """Whether the level is a condition or a wish; absent: a wish."""

    priority: Annotated[int, Field(strict=True, ge=0, le=1000)]
    """Higher goes first; 0 is the lowest."""

    preemptible: Annotated[bool, Field(strict=True)] | None = None
    """Whether it may be ended early for other work. true: also for work of higher priority; false:
    never, so it waits until it is within the quota; absent: only while it runs beyond the quota, by
    who is entitled.
    """

    lease_s: Annotated[int, Field(strict=True, ge=1, le=31622400)]
    """For how long the GPUs are lent from the start, in seconds; then they are taken back."""

    start_at: Moment | None = None
    """Not before this instant; absent: as soon as possible."""

    reservation_id: Label | None = None
    """Use what this reservation of the same project keeps, and nothing else; absent: use what is free."""

    gpu_ms_max: Count64 | None = None
    """Most GPU-time it may use, in GPU-milliseconds: its lease ends earlier where this is used up;
    absent: the lease alone.
    """

    cost_max: CostCeiling | None = None
    """Most money it may cost; `gpu_ms_max` is what that comes to. Absent: nobody said."""

    idle_after_s: Annotated[int, Field(strict=True, ge=0, le=2592000)] | None = None
    """Seconds without use after which its GPUs are taken back; 0: never; absent: what the pool's rules
    say.
    """

    retry: RetryPolicy | None = None
    """Whether and when it is asked for again after it ended; absent: never."""

    retry_of: Label | None = None
    """The allocation that ended and that this one goes on for; absent: it is the first."""

    attempt: Annotated[int, Field(strict=True, ge=1, le=10)] | None = None
    """Which attempt this is, the first counted as 1; preempted ones are not counted; absent: 1."""

    place_kept: Count64 | None = None
    """Position of the first request in the log: it stands in line as if it had been asked for then;
    absent: its own position.
    """

    workload: Workload
    """What to run."""

    labels: Annotated[Mapping[Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9._/-]{0,61}[a-zA-Z0-9])?$")], Annotated[str, Field(min_length=0, max_length=256)]], Field(max_length=32), Frozen, AsObject]
    """The tenant's own labels, by name, for finding and for splitting costs."""


class AllocationRetried(Event):
    """Allocation retried. An allocation ended and its request says that it is to be tried again:
    another one was asked for in its place, in the same breath. This one stays ended; it is metered
    as it ran.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-retried.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-retried.v1.json"

    allocation_id: Label
    """The allocation that ended."""

    retry_allocation_id: Label
    """The allocation that goes on for it."""

    cause: RetryCause
    """What this one ended by."""

    attempt: Annotated[int, Field(strict=True, ge=1, le=10)]
    """Which attempt the new one is, the first counted as 1; the same as before after a preemption."""

    attempts_max: Annotated[int, Field(strict=True, ge=1, le=10)]
    """Attempts that the request allows."""

    not_before: Moment | None = None
    """The new one does not start before this instant; absent: it may start at once."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """The same in a sentence."""


class AllocationStarted(Event):
    """Allocation started. The workload runs. From `started_at` on, the GPUs are paid for."""

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-started.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "allocation"
    SCHEMA: ClassVar[str] = "allocations/allocation-started.v1.json"

    allocation_id: Label
    """The allocation."""

    tenant_id: Label
    """The tenant that asked."""

    project_id: Label
    """The project it is for, inside the tenant."""

    pool_id: Label
    """The pool the GPUs belong to."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    gpu_count: Annotated[int, Field(strict=True, ge=1, le=65536)]
    """GPUs held, over all members."""

    share_milli: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    """Thousandths of each GPU that it holds; absent: whole GPUs (1000)."""

    started_at: Moment
    """When the runtime saw it start: the first instant that is paid for."""

    members: Annotated[tuple[Member, ...], Field(min_length=1, max_length=1024)]
    """Which GPUs, replica by replica."""


class AllocationIdleEnded(Event):
    """Allocation idle ended. What was noticed as idle is not taken back after all. What is taken back
    ends as released, because idle.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-idle-ended.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "idleness"
    SCHEMA: ClassVar[str] = "allocations/allocation-idle-ended.v1.json"

    allocation_id: Label
    """The allocation."""

    ended_at: Moment
    """When that was seen."""

    why: IdlenessEnd
    """Why it is not taken back."""


class AllocationIdleNoticed(Event):
    """Allocation idle noticed. An active allocation has not used its GPUs for as long as it said, or
    its pool's rules say: every one of them was sampled again and again, and none did anything. It
    is taken back at reclaim_at if that stays so. Time without samples is never counted.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.allocation-idle-noticed.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "idleness"
    SCHEMA: ClassVar[str] = "allocations/allocation-idle-noticed.v1.json"

    allocation_id: Label
    """The allocation."""

    tenant_id: Label
    """The tenant that asked."""

    project_id: Label
    """The project it is for, inside the tenant."""

    pool_id: Label
    """The pool the GPUs belong to."""

    idle_since: Moment
    """The first sample since which all of them were idle."""

    noticed_at: Moment
    """The sample with which that had lasted for idle_after_s."""

    reclaim_at: Moment
    """It is taken back then, unless it is used before."""

    idle_after_s: Annotated[int, Field(strict=True, ge=1, le=31622400)]
    """Seconds without use after which it counts as idle."""

    samples: Annotated[int, Field(strict=True, ge=1, le=1000000000)]
    """Samples of the whole gang that this rests on."""

    below_percent: Annotated[int, Field(strict=True, ge=1, le=100)]
    """A GPU was idle where a kernel ran for less than this share of the sample's time, percent."""

    source: IdlenessSource
    """Where the samples came from."""


class ClaimExtended(Event):
    """Claim extended. A claim stands longer in the calendar of its pool: its lease was renewed, and
    nobody was promised these GPUs in that time.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.claim-extended.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/claim-extended.v1.json"

    pool_id: Label
    """The pool."""

    allocation_id: Label
    """The allocation."""

    ends_by: Moment
    """When it will have ended at the latest now."""


class ClaimGranted(Event):
    """Claim granted. The pool gave GPUs to an allocation, all members of its gang at once. This is the
    one fact that says who holds a GPU: it is decided on the pool's own history, so no GPU is ever
    held twice.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.claim-granted.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/claim-granted.v1.json"

    pool_id: Label
    """The pool."""

    allocation_id: Label
    """The allocation that holds the GPUs."""

    tenant_id: Label
    """The tenant that asked."""

    project_id: Label
    """The project it is for, inside the tenant."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    members: Annotated[tuple[Member, ...], Field(min_length=1, max_length=1024)]
    """Which GPUs, replica by replica."""

    receipt: Receipt
    """How it was decided."""

    ends_by: Moment | None = None
    """When it will have ended at the latest: the lease and a margin for the start; absent: not known."""

    reservation_id: Label | None = None
    """The reservation whose GPUs it uses; absent: none."""


class ClaimReturned(Event):
    """Claim returned. An allocation gave all its GPUs back to the pool; they can be claimed again
    unless their machine was withdrawn.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.claim-returned.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/claim-returned.v1.json"

    pool_id: Label
    """The pool."""

    allocation_id: Label
    """The allocation that held the GPUs."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why they came back, such as the allocation's end reason."""


class PoolCapacityAdded(Event):
    """Pool capacity added. A machine's GPUs can be claimed in this pool from now on."""

    TYPE: ClassVar[str] = "gpuaas.allocations.pool-capacity-added.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/pool-capacity-added.v1.json"

    pool_id: Label
    """The pool."""

    node_id: Label
    """The machine."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    device_ids: Annotated[tuple[Label, ...], Field(min_length=1, max_length=64), Unique]
    """Its GPUs."""

    topology: Topology
    """Where the machine stands."""


class PoolCapacityWithdrawn(Event):
    """Pool capacity withdrawn. No new claims are granted on a machine's GPUs. Claims that stand there
    stay until they are returned.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.pool-capacity-withdrawn.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/pool-capacity-withdrawn.v1.json"

    pool_id: Label
    """The pool."""

    node_id: Label
    """The machine."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, such as a hold or a lost heartbeat."""


class PoolTimeBooked(Event):
    """Pool time booked. GPUs of a pool are kept for windows of a reservation: no claim of anybody else
    that would still stand when a window begins is granted on them. A window that was booked before
    is booked anew by this.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.pool-time-booked.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/pool-time-booked.v1.json"

    pool_id: Label
    """The pool."""

    reservation_id: Label
    """The reservation."""

    tenant_id: Label
    """The tenant it is promised to."""

    project_id: Label
    """The project whose requests may use it."""

    gpu_model: Label
    """The GPU model."""

    replicas: Annotated[int, Field(strict=True, ge=1, le=1024)]
    """Groups of GPUs promised."""

    gpus_per_replica: Annotated[int, Field(strict=True, ge=1, le=64)]
    """GPUs of each group, on one machine."""

    topology_level: TopologyLevel | None = None
    """How close together the groups stand; absent: anywhere in the pool."""

    topology_mode: TopologyMode | None = None
    """Whether the level is a condition or a wish; absent: a wish."""

    windows: Annotated[tuple[BookedWindow, ...], Field(min_length=1, max_length=64)]
    """The windows booked by this, in order."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """Why now: made, or moved and what made it move."""


class PoolTimeClosed(Event):
    """Pool time closed. Machines of a pool will not be there for a time: nobody is placed on them who
    would still be there when it begins, and no reservation counts on them in it. A closure that is
    known already is replaced.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.pool-time-closed.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/pool-time-closed.v1.json"

    pool_id: Label
    """The pool."""

    closure_id: Label
    """The closure; for a maintenance window its id."""

    node_ids: Annotated[tuple[Label, ...], Field(min_length=1, max_length=1000), Unique]
    """The machines of this pool that it is about."""

    starts_at: Moment
    """When they are to be empty."""

    ends_at: Moment
    """When they are expected back; not part of it."""

    cause: ClosureCause
    """What kind of work it is."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """What is done and why, in a sentence that tenants may read."""


class PoolTimeFreed(Event):
    """Pool time freed. GPUs of a pool are no longer kept for a reservation, or for some of its
    windows.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.pool-time-freed.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/pool-time-freed.v1.json"

    pool_id: Label
    """The pool."""

    reservation_id: Label
    """The reservation."""

    windows: Annotated[tuple[Annotated[int, Field(strict=True, ge=0, le=63)], ...], Field(min_length=1, max_length=64), Unique] | None = None
    """The windows that are free again; absent: all that are left."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""


class PoolTimeOpened(Event):
    """Pool time opened. A closure of machines is over or was called off."""

    TYPE: ClassVar[str] = "gpuaas.allocations.pool-time-opened.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/pool-time-opened.v1.json"

    pool_id: Label
    """The pool."""

    closure_id: Label
    """The closure."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""


class PreemptionOrdered(Event):
    """Preemption ordered. The pool ends some allocations early so that another one, whole, can start
    where they stood. Decided on the pool's own history; each victim is then told by its own event,
    stopped, and its claim comes back. The machines are kept for the one that gains.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.preemption-ordered.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "pool"
    SCHEMA: ClassVar[str] = "allocations/preemption-ordered.v1.json"

    pool_id: Label
    """The pool."""

    allocation_id: Label
    """The allocation that gains: it waits for the GPUs."""

    cause: PreemptionCause
    """By what right."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    node_ids: Annotated[tuple[Label, ...], Field(min_length=1, max_length=1024), Unique]
    """The machines that are kept for the one that gains until it starts."""

    victims: Annotated[tuple[Victim, ...], Field(min_length=1, max_length=256)]
    """The allocations that are ended, the one that loses least first."""

    lost_gpu_ms: Count64
    """GPU-milliseconds of work that all of them have done so far and may lose."""


class QueueRulesSet(Event):
    """Queue rules set. How a pool's waiting line goes: who may overtake, whether running work is ended
    for other work, and how long past use counts. The newest one of a pool counts; without one the
    line is best-effort, what is borrowed is reclaimed at once, and only what is held now counts.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.queue-rules-set.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "queue-rules"
    SCHEMA: ClassVar[str] = "allocations/queue-rules-set.v1.json"

    pool_id: Label
    """The pool."""

    discipline: Discipline
    """Who may overtake whom."""

    preemption: Preemption
    """Which running work is ended for other work."""

    min_run_s: Annotated[int, Field(strict=True, ge=0, le=2592000)]
    """Seconds that work runs at least before it is ended for other work."""

    half_life_s: Annotated[int, Field(strict=True, ge=0, le=31622400)]
    """Seconds after which past use counts half in the fair share of those that borrow; 0: only what is
    held now counts.
    """

    idle_after_s: Annotated[int, Field(strict=True, ge=60, le=31622400)] | None = None
    """Seconds without use after which GPUs are taken back from an allocation that does not say
    otherwise; absent: never.
    """

    idle_grace_s: Annotated[int, Field(strict=True, ge=0, le=2592000)] | None = None
    """Seconds between the notice that an allocation is idle and the end of it; absent: 600."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence for those who read the trail."""


class QuotaSet(Event):
    """Quota set. How many GPUs of a model a tenant, or one of its projects, is entitled to in a pool,
    and how many more it may borrow while others leave them idle. The newest one of a scope counts.
    Standing claims are not touched by it.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.quota-set.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "quota"
    SCHEMA: ClassVar[str] = "allocations/quota-set.v1.json"

    tenant_id: Label
    """The tenant."""

    pool_id: Label
    """The pool."""

    project_id: Label | None = None
    """The project, inside what the tenant has; absent: the tenant as a whole."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    nominal_gpus: Annotated[int, Field(strict=True, ge=0, le=1000000)]
    """GPUs it is entitled to: requests within them go before any that borrow."""

    borrow_gpus: Annotated[int, Field(strict=True, ge=0, le=1000000)] | None = None
    """GPUs beyond these that it may hold while they are idle; absent: as many as are idle."""

    weight: Annotated[int, Field(strict=True, ge=1, le=1000)]
    """Its weight among those that borrow: twice the weight, twice the GPUs beyond the entitlement."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence for those who read the trail."""


class StartQuoted(Event):
    """Start quoted. Who waits is told when it is expected to start: with one chance in two by p50_at,
    with nine in ten by p90_at. A forecast, not a promise. A later one replaces an earlier one, and
    is made only where it differs by more than a minute and a fifth of what was left to wait.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.start-quoted.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "quote"
    SCHEMA: ClassVar[str] = "allocations/start-quoted.v1.json"

    allocation_id: Label
    """The allocation that waits."""

    tenant_id: Label
    """The tenant that asked."""

    project_id: Label
    """The project it is for, inside the tenant."""

    pool_id: Label
    """The pool in whose line it waits."""

    gpu_model: Label | None = None
    """The GPU model that it asked for; absent: any."""

    gpu_count: Annotated[int, Field(strict=True, ge=1, le=65536)]
    """GPUs it asked for, over all members."""

    quoted_at: Moment
    """When the forecast was made."""

    p50_at: Moment | None = None
    """By then it is as likely as not to have started; absent: no start is foreseen."""

    p90_at: Moment | None = None
    """By then it will have started in nine cases of ten; absent: that cannot be foreseen."""

    pool_version: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Events of the pool that the forecast knew."""

    requests_ahead: Annotated[int, Field(strict=True, ge=0, le=1000000)]
    """Requests of its pool that stood before it in the line."""

    observed_runs: Annotated[int, Field(strict=True, ge=0, le=1000000)]
    """Ended runs of the pool from which the forecast took how long work really runs; 0: every lease
    was taken to be used up.
    """

    stretch_p50_milli: Annotated[int, Field(strict=True, ge=1, le=1000000)] | None = None
    """By how many thousandths the bare forecast of the wait until p50_at was multiplied, learnt from
    how earlier quotes of the pool turned out; absent: 1000, as it came.
    """

    stretch_p90_milli: Annotated[int, Field(strict=True, ge=1, le=1000000)] | None = None
    """The same for the wait until p90_at; absent: 1000."""

    method: Annotated[str, Field(min_length=1, max_length=63)]
    """How the forecast was made, with its version."""


class ReservationCancelled(Event):
    """Reservation cancelled. A reservation was called off before its first window began. Its GPUs are
    anybody's again.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.reservation-cancelled.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "reservation"
    SCHEMA: ClassVar[str] = "allocations/reservation-cancelled.v1.json"

    reservation_id: Label
    """The reservation."""

    cancelled_at: Moment
    """When it was called off."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""


class ReservationEnded(Event):
    """Reservation ended. A reservation has no window any more: the last one is over, or what was left
    of it was given up after the first one had begun. What runs in it goes on until its own lease
    ends, which is not after the window.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.reservation-ended.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "reservation"
    SCHEMA: ClassVar[str] = "allocations/reservation-ended.v1.json"

    reservation_id: Label
    """The reservation."""

    ended_at: Moment
    """From when on nothing is kept for it."""

    outcome: ReservationOutcome
    """How it ended."""

    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Why it was given up; absent: it was over."""


class ReservationImpaired(Event):
    """Reservation impaired. Capacity was lost and no other can be kept instead: one window of a
    reservation has fewer GPUs than were promised. What is left stays kept, and whatever comes back
    is kept for it first. A later one for the same window replaces an earlier one.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.reservation-impaired.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "reservation"
    SCHEMA: ClassVar[str] = "allocations/reservation-impaired.v1.json"

    reservation_id: Label
    """The reservation."""

    window: Annotated[int, Field(strict=True, ge=0, le=63)]
    """Which of its windows, from 0."""

    starts_at: Moment
    """When that window begins."""

    missing_gpus: Annotated[int, Field(strict=True, ge=1, le=65536)]
    """GPUs that are missing of those promised."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """What was lost, in a sentence that tenants may read."""


class ReservationMade(Event):
    """Reservation made. GPUs of a pool are promised to a project for a time to come, once or again and
    again: in each of its windows they are kept free for what the project asks for with this
    reservation, whatever else waits. It was checked against all that was promised before; the
    promise stands until it is cancelled or over.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.reservation-made.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "reservation"
    SCHEMA: ClassVar[str] = "allocations/reservation-made.v1.json"

    reservation_id: Label
    """The new reservation's id."""

    tenant_id: Label
    """The tenant it is promised to."""

    project_id: Label
    """The project whose requests may use it."""

    pool_id: Label
    """The pool that keeps the GPUs."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    gpu_count: Annotated[int, Field(strict=True, ge=1, le=65536)]
    """GPUs kept in each window: replicas × gpus_per_replica."""

    replicas: Annotated[int, Field(strict=True, ge=1, le=1024)]
    """Groups of GPUs."""

    gpus_per_replica: Annotated[int, Field(strict=True, ge=1, le=64)]
    """GPUs of each group; they are on one machine."""

    topology_level: TopologyLevel | None = None
    """How close together the groups stand; absent: anywhere in the pool."""

    topology_mode: TopologyMode | None = None
    """Whether the level is a condition or a wish; absent: a wish."""

    starts_at: Moment
    """When the first window begins."""

    ends_at: Moment
    """When the first window ends; not part of it."""

    recurrence: Recurrence | None = None
    """How it repeats; absent: one window only."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """What it is for, in a sentence of those who asked."""


class ReservationRestored(Event):
    """Reservation restored. A window of a reservation that had lost GPUs has all that were promised
    again.
    """

    TYPE: ClassVar[str] = "gpuaas.allocations.reservation-restored.v1"
    SERVICE: ClassVar[str] = "allocations"
    ENTITY: ClassVar[str] = "reservation"
    SCHEMA: ClassVar[str] = "allocations/reservation-restored.v1.json"

    reservation_id: Label
    """The reservation."""

    window: Annotated[int, Field(strict=True, ge=0, le=63)]
    """Which of its windows, from 0."""

    starts_at: Moment
    """When that window begins."""


EVENTS: tuple[type[Event], ...] = (
    AccessesRefused,
    OperatorAccessUsed,
    AllocationCommandOrdered,
    AllocationDeferred,
    AllocationLeaseRenewed,
    AllocationNotified,
    AllocationPlaced,
    AllocationPreempted,
    AllocationQueued,
    AllocationRejected,
    AllocationReleaseRequested,
    AllocationReleased,
    AllocationRequested,
    AllocationRetried,
    AllocationStarted,
    AllocationIdleEnded,
    AllocationIdleNoticed,
    ClaimExtended,
    ClaimGranted,
    ClaimReturned,
    PoolCapacityAdded,
    PoolCapacityWithdrawn,
    PoolTimeBooked,
    PoolTimeClosed,
    PoolTimeFreed,
    PoolTimeOpened,
    PreemptionOrdered,
    QueueRulesSet,
    QuotaSet,
    StartQuoted,
    ReservationCancelled,
    ReservationEnded,
    ReservationImpaired,
    ReservationMade,
    ReservationRestored,
)
