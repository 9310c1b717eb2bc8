"""Events of the service `nodes`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpuaas.common.events import Event, Part
from gpuaas.common.wire import Count64, Moment, Unique

AutomationGuard = Literal["disabled", "drain-budget", "breaker-open", "not-in-service"]
"""A guard that holds automation back."""

BurnInOccasion = Literal["new", "repaired", "remedied", "serviced", "returned"]
"""Why a burn-in is run: `new` machine, `repaired` after a failed validation, `remedied` after a reset
or reboot that the platform ordered, `serviced` after maintenance, `returned` after a tenant.
"""

BurnInOutcome = Literal["passed", "failed", "refused", "late"]
"""How a step ended; `refused`: the provider cannot run it, `late`: no report within twice the expected
time.
"""

BurnInStep = Literal["cpu", "memory", "disk", "network", "gpu-memory", "gpu-compute", "gpu-link"]
"""What one step of a burn-in loads and checks: the machine's processors, main memory, disks and
network, or its GPUs' memory, arithmetic and links.
"""

ComponentCondition = Literal["healthy", "suspect", "degraded", "failed"]
"""How a component is, from best to worst."""

DrainMode = Literal["let-finish", "notice-then-stop", "now"]
"""How standing work ends: `let-finish` waits for it, `notice-then-stop` tells its tenants and stops it
at the deadline, `now` stops it at once.
"""

FaultClass = Literal["application", "driver", "memory-corrected", "memory-uncorrected", "row-remap", "row-remap-failed", "engine", "firmware", "nvlink", "nvswitch", "nvswitch-fatal", "pcie", "off-the-bus", "thermal", "heartbeat-lost", "unknown"]
"""The kind of fault, in the platform's closed vocabulary."""

FaultSource = Literal["kernel-log", "nvml", "agent", "heartbeat", "operator", "simulation"]
"""Who noticed a fault."""

HealthAction = Literal["none", "watch", "reset", "reboot", "inspect", "repair"]
"""The ladder of what is done about a component, from nothing upwards."""

Isolation = Literal["device", "machine"]
"""What keeps tenants on one machine apart: `device`: the runtime scrubs each GPU when it is given
back; `machine`: the whole machine is wiped, looked at and validated after its last tenant.
"""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name that can be a token of a subject and of a host name: 1 to 63 of a-z, 0-9 and inner hyphens
(RFC 1123 label).
"""

MaintenanceOutcome = Literal["completed", "incomplete", "cancelled"]
"""How a window ended: `completed`: every machine came back through validation; `incomplete`: some did
not; `cancelled`: called off.
"""

NodeMaintenanceOutcome = Literal["done", "failed"]
"""How the work on one machine ended: `done`: as planned; `failed`: a step did not succeed, so the
machine goes to repair.
"""

OverdueStep = Literal["onboard-again", "look-again", "wipe-again", "power-cycle", "call-a-person"]
"""What is done next: `onboard-again`, `look-again` and `wipe-again` repeat what did not end,
`power-cycle` switches the machine off and on, `call-a-person` ends what the platform does by
itself.
"""

PrincipalKind = Literal["user", "service-account"]
"""What acts: a person, or a program with an account of its own."""

RefusalCause = Literal["no-credential", "not-valid", "over", "ended", "suspended", "no-right", "not-held", "rule", "nothing-there"]
"""Why something was refused."""

Remedy = Literal["reset", "reboot"]
"""A step of the ladder that the platform takes by itself: `reset` of a GPU, or `reboot` of the machine
by switching it off and on.
"""

RemedyGuard = Literal["disabled", "breaker-open", "not-withdrawn", "tried-already"]
"""A guard that holds a remedy back."""

RemedyOutcome = Literal["done", "refused", "late"]
"""How a remedy ended; `refused`: the provider will not or cannot, `late`: no report within the time
allowed.
"""

Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""


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


class BurnInTrial(Part):
    """One step of a burn-in."""

    step: BurnInStep
    """What is loaded."""

    expected_s: Annotated[int, Field(strict=True, ge=1, le=604800)]
    """Seconds it is expected to take; twice that is a failure."""


class ClassedCodes(Part):
    """The codes of one class."""

    fault_class: FaultClass
    """The class."""

    codes: Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=100000)], ...], Field(min_length=1, max_length=1000)]
    """NVIDIA driver codes (XID)."""


class Device(Part):
    """One GPU, known by its own serial number for its whole life."""

    device_id: Label
    """The GPU's id on this platform."""

    serial: Annotated[str, Field(min_length=1, max_length=64)]
    """Serial number as the device itself reports it."""

    slot: Annotated[int, Field(strict=True, ge=0, le=63)]
    """Index of the GPU inside its machine, from 0."""

    memory_mib: Annotated[int, Field(strict=True, ge=1, le=16777216)]
    """Memory of the GPU, MiB."""


