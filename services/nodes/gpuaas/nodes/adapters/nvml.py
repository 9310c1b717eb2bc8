"""The GPUs of this machine as NVIDIA's library lists them. One law: without the library the machine has no such lane.

`nvidia-ml-py` is no dependency of the suite: it is imported when it is asked for, on machines with a GPU.
"""

from __future__ import annotations

import importlib
from typing import Any

from gpuaas.common.errors import Misconfigured
from gpuaas.nodes.adapters.sample_wire import GpuReading


def slots_by_address() -> dict[str, int]:
    """PCI address (`0000:3b:00`) → slot of every GPU.

    Raises:
        Misconfigured: `nvidia-ml-py` is not installed, or the driver does not answer; the sentence says which.
    """
    nvml = _library()
    try:
        nvml.nvmlInit()
        try:
            return dict(_listed(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as refused:
        raise Misconfigured(f"the NVIDIA driver does not answer: {refused}") from None


class NvmlGauges:
    """The GPUs of this machine, as `GpuGauges`; a GPU that does not answer is absent from what is read.

    Raises:
        Misconfigured: `nvidia-ml-py` is not installed, or the driver does not answer.
    """

    def __init__(self) -> None:
        self._nvml = _library()
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as refused:
            raise Misconfigured(f"the NVIDIA driver does not answer: {refused}") from None

    def read(self, node_id: str) -> list[GpuReading]:
        nvml = self._nvml
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as refused:
            raise OSError(f"the NVIDIA driver does not answer: {refused}") from None
        found = [self._reading(slot) for slot in range(count)]
        return [reading for reading in found if reading is not None]

    def _reading(self, slot: int) -> GpuReading | None:
        nvml = self._nvml
        try:
            gpu = nvml.nvmlDeviceGetHandleByIndex(slot)
            memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
            return GpuReading(
                slot=slot,
                gpu_percent=int(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
                memory_used_mib=int(memory.used) >> 20,
                memory_total_mib=int(memory.total) >> 20,
                temperature_c=int(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
                power_w=int(nvml.nvmlDeviceGetPowerUsage(gpu)) // 1000,
                ecc_uncorrected=self._uncorrected(gpu),
            )
        except nvml.NVMLError:
            return None

    def _uncorrected(self, gpu: Any) -> int | None:
        """Uncorrected errors since the driver was loaded; None where the GPU has no such counter."""
        nvml = self._nvml
        kind, span = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        try:
            return int(nvml.nvmlDeviceGetTotalEccErrors(gpu, kind, span))
        except nvml.NVMLError:
            return None


def _library() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        raise Misconfigured("nvidia-ml-py is not installed; install it on machines with GPUs") from None


def _listed(nvml: Any, index: int) -> tuple[str, int]:
    told = nvml.nvmlDeviceGetPciInfo(nvml.nvmlDeviceGetHandleByIndex(index)).busId
    domain, bus, device = (told.decode() if isinstance(told, bytes) else str(told)).lower().split(".")[0].split(":")
    return f"{domain[-4:]}:{bus}:{device}", index
