"""Events of the service `inventory`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from gpuaas.common.events import Event, Part

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


EVENTS: tuple[type[Event], ...] = (
    GpuModelDefined,
    MachineAccepted,
    MachineMismatched,
    MachineRemoved,
)