class FaultMeaning(Part):
    """Condition and action of one class."""

    fault_class: FaultClass
    """The class."""

    condition: ComponentCondition
    """How the component is after it, at best."""

    action: HealthAction
    """The least that is done."""


class FirmwareGoal(Part):
    """One piece of firmware and the version it shall have."""

    component: Label
    """What the firmware is in, such as `bmc`, `bios` or `gpu`."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    """The version it shall have."""


class LadderAttempts(Part):
    """Attempts of one action."""

    action: HealthAction
    """The action."""

    times: Annotated[int, Field(strict=True, ge=1, le=1000)]
    """How often."""


class Mismatch(Part):
    """One thing that was not as expected."""

    field: Annotated[str, Field(min_length=1, max_length=64)]
    """What was compared, such as `gpu_count`."""

    expected: Annotated[str, Field(min_length=0, max_length=256)]
    """What was expected, as text."""

    observed: Annotated[str, Field(min_length=0, max_length=256)]
    """What was found, as text."""


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


class AccessesRefused(Event):
    """Accesses refused. Requests to nodes that were refused because who asked was not believed or may
    not, counted over at most a minute so that nobody can fill the log. They stand in the trail of
    the tenant that was asked about; where who asked may not know of it, in that of the tenant they
    are at home in, else in the platform's.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.accesses-refused.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "nodes/accesses-refused.v1.json"

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
    """Operator access used. Somebody asked nodes about, or changed, what is a tenant's, by a right
    that they hold on the platform and not in the tenant. Counted over at most a minute; it stands
    in the tenant's own trail.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.operator-access-used.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "nodes/operator-access-used.v1.json"

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


class AutomaticRemedyGranted(Event):
    """Automatic remedy granted. The platform may reset or reboot a machine by itself: it withdrew it
    within the drain budget, nobody has GPUs on it, and the breaker is closed. Every automatic
    action is an event with its cause.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.automatic-remedy-granted.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "automation"
    SCHEMA: ClassVar[str] = "nodes/automatic-remedy-granted.v1.json"

    pool_id: Label
    """The pool whose automation it is."""

    node_id: Label
    """The machine."""

    component_id: Label
    """The component whose verdict caused it."""

    action: Remedy
    """What was ordered."""

    fault_number: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Which fault of the component's life it answers."""

    rule_version: Annotated[str, Field(min_length=1, max_length=64)]
    """Version of the rules behind the verdict."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""

    decided_at: Moment
    """When it was decided."""


class AutomaticRemedyWithheld(Event):
    """Automatic remedy withheld. The platform would have reset or rebooted a machine by itself and did
    not. A person decides.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.automatic-remedy-withheld.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "automation"
    SCHEMA: ClassVar[str] = "nodes/automatic-remedy-withheld.v1.json"

    pool_id: Label
    """The pool whose automation it is."""

    node_id: Label
    """The machine."""

    component_id: Label
    """The component whose verdict caused it."""

    action: Remedy
    """What was ordered."""

    fault_number: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Which fault of the component's life it answers."""

    rule_version: Annotated[str, Field(min_length=1, max_length=64)]
    """Version of the rules behind the verdict."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""

    decided_at: Moment
    """When it was decided."""

    guard: RemedyGuard
    """What held it back."""


class AutomaticWithdrawalEnded(Event):
    """Automatic withdrawal ended. A machine that the platform had closed by itself no longer counts
    against its pool's drain budget.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.automatic-withdrawal-ended.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "automation"
    SCHEMA: ClassVar[str] = "nodes/automatic-withdrawal-ended.v1.json"

    pool_id: Label
    """The pool whose budget it is."""

    node_id: Label
    """The machine."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""


class AutomaticWithdrawalGranted(Event):
    """Automatic withdrawal granted. The platform closes a machine for new work by itself, within its
    pool's drain budget. Every automatic action is an event with its cause.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.automatic-withdrawal-granted.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "automation"
    SCHEMA: ClassVar[str] = "nodes/automatic-withdrawal-granted.v1.json"

    pool_id: Label
    """The pool whose budget it is."""

    node_id: Label
    """The machine."""

    component_id: Label
    """The component whose verdict caused it."""

    rule_version: Annotated[str, Field(min_length=1, max_length=64)]
    """Version of the rules behind the verdict."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""

    decided_at: Moment
    """When it was decided."""

    withdrawn: Annotated[int, Field(strict=True, ge=0, le=1000000)]
    """Machines of the pool that are withdrawn automatically, this one included."""

    allowed: Annotated[int, Field(strict=True, ge=0, le=1000000)]
    """Most that may be."""

    fault_number: Annotated[int, Field(strict=True, ge=1, le=1000000)] | None = None
    """Which fault of the component's life it answers; absent: not recorded then."""

    attempt: Annotated[int, Field(strict=True, ge=1, le=1000000)] | None = None
    """Which answer to this fault it is, from 1; later ones follow when what held the first back has
    changed. Absent: the first.
    """


