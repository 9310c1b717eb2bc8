"""Ready-made machines for the tests of this service. One law: plain values, nothing clever."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gpuaas.contracts import nodes
from gpuaas.contracts.inventory import Device, Topology
from gpuaas.inventory.domain.machine import Found

NOON = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
MODEL = "nvidia-h100-sxm5-80gb"
MEMORY_MIB = 81_559


def device(slot: int, serial: str, memory_mib: int = MEMORY_MIB) -> Device:
    return Device(device_id=f"gpu-{serial.lower()}", serial=serial, slot=slot, memory_mib=memory_mib)


def found(machine_id: str = "m-1", **other: Any) -> Found:
    machine = Found(
        machine_id=machine_id,
        machine_serial=f"CHASSIS-{machine_id}",
        pool_id="h100-fra",
        gpu_model=MODEL,
        devices=tuple(device(slot, f"{machine_id}-{slot}") for slot in range(8)),
        topology=Topology(region="eu-central", site="fra1", pod="p2", rack="r07"),
    )
    return replace(machine, **other)


def looked_at(machine: Found) -> nodes.NodeHardwareObserved:
    """What nodes says when it has looked at this machine."""
    return nodes.NodeHardwareObserved(
        node_id=machine.machine_id,
        machine_serial=machine.machine_serial,
        cpu_count=224,
        memory_mib=2_063_872,
        gpu_model=machine.gpu_model,
        devices=tuple(nodes.Device(**dict(d)) for d in machine.devices),
        observed_at=NOON,
    )


def available(machine: Found) -> nodes.NodeBecameAvailable:
    """What nodes says when it has accepted this machine."""
    return nodes.NodeBecameAvailable(
        node_id=machine.machine_id,
        pool_id=machine.pool_id,
        gpu_model=machine.gpu_model,
        devices=tuple(nodes.Device(**dict(d)) for d in machine.devices),
        topology=nodes.Topology(**dict(machine.topology)),
    )
