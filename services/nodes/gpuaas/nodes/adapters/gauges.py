"""What GPUs show at this moment, and the faults their counters tell. One law: a counter is news only when it moves.

`GpuGauges` is the port; `nvml.NvmlGauges` reads real GPUs, `SimulatedGauges` makes values up by hash, so that the same
second of the same machine is always the same, and takes what a file says instead.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec
from gpuaas.common.ids import new_id
from gpuaas.nodes.adapters.fault_wire import FaultReport
from gpuaas.nodes.adapters.sample_wire import GpuReading
from gpuaas.nodes.domain.faults import FaultClass

HOT_C: Final = 95
"""At this temperature a data-centre GPU is about to slow down or switch itself off."""
COOL_C: Final = 85
"""Below this an episode of heat is over."""
_log = logging.getLogger(__name__)


class GpuGauges(Protocol):
    def read(self, node_id: str) -> list[GpuReading]:
        """The machine's GPUs now, by slot; a GPU that does not answer is absent. Raises OSError: none can be read."""
        ...


class SimulatedGauges:
    """Args: second: of the world; overrides: file, `{node id: {slot: {field: value}}}`, read again at each look."""

    def __init__(
        self, second: Callable[[], int], overrides: Path | None = None, gpu_count: int = 8, memory_mib: int = 81_559
    ) -> None:
        self._second = second
        self._overrides = overrides
        self._gpu_count = gpu_count
        self._memory_mib = memory_mib

    def read(self, node_id: str) -> list[GpuReading]:
        said = self._said().get(node_id, {})
        readings = []
        for slot in range(self._gpu_count):
            draw = hashlib.sha256(f"{node_id}/{slot}/{self._second() // 60}".encode()).digest()
            percent = draw[0] % 101
            usual = GpuReading(
                slot=slot,
                gpu_percent=percent,
                memory_used_mib=self._memory_mib * percent // 110,
                memory_total_mib=self._memory_mib,
                temperature_c=32 + percent * 2 // 5 + draw[1] % 4,
                power_w=70 + percent * 6,
                ecc_uncorrected=0,
            )
            told = said.get(str(slot), {})
            if told is not None:
                readings.append(msgspec.structs.replace(usual, **told))
        return readings

    def _said(self) -> dict[str, Any]:
        if self._overrides is None or not self._overrides.exists():
            return {}
        try:
            told = json.loads(self._overrides.read_text("utf-8"))
        except ValueError as half_written:
            _log.warning("%s is not readable now: %s", self._overrides, half_written)
            return {}
        return told if isinstance(told, dict) else {}


@dataclass(slots=True)
class CounterFaults:
    """Faults out of gauges: memory errors that count up, heat, and a GPU that answered before and does not now.

    The first look only learns what the counters are: what they counted before belongs to another life of the agent.
    """

    gauges: GpuGauges
    nodes: Callable[[], list[str]]
    source: Literal["nvml", "simulation"] = "nvml"
    _known: dict[tuple[str, int], GpuReading] = field(default_factory=dict)
    _hot: set[tuple[str, int]] = field(default_factory=set)

    def read(self) -> list[FaultReport]:
        return [report for node_id in self.nodes() for report in self._of(node_id)]

    def _of(self, node_id: str) -> list[FaultReport]:
        now = {reading.slot: reading for reading in self.gauges.read(node_id)}
        told: list[FaultReport] = []
        for slot, reading in now.items():
            key, before = (node_id, slot), self._known.get((node_id, slot))
            counted = (reading.ecc_uncorrected or 0) - ((before.ecc_uncorrected or 0) if before else 0)
            if before is not None and counted > 0:
                told.append(self._fault(node_id, slot, FaultClass.MEMORY_UNCORRECTED, f"{counted} uncorrected errors"))
            if reading.temperature_c >= HOT_C and key not in self._hot:
                self._hot.add(key)
                told.append(self._fault(node_id, slot, FaultClass.THERMAL, f"{reading.temperature_c} °C"))
            elif reading.temperature_c < COOL_C:
                self._hot.discard(key)
            self._known[key] = reading
        for node, slot in [key for key in self._known if key[0] == node_id and key[1] not in now]:
            del self._known[node, slot]
            told.append(self._fault(node_id, slot, FaultClass.OFF_THE_BUS, "it answered before and does not now"))
        return told

    def _fault(self, node_id: str, slot: int, fault: FaultClass, detail: str) -> FaultReport:
        return FaultReport(node_id, new_id(), slot, fault, self.source, detail)
