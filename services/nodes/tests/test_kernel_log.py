"""Lines of kernel logs as they stand in public documentation and reports, and lines that only look like them."""

from __future__ import annotations

import pytest
from gpuaas.nodes.domain.faults import FaultClass, built_in
from gpuaas.nodes.domain.kernel_log import fault_in
from hypothesis import given
from hypothesis import strategies as st

TOLD = [
    (
        "NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper: New row marked for remapping, reset gpu to activate.",
        ("0000:10:1c", FaultClass.ROW_REMAP, "XID 63", False),
    ),
    (
        "NVRM: Xid (PCI:0000:0f:00): 64, pid=57530, Row Remapper Error: (0x00000005d28c03a0) - All reserved rows for "
        "bank are remapped",
        ("0000:0f:00", FaultClass.ROW_REMAP_FAILED, "XID 64", False),
    ),
    (
        "[Fri Aug 30 11:43:09 2024] NVRM: Xid (PCI:0000:cb:00): 13, pid='<unknown>', name=<unknown>, Graphics SM Warp "
        "Exception on (GPC 7, TPC 0, SM 0): Out Of Range Address",
        ("0000:cb:00", FaultClass.APPLICATION, "XID 13", False),
    ),
    (
        "Nov 22 18:29:55 hostname kernel: [ 966.503025] NVRM: Xid (0000:01:00): 31, Ch 0000000b, engmask 00000120, "
        "intr 10000000",
        ("0000:01:00", FaultClass.APPLICATION, "XID 31", False),
    ),
    (
        "[12345.678901] NVRM: Xid (PCI:0000:3B:00): 79, pid=1234, GPU has fallen off the bus.",
        ("0000:3b:00", FaultClass.OFF_THE_BUS, "XID 79", False),
    ),
    (
        "NVRM: GPU 0000:01:00.0: GPU has fallen off the bus.",
        ("0000:01:00", FaultClass.OFF_THE_BUS, "XID 79", False),
    ),
    (
        "nvidia-nvswitch0: SXid (PCI:0000:c2:00.0): 20034, Fatal, Link 28 LTSSM Fault Up",
        ("0000:c2:00", FaultClass.NVSWITCH_FATAL, "SXID 20034", True),
    ),
    (
        "nvidia-nvswitch4: SXid (PCI:0000:c6:00.0): 19084, Non-fatal, Link 29 AN1 Heartbeat Timeout Error (First)",
        ("0000:c6:00", FaultClass.NVSWITCH, "SXID 19084", True),
    ),
    ("NVRM: Xid (PCI:0000:3b:00): 4711", ("0000:3b:00", FaultClass.UNKNOWN, "XID 4711", False)),
]
SILENT = [
    "",
    "BIOS-e820: [mem 0x000001a030000000-0x000001a0501fffff] reserved",
    "nvidia-nvswitch2: SXid (PCI:0000:c4:00.0): 10002, Severity 5 Engine instance 00 Sub-engine instance 00",
    "NVRM: Xid (PCI:0000:zz:00): 79, GPU has fallen off the bus.",
    "NVRM: Xid (43, pid: 5678): channel",
    "NVRM: loading NVIDIA UNIX x86_64 Kernel Module",
    "a user wrote: Xid 79",
]


@pytest.mark.parametrize(("line", "told"), TOLD)
def test_a_fault_is_read_with_its_place_class_and_code(line: str, told: tuple[str, FaultClass, str, bool]) -> None:
    found = fault_in(line, built_in())
    assert found is not None
    assert (found.pci, found.fault, found.code, found.on_switch) == told
    assert found.detail


@pytest.mark.parametrize("line", SILENT)
def test_what_is_no_fault_is_left(line: str) -> None:
    assert fault_in(line, built_in()) is None


@given(st.text(max_size=300), st.sampled_from(["", "NVRM: Xid (PCI:", "nvidia-nvswitch0: SXid (PCI:0000:c2:00.0): "]))
def test_no_line_breaks_the_reader(tail: str, head: str) -> None:
    fault_in(head + tail, built_in())
