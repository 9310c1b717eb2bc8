"""The GPUs of this machine as NVIDIA's library lists them. One law: without the library the machine has no such lane.

`nvidia-ml-py` is no dependency of the suite: it is imported when it is asked for, on machines with a GPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
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
                ecc_uncorrected=self._counted(
                    nvml.nvmlDeviceGetTotalEccErrors,
                    gpu,
                    nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                    nvml.NVML_VOLATILE_ECC,
                ),
                pcie_replays=self._counted(nvml.nvmlDeviceGetPcieReplayCounter, gpu),
                **self._links(gpu),
                **self._rows(gpu),
            )
        except nvml.NVMLError:
            return None

    def _counted(self, ask: Callable[..., int], *about: Any) -> int | None:
        """A counter; None where the GPU has none."""
        try:
            return int(ask(*about))
        except self._nvml.NVMLError:
            return None

    def _links(self, gpu: Any) -> dict[str, Any]:
        """What the active links counted, all together; None where no link counts that."""
        nvml = self._nvml
        sums: dict[str, int | None] = {"nvlink_errors": None, "nvlink_recoveries": None}
        for link in range(nvml.NVML_NVLINK_MAX_LINKS):
            try:
                if nvml.nvmlDeviceGetNvLinkState(gpu, link) != nvml.NVML_FEATURE_ENABLED:
                    continue
            except nvml.NVMLError:
                break  # no NVLink, or no further one
            for name, counted in self._link(gpu, link).items():
                if counted is not None:
                    sums[name] = (sums[name] or 0) + counted
        return sums

    def _link(self, gpu: Any, link: int) -> dict[str, int | None]:
        """One link: by the error counters up to NVLink 4, by the fields of NVLink 5 where those are not there."""
        nvml = self._nvml
        count = nvml.nvmlDeviceGetNvLinkErrorCounter
        recoveries = self._counted(count, gpu, link, nvml.NVML_NVLINK_ERROR_DL_RECOVERY)
        if recoveries is None:
            events, failed = (
                nvml.NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS,
                nvml.NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS,
            )
            found = self._fields(gpu, link, events, failed)
            return {"nvlink_recoveries": found[0], "nvlink_errors": found[1]}
        kinds = (
            nvml.NVML_NVLINK_ERROR_DL_REPLAY,
            nvml.NVML_NVLINK_ERROR_DL_CRC_FLIT,
            nvml.NVML_NVLINK_ERROR_DL_CRC_DATA,
        )
        errors = [self._counted(count, gpu, link, kind) for kind in kinds]
        return {"nvlink_recoveries": recoveries, "nvlink_errors": sum(each or 0 for each in errors)}

    def _fields(self, gpu: Any, link: int, *fields: int) -> list[int | None]:
        """The counters of one link among the driver's fields, whatever width each has."""
        nvml = self._nvml
        try:
            values = nvml.nvmlDeviceGetFieldValues(gpu, [(field, link) for field in fields])
        except nvml.NVMLError:
            return [None for _ in fields]
        member = {
            nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
        }
        return [
            int(getattr(each.value, member[each.valueType]))
            if each.nvmlReturn == nvml.NVML_SUCCESS and each.valueType in member
            else None
            for each in values
        ]

    def _rows(self, gpu: Any) -> dict[str, Any]:
        """Rows of memory that were replaced; all None where the GPU replaces none (before Ampere)."""
        try:
            _, uncorrectable, pending, failed = self._nvml.nvmlDeviceGetRemappedRows(gpu)
        except self._nvml.NVMLError:
            return {}
        return {"rows_remapped": int(uncorrectable), "remap_pending": bool(pending), "remap_failed": bool(failed)}


def _library() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        raise Misconfigured("nvidia-ml-py is not installed; install it on machines with GPUs") from None


def _listed(nvml: Any, index: int) -> tuple[str, int]:
    told = nvml.nvmlDeviceGetPciInfo(nvml.nvmlDeviceGetHandleByIndex(index)).busId
    domain, bus, device = (told.decode() if isinstance(told, bytes) else str(told)).lower().split(".")[0].split(":")
    return f"{domain[-4:]}:{bus}:{device}", index
