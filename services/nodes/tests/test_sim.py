"""The simulated provider keeps the provider contract, and is the same machine every time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from gpuaas.common.clock import WallClock
from gpuaas.nodes.adapters.sim import Deviation, Fault, Script, SimulatedProvider, serial_of
from gpuaas.nodes.ports import MachineProvider, Unanswered
from provider_contract import PERSISTENCE, WANTED, MachineProviderContract, Trouble


class SimulatedWorld:
    """Clients of one simulated back end, which is its file."""

    persistence = PERSISTENCE
    look_pause_s = 0.001

    def __init__(self, directory: Path) -> None:
        self._kept = directory / "machines.jsonl"
        self._clients: list[SimulatedProvider] = []

    def provider(self, **trouble: Sequence[Trouble]) -> MachineProvider:
        faults = {
            f"{verb}/n-1": tuple(None if t is Trouble.NONE else Fault(t.value) for t in troubles)
            for verb, troubles in trouble.items()
        }
        client = SimulatedProvider(WallClock(), Script(faults=faults, slow_s=0.02), self._kept)
        self._clients.append(client)
        return client

    def effects(self, verb: str) -> int:
        return sum((client.effects for client in self._clients), Counter[str]())[verb]


class TestSimulatedProvider(MachineProviderContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SimulatedWorld:
        return SimulatedWorld(tmp_path)


def test_serials_depend_on_the_id_alone() -> None:
    assert serial_of("n-1", 0) == serial_of("n-1", 0) != serial_of("n-1", 1)
    assert len({serial_of(f"n-{node}", slot) for node in range(1_000) for slot in range(8)}) == 8_000


async def test_a_deviation_shows_another_machine_than_was_ordered() -> None:
    script = Script(deviations={"n-1": Deviation(gpu_count=7, gpu_model="nvidia-t4-16gb", serials={2: "STOLEN"})})
    provider = SimulatedProvider(WallClock(), script)
    await provider.adopt("n-1", WANTED)
    seen = await provider.observe("n-1")
    assert (seen.gpu_model, len(seen.devices), seen.devices[2].serial) == ("nvidia-t4-16gb", 7, "STOLEN")


async def test_faults_at_a_rate_are_the_same_in_every_run() -> None:
    async def run() -> list[bool]:
        provider = SimulatedProvider(WallClock(), Script(fault_rate=0.3, slow_s=0))
        answered = []
        for number in range(200):
            try:
                await provider.adopt(f"n-{number}", WANTED)
            except Unanswered:
                answered.append(False)
            else:
                answered.append(True)
        return answered

    first = await run()
    assert first == await run()
    assert 20 < first.count(False) < 60


async def test_a_line_cut_short_by_a_kill_is_forgotten(tmp_path: Path) -> None:
    kept = tmp_path / "machines.jsonl"
    await SimulatedProvider(WallClock(), kept=kept).adopt("n-1", WANTED)
    with kept.open("a") as file:
        file.write('\n{"node_id": "n-2", "wan')
    provider = SimulatedProvider(WallClock(), kept=kept)
    assert (await provider.observe("n-1")).powered
    await provider.adopt("n-3", WANTED)
    assert (await SimulatedProvider(WallClock(), kept=kept).observe("n-3")).powered


def test_a_script_is_read_from_json() -> None:
    text = json.dumps(
        {
            "latency_s": 0.01,
            "faults": {"adopt/n-1": ["timeout-after"]},
            "deviations": {"n-2": {"gpu_count": 4, "serials": {"0": "X"}}},
        }
    )
    script = Script.read(text)
    assert script.faults == {"adopt/n-1": (Fault.TIMEOUT_AFTER,)}
    assert script.deviations["n-2"] == Deviation(gpu_count=4, serials={0: "X"})


@pytest.mark.parametrize(
    "text",
    ["[]", '{"nonsense": 1}', '{"fault_rate": 2}', '{"faults": {"a": ["boom"]}}', '{"deviations": {"n": {"x": 1}}}'],
)
def test_a_senseless_script_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Script.read(text)
