"""Where an agent's faults come from: files that grow, chance with a seed, and the driver where there is one."""

from __future__ import annotations

from pathlib import Path

from gpuaas.nodes.adapters.fault_sources import InjectedFaults, KernelLog, RandomFaults
from gpuaas.nodes.domain.faults import FaultClass, built_in

XID = "NVRM: Xid (PCI:0000:3b:00): {code}, pid=1234, told by the driver\n"


def test_the_kernel_log_is_read_from_now_on_and_half_a_line_waits(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text(XID.format(code=48))
    source = KernelLog(log, "n-1", {"0000:3b:00": 3}, built_in())
    assert source.read() == []
    with log.open("a") as file:
        file.write(XID.format(code=79) + "NVRM: Xid (PCI:0000:3b:00): 6")
    (lost,) = source.read()
    assert (lost.slot, lost.fault_class, lost.code, lost.source) == (3, FaultClass.OFF_THE_BUS, "XID 79", "kernel-log")
    with log.open("a") as file:
        file.write("4, all rows are used\nNVRM: Xid (PCI:0000:99:00): 79, another machine's\n")
    assert [told.code for told in source.read()] == ["XID 64"]
    log.write_text(XID.format(code=74))
    assert [told.code for told in source.read()] == ["XID 74"]


def test_a_switch_is_told_of_the_first_gpu(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.touch()
    source = KernelLog(log, "n-1", {"0000:3b:00": 3, "0000:3c:00": 4}, built_in())
    log.write_text("nvidia-nvswitch0: SXid (PCI:0000:c2:00.0): 20034, Fatal, Link 28 LTSSM Fault Up\n")
    (fault,) = source.read()
    assert (fault.slot, fault.fault_class) == (3, FaultClass.NVSWITCH_FATAL)


def test_injected_faults_are_told_once_and_rubbish_is_left(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    source = InjectedFaults(path)
    assert source.read() == []
    good = '{"node_id": "n-1", "slot": 1, "fault_class": "thermal"}\n'
    path.write_text(good + "rubbish\n[1]\n" + '{"node_id": "n-1", "slot": 1, "fault_class": "gremlins"}\n' + good)
    assert [told.fault_class for told in source.read()] == [FaultClass.THERMAL] * 2
    assert source.read() == []


def test_chance_keeps_its_rate_and_its_seed() -> None:
    now = [0.0]
    drawn = []
    for _ in range(2):
        now[0] = 0.0
        source = RandomFaults(lambda: [f"n-{n}" for n in range(100)], 0.01, 7, lambda: now[0])
        assert source.read() == []
        now[0] = 3600.0 * 100
        drawn.append([(told.node_id, told.slot, told.fault_class) for told in source.read()])
    assert drawn[0] == drawn[1]
    assert 650 < len(drawn[0]) < 950, "100 nodes × 8 GPUs × 0.01 per hour × 100 hours is about 800"
