"""Real GPUs are read through NVIDIA's own binding: what its driver answers is a reading, and what moves a fault."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, Final

import pytest
from gpuaas.common.errors import Misconfigured
from gpuaas.nodes.adapters.gauges import CounterFaults
from gpuaas.nodes.adapters.nvml import NvmlGauges, slots_by_address
from gpuaas.nodes.adapters.sample_wire import GpuReading, impossible
from gpuaas.nodes.domain.faults import FaultClass
from recorded_driver import RecordedDriver

pynvml: Final[Any] = importlib.import_module("pynvml")
HOPPER, BLACKWELL, TURING = "hopper, NVLink 4", "blackwell, NVLink 5", "turing, no NVLink, ECC off"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RecordedDriver]:
    """The binding's handle of the driver's library, which it finds loaded already."""

    def loaded(*kinds: str) -> RecordedDriver:
        recorded = RecordedDriver(*kinds)
        monkeypatch.setattr(pynvml, "nvmlLib", recorded)
        pynvml._nvmlGetFunctionPointer_cache.clear()
        return recorded

    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return loaded


def test_each_kind_of_gpu_is_read_for_what_it_counts(driver: Callable[..., RecordedDriver]) -> None:
    driver(HOPPER, BLACKWELL, TURING)
    hopper, blackwell, turing = NvmlGauges().read("n-1")
    assert hopper == GpuReading(0, 98, 71_204, 81_559, 64, 612, 0, 12, 0, 3, 1, False, False), "link 2 is not in use"
    assert (blackwell.nvlink_errors, blackwell.nvlink_recoveries) == (80, 2), "two links, by the fields of NVLink 5"
    assert turing == GpuReading(2, 0, 0, 15_109, 41, 9, pcie_replays=0)
    assert [impossible(each) for each in (hopper, blackwell, turing)] == [None, None, None]
    assert slots_by_address() == {"0000:3b:00": 0, "0000:5d:00": 1, "0000:af:00": 2}


def test_counters_of_the_driver_become_faults_when_they_move(driver: Callable[..., RecordedDriver]) -> None:
    recorded = driver(HOPPER, BLACKWELL)
    now = [0.0]
    source = CounterFaults(NvmlGauges(), lambda: ["n-1"], seconds=lambda: now[0])

    def told() -> list[tuple[int, FaultClass]]:
        now[0] += 60
        return [(report.slot, report.fault_class) for report in source.read()]

    assert told() == [], "what was counted before this agent began is no news"
    hopper, blackwell = recorded.gpus
    hopper["RemappedRows"] = [0, 2, 1, 0]
    assert told() == [(0, FaultClass.ROW_REMAP), (0, FaultClass.ROW_REMAP)], "one row more, and one waits for a reset"
    hopper["RemappedRows"] = [0, 2, 0, 1]
    assert told() == [(0, FaultClass.ROW_REMAP_FAILED)]
    hopper["NvLinkErrorCounter"][0][1] = 1
    assert told() == [(0, FaultClass.NVLINK)], "a link was trained anew"
    hopper["NvLinkErrorCounter"][0][2] += 5_999
    assert told() == [], "links correct single errors all day: a hundred a second are news"
    hopper["NvLinkErrorCounter"][0][2] += 6_001
    assert told() == [(0, FaultClass.NVLINK)]
    blackwell["FieldValues"]["215"] = [1, 2]
    assert told() == [(1, FaultClass.NVLINK)]
    blackwell["PcieReplayCounter"] += 8
    assert told() == []
    blackwell["PcieReplayCounter"] += 9
    assert told() == [(1, FaultClass.PCIE)], "more than eight a minute"
    hopper["TotalEccErrors"] = 1
    blackwell["lost"] = True
    assert told() == [(0, FaultClass.MEMORY_UNCORRECTED), (1, FaultClass.OFF_THE_BUS)]


def test_a_failed_replacement_is_told_at_the_first_look_and_what_is_impossible_never(
    driver: Callable[..., RecordedDriver],
) -> None:
    recorded = driver(HOPPER, HOPPER)
    recorded.gpus[0]["RemappedRows"] = [0, 8, 0, 1]
    recorded.gpus[1]["Temperature"] = 900
    source = CounterFaults(NvmlGauges(), lambda: ["n-1"])
    assert [(each.slot, each.fault_class) for each in source.read()] == [(0, FaultClass.ROW_REMAP_FAILED)]
    recorded.gpus[1]["Temperature"] = 96
    assert [(each.slot, each.fault_class) for each in source.read()] == [(1, FaultClass.THERMAL)]


def test_without_the_library_or_a_driver_the_lane_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    for ask in (slots_by_address, NvmlGauges):
        with pytest.raises(Misconfigured, match="nvidia-ml-py is not installed"):
            ask()


def gpus_here() -> str | None:
    """Why no real GPU is read here; None: there are some."""
    try:
        return None if slots_by_address() else "the driver lists no GPU"
    except Misconfigured as missing:
        return missing.detail


@pytest.mark.skipif(gpus_here() is not None, reason=f"no GPU lane on this machine: {gpus_here()}")
def test_real_gpus_show_possible_values_and_each_has_a_slot() -> None:
    readings = NvmlGauges().read("n-1")
    assert [impossible(reading) for reading in readings] == [None] * len(readings)
    assert sorted(slots_by_address().values()) == [reading.slot for reading in readings]
