"""The whole suite as `gpuaas up` starts it: real servers, seven processes, crashes and their repair."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpuaas.cli.readiness import asked
from gpuaas.cli.service_table import SERVICES
from gpuaas.cli.state import AlreadyRunning, running_endpoints
from gpuaas.cli.supervisor import Backoff, Step
from gpuaas.cli.up import Stack
from gpuaas.common.embedded.process import command_of, port_is_free, waited
from gpuaas.common.errors import Misconfigured, Unavailable

pytestmark = [pytest.mark.drill, pytest.mark.slow]
NAMES = [entry.name for entry in SERVICES]


@pytest.fixture
def state_dir() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gpuaas-test-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Told:
    """The steps a stack told, in order."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._more = asyncio.Event()

    def __call__(self, step: Step) -> None:
        self.steps.append(step)
        self._more.set()

    async def heard(self, name: str, state: str, after: int = 0, timeout_s: float = 60) -> None:
        async with asyncio.timeout(timeout_s):
            while not any((step.name, step.state) == (name, state) for step in self.steps[after:]):
                self._more.clear()
                await self._more.wait()


async def test_the_suite_starts_survives_crashes_and_leaves_nothing_behind(state_dir: Path) -> None:
    told = Told()
    stack = Stack(state_dir, profile="demo", restart=Backoff(first_s=0.05), progress=told)
    endpoints = await stack.start()
    try:
        await the_state_folder_says_where_it_is(stack, state_dir)
        await a_killed_service_comes_back(stack, told)
        await a_killed_server_comes_back(stack, told)
        await a_service_is_restarted_in_order(stack)
        pids = [stack.pid(name) for name in [*NAMES, "nats", "postgres"]]
    finally:
        await stack.stop()
    assert not any(command_of(pid) for pid in pids if pid)
    assert all(port_is_free(port) for port in endpoints.ports.values())
    with pytest.raises(Misconfigured, match="nothing runs"):
        running_endpoints(state_dir)


async def the_state_folder_says_where_it_is(stack: Stack, state_dir: Path) -> None:
    found = running_endpoints(state_dir)
    assert found.pid == os.getpid()
    assert set(found.services) == set(NAMES)
    assert found.operator_key() == stack.operator_key
    with pytest.raises(AlreadyRunning, match=str(found.services["iam"])):
        await Stack(state_dir).start()
    assert (await asked(found.ports["iam"])).ready


async def a_killed_service_comes_back(stack: Stack, told: Told) -> None:
    before, heard = stack.pid("billing"), len(told.steps)
    await stack.kill("billing")
    await told.heard("billing", "ended", heard)
    await told.heard("billing", "ready", heard)
    assert stack.pid("billing") not in (None, before)


async def a_killed_server_comes_back(stack: Stack, told: Told) -> None:
    for name in ("nats", "postgres"):
        before, heard = stack.pid(name), len(told.steps)
        await stack.kill(name)
        await told.heard(name, "ready", heard)
        assert stack.pid(name) not in (None, before)
    await stack.ready()


async def a_service_is_restarted_in_order(stack: Stack) -> None:
    before = stack.pid("nodes")
    await stack.restart("nodes")
    assert stack.pid("nodes") not in (None, before)
    assert (await asked(stack.endpoints.ports["nodes"])).ready


async def test_a_second_start_finds_its_ports_and_its_log_again(state_dir: Path) -> None:
    async with Stack(state_dir, profile="demo", services=["iam"]) as stack:
        first = stack.endpoints
        key = stack.operator_key
    async with Stack(state_dir, profile="demo", services=["iam"]) as stack:
        assert stack.endpoints.ports == first.ports
        assert stack.operator_key == key


async def test_without_a_restart_policy_the_dead_stay_dead(state_dir: Path) -> None:
    async with Stack(state_dir, profile="demo", services=["inventory"], restart=None) as stack:
        await stack.kill("inventory")
        await asyncio.sleep(0.5)
        assert stack.pid("inventory") is None
        await stack.start_service("inventory")
        assert stack.pid("inventory") is not None


async def test_a_service_that_is_set_up_wrongly_ends_the_start_with_its_own_sentence(state_dir: Path) -> None:
    wrong = {"GPUAAS_CLOCK_PACE": "nonsense"}
    with pytest.raises(Unavailable, match=r"inventory ended .*GPUAAS_CLOCK_PACE"):
        await Stack(state_dir, profile="demo", services=["inventory"], environment=wrong).start()
    async with Stack(state_dir, profile="demo", services=["inventory"]):
        pass


OWNER = """
import asyncio, sys
from pathlib import Path
from gpuaas.cli.up import Stack
async def main() -> None:
    async with Stack(Path(sys.argv[1]), profile="demo", services=["inventory"]) as stack:
        pids = [stack.pid(name) for name in ("nats", "postgres", "inventory")]
        # Said once it listens for signals: whoever reads this sends one at once.
        asyncio.get_running_loop().call_soon(lambda: print(*pids, flush=True))
        await stack.until_ended()
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_owner_ends_the_suite_and_the_next_start_works(
    state_dir: Path, number: signal.Signals
) -> None:
    for _ in range(2 if number == signal.SIGKILL else 1):
        owner = subprocess.Popen([sys.executable, "-c", OWNER, str(state_dir)], stdout=subprocess.PIPE, text=True)
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 3
        owner.send_signal(number)
        status = owner.wait(60)
        assert status in ((-signal.SIGKILL,) if number == signal.SIGKILL else (0, -signal.SIGINT))
        assert waited(lambda pids=pids: not any(map(command_of, pids)), 15)  # type: ignore[misc]


BUSY_OWNER = """
import asyncio, signal, sys
from pathlib import Path
from gpuaas.cli.up import Stack
signal.signal(signal.SIGINT, signal.SIG_IGN)
async def main() -> None:
    async with Stack(Path(sys.argv[1]), profile="demo", services=["inventory"]) as stack:
        print(*(stack.pid(name) for name in ("nats", "postgres", "inventory")), flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


def test_who_hears_no_interrupt_as_a_shells_background_jobs_do_not_is_ended_all_the_same(state_dir: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", BUSY_OWNER, str(state_dir)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 3
    owner.send_signal(signal.SIGTERM)
    assert owner.wait(60) != 0, "it was ended before it was done"
    assert waited(lambda: not any(map(command_of, pids)), 15)
