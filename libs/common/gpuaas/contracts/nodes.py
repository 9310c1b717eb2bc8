"""Events of the service `nodes`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from gpuaas.common.events import Event, Part
from gpuaas.common.wire import Moment

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name that can be a token of a subject and of a host name: 1 to 63 of a-z, 0-9 and inner hyphens
(RFC 1123 label).
"""


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


EVENTS: tuple[type[Event], ...] = (
    NodeBecameAvailable,
    NodeHardwareObserved,
    NodeHeartbeatLost,
    NodeHeartbeatRestored,
    NodeHoldLifted,
    NodeHoldPlaced,
    NodeRegistered,
    NodeRetired,
    NodeValidationFailed,
)