class AutomaticWithdrawalWithheld(Event):
    """Automatic withdrawal withheld. The platform would have closed a machine by itself and did not:
    automation is switched off, the drain budget is used up or leased to what tenants were promised,
    or the breaker is open. It is asked again when that has passed; until then a person decides.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.automatic-withdrawal-withheld.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "automation"
    SCHEMA: ClassVar[str] = "nodes/automatic-withdrawal-withheld.v1.json"

    pool_id: Label
    """The pool whose budget it is."""

    node_id: Label
    """The machine."""

    component_id: Label
    """The component whose verdict caused it."""

    rule_version: Annotated[str, Field(min_length=1, max_length=64)]
    """Version of the rules behind the verdict."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""

    decided_at: Moment
    """When it was decided."""

    guard: AutomationGuard
    """What held it back."""

    fault_number: Annotated[int, Field(strict=True, ge=1, le=1000000)] | None = None
    """Which fault of the component's life it answers; absent: not recorded then."""

    attempt: Annotated[int, Field(strict=True, ge=1, le=1000000)] | None = None
    """Which answer to this fault it is, from 1; later ones follow when what held the first back has
    changed. Absent: the first.
    """

    unkept_windows: Annotated[int, Field(strict=True, ge=1, le=1000000)] | None = None
    """Windows of reservations that would have too few GPUs without the machine: what the budget is
    leased to. Absent: that is not why.
    """


class AutomationBreakerClosed(Event):
    """Automation breaker closed. A person looked at what opened the breaker and lets automation go on."""

    TYPE: ClassVar[str] = "gpuaas.nodes.automation-breaker-closed.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "automation"
    SCHEMA: ClassVar[str] = "nodes/automation-breaker-closed.v1.json"

    pool_id: Label
    """The pool whose budget it is."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""


class AutomationBreakerOpened(Event):
    """Automation breaker opened. Too many machines of a pool would have been withdrawn in a short
    time, which looks like a bad rule or a common cause and not like failing machines. Nothing is
    withdrawn automatically until a person closes the breaker.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.automation-breaker-opened.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "automation"
    SCHEMA: ClassVar[str] = "nodes/automation-breaker-opened.v1.json"

    pool_id: Label
    """The pool whose budget it is."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""

    opened_at: Moment
    """When it opened."""


class NodeFaultReported(Event):
    """Node fault reported. A component of a machine showed a fault. The history belongs to the
    component, by serial number, wherever it is moved; what the fault means is a verdict of its own.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-fault-reported.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "component"
    SCHEMA: ClassVar[str] = "nodes/node-fault-reported.v1.json"

    component_id: Label
    """The component's id: for a GPU its device_id, which follows its serial number for life; for a
    machine as a whole a name made of the machine's id.
    """

    node_id: Label
    """The machine the component sat in."""

    serial: Annotated[str, Field(min_length=1, max_length=64)]
    """Serial number of the component as it reports it itself."""

    fault_class: FaultClass
    """The kind of fault."""

    code: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """The raw code as the source gave it, such as `XID 79`; absent where there is none."""

    source: FaultSource
    """Who noticed it."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """What the source said, cut to 500 characters."""

    observed_at: Moment
    """When the platform received the report; an agent's own clock is not trusted."""


