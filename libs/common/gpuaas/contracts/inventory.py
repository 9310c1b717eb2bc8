"""Events of the service `inventory`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpuaas.common.events import Event, Part
from gpuaas.common.wire import Moment

ClaimKind = Literal["serial", "slot"]
"""What only one planned machine can have. serial: a machine's serial number; slot: a place in a rack."""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name that can be a token of a subject and of a host name: 1 to 63 of a-z, 0-9 and inner hyphens
(RFC 1123 label).
"""

NvlinkScope = Literal["none", "machine", "rack"]
"""How far an NVLink domain reaches. none: the GPUs are not linked; machine: within one machine; rack:
over the machines of one rack.
"""

PartKind = Literal["chassis", "cpu", "memory", "gpu", "nic", "disk", "switch", "psu", "other"]
"""Kinds of parts. chassis: the machine's housing and mainboard; cpu, memory, gpu, disk: what computes
and keeps; nic: network card; switch: a switch inside the machine; psu: power supply; other:
anything else.
"""

PrincipalKind = Literal["user", "service-account"]
"""What acts: a person, or a program with an account of its own."""

RefusalCause = Literal["no-credential", "not-valid", "over", "ended", "suspended", "no-right", "not-held", "rule", "nothing-there"]
"""Why something was refused."""


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


class BillPart(Part):
    """One line of a bill of materials."""

    kind: PartKind
    """What kind of part it is."""

    part_number: Annotated[str, Field(min_length=1, max_length=64)]
    """The maker's own number of the part."""

    count: Annotated[int, Field(strict=True, ge=1, le=4096)]
    """How many of them are in one machine, pieces."""


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


class Mismatch(Part):
    """One thing that was not as expected."""

    field: Annotated[str, Field(min_length=1, max_length=64)]
    """What was compared, such as `gpu_count`."""

    expected: Annotated[str, Field(min_length=0, max_length=256)]
    """What was expected, as text."""

    observed: Annotated[str, Field(min_length=0, max_length=256)]
    """What was found, as text."""


class PartitionProfile(Part):
    """One way to cut an instance out of a GPU."""

    profile: Label
    """Its id here: the vendor's name with a hyphen for the dot, such as `1g-10gb`."""

    vendor_name: Annotated[str, Field(min_length=1, max_length=32)]
    """The vendor's own name, such as `1g.10gb`."""

    memory_mib: Annotated[int, Field(strict=True, ge=1, le=16777216)]
    """Memory of one instance, MiB, as its name says (GB × 1,024)."""

    compute_slices: Annotated[int, Field(strict=True, ge=1, le=7)]
    """Of the GPU's seven compute slices, how many one instance has."""

    memory_slices: Annotated[int, Field(strict=True, ge=1, le=8)]
    """Of the GPU's eight memory slices, how many one instance has."""

    share_milli: Annotated[int, Field(strict=True, ge=1, le=1000)]
    """What one instance counts for in claims and bills, thousandths of the GPU: its memory slices ×
    125.
    """

    instances_max: Annotated[int, Field(strict=True, ge=1, le=8)]
    """Most instances of this profile on one GPU."""

    starts: Annotated[tuple[Annotated[int, Field(strict=True, ge=0, le=7)], ...], Field(min_length=1, max_length=8)]
    """Memory slices, counted from 0, at which an instance may begin."""


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
    """Accesses refused. Requests to inventory that were refused because who asked was not believed or
    may not, counted over at most a minute so that nobody can fill the log. They stand in the trail
    of the tenant that was asked about; where who asked may not know of it, in that of the tenant
    they are at home in, else in the platform's.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.accesses-refused.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "inventory/accesses-refused.v1.json"

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
    """Operator access used. Somebody asked inventory about, or changed, what is a tenant's, by a right
    that they hold on the platform and not in the tenant. Counted over at most a minute; it stands
    in the tenant's own trail.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.operator-access-used.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "inventory/operator-access-used.v1.json"

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


