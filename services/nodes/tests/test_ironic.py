"""A real Ironic keeps the provider contract, and switches real power through Redfish; `make ironic` installs it."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.ids import new_id
from gpuaas.nodes.adapters.ironic import Enrolment, IronicProvider, WipePlan
from gpuaas.nodes.domain.proofs import Load
from gpuaas.nodes.ports import MachineProvider, ProviderRefused, Wanted
from gpuaas.nodes.reactions import Persistence
from ironic_lane import SYSTEMS, Lane, installed, lane
from node_facts import MODEL
from provider_contract import WANTED, MachineProviderContract, Trouble
from troubled_http import TroubledTransport

PROGRAMS = installed()
pytestmark = [
    pytest.mark.ironic,
    pytest.mark.skipif(
        PROGRAMS is None, reason="Ironic is not installed: `make ironic` installs it and runs this lane"
    ),
]
WIPE = WipePlan(steps=({"interface": "bios", "step": "factory_reset"},), method="factory-reset")
"""What fake-hardware can clean; on real machines the default erases the disks."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    assert PROGRAMS is not None
    with lane(PROGRAMS, tmp_path_factory.mktemp("ironic")) as found:
        yield found


def machine(node_id: str, driver: str = "fake-hardware", **info: str) -> Enrolment:
    gpus = [{"serial": f"{node_id}-gpu-{slot}", "slot": slot, "memory_mib": 81_559} for slot in range(8)]
    properties = {"cpus": 224, "memory_mb": 2_063_872, "serial_number": f"CHASSIS-{node_id}", "disks": 2}
    return Enrolment(driver=driver, gpu_model=MODEL, gpus=gpus, driver_info=info, properties=properties)


_AS_SEEN = {"burn_in": "erase"}
"""To Ironic both are manual cleaning."""


class IronicWorld:
    """Clients of one Ironic, each test in a cell of its own there."""

    persistence = Persistence(timeout_s=20.0, attempts_max=4, pause_s=0.01)
    look_pause_s = 0.05

    def __init__(self, url: str) -> None:
        self._url = url
        self._cell = new_id()
        self._effects: Counter[str] = Counter()

    def provider(self, **trouble: Sequence[Trouble]) -> MachineProvider:
        return IronicProvider(
            self._url,
            {node_id: machine(node_id) for node_id in ("n-1", "n-2", "n-9")},
            WallClock(),
            cell=self._cell,
            wipe=WIPE,
            loads={Load.CPU: WIPE.steps},
            transport=TroubledTransport(
                self._effects, {_AS_SEEN.get(verb, verb): each for verb, each in trouble.items()}
            ),
        )

    def effects(self, verb: str) -> int:
        return self._effects[_AS_SEEN.get(verb, verb)]


class TestIronic(MachineProviderContract):
    @pytest.fixture
    def world(self, started: Lane) -> IronicWorld:
        return IronicWorld(started.ironic)


def power_at_the_controller(started: Lane, node_id: str) -> str:
    """What the machine's own controller says, past Ironic."""
    with urllib.request.urlopen(f"{started.redfish}/redfish/v1/Systems/{SYSTEMS[node_id]}", timeout=5) as answer:
        return str(json.load(answer)["PowerState"])


async def test_power_really_changes_at_the_controller(started: Lane) -> None:
    reached = machine(
        "n-1",
        "redfish",
        redfish_address=started.redfish,
        redfish_system_id=f"/redfish/v1/Systems/{SYSTEMS['n-1']}",
        redfish_username="any",
        redfish_password="any",
    )
    provider = IronicProvider(started.ironic, {"n-1": reached}, WallClock(), cell=new_id())
    await provider.adopt("n-1", WANTED)
    assert (power_at_the_controller(started, "n-1"), (await provider.observe("n-1")).powered) == ("On", True)
    for on, said in ((False, "Off"), (True, "On")):
        await provider.power("n-1", on)
        assert (power_at_the_controller(started, "n-1"), (await provider.observe("n-1")).powered) == (said, on)
    assert power_at_the_controller(started, "n-2") == "On", "its neighbour is left alone"
    await provider.close()


async def test_a_controller_that_is_not_there_is_a_refusal_with_ironics_reason(started: Lane) -> None:
    lost = machine(
        "n-1",
        "redfish",
        redfish_address="http://127.0.0.1:9",
        redfish_system_id="/redfish/v1/Systems/none",
        redfish_username="any",
        redfish_password="any",
    )
    provider = IronicProvider(started.ironic, {"n-1": lost}, WallClock(), cell=new_id())
    with pytest.raises(ProviderRefused, match="does not reach n-1"):
        await provider.adopt("n-1", WANTED)
    with pytest.raises(ProviderRefused, match="names no machine"):
        await provider.adopt("n-7", Wanted(gpu_model=MODEL, gpu_count=8))
    await provider.close()


async def test_what_ironic_cannot_do_it_refuses_in_a_sentence(started: Lane) -> None:
    provider = IronicWorld(started.ironic).provider()
    await provider.adopt("n-1", WANTED)
    with pytest.raises(ProviderRefused, match="resets no GPUs"):
        await provider.reset_gpu("n-1", 0, "order-1")
    with pytest.raises(ProviderRefused, match="does not load gpu-memory"):
        await provider.burn_in("n-1", Load.GPU_MEMORY, "order-1")
    with pytest.raises(ProviderRefused, match="not asked for firmware"):
        await provider.update_firmware("n-1", "bmc", "2", "order-1")