class NodeHealthChanged(Event):
    """Node health changed. A verdict about a component under a named version of the rules: its
    condition, and the next step of the ladder reset, reboot, inspect, repair, counted over the
    component's whole life.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-health-changed.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "component"
    SCHEMA: ClassVar[str] = "nodes/node-health-changed.v1.json"

    component_id: Label
    """The component's id: for a GPU its device_id, which follows its serial number for life; for a
    machine as a whole a name made of the machine's id.
    """

    node_id: Label
    """The machine the component sat in."""

    serial: Annotated[str, Field(min_length=1, max_length=64)]
    """Serial number of the component as it reports it itself."""

    condition: ComponentCondition
    """How the component is now."""

    previous: ComponentCondition
    """How it was before."""

    action: HealthAction
    """What has to be done next."""

    fault_class: FaultClass | None = None
    """The fault that decided; absent when the component recovered."""

    fault_count: Annotated[int, Field(strict=True, ge=0, le=1000000)]
    """Faults of this component in its whole life, this one included."""

    rule_version: Annotated[str, Field(min_length=1, max_length=64)]
    """Version of the rules that judged."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """The verdict in a sentence."""

    decided_at: Moment
    """When it was decided."""


class FaultRulesSwitchedOn(Event):
    """Fault rules switched on. Another version of the rules judges faults from here on. It was
    replayed over the recorded faults first, and whoever switched it on named how many verdicts
    would have differed.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.fault-rules-switched-on.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "fault-rules"
    SCHEMA: ClassVar[str] = "nodes/fault-rules-switched-on.v1.json"

    rules_id: Label
    """The set of rules; `current` judges."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    """Its version."""

    previous_version: Annotated[str, Field(min_length=1, max_length=64)]
    """The version that judged before."""

    classes: Annotated[tuple[FaultMeaning, ...], Field(min_length=1, max_length=64)]
    """What one fault of each class comes to before the component's history is asked."""

    attempts: Annotated[tuple[LadderAttempts, ...], Field(max_length=8)]
    """How often each action is ordered in one component's life before the next rung; an action that is
    not named: once.
    """

    xid: Annotated[tuple[ClassedCodes, ...], Field(max_length=64)]
    """NVIDIA driver codes by class; a code that is not here is `unknown`."""

    turns: Annotated[int, Field(strict=True, ge=0, le=1000000000)]
    """Faults and recoveries it was replayed over."""

    differences: Annotated[int, Field(strict=True, ge=0, le=1000000000)]
    """Verdicts that would have been others."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""

    switched_on_at: Moment
    """From when on they judge."""


class MaintenanceAccepted(Event):
    """Maintenance accepted. A tenant with work on the machines agrees to the window as it stands. When
    all affected tenants have agreed, it may begin early.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.maintenance-accepted.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "maintenance"
    SCHEMA: ClassVar[str] = "nodes/maintenance-accepted.v1.json"

    window_id: Label
    """The window."""

    tenant_id: Label
    """The tenant that agrees."""

    accepted_at: Moment
    """When it agreed."""


class MaintenanceEnded(Event):
    """Maintenance ended. The window is closed: its machines are back in service or left to repair, or
    it was called off before it began.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.maintenance-ended.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "maintenance"
    SCHEMA: ClassVar[str] = "nodes/maintenance-ended.v1.json"

    window_id: Label
    """The window."""

    node_ids: Annotated[tuple[Label, ...], Field(min_length=1, max_length=1000), Unique]
    """The machines, in order of id."""

    ended_at: Moment
    """When it ended."""

    outcome: MaintenanceOutcome
    """How a window ended."""

    returned_node_ids: Annotated[tuple[Label, ...], Field(max_length=1000), Unique]
    """Machines that came back through validation."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it ended so."""


class MaintenancePostponed(Event):
    """Maintenance postponed. A window was moved later, within its policy. What was accepted before is
    open again.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.maintenance-postponed.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "maintenance"
    SCHEMA: ClassVar[str] = "nodes/maintenance-postponed.v1.json"

    window_id: Label
    """The window."""

    starts_at: Moment
    """When the work begins now."""

    ends_at: Moment
    """When the machines are expected back now."""

    previous_starts_at: Moment
    """When it would have begun."""

    notice_s: Annotated[int, Field(strict=True, ge=0, le=2592000)]
    """Seconds of notice before `starts_at`; as scheduled."""

    postponements: Annotated[int, Field(strict=True, ge=1, le=16)]
    """How often the window was moved, this time included."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""

    tenant_id: Label | None = None
    """The tenant that asked for it; absent: an operator did."""


