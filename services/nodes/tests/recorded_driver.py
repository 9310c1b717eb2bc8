"""A driver library that answers from a record, below NVIDIA's own Python binding. One law: the binding is the real one.

What the driver's C functions are given is written to as they would, so names, structures, widths and error codes are
parsed by the code that runs on real machines. The records are what NVML's documentation says each kind of GPU answers.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SUCCESS, NOT_SUPPORTED, GPU_IS_LOST = 0, 3, 15
RECORDS = json.loads((Path(__file__).parent / "recorded_gpus.json").read_text("utf-8"))


class RecordedDriver:
    """The functions of `libnvidia-ml.so.1` that are asked for; `gpus` may be changed between two readings."""

    def __init__(self, *kinds: str) -> None:
        self.gpus: list[dict[str, Any]] = [json.loads(json.dumps(RECORDS[kind])) for kind in kinds]

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name.startswith("nvmlInit") or name == "nvmlShutdown":
            return lambda *_: SUCCESS
        if not name.startswith("nvmlDeviceGet"):
            raise AttributeError(name)
        return lambda *given: self._answer(name.removeprefix("nvmlDeviceGet"), *given)

    def _answer(self, name: str, *given: Any) -> int:
        match name, given:
            case "Count_v2", (count,):
                count._obj.value = len(self.gpus)
            case "HandleByIndex_v2", (index, handle):
                address = ctypes.cast(ctypes.byref(handle._obj), ctypes.POINTER(ctypes.c_void_p))
                address[0] = ctypes.c_void_p(index.value + 1).value
            case _, (handle, *rest):
                return self._of(self.gpus[(ctypes.cast(handle, ctypes.c_void_p).value or 0) - 1], name, rest)
        return SUCCESS

    def _of(self, gpu: dict[str, Any], name: str, given: list[Any]) -> int:
        """What this GPU answers; a record that does not name a function means that it is not supported."""
        told = gpu.get(name)
        if gpu.get("lost"):
            return GPU_IS_LOST
        if told is None:
            return NOT_SUPPORTED
        if name in ("NvLinkState", "NvLinkErrorCounter"):
            link, *kind = given[:-1]
            if link >= len(told):
                return NOT_SUPPORTED
            given[-1]._obj.value = told[link][kind[0]] if kind else told[link]
        elif name == "FieldValues":
            _fill(given[-1]._obj, told)
        elif isinstance(told, dict):
            for member, value in told.items():
                setattr(given[-1]._obj, member, value.encode() if isinstance(value, str) else value)
        elif isinstance(told, list):
            for target, value in zip(given, told, strict=True):
                target._obj.value = value
        else:
            given[-1]._obj.value = told
        return SUCCESS


def _fill(values: Any, told: dict[str, list[int]]) -> None:
    """Fields of links: id → [the driver's type of value, value]; one that is not there is not supported."""
    for value in values:
        kind, number = told.get(str(value.fieldId), [None, None])
        value.nvmlReturn = SUCCESS if kind is not None else NOT_SUPPORTED
        if kind is not None:
            value.valueType = kind
            setattr(value.value, {1: "uiVal", 2: "ulVal", 3: "ullVal"}[kind], number)
