"""Where an agent's faults come from: the kernel's log, a file of injected ones, or chance. One law: each is told once.

`read()` gives what is new since the last call. Files may grow while they are read; a line cut short waits for its end.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from gpuaas.common.errors import Invalid
from gpuaas.common.ids import new_id
from gpuaas.nodes.adapters.fault_wire import FaultReport, decode_fault
from gpuaas.nodes.domain.faults import FaultClass, FaultRules
from gpuaas.nodes.domain.kernel_log import fault_in

READ_BYTES_MAX: Final = 1 << 20
"""Bytes of a file that are taken in one look; the rest follows at the next."""
DETAIL_MAX: Final = 500
COMMON: Final = {
    FaultClass.MEMORY_UNCORRECTED: 36,
    FaultClass.OFF_THE_BUS: 10,
    FaultClass.NVLINK: 9,
    FaultClass.FIRMWARE: 8,
    FaultClass.ROW_REMAP: 17,
    FaultClass.ENGINE: 20,
}
"""Weights of the classes that chance draws: chosen for tests, measured nowhere."""
_log = logging.getLogger(__name__)


class FaultSource(Protocol):
    def read(self) -> list[FaultReport]:
        """Faults since the last call."""
        ...


class GrowingFile:
    """The complete lines that a file gained since the last look; a shorter file was begun anew."""

    def __init__(self, path: Path, *, from_end: bool) -> None:
        self._path = path
        self._offset = path.stat().st_size if from_end and path.exists() else 0

    def lines(self) -> list[str]:
        if not self._path.exists():
            return []
        if self._path.stat().st_size < self._offset:
            self._offset = 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            taken = file.read(READ_BYTES_MAX)
        whole = taken.rpartition(b"\n")[0]
        if not whole and len(taken) < READ_BYTES_MAX:
            return []
        self._offset += len(whole) + 1 if whole else len(taken)
        return whole.decode("utf-8", "replace").split("\n")


class KernelLog:
    """XID and SXid lines of one machine's kernel log, from now on.

    Args:
        slots: PCI address (`0000:3b:00`) → slot. A switch has no slot: its fault is told of the machine's first GPU,
            which is enough to close the machine.
    """

    def __init__(self, path: Path, node_id: str, slots: Mapping[str, int], rules: FaultRules) -> None:
        self._file = GrowingFile(path, from_end=True)
        self._node_id = node_id
        self._slots = dict(slots)
        self._rules = rules

    def read(self) -> list[FaultReport]:
        told = []
        for line in self._file.lines():
            if (fault := fault_in(line, self._rules)) is None:
                continue
            slot = min(self._slots.values(), default=0) if fault.on_switch else self._slots.get(fault.pci)
            if slot is None:
                _log.warning("a fault of %s, which is no GPU of this machine: %s", fault.pci, fault.code)
                continue
            detail = fault.detail[:DETAIL_MAX]
            told.append(FaultReport(self._node_id, new_id(), slot, fault.fault, "kernel-log", detail, fault.code))
        return told


class InjectedFaults:
    """Faults out of a file with one JSON object a line: the payload, without `fault_id` and `source` if one likes."""

    def __init__(self, path: Path) -> None:
        self._file = GrowingFile(path, from_end=False)

    def read(self) -> list[FaultReport]:
        told = []
        for line in filter(str.strip, self._file.lines()):
            try:
                said: dict[str, Any] = {"fault_id": new_id(), "source": "simulation", "detail": "injected"}
                told.append(decode_fault(json.dumps(said | json.loads(line)).encode()))
            except (ValueError, TypeError, Invalid) as wrong:
                _log.warning("an injected fault is unreadable: %s", wrong)
        return told


class RandomFaults:
    """Faults by chance, as a fleet has them.

    Args:
        nodes: ids of the simulated machines, asked again at each look.
        per_gpu_hour: expected faults of one GPU in an hour (Llama 3's training saw about 1/50,700).
        steady_s: steady seconds.
    """

    def __init__(
        self,
        nodes: Callable[[], list[str]],
        per_gpu_hour: float,
        seed: int,
        steady_s: Callable[[], float],
        gpu_count: int = 8,
    ) -> None:
        self._nodes = nodes
        self._per_gpu_s = per_gpu_hour / 3600
        self._random = random.Random(seed)
        self._steady_s = steady_s
        self._gpu_count = gpu_count
        self._next_s: float | None = None

    def read(self) -> list[FaultReport]:
        nodes, now_s = self._nodes(), self._steady_s()
        rate = len(nodes) * self._gpu_count * self._per_gpu_s
        if not rate:
            return []
        if self._next_s is None:
            self._next_s = now_s + self._random.expovariate(rate)
        told = []
        while self._next_s <= now_s:
            fault = self._random.choices(list(COMMON), list(COMMON.values()))[0]
            slot = self._random.randrange(self._gpu_count)
            told.append(FaultReport(self._random.choice(nodes), new_id(), slot, fault, "simulation", "by chance"))
            self._next_s += self._random.expovariate(rate)
        return told