class MaintenanceScheduled(Event):
    """Maintenance scheduled. Machines will be worked on in a window of time. From `starts_at` on they
    hold no claims; who has work there is told `notice_s` before. Inside the policy tenants may
    accept the window or postpone it.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.maintenance-scheduled.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "maintenance"
    SCHEMA: ClassVar[str] = "nodes/maintenance-scheduled.v1.json"

    window_id: Label
    """The window's id."""

    node_ids: Annotated[tuple[Label, ...], Field(min_length=1, max_length=1000), Unique]
    """The machines, in order of id."""

    starts_at: Moment
    """When the work begins: the machines are to be empty then."""

    ends_at: Moment
    """When the machines are expected back."""

    notice_s: Annotated[int, Field(strict=True, ge=0, le=2592000)]
    """Seconds before `starts_at` at which the machines are closed for new work and tenants are told."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """What is done and why, in a sentence that tenants may read."""

    mode: DrainMode
    """How standing work ends."""

    postpone_max_s: Annotated[int, Field(strict=True, ge=0, le=7776000)]
    """Seconds by which the window may be moved later in all; 0: not at all."""

    postponements_max: Annotated[int, Field(strict=True, ge=0, le=16)]
    """How often it may be moved."""

    firmware: Annotated[tuple[FirmwareGoal, ...], Field(min_length=1, max_length=16)] | None = None
    """Firmware that the window brings to a version, in this order; absent: none."""

    over_promises: Annotated[int, Field(strict=True, ge=1, le=1000000)] | None = None
    """Windows of reservations that are knowingly left with too few GPUs by this; absent: none was
    found.
    """


class MaintenanceStarted(Event):
    """Maintenance started. The window is open: work on its machines begins, on each as soon as it is
    empty.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.maintenance-started.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "maintenance"
    SCHEMA: ClassVar[str] = "nodes/maintenance-started.v1.json"

    window_id: Label
    """The window."""

    node_ids: Annotated[tuple[Label, ...], Field(min_length=1, max_length=1000), Unique]
    """The machines, in order of id."""

    started_at: Moment
    """When it began."""

    ends_at: Moment
    """When the machines are expected back."""


class NodeAllocated(Event):
    """Node allocated. A machine whose isolation is `machine` passed into a tenant's hands: a claim on
    it was granted. From here on it needs a wipe before it is anybody else's.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-allocated.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-allocated.v1.json"

    node_id: Label
    """The machine."""

    allocation_id: Label
    """The allocation that has it."""

    tenant_id: Label
    """The tenant."""

    project_id: Label
    """The project, inside the tenant."""

    pool_position: Count64
    """Position in the log of the claim that says so."""

    unclean: Annotated[bool, Field(strict=True)] | None = None
    """True: another tenant had it and it was not wiped in between. That must not happen and is said
    where it does.
    """


class NodeAllocationEnded(Event):
    """Node allocation ended. A tenant gave a machine back: the claim on it was returned."""

    TYPE: ClassVar[str] = "gpuaas.nodes.node-allocation-ended.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-allocation-ended.v1.json"

    node_id: Label
    """The machine."""

    allocation_id: Label
    """The allocation that had it."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why the claim was returned, in the pool's words."""


class NodeBecameAvailable(Event):
    """Node became available. A machine passed its checks and may be given work. Inventory takes it
    into the books.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-became-available.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-became-available.v1.json"

    node_id: Label
    """The machine."""

    pool_id: Label
    """The pool whose capacity the machine is part of."""

    gpu_model: Label
    """The GPU model by its name in the inventory's catalogue (one model per machine)."""

    devices: Annotated[tuple[Device, ...], Field(min_length=1, max_length=64)]
    """Its GPUs, ordered by slot."""

    topology: Topology
    """Where the machine stands."""

    isolation: Isolation | None = None
    """What keeps tenants on it apart; absent: `device`."""


