"""A machine in the books. One law: a serial number stands in the books once, and everything sellable was compared.

What other machines claim comes in with the command, read from a read model; the decider itself knows one machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.inventory import (
    Device,
    MachineAccepted,
    MachineMismatched,
    MachineRemoved,
    Mismatch,
    Topology,
)
from gpuaas.inventory.domain.plan import Plan

MEMORY_TOLERANCE_PERCENT: Final = 5
"""Drivers of one model report a few per cent more or less; a device further off is another device."""
DIFFERENCES_MAX: Final = 64
DIFFERENCE_MAX: Final = 256
ALONE: Final = "a serial number of this machine alone"
REASON_MAX: Final = 500

VOCABULARY: Final = Vocabulary(MachineAccepted, MachineMismatched, MachineRemoved)


class Field(StrEnum):
    """What can differ between the books and the machine that was found."""

    GPU_MODEL = "gpu_model"
    MACHINE_SERIAL = "machine_serial"
    DEVICE_SERIAL = "devices.serial"
    DEVICE_MEMORY = "devices.memory_mib"
    GPU_COUNT = "gpu_count"
    POOL = "pool_id"
    TOPOLOGY = "topology"
    PLAN = "plan"


@dataclass(frozen=True, slots=True)
class Found:
    """A machine as it was found and validated.

    Attributes:
        devices: by slot, at least one.
        nvlink_domain: None: its GPUs are not linked.
    """

    machine_id: str
    machine_serial: str
    pool_id: str
    gpu_model: str
    devices: tuple[Device, ...]
    topology: Topology
    nvlink_domain: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A serial number (of a chassis or a GPU) that another machine in the books has."""

    serial: str
    machine_id: str


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Not in the books."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """In the books and sellable."""

    found: Found


@dataclass(frozen=True, slots=True)
class Mismatched:
    """Known, not sellable; `before` is what stood in the books until then."""

    machine_id: str
    mismatches: tuple[Mismatch, ...]
    before: Found | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """Out of the books for good."""

    machine_id: str


MachineState: TypeAlias = Unlisted | Accepted | Mismatched | Removed


@dataclass(frozen=True, slots=True)
class EnterMachine:
    """Compare a validated machine with the books and enter it.

    Attributes:
        model_memory_mib: what the catalogue says about its model; None: the catalogue does not know the model.
        claimed: those of its serial numbers that another machine has.
        plan: what was expected under this id; None: it was not planned, which alone is no mismatch.
        planned_elsewhere: the other machine that its chassis' serial number is planned for.
    """

    found: Found
    model_memory_mib: int | None
    claimed: tuple[Claimed, ...] = ()
    plan: Plan | None = None
    planned_elsewhere: str | None = None


@dataclass(frozen=True, slots=True)
class RemoveMachine:
    reason: str


@dataclass(frozen=True, slots=True)
class FailMachine:
    """nodes looked again and it is no longer the machine that was entered."""

    mismatches: tuple[Mismatch, ...]


MachineCommand: TypeAlias = EnterMachine | RemoveMachine | FailMachine


def decide(command: MachineCommand, state: MachineState) -> Sequence[Event]:
    match state, command:
        case Removed() as gone, EnterMachine():
            raise Rejected(f"machine {gone.machine_id} was removed; register it under another id")
        case Accepted() as listed, EnterMachine() as order if listed.found == order.found and not _mismatches(order):
            return []
        case _, EnterMachine() as order:
            return _compared(order, state)
        case ((Unlisted() | Removed()), FailMachine()):
            return []
        case Mismatched() as listed, FailMachine() as order if listed.mismatches == order.mismatches:
            return []
        case (Accepted() | Mismatched()) as listed, FailMachine() as order:
            return [MachineMismatched(machine_id=_id_of(listed), mismatches=order.mismatches[:DIFFERENCES_MAX])]
        case Unlisted(), RemoveMachine():
            raise NotFound("no machine has this id; there is nothing to remove")
        case Removed(), RemoveMachine():
            return []
        case (Accepted() | Mismatched()) as listed, RemoveMachine() as order:
            return [MachineRemoved(machine_id=_id_of(listed), reason=order.reason[:REASON_MAX])]
        case _:
            raise Rejected(f"a machine cannot {type(command).__name__}")


def evolve(state: MachineState, event: Event) -> MachineState:
    match state, event:
        case ((Unlisted() | Accepted() | Mismatched()), MachineAccepted() as fact):
            return Accepted(
                found=Found(
                    machine_id=fact.machine_id,
                    machine_serial=fact.machine_serial,
                    pool_id=fact.pool_id,
                    gpu_model=fact.gpu_model,
                    devices=tuple(fact.devices),
                    topology=fact.topology,
                    nvlink_domain=fact.nvlink_domain,
                )
            )
        case Accepted() as listed, MachineMismatched() as fact:
            return Mismatched(fact.machine_id, tuple(fact.mismatches), before=listed.found)
        case Mismatched() as listed, MachineMismatched() as fact:
            return replace(listed, mismatches=tuple(fact.mismatches))
        case Unlisted(), MachineMismatched() as fact:
            return Mismatched(fact.machine_id, tuple(fact.mismatches))
        case ((Accepted() | Mismatched()), MachineRemoved() as fact):
            return Removed(fact.machine_id)
        case _:
            raise Unreadable(f"{event.TYPE} cannot follow in the history of a machine that is {state}")


MACHINE: Final[Decider[MachineState, MachineCommand]] = Decider(initial=Unlisted(), decide=decide, evolve=evolve)


def _compared(order: EnterMachine, state: MachineState) -> list[Event]:
    found = order.found
    if not found.devices:
        raise Invalid(f"machine {found.machine_id} shows no GPU; validate it again")
    if mismatches := _mismatches(order):
        if isinstance(state, Mismatched) and state.mismatches == mismatches:
            return []
        return [MachineMismatched(machine_id=found.machine_id, mismatches=mismatches)]
    return [
        MachineAccepted(
            machine_id=found.machine_id,
            machine_serial=found.machine_serial,
            pool_id=found.pool_id,
            gpu_model=found.gpu_model,
            devices=found.devices,
            topology=found.topology,
            nvlink_domain=found.nvlink_domain,
        )
    ]


def _mismatches(order: EnterMachine) -> tuple[Mismatch, ...]:
    found, nominal = order.found, order.model_memory_mib
    differences: list[tuple[Field, str, str]] = []
    if nominal is None:
        differences.append((Field.GPU_MODEL, "a model of the catalogue", found.gpu_model))
    else:
        differences += [
            (Field.DEVICE_MEMORY, f"{nominal} ± {MEMORY_TOLERANCE_PERCENT} %", f"{d.memory_mib} in slot {d.slot}")
            for d in found.devices
            if 100 * abs(d.memory_mib - nominal) > MEMORY_TOLERANCE_PERCENT * nominal
        ]
    serials = Counter([found.machine_serial, *(device.serial for device in found.devices)])
    differences += [
        (Field.DEVICE_SERIAL, "a serial number of one component", f"{serial} {times} times")
        for serial, times in sorted(serials.items())
        if times > 1
    ]
    differences += [
        (
            Field.MACHINE_SERIAL if claim.serial == found.machine_serial else Field.DEVICE_SERIAL,
            ALONE,
            f"{claim.serial} of {claim.machine_id}",
        )
        for claim in sorted(order.claimed, key=lambda claim: claim.serial)
        if claim.machine_id != found.machine_id
    ]
    differences += _against_plan(order)
    return tuple(
        Mismatch(field=field, expected=expected[:DIFFERENCE_MAX], observed=observed[:DIFFERENCE_MAX])
        for field, expected, observed in differences[:DIFFERENCES_MAX]
    )


def taken_serials(mismatches: Sequence[Mismatch]) -> list[str]:
    """Of a machine's mismatches, the serial numbers that another machine had."""
    return [each.observed.rpartition(" of ")[0] for each in mismatches if each.expected == ALONE]


def _against_plan(order: EnterMachine) -> list[tuple[Field, str, str]]:
    """What differs from the plan of this id, and whether another plan waits for this chassis."""
    found, plan = order.found, order.plan
    differences: list[tuple[Field, str, str]] = []
    if plan is not None:
        there, here = plan.topology, found.topology
        compared = [
            (Field.MACHINE_SERIAL, plan.machine_serial or found.machine_serial, found.machine_serial),
            (Field.GPU_MODEL, plan.gpu_model, found.gpu_model),
            (Field.GPU_COUNT, str(plan.gpu_count), str(len(found.devices))),
            (Field.POOL, plan.pool_id, found.pool_id),
            (Field.TOPOLOGY, _place(there), _place(here)),
        ]
        differences = [each for each in compared if each[1] != each[2]]
    if order.planned_elsewhere is not None and order.planned_elsewhere != found.machine_id:
        differences.append((Field.PLAN, f"{found.machine_serial} as {order.planned_elsewhere}", found.machine_id))
    return differences


def _place(topology: Topology) -> str:
    return "/".join((topology.region, topology.site, topology.pod, topology.rack))


def _id_of(listed: Accepted | Mismatched) -> str:
    return listed.found.machine_id if isinstance(listed, Accepted) else listed.machine_id