class GpuModelDefined(Event):
    """GPU model defined. The catalogue knows a GPU model. Requests, prices and machines name it by
    this id.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.gpu-model-defined.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "gpu-model"
    SCHEMA: ClassVar[str] = "inventory/gpu-model-defined.v1.json"

    gpu_model: Label
    """The model's id in the catalogue."""

    vendor: Annotated[str, Field(min_length=1, max_length=64)]
    """Who makes it."""

    memory_mib: Annotated[int, Field(strict=True, ge=1, le=16777216)]
    """Memory of one GPU, MiB."""

    interconnect: Annotated[str, Field(min_length=1, max_length=64)]
    """How the GPUs of one machine are connected, such as `nvlink-4` or `pcie-5`."""

    description: Annotated[str, Field(min_length=1, max_length=500)]
    """What it is, for people who choose."""


class MachineAccepted(Event):
    """Machine accepted. A machine that passed its checks is in the books as sellable capacity of a
    pool. From here on its GPUs can be claimed.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.machine-accepted.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "machine"
    SCHEMA: ClassVar[str] = "inventory/machine-accepted.v1.json"

    machine_id: Label
    """The machine; the same id as its node."""

    machine_serial: Annotated[str, Field(min_length=1, max_length=64)]
    """Serial number of the machine (its mainboard or chassis)."""

    pool_id: Label
    """The pool whose capacity the machine is part of."""

    gpu_model: Label
    """The GPU model by its name in the inventory's catalogue (one model per machine)."""

    devices: Annotated[tuple[Device, ...], Field(min_length=1, max_length=64)]
    """Its GPUs, ordered by slot."""

    topology: Topology
    """Where the machine stands."""

    nvlink_domain: Label | None = None
    """The NVLink domain its GPUs belong to; absent: they are not linked, or nobody has said."""


class MachineMismatched(Event):
    """Machine mismatched. A machine that was found differs from what the books expected. It is not
    sellable until the difference is settled.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.machine-mismatched.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "machine"
    SCHEMA: ClassVar[str] = "inventory/machine-mismatched.v1.json"

    machine_id: Label
    """The machine; the same id as its node."""

    mismatches: Annotated[tuple[Mismatch, ...], Field(min_length=1, max_length=64)]
    """Everything that differed."""


class MachineRemoved(Event):
    """Machine removed. A machine is no longer in the books; its GPUs are not sellable any more."""

    TYPE: ClassVar[str] = "gpuaas.inventory.machine-removed.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "machine"
    SCHEMA: ClassVar[str] = "inventory/machine-removed.v1.json"

    machine_id: Label
    """The machine; the same id as its node."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it was removed."""


class MachinePlanWithdrawn(Event):
    """Machine plan withdrawn. The books expect this machine no longer."""

    TYPE: ClassVar[str] = "gpuaas.inventory.machine-plan-withdrawn.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "machine-plan"
    SCHEMA: ClassVar[str] = "inventory/machine-plan-withdrawn.v1.json"

    machine_id: Label
    """The machine."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it is not expected any more."""