class NodeBurnInStarted(Event):
    """Node burn-in started. A machine that is as ordered and clean is put under load before it is
    available, in the steps that its pool's policy names, each with the time it is expected to take.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-burn-in-started.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-burn-in-started.v1.json"

    node_id: Label
    """The machine."""

    plan: Label
    """Name of the plan in the policy."""

    policy_version: Annotated[str, Field(min_length=1, max_length=64)]
    """Version of the policy."""

    occasion: BurnInOccasion
    """Why it is run."""

    steps: Annotated[tuple[BurnInTrial, ...], Field(min_length=1, max_length=16)]
    """The steps, in order."""

    started_at: Moment
    """When it was ordered."""


class NodeBurnInStepEnded(Event):
    """Node burn-in step ended. One step of a burn-in passed or failed. After the last one that passed
    the machine becomes available; the first that failed sends it to repair and is a fault of the
    component that failed.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-burn-in-step-ended.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-burn-in-step-ended.v1.json"

    node_id: Label
    """The machine."""

    number: Annotated[int, Field(strict=True, ge=1, le=16)]
    """Which step of the plan, from 1."""

    step: BurnInStep
    """What was loaded."""

    outcome: BurnInOutcome
    """How it ended."""

    expected_s: Annotated[int, Field(strict=True, ge=1, le=604800)]
    """Seconds it was expected to take."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """What was measured or what went wrong, in a sentence."""

    ended_at: Moment
    """When the report was there."""

    device_id: Label | None = None
    """The GPU that failed; absent: it passed, or the machine as a whole failed."""

    measured: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    """The number that the step measured, as a decimal in text; absent: none."""

    unit: Annotated[str, Field(min_length=1, max_length=16)] | None = None
    """Unit of `measured`, such as `GB/s` or `errors`."""

    report_sha256: Sha256 | None = None
    """Digest of the provider's report, so that the report can be held against it; absent: there is
    none.
    """


class NodeDrainCancelled(Event):
    """Node drain cancelled. A drain is called off, before or after the machine became empty. Its hold
    is lifted beside this; work that still runs goes on.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-drain-cancelled.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-drain-cancelled.v1.json"

    node_id: Label
    """The machine."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence."""

    window_id: Label | None = None
    """The maintenance window the drain belonged to; absent: none."""


class NodeDrainOrdered(Event):
    """Node drain ordered. A machine is to become empty: nothing new lands on it (a hold stands beside
    this), and what runs there ends in the way the mode says. Whoever runs the work tells its
    tenants and stops it at the deadline.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-drain-ordered.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-drain-ordered.v1.json"

    node_id: Label
    """The machine."""

    mode: DrainMode
    """How standing work ends."""

    notice_s: Annotated[int, Field(strict=True, ge=0, le=2592000)]
    """Seconds of notice that tenants get before the deadline; 0 with `now` and `let-finish`."""

    deadline: Moment | None = None
    """When work that still stands is stopped; absent with `let-finish`: never."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in a sentence that tenants may read."""

    ordered_at: Moment
    """When it was ordered."""

    window_id: Label | None = None
    """The maintenance window it belongs to; absent: an operator's order of its own."""

    over_promises: Annotated[int, Field(strict=True, ge=1, le=1000000)] | None = None
    """Windows of reservations that are knowingly left with too few GPUs by this; absent: none was
    found.
    """


class NodeDrained(Event):
    """Node drained. A machine that was to become empty is empty: its pool offers it no more and no
    claim stands on it. It stays closed until the drain is cancelled or its maintenance has ended.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-drained.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-drained.v1.json"

    node_id: Label
    """The machine."""

    drained_at: Moment
    """When the last claim on it was seen to be returned."""

    pool_position: Count64
    """Position in the log up to which the pool's claims were read when the machine was found empty."""

    window_id: Label | None = None
    """The maintenance window it belongs to; absent: none."""


class NodeFirmwareUpdated(Event):
    """Node firmware updated. A piece of firmware on a machine under maintenance is at another version
    now.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-firmware-updated.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-firmware-updated.v1.json"

    node_id: Label
    """The machine."""

    window_id: Label
    """The maintenance window."""

    component: Label
    """What the firmware is in, such as `bmc`, `bios` or `gpu`."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    """The version that the provider reported afterwards."""

    previous_version: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """The version before; absent: the provider did not say."""

    updated_at: Moment
    """When the provider had finished."""


class NodeHardwareObserved(Event):
    """Node hardware observed. What a machine really is, as its provider or its agent found it. It is
    compared with what was registered before the machine may be used.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-hardware-observed.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-hardware-observed.v1.json"

    node_id: Label
    """The machine."""

    machine_serial: Annotated[str, Field(min_length=1, max_length=64)]
    """Serial number of the machine (its mainboard or chassis)."""

    cpu_count: Annotated[int, Field(strict=True, ge=1, le=65536)]
    """Number of logical processors."""

    memory_mib: Annotated[int, Field(strict=True, ge=1, le=1073741824)]
    """Main memory, MiB."""

    gpu_model: Label
    """The GPU model found, translated to its name in the inventory's catalogue."""

    devices: Annotated[tuple[Device, ...], Field(max_length=64)]
    """The GPUs found, ordered by slot; empty if none answered."""

    observed_at: Moment
    """When it was looked at."""


