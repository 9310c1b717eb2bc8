"""Simulated machines. One law: what a node id shows depends on the id, the order and the script alone.

Serial numbers, sizes and faults are derived by hashing, so every run, process and restart sees the same machines.
What was adopted is kept in a small file, because a provider outlives its clients.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from gpuaas.common.clock import Clock
from gpuaas.nodes.domain.hardware import SeenDevice, SeenMachine
from gpuaas.nodes.domain.proofs import Load
from gpuaas.nodes.ports import (
    BurnInReport,
    FirmwareReport,
    ProviderRefused,
    Unanswered,
    UnknownMachine,
    Wanted,
    WipeReport,
)

REPORTED_MIB: Final[dict[str, int]] = {
    "nvidia-b200-sxm-180gb": 183_359,
    "nvidia-h200-sxm5-141gb": 143_771,
    "nvidia-h100-sxm5-80gb": 81_559,
    "nvidia-a100-sxm4-80gb": 81_920,
    "nvidia-a100-sxm4-40gb": 40_960,
    "nvidia-v100-sxm2-32gb": 32_510,
    "nvidia-v100-sxm2-16gb": 16_160,
    "nvidia-p100-pcie-16gb": 16_280,
    "nvidia-l40s-48gb": 46_068,
    "nvidia-l4-24gb": 23_034,
    "nvidia-a10-24gb": 23_028,
    "nvidia-t4-16gb": 15_360,
    "nvidia-k20x-6gb": 5_699,
}
"""Memory of a device as its driver reports it, MiB: what nvidia-smi prints for the real ones."""
REPORTED_MIB_DEFAULT: Final = 16_384
CPU_COUNT: Final = 192
MEMORY_MIB: Final = 2 * 1024 * 1024
DISKS: Final = 8
FIRMWARE: Final[dict[str, str]] = {"bmc": "1.0.0", "bios": "1.0.0", "gpu": "96.00.1", "nvswitch": "96.10.1"}
"""Components of a simulated machine and the versions they are delivered with."""
_FAULT_SCALE: Final = 1 << 32


class Fault(StrEnum):
    """What can go wrong with one call."""

    TIMEOUT_BEFORE = "timeout-before"
    TIMEOUT_AFTER = "timeout-after"
    SLOW = "slow"
    CONFLICT = "conflict"
    SERVER_ERROR = "server-error"
    WRONG_JSON = "wrong-json"
    REFUSED = "refused"


_RANDOM: Final = (Fault.TIMEOUT_BEFORE, Fault.TIMEOUT_AFTER, Fault.SLOW)
"""What chance may do to a call: what goes away when one asks again."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """How a machine differs from its order; None: it does not.

    Attributes:
        serials: slot → serial number that the GPU there reports.
        machine_serial: what the chassis reports.
    """

    gpu_model: str | None = None
    gpu_count: int | None = None
    machine_serial: str | None = None
    serials: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Script:
    """What the simulation does besides behaving well.

    Attributes:
        work_looks: how often slow work (erasing, firmware) is looked at before it is done.
        latency_s: real seconds every call takes; a slow one takes ten times that, at least `slow_s`.
        fault_rate: share of calls (0 to 1) that end in a fault chosen by hash.
        faults: `<verb>/<node id>` → the faults of its first calls in order, None for none; `fault_rate` begins after.
        deviations: node id → how its machine differs from the order.
        burn_ins: `<load>/<node id>` → the slots that fail its first runs in order, None for a run that passes.
    """

    latency_s: float = 0.0
    slow_s: float = 0.2
    fault_rate: float = 0.0
    work_looks: int = 1
    faults: Mapping[str, tuple[Fault | None, ...]] = field(default_factory=dict)
    deviations: Mapping[str, Deviation] = field(default_factory=dict)
    burn_ins: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Script:
        """A script written as JSON with the fields above.

        Raises:
            ValueError: unknown fields, faults or values out of range.
        """
        given = json.loads(text)
        if not isinstance(given, dict) or given.keys() - cls.__dataclass_fields__.keys():
            raise ValueError(f"a script is an object of {', '.join(cls.__dataclass_fields__)}")
        script = cls(
            latency_s=float(given.get("latency_s", 0.0)),
            slow_s=float(given.get("slow_s", 0.2)),
            fault_rate=float(given.get("fault_rate", 0.0)),
            work_looks=int(given.get("work_looks", 1)),
            faults={
                call: tuple(Fault(fault) if fault else None for fault in said)
                for call, said in given.get("faults", {}).items()
            },
            deviations={node: _deviation(said) for node, said in given.get("deviations", {}).items()},
            burn_ins={run: tuple(said) for run, said in given.get("burn_ins", {}).items()},
        )
        if not (0 <= script.fault_rate <= 1 and script.latency_s >= 0 and script.slow_s >= 0):
            raise ValueError("a script needs 0 <= fault_rate <= 1 and latencies >= 0")
        return script


@dataclass(slots=True)
class _Machine:
    wanted: Wanted
    powered: bool = True
    orders: dict[str, int] = field(default_factory=dict)
    firmware: dict[str, str] = field(default_factory=dict)
    burn_ins: dict[str, list[str]] = field(default_factory=dict)


class SimulatedProvider:
    """A fleet that answers like a real provider.

    Args:
        clock: for the time of an observation.
        kept: file that remembers the adopted machines; None: this process only.

    Attributes:
        effects: how often something really changed, by verb: what the contract suite looks at.
    """

    def __init__(self, clock: Clock, script: Script | None = None, kept: Path | None = None) -> None:
        self._clock = clock
        self._script = script or Script()
        self._kept = kept
        self._calls: Counter[str] = Counter()
        self._machines: dict[str, _Machine] = {}
        self.effects: Counter[str] = Counter()
        if kept is not None and kept.exists():
            self._remember(kept.read_text())

    async def adopt(self, node_id: str, wanted: Wanted) -> None:
        fault = await self._arrive("adopt", node_id)
        if node_id not in self._machines:
            self._machines[node_id] = _Machine(wanted)
            self.effects["adopt"] += 1
            self._keep_machine(node_id, self._machines[node_id])
        self._leave("adopt", node_id, fault)

    async def observe(self, node_id: str) -> SeenMachine:
        fault = await self._arrive("observe", node_id)
        machine = self._machine(node_id)
        self._leave("observe", node_id, fault)
        return self._seen(node_id, machine)

    async def power(self, node_id: str, on: bool) -> None:
        fault = await self._arrive("power", node_id)
        machine = self._machine(node_id)
        if machine.powered != on:
            machine.powered = on
            self.effects["power"] += 1
            self._keep_machine(node_id, machine)
        self._leave("power", node_id, fault)

    async def erase(self, node_id: str, order_id: str) -> WipeReport | None:
        fault = await self._arrive("erase", node_id)
        machine = self._machine(node_id)
        done = self._carried_on("erase", node_id, machine, order_id)
        self._leave("erase", node_id, fault)
        if not done:
            return None
        report = f"{node_id} {order_id}: {machine.wanted.gpu_count} GPUs and {DISKS} disks cleared"
        digest = hashlib.sha256(report.encode()).hexdigest()
        return WipeReport("simulated-erase", DISKS, machine.wanted.gpu_count, self._clock.now(), digest)

    async def update_firmware(self, node_id: str, component: str, version: str, order_id: str) -> FirmwareReport | None:
        fault = await self._arrive("firmware", node_id)
        machine = self._machine(node_id)
        if component not in FIRMWARE:
            raise ProviderRefused(f"{node_id} has no firmware {component}; it has {', '.join(sorted(FIRMWARE))}")
        before = machine.firmware.get(component, FIRMWARE[component])
        done = self._carried_on("firmware", node_id, machine, order_id)
        if done and before != version:
            machine.firmware[component] = version
            self._keep_machine(node_id, machine)
        self._leave("firmware", node_id, fault)
        return FirmwareReport(version, before) if done else None

    @property
    def loads(self) -> frozenset[Load]:
        return frozenset(Load)

    async def burn_in(self, node_id: str, load: Load, order_id: str) -> BurnInReport | None:
        fault = await self._arrive("burn_in", node_id)
        machine = self._machine(node_id)
        runs = machine.burn_ins.setdefault(load.value, [])
        if order_id not in runs:
            runs.append(order_id)
        done = self._carried_on("burn_in", node_id, machine, order_id)
        self._leave("burn_in", node_id, fault)
        if not done:
            return None
        scripted, number = self._script.burn_ins.get(f"{load.value}/{node_id}", ()), runs.index(order_id)
        slot = scripted[number] if number < len(scripted) else None
        detail = "no error" if slot is None else f"errors on the GPU in slot {slot}"
        digest = hashlib.sha256(f"{node_id} {load.value} {order_id}: {detail}".encode()).hexdigest()
        return BurnInReport(slot is None, detail, digest, slot, "0" if slot is None else "1", "errors")

    async def reset_gpu(self, node_id: str, slot: int | None, order_id: str) -> bool:
        fault = await self._arrive("reset_gpu", node_id)
        done = self._carried_on("reset_gpu", node_id, self._machine(node_id), order_id)
        self._leave("reset_gpu", node_id, fault)
        return done

    def _carried_on(self, verb: str, node_id: str, machine: _Machine, order_id: str) -> bool:
        """Begin slow work, or look at it again; whether it is done. It takes `work_looks` looks."""
        if order_id not in machine.orders:
            self.effects[verb] += 1
        machine.orders[order_id] = machine.orders.get(order_id, 0) + 1
        self._keep_machine(node_id, machine)
        return machine.orders[order_id] > self._script.work_looks

    def _machine(self, node_id: str) -> _Machine:
        if (machine := self._machines.get(node_id)) is None:
            raise UnknownMachine(f"the provider has no machine for node {node_id}; adopt one first")
        return machine

    async def _arrive(self, verb: str, node_id: str) -> Fault | None:
        fault = self._fault(verb, node_id)
        pause_s = self._script.latency_s
        if fault is Fault.SLOW:
            pause_s = max(self._script.slow_s, 10 * pause_s)
        if pause_s:
            await asyncio.sleep(pause_s)
        if fault is Fault.REFUSED:
            raise ProviderRefused(f"{verb} {node_id}: the machine will not do it")
        if fault in (Fault.TIMEOUT_BEFORE, Fault.CONFLICT, Fault.SERVER_ERROR):
            # Lost on the way, busy with another order, broken: nothing has happened, and it may be asked again.
            raise Unanswered(f"{verb} {node_id}: no answer; observe the machine")
        return fault

    def _leave(self, verb: str, node_id: str, fault: Fault | None) -> None:
        if fault in (Fault.TIMEOUT_AFTER, Fault.WRONG_JSON):
            raise Unanswered(f"{verb} {node_id}: no answer; observe the machine")

    def _fault(self, verb: str, node_id: str) -> Fault | None:
        call = f"{verb}/{node_id}"
        number = self._calls[call]
        self._calls[call] += 1
        scripted = self._script.faults.get(call, ())
        if number < len(scripted):
            return scripted[number]
        if not self._script.fault_rate:
            return None
        draw = _number(f"fault/{call}/{number}")
        if draw % _FAULT_SCALE >= self._script.fault_rate * _FAULT_SCALE:
            return None
        return _RANDOM[(draw // _FAULT_SCALE) % len(_RANDOM)]

    def _seen(self, node_id: str, machine: _Machine) -> SeenMachine:
        deviation = self._script.deviations.get(node_id, Deviation())
        model = deviation.gpu_model or machine.wanted.gpu_model
        count = machine.wanted.gpu_count if deviation.gpu_count is None else deviation.gpu_count
        memory_mib = REPORTED_MIB.get(model, REPORTED_MIB_DEFAULT)
        devices = tuple(
            SeenDevice(serial=deviation.serials.get(slot) or serial_of(node_id, slot), slot=slot, memory_mib=memory_mib)
            for slot in range(count)
        )
        return SeenMachine(
            machine_serial=deviation.machine_serial or f"SIM-{_number(f'chassis/{node_id}'):016X}",
            cpu_count=CPU_COUNT,
            memory_mib=MEMORY_MIB,
            gpu_model=model,
            devices=devices,
            powered=machine.powered,
            observed_at=self._clock.now(),
        )

    def _keep_machine(self, node_id: str, machine: _Machine) -> None:
        self._keep({"node_id": node_id, **asdict(machine)})

    def _keep(self, line: Mapping[str, object]) -> None:
        if self._kept is not None:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with self._kept.open("a") as file:
                # The line break comes first, so that a line cut short by a kill spoils no other.
                file.write("\n" + json.dumps(line))

    def _remember(self, text: str) -> None:
        for line in text.splitlines():
            try:
                kept = json.loads(line)
            except ValueError:
                continue  # an empty line, or one cut short by a kill; its adoption is made again on demand
            self._machines[kept["node_id"]] = _Machine(
                wanted=Wanted(**kept["wanted"]),
                powered=kept["powered"],
                orders=kept.get("orders", {}),
                firmware=kept.get("firmware", {}),
                burn_ins=kept.get("burn_ins", {}),
            )


def serial_of(node_id: str, slot: int) -> str:
    """The serial number of the simulated GPU in this slot: thirteen digits, as NVIDIA prints them."""
    return f"{_number(f'gpu/{node_id}/{slot}') % 10**13:013d}"


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _deviation(said: Mapping[str, Any]) -> Deviation:
    if unknown := said.keys() - Deviation.__dataclass_fields__.keys():
        raise ValueError(f"a deviation has {', '.join(Deviation.__dataclass_fields__)}; got {sorted(unknown)}")
    serials = {int(slot): str(serial) for slot, serial in said.get("serials", {}).items()}
    return Deviation(
        gpu_model=said.get("gpu_model"),
        gpu_count=said.get("gpu_count"),
        machine_serial=said.get("machine_serial"),
        serials=serials,
    )
