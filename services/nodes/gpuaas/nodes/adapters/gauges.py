"""What GPUs show at this moment, and the faults their counters tell. One law: a counter is news only when it moves.

`GpuGauges` is the port; `nvml.NvmlGauges` reads real GPUs, `SimulatedGauges` makes values up by hash, so that the same
second of the same machine is always the same, and takes what a file says instead.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec
from gpuaas.common.ids import new_id
from gpuaas.nodes.adapters.fault_wire import FaultReport
from gpuaas.nodes.adapters.sample_wire import GpuReading, impossible
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
                nvlink_errors=0,
                nvlink_recoveries=0,
                pcie_replays=0,
                rows_remapped=0,
                remap_pending=False,
                remap_failed=False,
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


@dataclass(frozen=True, slots=True)
class Watched:
    """A counter of `GpuReading` and what it means when it moves by more than `per_s` a second."""

    counter: str
    fault: FaultClass
    told: str
    per_s: float = 0.0


WATCHED: Final = (
    Watched("ecc_uncorrected", FaultClass.MEMORY_UNCORRECTED, "uncorrected errors"),
    Watched("rows_remapped", FaultClass.ROW_REMAP, "rows replaced"),
    Watched("nvlink_recoveries", FaultClass.NVLINK, "links trained anew"),
    Watched("nvlink_errors", FaultClass.NVLINK, "NVLink errors corrected", per_s=100.0),
    Watched("pcie_replays", FaultClass.PCIE, "PCIe packets sent again", per_s=8 / 60),
)
"""Links correct single errors by themselves, and do so all day: only a rate of them is news."""
FLAGS: Final = (
    Watched("remap_failed", FaultClass.ROW_REMAP_FAILED, "a row could not be replaced: no spare one is left"),
    Watched("remap_pending", FaultClass.ROW_REMAP, "a row waits for a reset to be replaced"),
)


@dataclass(slots=True)
class CounterFaults:
    """Faults out of gauges: counters that move, heat, and a GPU that answered before and does not now.

    The first look only learns what the counters are: what they counted before belongs to another life of the agent.
    Only a failed replacement of memory is told then too, for it stays true. What no GPU can have is told to nobody.
    """

    gauges: GpuGauges
    nodes: Callable[[], list[str]]
    source: Literal["nvml", "simulation"] = "nvml"
    seconds: Callable[[], float] = time.monotonic
    _known: dict[tuple[str, int], tuple[float, GpuReading]] = field(default_factory=dict)
    _hot: set[tuple[str, int]] = field(default_factory=set)

    def read(self) -> list[FaultReport]:
        return [report for node_id in self.nodes() for report in self._of(node_id)]

    def _of(self, node_id: str) -> list[FaultReport]:
        at, now = self.seconds(), {reading.slot: reading for reading in self.gauges.read(node_id)}
        told: list[FaultReport] = []
        for slot, reading in now.items():
            if why := impossible(reading):
                _log.warning("%s: what is read is impossible and counts for nothing: %s", node_id, why)
                continue
            told += [self._fault(node_id, slot, fault, detail) for fault, detail in self._moved(node_id, at, reading)]
            told += self._heat(node_id, reading)
            self._known[node_id, slot] = at, reading
        for node, slot in [key for key in self._known if key[0] == node_id and key[1] not in now]:
            del self._known[node, slot]
            told.append(self._fault(node_id, slot, FaultClass.OFF_THE_BUS, "it answered before and does not now"))
        return told

    def _moved(self, node_id: str, at: float, reading: GpuReading) -> Iterator[tuple[FaultClass, str]]:
        since, before = self._known.get((node_id, reading.slot), (at, None))
        for flag in FLAGS:
            first = before is None and flag.fault is FaultClass.ROW_REMAP_FAILED
            if getattr(reading, flag.counter) and (first or (before and not getattr(before, flag.counter))):
                yield flag.fault, flag.told
        if before is None:
            return
        for watched in WATCHED:
            counted = (getattr(reading, watched.counter) or 0) - (getattr(before, watched.counter) or 0)
            if counted > watched.per_s * (at - since) and counted > 0:
                yield watched.fault, f"{counted} {watched.told}"

    def _heat(self, node_id: str, reading: GpuReading) -> list[FaultReport]:
        key = (node_id, reading.slot)
        if reading.temperature_c < COOL_C:
            self._hot.discard(key)
        if reading.temperature_c < HOT_C or key in self._hot:
            return []
        self._hot.add(key)
        return [self._fault(node_id, reading.slot, FaultClass.THERMAL, f"{reading.temperature_c} °C")]

    def _fault(self, node_id: str, slot: int, fault: FaultClass, detail: str) -> FaultReport:
        return FaultReport(node_id, new_id(), slot, fault, self.source, detail)