class NodeHeartbeatLost(Event):
    """Node heartbeat lost. A machine's agent has been silent for longer than allowed. No new work goes
    there; what runs there is not touched by this event.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-heartbeat-lost.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-heartbeat-lost.v1.json"

    node_id: Label
    """The machine."""

    last_seen_at: Moment
    """When the agent was last heard."""


class NodeHeartbeatRestored(Event):
    """Node heartbeat restored. A silent machine's agent was heard again; the machine may be given work
    unless something else forbids it.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-heartbeat-restored.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-heartbeat-restored.v1.json"

    node_id: Label
    """The machine."""

    seen_at: Moment
    """When the agent was heard again."""


class NodeHoldLifted(Event):
    """Node hold lifted. A hold on a machine no longer stands."""

    TYPE: ClassVar[str] = "gpuaas.nodes.node-hold-lifted.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-hold-lifted.v1.json"

    node_id: Label
    """The machine."""

    hold_id: Label
    """The hold that was lifted."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it was lifted."""


class NodeHoldPlaced(Event):
    """Node hold placed. Somebody closed a machine for new work, for a stated cause. Several holds can
    stand at once; the machine opens when the last one is lifted.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-hold-placed.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-hold-placed.v1.json"

    node_id: Label
    """The machine."""

    hold_id: Label
    """The hold's id, unique on this machine."""

    owner: Annotated[str, Field(min_length=1, max_length=128)]
    """Who placed it and may lift it: a principal, a service or a rule."""

    cause: Annotated[str, Field(min_length=1, max_length=500)]
    """Why the machine is closed."""

    expires_at: Moment | None = None
    """When the hold is lifted by itself; absent: never."""


class NodeMaintenanceEnded(Event):
    """Node maintenance ended. The work on a machine is done. It is looked at and validated anew, and
    wiped if a tenant left it unclean, before it is available.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-maintenance-ended.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-maintenance-ended.v1.json"

    node_id: Label
    """The machine."""

    window_id: Label
    """The maintenance window."""

    outcome: NodeMaintenanceOutcome
    """How the work on one machine ended."""

    detail: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """What did not succeed; absent: nothing."""


class NodeMaintenanceStarted(Event):
    """Node maintenance started. An empty machine is handed to those who work on it."""

    TYPE: ClassVar[str] = "gpuaas.nodes.node-maintenance-started.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-maintenance-started.v1.json"

    node_id: Label
    """The machine."""

    window_id: Label
    """The maintenance window."""


class NodeOnboardingStarted(Event):
    """Node onboarding started. A machine is being bound to a registered node: the provider is asked
    for it next.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-onboarding-started.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-onboarding-started.v1.json"

    node_id: Label
    """The machine."""

    started_at: Moment
    """When it began."""


class NodeRegistered(Event):
    """Node registered. An operator announced a machine: what it should be and where it stands. Nothing
    has been seen of it yet.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-registered.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-registered.v1.json"

    node_id: Label
    """The machine's id; it never changes."""

    topology: Topology
    """Where the machine stands."""

    expected_gpu_model: Label
    """The GPU model it should have, by its name in the inventory's catalogue."""

    expected_gpu_count: Annotated[int, Field(strict=True, ge=1, le=64)]
    """How many GPUs it should have."""

    pool_id: Label
    """The pool it is meant for."""

    isolation: Isolation | None = None
    """What keeps tenants on it apart; absent: `device`."""


class NodeRemedyEnded(Event):
    """Node remedy ended. A reset or reboot is done, or could not be. After `done` the machine is
    looked at, validated and burnt in, and only that proves its component healthy again.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-remedy-ended.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-remedy-ended.v1.json"

    node_id: Label
    """The machine."""

    component_id: Label
    """The component."""

    action: Remedy
    """What was ordered."""

    fault_number: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Which fault of the component's life it answered."""

    outcome: RemedyOutcome
    """How it ended."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """What the provider said, in a sentence."""

    ended_at: Moment
    """When it was reported."""


class NodeRemedyStarted(Event):
    """Node remedy started. The platform takes the next step of the ladder on a machine that is closed
    and empty: it resets a GPU or switches the machine off and on. The machine is in repair until it
    was looked at and proved again.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-remedy-started.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-remedy-started.v1.json"

    node_id: Label
    """The machine."""

    component_id: Label
    """The component whose verdict ordered it."""

    action: Remedy
    """What is done."""

    fault_number: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Which fault of the component's life this answers; each is answered by one action at most once."""

    slot: Annotated[int, Field(strict=True, ge=0, le=63)] | None = None
    """Slot of the GPU; absent: the machine as a whole."""

    rule_version: Annotated[str, Field(min_length=1, max_length=64)]
    """Version of the rules behind the verdict."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """The verdict, in a sentence."""

    started_at: Moment
    """When it was ordered."""


class NodeRetired(Event):
    """Node retired. A machine left the fleet for good. Its id is never used again."""

    TYPE: ClassVar[str] = "gpuaas.nodes.node-retired.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-retired.v1.json"

    node_id: Label
    """The machine."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it left."""


