"""The GPUs of this machine as NVIDIA's library lists them. One law: without the library the machine has no such lane.

`nvidia-ml-py` is no dependency of the suite: it is imported when it is asked for, on machines with a GPU.
"""

from __future__ import annotations

import importlib
from typing import Any

from gpuaas.common.errors import Misconfigured


def slots_by_address() -> dict[str, int]:
    """PCI address (`0000:3b:00`) → slot of every GPU.

    Raises:
        Misconfigured: `nvidia-ml-py` is not installed, or the driver does not answer; the sentence says which.
    """
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        raise Misconfigured("nvidia-ml-py is not installed; install it on machines with GPUs") from None
    try:
        nvml.nvmlInit()
        try:
            return dict(_listed(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as refused:
        raise Misconfigured(f"the NVIDIA driver does not answer: {refused}") from None


def _listed(nvml: Any, index: int) -> tuple[str, int]:
    told = nvml.nvmlDeviceGetPciInfo(nvml.nvmlDeviceGetHandleByIndex(index)).busId
    domain, bus, device = (told.decode() if isinstance(told, bytes) else str(told)).lower().split(".")[0].split(":")
    return f"{domain[-4:]}:{bus}:{device}", index
