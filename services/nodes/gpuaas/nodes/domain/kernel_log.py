"""Faults out of the kernel's log, as NVIDIA's drivers write them. One law: a line is understood or left alone.

Known forms: `NVRM: Xid (PCI:0000:cb:00): 79, …` of the GPU driver (older ones without `PCI:`), its plain sentence that
a GPU has fallen off the bus, and `nvidia-nvswitch0: SXid (PCI:0000:c2:00.0): 20034, Fatal, …` of the switch driver,
whose continuation lines (`Severity …`, `Data …`) tell of the same fault and are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gpuaas.nodes.domain.faults import FaultClass, FaultRules

LINE_MAX: Final = 4_096
"""Characters of a line that are looked at."""
_PCI: Final = r"(?:PCI:)?(?P<pci>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.[0-7])?"
_XID: Final = re.compile(rf"NVRM: Xid \({_PCI}(?: [^)]*)?\): (?P<code>[0-9]{{1,5}})(?:[,:] ?(?P<rest>.*))?$")
_LOST: Final = re.compile(rf"NVRM: GPU (?:at )?{_PCI}: GPU has fallen off the bus")
_SXID: Final = re.compile(
    rf"nvidia-nvswitch[0-9]+: SXid \({_PCI}\): (?P<code>[0-9]{{4,6}}), (?P<grade>Fatal|Non-fatal), (?P<rest>.*)$"
)


@dataclass(frozen=True, slots=True)
class KernelFault:
    """What one line tells.

    Attributes:
        pci: address of the device in lower case, domain:bus:device with a domain of four digits.
        code: the code as people name it: `XID 79`, `SXID 20034`.
        on_switch: the device is an NVSwitch and not a GPU.
    """

    pci: str
    fault: FaultClass
    code: str
    detail: str
    on_switch: bool = False


def fault_in(line: str, rules: FaultRules) -> KernelFault | None:
    """The fault that a line of the kernel's log tells of; None: none, or none that is understood."""
    line = line[:LINE_MAX].rstrip()
    if (told := _XID.search(line)) is not None:
        code = int(told["code"])
        detail = (told["rest"] or "").strip() or f"XID {code}"
        return KernelFault(_address(told["pci"]), rules.class_of_xid(code), f"XID {code}", detail)
    if (told := _SXID.search(line)) is not None:
        fault = FaultClass.NVSWITCH_FATAL if told["grade"] == "Fatal" else FaultClass.NVSWITCH
        return KernelFault(_address(told["pci"]), fault, f"SXID {told['code']}", told["rest"].strip(), on_switch=True)
    if (told := _LOST.search(line)) is not None:
        # The driver says it twice, as XID 79 and as this sentence: the same code makes it the same fault.
        return KernelFault(_address(told["pci"]), FaultClass.OFF_THE_BUS, "XID 79", "GPU has fallen off the bus")
    return None


def _address(pci: str) -> str:
    domain, bus, device = pci.lower().split(":")
    return f"{domain[-4:]}:{bus}:{device}"