class NodeSanitizingStarted(Event):
    """Node sanitizing started. The last tenant has left a machine: it is wiped before anybody else
    gets it.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-sanitizing-started.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-sanitizing-started.v1.json"

    node_id: Label
    """The machine."""

    after_allocation_id: Label
    """The last allocation that had it."""


class NodeStateOverdue(Event):
    """Node state overdue. A machine has stayed in one state of its life longer than expected. The
    event names the next step of a bounded list; every automatic step is said here first, with its
    cause.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-state-overdue.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-state-overdue.v1.json"

    node_id: Label
    """The machine."""

    lifecycle: Label
    """The state it stays in, such as `sanitizing`."""

    since: Moment
    """Since when it is in that state."""

    expected_s: Annotated[int, Field(strict=True, ge=1, le=31536000)]
    """Seconds it is expected to take at most, before each step."""

    overdue_at: Moment
    """When it was found to be overdue."""

    attempt: Annotated[int, Field(strict=True, ge=1, le=16)]
    """Which step of the list this is, from 1."""

    step: OverdueStep
    """What is done next."""

    policy_version: Annotated[str, Field(min_length=1, max_length=64)]
    """Version of the expectations."""

    withheld: Annotated[bool, Field(strict=True)] | None = None
    """True: automation is switched off here, so the step was named and not done."""


class NodeValidationFailed(Event):
    """Node validation failed. A machine is not what was registered. It gets no work until somebody
    corrects the machine or the registration.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-validation-failed.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-validation-failed.v1.json"

    node_id: Label
    """The machine."""

    mismatches: Annotated[tuple[Mismatch, ...], Field(min_length=1, max_length=64)]
    """Everything that differed."""


class NodeWiped(Event):
    """Node wiped. The provider erased what tenants may have left on a machine and reported on it. A
    look and a verdict follow before it is available.
    """

    TYPE: ClassVar[str] = "gpuaas.nodes.node-wiped.v1"
    SERVICE: ClassVar[str] = "nodes"
    ENTITY: ClassVar[str] = "node"
    SCHEMA: ClassVar[str] = "nodes/node-wiped.v1.json"

    node_id: Label
    """The machine."""

    method: Label
    """How it was erased, such as `secure-erase` or `metadata`."""

    disks: Annotated[int, Field(strict=True, ge=0, le=1024)]
    """How many disks were erased."""

    gpus: Annotated[int, Field(strict=True, ge=0, le=64)]
    """How many GPUs' memory was cleared."""

    wiped_at: Moment
    """When the provider had finished."""

    report_sha256: Sha256
    """Digest of the provider's report, so that the report can be held against it."""


EVENTS: tuple[type[Event], ...] = (
    AccessesRefused,
    OperatorAccessUsed,
    AutomaticRemedyGranted,
    AutomaticRemedyWithheld,
    AutomaticWithdrawalEnded,
    AutomaticWithdrawalGranted,
    AutomaticWithdrawalWithheld,
    AutomationBreakerClosed,
    AutomationBreakerOpened,
    NodeFaultReported,
    NodeHealthChanged,
    FaultRulesSwitchedOn,
    MaintenanceAccepted,
    MaintenanceEnded,
    MaintenancePostponed,
    MaintenanceScheduled,
    MaintenanceStarted,
    NodeAllocated,
    NodeAllocationEnded,
    NodeBecameAvailable,
    NodeBurnInStarted,
    NodeBurnInStepEnded,
    NodeDrainCancelled,
    NodeDrainOrdered,
    NodeDrained,
    NodeFirmwareUpdated,
    NodeHardwareObserved,
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldLifted,
    NodeHoldPlaced,
    NodeMaintenanceEnded,
    NodeMaintenanceStarted,
    NodeOnboardingStarted,
    NodeRegistered,
    NodeRemedyEnded,
    NodeRemedyStarted,
    NodeRetired,
    NodeSanitizingStarted,
    NodeStateOverdue,
    NodeValidationFailed,
    NodeWiped,
)
