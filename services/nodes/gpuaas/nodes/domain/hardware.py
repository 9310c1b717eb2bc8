"""What a machine turned out to be, against what was ordered. One law: a value no machine can have never becomes a fact.

`checked` refuses impossible observations, `differences` names each deviation in the closed vocabulary of `Field`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gpuaas.common.errors import Invalid
from gpuaas.common.ids import derived_id, is_name
from gpuaas.contracts.nodes import Device, Mismatch

DEVICES_MAX: Final = 64
CPU_COUNT_MAX: Final = 4096
MEMORY_MIB_MAX: Final = 64 * 1024 * 1024
DEVICE_MEMORY_MIB_MAX: Final = 1024 * 1024
DIFFERENCES_MAX: Final = 64
DIFFERENCE_MAX: Final = 256
"""Characters on either side of a difference."""
_SERIAL: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")


class Field(StrEnum):
    """What can differ between the machine that was ordered and the one that answered."""

    GPU_MODEL = "gpu_model"
    GPU_COUNT = "gpu_count"
    MACHINE_SERIAL = "machine_serial"
    DEVICE_SERIAL = "device_serial"
    OBSERVATION = "observation"
    PROVIDER = "provider"
    WIPE = "wipe"
    MAINTENANCE = "maintenance"
    BURN_IN = "burn-in"


@dataclass(frozen=True, slots=True)
class SeenDevice:
    """A GPU as a provider reports it, unchecked."""

    serial: str
    slot: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class SeenMachine:
    """A machine as a provider reports it, unchecked.

    Attributes:
        machine_serial: the chassis' own serial number.
        cpu_count: logical processors.
        memory_mib: main memory in MiB.
        gpu_model: the catalogue name of the GPUs, all alike.
        devices: the GPUs, in any order.
        observed_at: when the provider looked, aware.
        powered: whether it is switched on; no part of the hardware.
    """

    machine_serial: str
    cpu_count: int
    memory_mib: int
    gpu_model: str
    devices: tuple[SeenDevice, ...]
    observed_at: datetime
    powered: bool = True


@dataclass(frozen=True, slots=True)
class Hardware:
    """A possible machine: what `checked` made of a look. Devices are in slot order."""

    machine_serial: str
    cpu_count: int
    memory_mib: int
    gpu_model: str
    devices: tuple[Device, ...]
    observed_at: datetime

    def same_as(self, other: Hardware | None) -> bool:
        """Whether both looks saw the same machine with the same parts (the time does not matter)."""
        return other is not None and self._parts() == other._parts()

    def _parts(self) -> tuple[object, ...]:
        return (self.machine_serial, self.cpu_count, self.memory_mib, self.gpu_model, self.devices)


def device_id_of(serial: str) -> str:
    """The id of the GPU with this serial number: it follows the component from slot to slot and node to node."""
    return f"gpu-{derived_id('gpu-serial', serial).replace('-', '')[-16:]}"


def checked(seen: SeenMachine) -> Hardware:
    """What was seen, as hardware.

    Raises:
        Invalid: a value that no machine can have, or two devices that claim the same serial, slot or id.
    """
    _within("cpu_count", seen.cpu_count, 1, CPU_COUNT_MAX)
    _within("memory_mib", seen.memory_mib, 1, MEMORY_MIB_MAX)
    _within("number of devices", len(seen.devices), 0, DEVICES_MAX)
    _serial("machine_serial", seen.machine_serial)
    if not is_name(seen.gpu_model):
        raise Invalid(f"gpu_model {seen.gpu_model!r} is not a catalogue name; use a–z, 0–9 and hyphens")
    if seen.observed_at.tzinfo is None:
        raise Invalid("observed_at has no time zone; give an aware time")
    for device in seen.devices:
        _serial(f"serial in slot {device.slot}", device.serial)
        _within(f"slot of {device.serial}", device.slot, 0, DEVICES_MAX - 1)
        _within(f"memory_mib of {device.serial}", device.memory_mib, 1, DEVICE_MEMORY_MIB_MAX)
    _distinct("serial", [device.serial for device in seen.devices])
    _distinct("slot", [device.slot for device in seen.devices])
    devices = tuple(
        Device(device_id=device_id_of(d.serial), serial=d.serial, slot=d.slot, memory_mib=d.memory_mib)
        for d in sorted(seen.devices, key=lambda device: device.slot)
    )
    _distinct("device_id", [device.device_id for device in devices])
    return Hardware(
        machine_serial=seen.machine_serial,
        cpu_count=seen.cpu_count,
        memory_mib=seen.memory_mib,
        gpu_model=seen.gpu_model,
        devices=devices,
        observed_at=seen.observed_at,
    )


def differences(
    *, gpu_model: str, gpu_count: int, known_serial: str | None, in_service: Hardware | None, seen: Hardware
) -> list[Mismatch]:
    """What of `seen` deviates from the order, from the chassis once accepted and from the parts in service.

    Args:
        gpu_model, gpu_count: the order.
        known_serial: the chassis that was accepted under this id before; None: not yet.
        in_service: the parts a node was in service with until this look; None: it was not in service.
        seen: a checked observation.
    """
    found = [
        (Field.GPU_MODEL, gpu_model, seen.gpu_model),
        (Field.GPU_COUNT, str(gpu_count), str(len(seen.devices))),
        (Field.MACHINE_SERIAL, known_serial or seen.machine_serial, seen.machine_serial),
    ]
    if in_service is not None:
        now = {device.slot: device.serial for device in seen.devices}
        found += [
            (Field.DEVICE_SERIAL, f"{before.serial} in slot {before.slot}", now.get(before.slot, "nothing"))
            for before in in_service.devices
            if now.get(before.slot) != before.serial
        ]
    return [
        Mismatch(field=field, expected=expected, observed=observed)
        for field, expected, observed in found
        if expected != observed
    ][:DIFFERENCES_MAX]


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Invalid(f"{name} is {value}; a machine has {least} to {most}")


def _serial(name: str, value: str) -> None:
    if _SERIAL.fullmatch(value) is None:
        raise Invalid(f"{name} {value!r} is not a serial number; use 1–64 letters, digits and . _ : -")


def _distinct(name: str, values: list[str] | list[int]) -> None:
    seen: set[str | int] = set()
    for value in values:
        if value in seen:
            raise Invalid(f"two devices of this machine claim the {name} {value}; look at the machine again")
        seen.add(value)
