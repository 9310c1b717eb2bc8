"""Service processes forked from one warm parent, watched to their end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from gpuaas.cli.supervisor import Backoff, Plan, ServiceProcesses
from gpuaas.common.embedded.process import command_of, waited
from gpuaas.common.errors import Unavailable

HERE = Path(__file__).parent


class Watched:
    """Service processes and what was told of their ends."""

    def __init__(self, folder: Path) -> None:
        (folder / "logs").mkdir()
        self.folder = folder
        self.ends: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.processes = ServiceProcesses(folder, ["small_service"], self._on_end)

    async def _on_end(self, name: str, status: int) -> None:
        self.ends.put_nowait((name, status))

    def plan(self, name: str, manner: str) -> Plan:
        return Plan(name, "small_service", {"SMALL": manner}, self.log(name))

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"


@pytest_asyncio.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    watched = Watched(tmp_path)
    await watched.processes.open()
    await watched.processes.warmed()
    yield watched
    await watched.processes.close()


async def said(watched: Watched, name: str, text: str) -> bool:
    for _ in range(200):
        if watched.log(name).exists() and text in watched.log(name).read_text():
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_service_runs_in_its_own_process_with_its_own_environment(watched: Watched) -> None:
    one = await watched.processes.start(watched.plan("one", "stay"))
    other = await watched.processes.start(watched.plan("other", "stay"))
    assert len({one, other, os.getpid()}) == 3
    assert await said(watched, "one", f"stay as {one} with ['SMALL']")
    assert await said(watched, "other", f"stay as {other} with ['SMALL']")


async def test_a_fork_is_quick_because_the_imports_are_done(watched: Watched) -> None:
    began = time.monotonic()
    await watched.processes.start(watched.plan("one", "stay"))
    assert await said(watched, "one", "stay")
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize(("manner", "status", "words"), [("fail", 1, "it was told to fail"), ("refuse", 2, "set it")])
async def test_an_end_nobody_asked_for_is_told(watched: Watched, manner: str, status: int, words: str) -> None:
    await watched.processes.start(watched.plan("one", manner))
    assert await asyncio.wait_for(watched.ends.get(), 60) == ("one", status)
    assert words in watched.log("one").read_text()
    assert watched.processes.pid("one") is None


async def test_a_killed_service_is_told_with_its_signal_and_starts_again(watched: Watched) -> None:
    first = await watched.processes.start(watched.plan("one", "stay"))
    watched.processes.signal("one", signal.SIGKILL, wanted=False)
    assert await asyncio.wait_for(watched.ends.get(), 60) == ("one", -signal.SIGKILL)
    assert await watched.processes.start(watched.plan("one", "stay")) != first


async def test_a_stop_is_waited_for_and_not_told_as_a_crash(watched: Watched) -> None:
    await watched.processes.start(watched.plan("one", "stay"))
    assert await said(watched, "one", "stay")
    await watched.processes.stop(["one", "nobody"], grace_s=5)
    assert watched.processes.pid("one") is None
    assert watched.ends.empty()


async def test_who_does_not_drain_in_time_is_killed(watched: Watched) -> None:
    pid = await watched.processes.start(watched.plan("one", "stubborn"))
    assert await said(watched, "one", "stubborn")
    await watched.processes.stop(["one"], grace_s=0.2)
    assert await asyncio.to_thread(waited, lambda: not command_of(pid), 5)


async def test_the_end_of_the_warm_parent_is_the_end_of_all(watched: Watched) -> None:
    pid = await watched.processes.start(watched.plan("one", "stay"))
    assert await said(watched, "one", "stay")
    warm = int((watched.folder / "warm.pid").read_text())
    os.kill(warm, signal.SIGKILL)
    assert (await asyncio.wait_for(watched.ends.get(), 60))[0] == "one"
    assert await asyncio.to_thread(waited, lambda: not command_of(pid), 5)
    with pytest.raises(Unavailable, match="gone"):
        await watched.processes.start(watched.plan("one", "stay"))


async def test_a_module_that_cannot_be_imported_fails_alone(watched: Watched) -> None:
    await watched.processes.start(Plan("broken", "no_such_module", {}, watched.log("broken")))
    assert await asyncio.wait_for(watched.ends.get(), 60) == ("broken", 1)
    assert "no_such_module" in watched.log("broken").read_text()
    await watched.processes.start(watched.plan("one", "stay"))
    assert await said(watched, "one", "stay")


OWNER = """
import asyncio, sys
from pathlib import Path
from gpuaas.cli.supervisor import Plan, ServiceProcesses
async def quiet(name: str, status: int) -> None: ...
async def main() -> None:
    folder = Path(sys.argv[1])
    processes = ServiceProcesses(folder, [], quiet)
    await processes.open()
    await processes.warmed()
    print(await processes.start(Plan("one", "small_service", {"SMALL": "stay"}, folder / "one.log")), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_services_do_not_outlive_a_killed_owner(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert command_of(pid)
    owner.kill()
    owner.wait()
    assert waited(lambda: not command_of(pid), 60)


def test_pauses_double_up_to_a_limit() -> None:
    backoff = Backoff(first_s=0.2, most_s=5.0)
    assert [backoff.pause_s(failures) for failures in (1, 2, 3, 100)] == [0.2, 0.4, 0.8, 5.0]