class MachinePlanned(Event):
    """Machine planned. The books expect a machine: of which kind, where, and with which serial number.
    What is found under this id is compared with the newest plan.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.machine-planned.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "machine-plan"
    SCHEMA: ClassVar[str] = "inventory/machine-planned.v1.json"

    machine_id: Label
    """The machine; its node registers under the same id."""

    sku_id: Label
    """The SKU that was ordered."""

    sku_version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """The version of the SKU."""

    gpu_model: Label
    """The SKU's GPU model, repeated for readers."""

    gpu_count: Annotated[int, Field(strict=True, ge=1, le=64)]
    """The SKU's GPUs per machine, pieces, repeated for readers."""

    pool_id: Label
    """The pool it is meant for."""

    machine_serial: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Serial number on the delivery note; absent: not known yet."""

    topology: Topology
    """Where it is to stand."""

    rack_slot: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    """Lowest rack unit it takes, counted from 1 at the floor; absent: not decided."""

    nvlink_domain: Label | None = None
    """The NVLink domain it belongs to; absent: the GPUs of no machine are linked with others here."""


class PartitioningPublished(Event):
    """Partitioning published. The ways in which GPUs of one model can be cut into isolated instances,
    as the vendor documents them. A correction is the next version; what was sold by an older one
    stays what it was.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.partitioning-published.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "partitioning"
    SCHEMA: ClassVar[str] = "inventory/partitioning-published.v1.json"

    gpu_model: Label
    """The GPU model."""

    version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Version of this table, from 1 without a gap."""

    scheme: Label
    """How GPUs of this model are partitioned, such as `mig`."""

    source: Annotated[str, Field(min_length=1, max_length=300)]
    """Where the table is from."""

    profiles: Annotated[tuple[PartitionProfile, ...], Field(min_length=1, max_length=64)]
    """The profiles, the smallest first."""


class PlanClaimFreed(Event):
    """Plan claim freed. A plan gave up a serial number or a place in a rack; another plan may take it."""

    TYPE: ClassVar[str] = "gpuaas.inventory.plan-claim-freed.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "plan-claim"
    SCHEMA: ClassVar[str] = "inventory/plan-claim-freed.v1.json"

    claim_id: Label
    """Derived from kind and value."""

    machine_id: Label
    """The planned machine that had it."""


class PlanClaimTaken(Event):
    """Plan claim taken. A plan took something that only one machine can have: a serial number or a
    place in a rack. Decided together with the plan, so that no two plans have it.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.plan-claim-taken.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "plan-claim"
    SCHEMA: ClassVar[str] = "inventory/plan-claim-taken.v1.json"

    claim_id: Label
    """Derived from kind and value."""

    kind: ClaimKind
    """What is claimed."""

    value: Annotated[str, Field(min_length=1, max_length=320)]
    """The serial number, or the place as region/site/pod/rack/slot."""

    machine_id: Label
    """The planned machine that has it."""


class SkuPublished(Event):
    """SKU published. A version of a kind of machine that can be bought and planned, with its bill of
    materials. A version never changes; a better description is the next version.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.sku-published.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "sku"
    SCHEMA: ClassVar[str] = "inventory/sku-published.v1.json"

    sku_id: Label
    """The SKU."""

    version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Its version, from 1 without a gap."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    """What it is, for people who choose."""

    gpu_model: Label
    """The model of its GPUs, by its name in the catalogue."""

    gpu_count: Annotated[int, Field(strict=True, ge=1, le=64)]
    """GPUs in one machine, pieces."""

    nvlink_scope: NvlinkScope
    """How far one NVLink domain reaches."""

    parts: Annotated[tuple[BillPart, ...], Field(min_length=1, max_length=64)]
    """The bill of materials of one machine."""


class SkuVersionRetired(Event):
    """SKU version retired. No new machine is planned with this version of a SKU; those that are
    planned with it stay.
    """

    TYPE: ClassVar[str] = "gpuaas.inventory.sku-version-retired.v1"
    SERVICE: ClassVar[str] = "inventory"
    ENTITY: ClassVar[str] = "sku"
    SCHEMA: ClassVar[str] = "inventory/sku-version-retired.v1.json"

    sku_id: Label
    """The SKU."""

    version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """The version that is retired."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it was retired."""


EVENTS: tuple[type[Event], ...] = (
    AccessesRefused,
    OperatorAccessUsed,
    GpuModelDefined,
    MachineAccepted,
    MachineMismatched,
    MachineRemoved,
    MachinePlanWithdrawn,
    MachinePlanned,
    PartitioningPublished,
    PlanClaimFreed,
    PlanClaimTaken,
    SkuPublished,
    SkuVersionRetired,
)
